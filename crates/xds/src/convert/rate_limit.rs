//! Limits of a policy ⇄ filters.
//!
//! Our own proxy gets a policy as it is, in one filter of its own. Envoy gets the same limits in its own filters, up to
//! four for a policy: those that it keeps by itself (`LocalRateLimit` with one descriptor for each), those that a
//! server keeps (`RateLimit`), and dry runs of the latter. Two things get lost there: the body of refusals, and
//! `RateLimit-*` headers (docs/reference/rate-limit.md).

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::ratelimit::v3::RateLimitServiceConfig;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::config::route::v3::rate_limit as pb;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::{
    LocalRateLimitDescriptor, rate_limit_descriptor::Entry,
};
use envoy_types::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use envoy_types::pb::envoy::extensions::filters::http::ratelimit::v3 as global;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use envoy_types::pb::envoy::extensions::rate_limit_descriptors::expr::v3 as expression;
use envoy_types::pb::envoy::r#type::metadata::v3::{MetadataKey, metadata_key};
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use envoy_types::pb::envoy::r#type::v3::{FractionalPercent, HttpStatus, StatusCode, TokenBucket};
use envoy_types::pb::google::protobuf::UInt64Value;
use pb::action::{ActionSpecifier, GenericKey, HeaderValueMatch, MetaData, QueryParameters, RequestHeaders};
use pb::{Action, HitsAddend, XRateLimitOption};
use snapshot::RateLimit;
use snapshot::rate_limit::{LIMIT_ENTRY, Limit, LimitKey, LimitServer};
use snapshot::route::{HeaderMatch, StringMatch};

use super::filter::{TypedStruct, http_filter, typed};
use super::proto::{duration, no, number, pack};
use super::{Dialect, json, matching};
use crate::rejected::Reason;

/// The filter that only our proxy has.
pub(super) const FILTER: &str = "amime.filters.http.rate_limit";
/// Callers that Envoy keeps apart, for each limit with keys; its own number would be 20.
const CALLERS: u32 = 4096;
/// The bucket of requests that no limit is for: it is never empty.
const UNLIMITED: u32 = u32::MAX;
/// Intervals of limits must be multiples of the interval of that bucket.
const TICK: Duration = Duration::from_secs(1);

pub(super) fn to_proto(policy: &RateLimit, dialect: Dialect) -> Vec<HttpFilter> {
    match dialect {
        Dialect::Amime => {
            let value = serde_json::to_value(policy).expect("plain data has a form in JSON");
            vec![http_filter(
                FILTER,
                pack(TypedStruct::new(FILTER, json::to_struct(value))),
            )]
        }
        Dialect::Envoy => to_envoy(policy),
        Dialect::Grpc => Vec::new(),
    }
}

/// Reads a policy that was meant for our proxy.
pub(super) fn from_proto(message: &HttpFilter) -> Result<RateLimit, Reason> {
    let value = typed::<TypedStruct>(message)?.value.unwrap_or_default();
    let policy: RateLimit = serde_json::from_value(json::of_struct(value))
        .map_err(|error| Reason::new(FILTER, error.to_string()))?;
    let (_, problems) = snapshot::rate_limit::CompiledRateLimit::new(&policy);
    match problems.into_iter().next() {
        None => Ok(policy),
        Some(problem) => Err(Reason::new(FILTER, problem)),
    }
}

fn to_envoy(policy: &RateLimit) -> Vec<HttpFilter> {
    let filter = |part: &str, config| http_filter(&format!("{FILTER}/{}/{part}", policy.policy), config);
    let of_server = |dry_run: bool| -> Vec<&Limit> {
        let limits = policy.limits.iter().filter(|limit| limit.global);
        limits.filter(|limit| limit.dry_run == dry_run).collect()
    };
    let mut filters = Vec::new();
    let own: Vec<_> = policy.limits.iter().filter(|limit| !limit.global).collect();
    if !own.is_empty() {
        filters.push(filter("local", pack(local(policy, &own))));
    }
    for (part, dry_run) in [("global", false), ("global-dry-run", true)] {
        let limits = of_server(dry_run);
        if let Some(server) = policy.server.as_ref().filter(|_| !limits.is_empty()) {
            filters.push(filter(part, pack(shared(policy, server, &limits))));
        }
    }
    filters
}

