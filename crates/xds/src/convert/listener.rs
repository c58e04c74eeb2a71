//! Listeners ⇄ `config.listener.v3.Listener`.

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::TrafficDirection;
use envoy_types::pb::envoy::config::listener::v3 as pb;
use envoy_types::pb::envoy::extensions::filters::listener::http_inspector::v3::HttpInspector;
use envoy_types::pb::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use envoy_types::pb::google::protobuf::Any;
use pb::FilterChainMatch;
use pb::listener_filter::ConfigType;
use snapshot::{Direction, Listener};

use super::proto::{address, duration, is, no, pack, refuse, to_address, yes};
use super::{Dialect, access_log, chain, inspection};
use crate::rejected::Reason;

const ORIGINAL_DESTINATION: &str = "envoy.filters.listener.original_dst";
const HTTP_INSPECTOR: &str = "envoy.filters.listener.http_inspector";
const TLS_INSPECTOR: &str = "envoy.filters.listener.tls_inspector";

pub(super) fn to_proto(listener: &Listener, dialect: Dialect) -> pb::Listener {
    // Where connections arrive captured, their destination is restored before anything looks at it.
    let original = (listener.bind && !listener.direct)
        .then(|| listener_filter(ORIGINAL_DESTINATION, pack(OriginalDst {})));
    let chains: Vec<_> = listener
        .chains
        .iter()
        .map(|chain| chain::to_proto(chain, dialect))
        .collect();
    let spared = |filter, only: fn(&FilterChainMatch) -> bool| pb::ListenerFilter {
        filter_disabled: inspection::spared(&chains, only),
        ..filter
    };
    let inspector = listener.detect_http.then(|| {
        spared(
            listener_filter(HTTP_INSPECTOR, pack(HttpInspector {})),
            inspection::asks_http,
        )
    });
    let tls = listener.detect_tls.then(|| {
        spared(
            listener_filter(TLS_INSPECTOR, pack(TlsInspector::default())),
            inspection::asks_tls,
        )
    });
    let direction = match listener.direction {
        Direction::Inbound => TrafficDirection::Inbound,
        Direction::Outbound => TrafficDirection::Outbound,
    };
    pb::Listener {
        name: listener.name.to_string(),
        address: address(listener.address),
        bind_to_port: if listener.bind { None } else { no() },
        use_original_dst: if listener.use_original_destination {
            yes()
        } else {
            None
        },
        traffic_direction: direction.into(),
        listener_filters: original.into_iter().chain(tls).chain(inspector).collect(),
        // A client that waits for the server to speak first is not cut off, only not recognised.
        listener_filters_timeout: duration(Duration::ZERO),
        continue_on_listener_filters_timeout: true,
        filter_chains: chains,
        default_filter_chain: listener
            .default_chain
            .as_ref()
            .map(|chain| chain::to_proto(chain, dialect)),
        access_log: access_log::to_proto(&listener.access_log),
        ..Default::default()
    }
}

pub(super) fn from_proto(message: pb::Listener) -> Result<Listener, Reason> {
    check_unsupported(&message)?;
    let direction = match message.traffic_direction() {
        TrafficDirection::Inbound => Direction::Inbound,
        // A listener of its own stands before what it forwards to.
        TrafficDirection::Outbound | TrafficDirection::Unspecified => Direction::Outbound,
    };
    let has_filter = |name| message.listener_filters.iter().any(|filter| filter.name == name);
    let (detect_http, detect_tls) = (has_filter(HTTP_INSPECTOR), has_filter(TLS_INSPECTOR));
    let bind = is(message.bind_to_port, true);
    let use_original_destination = is(message.use_original_dst, false);
    let restores = has_filter(ORIGINAL_DESTINATION);
    Ok(Listener {
        name: message.name.into(),
        address: to_address(message.address, "Listener.address")?,
        bind,
        direct: bind && !restores && !use_original_destination,
        use_original_destination,
        direction,
        detect_http,
        detect_tls,
        chains: message
            .filter_chains
            .into_iter()
            .map(chain::from_proto)
            .collect::<Result<_, _>>()?,
        default_chain: message.default_filter_chain.map(chain::from_proto).transpose()?,
        access_log: access_log::from_proto(message.access_log)?,
    })
}

/// Buffer and backlog sizes, statistics and load spreading are let through.
fn check_unsupported(message: &pb::Listener) -> Result<(), Reason> {
    refuse!(
        message,
        "Listener",
        [
            additional_addresses,
            fcds_config,
            filter_chain_matcher,
            deprecated_v1,
            drain_type,
            socket_options,
            udp_listener_config,
            api_listener,
            listener_specifier,
        ]
    );
    if is(message.transparent, false) || is(message.freebind, false) {
        return Err(Reason::unsupported("Listener.transparent or Listener.freebind"));
    }
    for filter in &message.listener_filters {
        let chains = &message.filter_chains;
        let harmless = filter
            .filter_disabled
            .as_ref()
            .is_none_or(|disabled| match filter.name.as_str() {
                TLS_INSPECTOR => inspection::is_harmless(disabled, chains, inspection::asks_tls),
                HTTP_INSPECTOR => inspection::is_harmless(disabled, chains, inspection::asks_http),
                _ => false,
            });
        if !harmless {
            return Err(Reason::unsupported(
                "ListenerFilter.filter_disabled for ports whose chains ask",
            ));
        }
        if ![ORIGINAL_DESTINATION, HTTP_INSPECTOR, TLS_INSPECTOR].contains(&filter.name.as_str()) {
            return Err(Reason::unsupported(format!(
                "Listener.listener_filters {:?}",
                filter.name
            )));
        }
    }
    Ok(())
}

fn listener_filter(name: &str, config: Any) -> pb::ListenerFilter {
    pb::ListenerFilter {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}
