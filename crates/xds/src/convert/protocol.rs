//! Options of HTTP/1.1, HTTP/2 and the router that would change what peers see: refused by name. Sizes of buffers and of
//! windows, and defences against floods, are our own and let through.

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use hcm::HttpConnectionManager;
use hcm::http_filter::ConfigType;

use super::proto::{is, refuse, unpack};
use crate::rejected::Reason;

/// What a connection manager says about connections of clients.
pub(super) fn check(message: &HttpConnectionManager) -> Result<(), Reason> {
    refuse!(
        message,
        "HttpConnectionManager",
        [
            internal_address_config,
            represent_ipv4_remote_address_as_ipv4_mapped_ipv6,
            typed_header_validation_config,
            http3_protocol_options,
            access_log_options,
            flush_access_log_on_new_request,
        ]
    );
    if is(message.stream_error_on_invalid_http_message, false) {
        return Err(Reason::unsupported(
            "HttpConnectionManager.stream_error_on_invalid_http_message",
        ));
    }
    if let Some(http1) = &message.http_protocol_options {
        check_http1(http1)?;
    }
    if let Some(http2) = &message.http2_protocol_options {
        check_http2(http2)?;
        refuse!(http2, "Http2ProtocolOptions", [connection_keepalive]);
    }
    Ok(())
}

/// HTTP/1.1 towards clients and members.
pub(super) fn check_http1(message: &core::Http1ProtocolOptions) -> Result<(), Reason> {
    refuse!(
        message,
        "Http1ProtocolOptions",
        [
            accept_http_10,
            default_host_for_http_10,
            header_key_format,
            enable_trailers,
            allow_chunked_length,
            send_fully_qualified_url,
            allow_custom_methods,
            ignore_http_11_upgrade,
        ]
    );
    if is(message.override_stream_error_on_invalid_http_message, false) {
        return Err(Reason::unsupported(
            "Http1ProtocolOptions.override_stream_error_on_invalid_http_message",
        ));
    }
    match is(message.allow_absolute_url, true) {
        true => Ok(()),
        false => Err(Reason::unsupported("Http1ProtocolOptions.allow_absolute_url")),
    }
}

/// HTTP/2 towards clients and members.
pub(super) fn check_http2(message: &core::Http2ProtocolOptions) -> Result<(), Reason> {
    refuse!(
        message,
        "Http2ProtocolOptions",
        [
            allow_connect,
            allow_metadata,
            stream_error_on_invalid_http_messaging,
            custom_settings_parameters,
            disallow_obs_text,
        ]
    );
    match is(message.override_stream_error_on_invalid_http_message, false) {
        false => Ok(()),
        true => Err(Reason::unsupported(
            "Http2ProtocolOptions.override_stream_error_on_invalid_http_message",
        )),
    }
}

/// The last filter: nothing is asked of it, but statistics and traces.
pub(super) fn check_router(message: &hcm::HttpFilter) -> Result<(), Reason> {
    let Some(ConfigType::TypedConfig(any)) = &message.config_type else {
        return match message.config_type {
            None => Ok(()),
            Some(_) => Err(Reason::unsupported("HttpFilter.config_discovery")),
        };
    };
    let router: Router = unpack(any, "HttpFilter.typed_config")?;
    refuse!(
        router,
        "Router",
        [
            upstream_log,
            suppress_envoy_headers,
            strict_check_headers,
            respect_expected_rq_timeout,
            upstream_http_filters,
        ]
    );
    Ok(())
}