fn local(policy: &RateLimit, limits: &[&Limit]) -> LocalRateLimit {
    let bucket = |most, per_fill, interval| TokenBucket {
        max_tokens: most,
        tokens_per_fill: number(per_fill),
        fill_interval: duration(interval),
    };
    let descriptor = |limit: &&Limit| LocalRateLimitDescriptor {
        entries: entries(limit),
        token_bucket: Some(bucket(limit.burst, limit.requests, limit.interval)),
        shadow_mode: limit.dry_run,
    };
    LocalRateLimit {
        stat_prefix: policy.policy.replace('/', "."),
        status: Some(HttpStatus { code: status(policy) }),
        token_bucket: Some(bucket(UNLIMITED, UNLIMITED, TICK)),
        filter_enabled: share(100),
        filter_enforced: share(100),
        descriptors: limits.iter().map(descriptor).collect(),
        always_consume_default_token_bucket: no(),
        rate_limits: limits.iter().map(|limit| actions(policy, limit)).collect(),
        max_dynamic_descriptors: number(CALLERS),
        ..Default::default()
    }
}

fn shared(policy: &RateLimit, server: &LimitServer, limits: &[&Limit]) -> global::RateLimit {
    let dry_run = limits.iter().all(|limit| limit.dry_run);
    let service = core::GrpcService {
        target_specifier: Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(
            core::grpc_service::EnvoyGrpc {
                cluster_name: server.cluster.to_string(),
                authority: server.authority.clone(),
                ..Default::default()
            },
        )),
        ..Default::default()
    };
    global::RateLimit {
        domain: server.domain.clone(),
        timeout: duration(server.timeout),
        failure_mode_deny: server.fails_closed && !dry_run,
        rate_limit_service: Some(RateLimitServiceConfig {
            grpc_service: Some(service),
            transport_api_version: core::ApiVersion::V3.into(),
        }),
        enable_x_ratelimit_headers: i32::from(policy.says_x_limits && !dry_run),
        rate_limited_status: Some(HttpStatus { code: status(policy) }),
        stat_prefix: policy.policy.replace('/', "."),
        filter_enforced: share(if dry_run { 0 } else { 100 }),
        rate_limits: limits.iter().map(|limit| actions(policy, limit)).collect(),
        ..Default::default()
    }
}

/// Envoy refuses a whole listener for a status that it has no name for.
fn status(policy: &RateLimit) -> i32 {
    let known = StatusCode::try_from(i32::from(policy.status));
    known.unwrap_or(StatusCode::TooManyRequests).into()
}

fn share(percent: u32) -> Option<core::RuntimeFractionalPercent> {
    Some(core::RuntimeFractionalPercent {
        default_value: Some(FractionalPercent {
            numerator: percent,
            denominator: DenominatorType::Hundred.into(),
        }),
        ..Default::default()
    })
}

/// What the descriptors of a limit look like; an empty value stands for any, each with a bucket of its own.
fn entries(limit: &Limit) -> Vec<Entry> {
    let name = Entry {
        key: LIMIT_ENTRY.to_owned(),
        value: limit.name.clone(),
    };
    let keys = limit.keys.iter().map(|key| Entry {
        key: key.entry(),
        value: match key {
            LimitKey::Value(text) => text.clone(),
            _ => String::new(),
        },
    });
    std::iter::once(name).chain(keys).collect()
}

/// How the descriptor of a request is made. Where one action finds nothing, there is none.
fn actions(policy: &RateLimit, limit: &Limit) -> route::RateLimit {
    // What is only tried out is not told to anybody.
    let says = match policy.says_x_limits && !limit.dry_run {
        true => XRateLimitOption::DraftVersion03,
        false => XRateLimitOption::Off,
    };
    route::RateLimit {
        actions: std::iter::once(name_action(limit))
            .chain(limit.keys.iter().map(key_action))
            .map(|specifier| Action {
                action_specifier: Some(specifier),
            })
            .collect(),
        hits_addend: (limit.cost != 1).then(|| HitsAddend {
            number: Some(UInt64Value {
                value: limit.cost.into(),
            }),
            ..Default::default()
        }),
        // A server's limits are told by its filter.
        x_ratelimit_option: if limit.global { 0 } else { says.into() },
        ..Default::default()
    }
}

