//! How a cluster speaks HTTP ⇄ `extensions.upstreams.http.v3.HttpProtocolOptions`.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::upstreams::http::v3 as pb;
use envoy_types::pb::google::protobuf::Any;
use pb::http_protocol_options::explicit_http_config::ProtocolConfig;
use pb::http_protocol_options::{ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig};
use snapshot::cluster::UpstreamHttp;
use snapshot::{CircuitBreaker, Cluster, Http2Options};

use super::connection_pool::{http2_from_proto, http2_to_proto};
use super::proto::{duration, number, pack, refuse, to_duration, unpack};
use super::{protocol, tls};
use crate::rejected::Reason;

pub(super) const KEY: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Absent where Envoy's defaults say the same.
pub(super) fn to_proto(cluster: &Cluster) -> HashMap<String, Any> {
    let (http, breaker) = (cluster.http, &cluster.circuit_breaker);
    let of_tls = tls::http_options(cluster.tls.as_ref());
    let common = core::HttpProtocolOptions {
        idle_timeout: breaker.idle_timeout.and_then(duration),
        max_requests_per_connection: breaker.max_requests_per_connection.and_then(number),
        max_connection_duration: breaker.max_connection_duration.and_then(duration),
        ..Default::default()
    };
    let plain = common == core::HttpProtocolOptions::default();
    if plain && of_tls.is_none() && http == UpstreamHttp::Http1 {
        return HashMap::new();
    }
    let explicit = |protocol| {
        UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(protocol),
        })
    };
    let protocol = match http {
        UpstreamHttp::Http1 => explicit(ProtocolConfig::HttpProtocolOptions(Default::default())),
        UpstreamHttp::Http2 => explicit(ProtocolConfig::Http2ProtocolOptions(http2_to_proto(
            &cluster.http2,
        ))),
        UpstreamHttp::Downstream => {
            UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
                http_protocol_options: Some(Default::default()),
                http2_protocol_options: Some(http2_to_proto(&cluster.http2)),
                http3_protocol_options: None,
            })
        }
    };
    let options = pb::HttpProtocolOptions {
        upstream_http_protocol_options: of_tls,
        common_http_protocol_options: (!plain).then_some(common),
        upstream_protocol_options: Some(protocol),
        ..Default::default()
    };
    HashMap::from([(KEY.to_owned(), pack(options))])
}

/// Reads the protocol with what is special to HTTP/2, and the limits that Envoy keeps here into `breaker`.
pub(super) fn from_proto(
    options: &HashMap<String, Any>,
    breaker: &mut CircuitBreaker,
) -> Result<(UpstreamHttp, Http2Options), Reason> {
    if let Some(other) = options.keys().find(|key| *key != KEY) {
        return Err(Reason::unsupported(format!(
            "Cluster.typed_extension_protocol_options {other:?}"
        )));
    }
    let Some(any) = options.get(KEY) else {
        return Ok((UpstreamHttp::Http1, Http2Options::default()));
    };
    let message: pb::HttpProtocolOptions = unpack(any, "Cluster.typed_extension_protocol_options")?;
    refuse!(
        message,
        "HttpProtocolOptions",
        [
            http_filters,
            header_validation_config,
            request_mirror_policies,
            hash_policy,
            retry_policy,
        ]
    );
    if let Some(common) = message.common_http_protocol_options {
        refuse!(
            common,
            "HttpProtocolOptions",
            [max_stream_duration, headers_with_underscores_action]
        );
        breaker.max_requests_per_connection = common.max_requests_per_connection.map(|value| value.value);
        breaker.max_connection_duration = common
            .max_connection_duration
            .map(|value| to_duration(value, "HttpProtocolOptions.max_connection_duration"))
            .transpose()?
            .filter(|value| !value.is_zero());
        breaker.idle_timeout = common
            .idle_timeout
            .map(|value| to_duration(value, "HttpProtocolOptions.idle_timeout"))
            .transpose()?;
    }
    match message.upstream_protocol_options {
        None => Err(Reason::missing("HttpProtocolOptions.upstream_protocol_options")),
        Some(UpstreamProtocolOptions::AutoConfig(_)) => {
            Err(Reason::unsupported("HttpProtocolOptions.auto_config"))
        }
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(downstream)) => {
            if let Some(http1) = &downstream.http_protocol_options {
                protocol::check_http1(http1)?;
            }
            let http2 = downstream.http2_protocol_options.unwrap_or_default();
            Ok((UpstreamHttp::Downstream, http2_from_proto(&http2)?))
        }
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => match explicit.protocol_config {
            None => Ok((UpstreamHttp::Http1, Http2Options::default())),
            Some(ProtocolConfig::HttpProtocolOptions(http1)) => {
                protocol::check_http1(&http1)?;
                Ok((UpstreamHttp::Http1, Http2Options::default()))
            }
            Some(ProtocolConfig::Http2ProtocolOptions(http2)) => {
                Ok((UpstreamHttp::Http2, http2_from_proto(&http2)?))
            }
            Some(ProtocolConfig::Http3ProtocolOptions(_)) => {
                Err(Reason::unsupported("ExplicitHttpConfig.http3_protocol_options"))
            }
        },
    }
}
