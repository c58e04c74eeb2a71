//! Limits in time ⇄ the fields of the connection manager and of route actions that say them.

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::google::protobuf as wire;
use route::route_action::MaxStreamDuration;
use snapshot::route::Forward;
use snapshot::{GrpcTimeout, HttpTimeouts};

use super::proto::{duration, limit, refuse, to_duration};
use crate::rejected::Reason;

/// Writes the limits of a chain into its connection manager.
pub(super) fn to_proto(timeouts: &HttpTimeouts, message: &mut HttpConnectionManager) {
    let common = HttpProtocolOptions {
        idle_timeout: timeouts.idle.and_then(duration),
        max_connection_duration: timeouts.connection.and_then(duration),
        max_stream_duration: timeouts.stream.and_then(duration),
        ..Default::default()
    };
    message.common_http_protocol_options = (common != HttpProtocolOptions::default()).then_some(common);
    message.request_timeout = timeouts.request.and_then(duration);
    message.request_headers_timeout = timeouts.request_head.and_then(duration);
}

pub(super) fn from_proto(message: &HttpConnectionManager) -> Result<HttpTimeouts, Reason> {
    let common = message.common_http_protocol_options.unwrap_or_default();
    refuse!(
        common,
        "HttpProtocolOptions",
        [
            max_headers_count,
            max_response_headers_kb,
            max_requests_per_connection,
            headers_with_underscores_action
        ]
    );
    Ok(HttpTimeouts {
        idle: optional(common.idle_timeout, "HttpProtocolOptions.idle_timeout")?,
        connection: nonzero(
            common.max_connection_duration,
            "HttpProtocolOptions.max_connection_duration",
        )?,
        stream: nonzero(
            common.max_stream_duration,
            "HttpProtocolOptions.max_stream_duration",
        )?,
        request: nonzero(message.request_timeout, "HttpConnectionManager.request_timeout")?,
        request_head: nonzero(
            message.request_headers_timeout,
            "HttpConnectionManager.request_headers_timeout",
        )?,
    })
}

/// Writes all limits of a route but `timeout` into its action. Istio says the outbound rule for deadlines of gRPC
/// callers in an old field.
pub(super) fn route_to_proto(forward: &Forward, action: &mut route::RouteAction) {
    action.idle_timeout = forward.idle_timeout.and_then(duration);
    action.max_grpc_timeout = match forward.grpc_timeout {
        GrpcTimeout::WithinTimeout => limit(forward.timeout),
        GrpcTimeout::Within(most) => duration(most),
        GrpcTimeout::OfStream(_) | GrpcTimeout::Ignored => None,
    };
    let of_stream = match forward.grpc_timeout {
        GrpcTimeout::OfStream(most) => duration(most),
        _ => None,
    };
    if of_stream.is_some() || forward.max_stream_duration.is_some() {
        action.max_stream_duration = Some(MaxStreamDuration {
            max_stream_duration: forward.max_stream_duration.and_then(duration),
            grpc_timeout_header_max: of_stream,
            ..Default::default()
        });
    }
}

/// Reads all limits of a route but `timeout`, which is known already.
pub(super) fn route_from_proto(message: &route::RouteAction, forward: &mut Forward) -> Result<(), Reason> {
    let stream = message.max_stream_duration.unwrap_or_default();
    refuse!(stream, "MaxStreamDuration", [grpc_timeout_header_offset]);
    forward.idle_timeout = optional(message.idle_timeout, "RouteAction.idle_timeout")?;
    forward.max_stream_duration = optional(
        stream.max_stream_duration,
        "MaxStreamDuration.max_stream_duration",
    )?;
    let of_stream = optional(
        stream.grpc_timeout_header_max,
        "MaxStreamDuration.grpc_timeout_header_max",
    )?;
    let within = optional(message.max_grpc_timeout, "RouteAction.max_grpc_timeout")?;
    forward.grpc_timeout = match (of_stream, within) {
        (Some(most), _) => GrpcTimeout::OfStream(most),
        (None, Some(most)) if most == forward.timeout.unwrap_or_default() => GrpcTimeout::WithinTimeout,
        (None, Some(most)) => GrpcTimeout::Within(most),
        (None, None) => GrpcTimeout::Ignored,
    };
    Ok(())
}

fn optional(value: Option<wire::Duration>, field: &str) -> Result<Option<Duration>, Reason> {
    value.map(|value| to_duration(value, field)).transpose()
}

/// A limit that zero switches off, as leaving it out does.
fn nonzero(value: Option<wire::Duration>, field: &str) -> Result<Option<Duration>, Reason> {
    Ok(optional(value, field)?.filter(|value| !value.is_zero()))
}
