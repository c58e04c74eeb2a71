//! Arbitrary limits on requests.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use snapshot::RateLimit;
use snapshot::rate_limit::{Limit, LimitKey, LimitServer};

use super::{limit as time, matches, name, origin};

fn key() -> impl Strategy<Value = LimitKey> {
    prop_oneof![
        name().prop_map(LimitKey::Header),
        name().prop_map(LimitKey::QueryParameter),
        name().prop_map(LimitKey::Claim),
        Just(LimitKey::Path),
        Just(LimitKey::Method),
        Just(LimitKey::Host),
        Just(LimitKey::PeerIdentity),
        Just(LimitKey::SourceAddress),
        name().prop_map(LimitKey::Value),
    ]
}

fn one() -> impl Strategy<Value = Limit> {
    (
        (name(), matches(), vec(key(), 0..3), origin()),
        (any::<u32>(), any::<u32>(), any::<u32>()),
        time(),
        any::<(bool, bool)>(),
    )
        .prop_map(
            |((name, matches, keys, origin), (requests, burst, cost), interval, (global, dry_run))| Limit {
                name,
                matches,
                keys,
                requests,
                interval,
                burst,
                cost,
                global,
                dry_run,
                origin,
            },
        )
}

fn server() -> impl Strategy<Value = LimitServer> {
    (name(), name(), name(), time(), any::<(bool, bool)>()).prop_map(
        |(cluster, authority, domain, timeout, (fails_closed, own))| LimitServer {
            cluster: cluster.into(),
            authority,
            domain,
            timeout,
            fails_closed,
            own,
        },
    )
}

pub(super) fn rate_limit() -> BoxedStrategy<RateLimit> {
    (
        name(),
        vec(one(), 0..3),
        400..600u16,
        of("[a-z ]{0,9}"),
        any::<(bool, bool)>(),
        of(server()),
    )
        .prop_map(
            |(policy, limits, status, body, (says_limits, says_x_limits), server)| RateLimit {
                policy,
                limits,
                status,
                body,
                says_limits,
                says_x_limits,
                server,
            },
        )
        .boxed()
}
