//! Arbitrary tokens that requests must carry.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use snapshot::{ClaimHeader, Jwt, JwtProvider, JwtRequirement, TokenHeader};

fn provider() -> impl Strategy<Value = JwtProvider> {
    let header =
        ("x-[a-z]{0,5}", "[A-Z][a-z]{0,5} ?").prop_map(|(name, prefix)| TokenHeader { name, prefix });
    let claim = ("x-[a-z]{0,5}", "[a-z.]{1,9}").prop_map(|(header, claim)| ClaimHeader { header, claim });
    let words = || vec("[a-z]{1,5}", 0..3);
    let places = (vec(header, 0..3), words(), words());
    let outputs = ("(x-[a-z]{1,5})?", vec(claim, 0..3), words(), any::<bool>());
    ("[a-z:/.]{0,9}", words(), "[a-z{}]{0,9}", places, outputs).prop_map(
        |(issuer, audiences, key_set, places, (payload_header, claim_headers, lists, forward))| JwtProvider {
            issuer,
            audiences,
            key_set,
            from_headers: places.0,
            from_parameters: places.1,
            from_cookies: places.2,
            forward,
            payload_header,
            claim_headers,
            space_delimited_claims: lists,
        },
    )
}

fn requirement() -> impl Strategy<Value = JwtRequirement> {
    let provider = "[a-c]".prop_map(JwtRequirement::Provider);
    provider.prop_recursive(3, 9, 3, |inner| {
        let any = (vec(inner.clone(), 1..3), any::<bool>())
            .prop_map(|(of, or_missing)| JwtRequirement::Any { of, or_missing });
        prop_oneof![any, vec(inner, 1..3).prop_map(JwtRequirement::All)]
    })
}

pub(super) fn jwt() -> BoxedStrategy<Jwt> {
    let providers = (provider(), provider(), provider());
    (providers, requirement(), any::<bool>())
        .prop_map(|(providers, requirement, bypass_preflight)| Jwt {
            providers: BTreeMap::from([
                ("a".to_owned(), providers.0),
                ("b".to_owned(), providers.1),
                ("c".to_owned(), providers.2),
            ]),
            requirement,
            bypass_preflight,
        })
        .boxed()
}