/// The name of the limit, if its conditions hold.
fn name_action(limit: &Limit) -> ActionSpecifier {
    let path = limit.matches.path.as_ref().map(path_condition);
    let headers: Vec<_> = path
        .iter()
        .chain(&limit.matches.headers)
        .map(matching::header_to_proto)
        .collect();
    if headers.is_empty() {
        return ActionSpecifier::GenericKey(GenericKey {
            descriptor_key: LIMIT_ENTRY.to_owned(),
            descriptor_value: limit.name.clone(),
            ..Default::default()
        });
    }
    ActionSpecifier::HeaderValueMatch(HeaderValueMatch {
        descriptor_key: LIMIT_ENTRY.to_owned(),
        descriptor_value: limit.name.clone(),
        headers,
        ..Default::default()
    })
}

/// Envoy's `:path` has the query.
fn path_condition(path: &StringMatch) -> HeaderMatch {
    let value = match path {
        StringMatch::Exact(path) => StringMatch::Regex(format!(r"{}(\?.*)?", regex::escape(path))),
        StringMatch::Prefix(prefix) => StringMatch::Prefix(prefix.clone()),
        StringMatch::Regex(pattern) => StringMatch::Regex(format!(r"(?:{pattern})(\?.*)?")),
    };
    HeaderMatch {
        name: ":path".to_owned(),
        value: Some(value),
        invert: false,
    }
}

fn key_action(key: &LimitKey) -> ActionSpecifier {
    let descriptor_key = key.entry();
    let header = |name: &str, descriptor_key| {
        ActionSpecifier::RequestHeaders(RequestHeaders {
            header_name: name.to_owned(),
            descriptor_key,
            skip_if_absent: false,
        })
    };
    let expression = |text: &str, descriptor_key| {
        let descriptor = expression::Descriptor {
            descriptor_key,
            skip_if_error: false,
            expr_specifier: Some(expression::descriptor::ExprSpecifier::Text(text.to_owned())),
        };
        ActionSpecifier::Extension(core::TypedExtensionConfig {
            name: "envoy.rate_limit_descriptors.expr".to_owned(),
            typed_config: Some(pack(descriptor)),
        })
    };
    match key {
        LimitKey::Header(name) => header(name, descriptor_key),
        LimitKey::Method => header(":method", descriptor_key),
        LimitKey::Host => header(":authority", descriptor_key),
        LimitKey::Path => expression("request.url_path", descriptor_key),
        LimitKey::PeerIdentity => expression("connection.uri_san_peer_certificate", descriptor_key),
        LimitKey::QueryParameter(name) => ActionSpecifier::QueryParameters(QueryParameters {
            query_parameter_name: name.clone(),
            descriptor_key,
            skip_if_absent: false,
        }),
        LimitKey::Claim(name) => ActionSpecifier::Metadata(MetaData {
            descriptor_key,
            metadata_key: Some(claim(name)),
            ..Default::default()
        }),
        LimitKey::SourceAddress => ActionSpecifier::RemoteAddress(pb::action::RemoteAddress {}),
        LimitKey::Value(text) => ActionSpecifier::GenericKey(GenericKey {
            descriptor_key,
            descriptor_value: text.clone(),
            ..Default::default()
        }),
    }
}

/// Where Istio's filter of tokens leaves the claims of a verified one.
fn claim(name: &str) -> MetadataKey {
    let segment = |key: &str| metadata_key::PathSegment {
        segment: Some(metadata_key::path_segment::Segment::Key(key.to_owned())),
    };
    MetadataKey {
        key: "envoy.filters.http.jwt_authn".to_owned(),
        path: vec![segment("payload"), segment(name)],
    }
}
