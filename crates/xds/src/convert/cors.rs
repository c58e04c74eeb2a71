//! Cross-origin rules of a route ⇄ `extensions.filters.http.cors.v3.CorsPolicy`.

use envoy_types::pb::envoy::extensions::filters::http::cors::v3 as pb;
use envoy_types::pb::google::protobuf::BoolValue;
use snapshot::{Cors, Share};

use super::matching;
use super::proto::{is, refuse};
use super::share;
use crate::rejected::Reason;

/// The filter, and the key of what a route says to it.
pub(super) const FILTER: &str = "envoy.filters.http.cors";

pub(super) fn to_proto(cors: &Cors) -> pb::CorsPolicy {
    let say = |value| Some(BoolValue { value });
    pb::CorsPolicy {
        allow_origin_string_match: cors.allow_origins.iter().map(matching::text_to_proto).collect(),
        allow_methods: cors.allow_methods.clone(),
        allow_headers: cors.allow_headers.clone(),
        expose_headers: cors.expose_headers.clone(),
        max_age: cors.max_age.clone(),
        allow_credentials: cors.allow_credentials.then_some(BoolValue { value: true }),
        filter_enabled: Some(share::runtime_to_proto(Share::ALL)),
        forward_not_matching_preflights: say(!cors.answer_unmatched_preflights),
        ..Default::default()
    }
}

/// `None` when the policy is switched off.
pub(super) fn from_proto(message: pb::CorsPolicy) -> Result<Option<Cors>, Reason> {
    refuse!(
        message,
        "CorsPolicy",
        [shadow_enabled, allow_private_network_access]
    );
    match share::runtime_from_proto(message.filter_enabled, Share::ALL)? {
        Share::ALL => {}
        Share::NONE => return Ok(None),
        _ => {
            return Err(Reason::unsupported(
                "CorsPolicy.filter_enabled for a part of requests",
            ));
        }
    }
    let origins = message.allow_origin_string_match.into_iter();
    Ok(Some(Cors {
        allow_origins: origins.map(matching::text_from_proto).collect::<Result<_, _>>()?,
        allow_methods: message.allow_methods,
        allow_headers: message.allow_headers,
        expose_headers: message.expose_headers,
        max_age: message.max_age,
        allow_credentials: is(message.allow_credentials, false),
        answer_unmatched_preflights: !is(message.forward_not_matching_preflights, true),
    }))
}
