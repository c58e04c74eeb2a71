//! Keepalive of a cluster's connections ⇄ `UpstreamConnectionOptions`, and HTTP/2 on them ⇄ `Http2ProtocolOptions`.

use envoy_types::pb::envoy::config::cluster::v3::UpstreamConnectionOptions;
use envoy_types::pb::envoy::config::core::v3 as pb;
use snapshot::{Http2Keepalive, Http2Options, TcpKeepalive};

use super::proto::{duration, number, refuse, to_duration};
use crate::rejected::Reason;

pub(super) fn keepalive_to_proto(keepalive: TcpKeepalive) -> UpstreamConnectionOptions {
    UpstreamConnectionOptions {
        tcp_keepalive: Some(pb::TcpKeepalive {
            keepalive_probes: keepalive.probes.and_then(number),
            keepalive_time: keepalive.time.and_then(number),
            keepalive_interval: keepalive.interval.and_then(number),
        }),
        ..Default::default()
    }
}

pub(super) fn keepalive_from_proto(
    message: Option<UpstreamConnectionOptions>,
) -> Result<Option<TcpKeepalive>, Reason> {
    let Some(message) = message else { return Ok(None) };
    refuse!(message, "UpstreamConnectionOptions", [happy_eyeballs_config]);
    Ok(message.tcp_keepalive.map(|keepalive| TcpKeepalive {
        probes: keepalive.keepalive_probes.map(|value| value.value),
        time: keepalive.keepalive_time.map(|value| value.value),
        interval: keepalive.keepalive_interval.map(|value| value.value),
    }))
}

pub(super) fn http2_to_proto(options: &Http2Options) -> pb::Http2ProtocolOptions {
    pb::Http2ProtocolOptions {
        max_concurrent_streams: options.max_concurrent_streams.and_then(number),
        connection_keepalive: options.keepalive.map(|keepalive| pb::KeepaliveSettings {
            interval: keepalive.interval.and_then(duration),
            timeout: duration(keepalive.timeout),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Windows, table sizes and the bounds on floods are ours, whatever a controller would like.
pub(super) fn http2_from_proto(message: &pb::Http2ProtocolOptions) -> Result<Http2Options, Reason> {
    super::protocol::check_http2(message)?;
    let keepalive = message.connection_keepalive.map(|keepalive| {
        refuse!(keepalive, "KeepaliveSettings", [connection_idle_interval]);
        let timeout = keepalive
            .timeout
            .ok_or_else(|| Reason::missing("KeepaliveSettings.timeout"))?;
        Ok(Http2Keepalive {
            interval: keepalive
                .interval
                .map(|interval| to_duration(interval, "KeepaliveSettings.interval"))
                .transpose()?,
            timeout: to_duration(timeout, "KeepaliveSettings.timeout")?,
        })
    });
    Ok(Http2Options {
        max_concurrent_streams: message.max_concurrent_streams.map(|value| value.value),
        keepalive: keepalive.transpose()?,
    })
}
