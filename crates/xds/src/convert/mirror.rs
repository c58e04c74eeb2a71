//! Targets of copies ⇄ `config.route.v3.RouteAction.RequestMirrorPolicy`.

use envoy_types::pb::envoy::config::route::v3::route_action::RequestMirrorPolicy;
use snapshot::{Mirror, Share};

use super::proto::{no, refuse};
use super::share;
use crate::rejected::Reason;

pub(super) fn to_proto(mirror: &Mirror) -> RequestMirrorPolicy {
    RequestMirrorPolicy {
        cluster: mirror.cluster.to_string(),
        runtime_fraction: Some(share::runtime_to_proto(mirror.share)),
        trace_sampled: no(),
        disable_shadow_host_suffix_append: !mirror.shadow_suffix,
        ..Default::default()
    }
}

/// `trace_sampled` shapes traces only.
pub(super) fn from_proto(message: RequestMirrorPolicy) -> Result<Mirror, Reason> {
    refuse!(
        message,
        "RequestMirrorPolicy",
        [cluster_header, request_headers_mutations, host_rewrite_literal]
    );
    Ok(Mirror {
        cluster: message.cluster.into(),
        share: share::runtime_from_proto(message.runtime_fraction, Share::ALL)?,
        shadow_suffix: !message.disable_shadow_host_suffix_append,
    })
}
