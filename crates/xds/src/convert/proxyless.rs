//! What gRPC clients understand of clusters and listeners: they refuse a whole cluster for a balancer that they lack,
//! and want an API listener, because nothing is bound. <https://github.com/grpc/proposal/blob/master/A27-xds-global-load-balancing.md>

use envoy_types::pb::envoy::config::cluster::v3 as clusters;
use envoy_types::pb::envoy::config::listener::v3 as listeners;
use listeners::ApiListener;
use snapshot::{Handler, Listener};

use super::proto::pack;
use super::{Dialect, chain};
use clusters::cluster::LbPolicy;

/// Round robin stands in for the balancers that gRPC lacks, as in Istio.
pub(super) fn cluster(mut message: clusters::Cluster) -> clusters::Cluster {
    if message.lb_policy() != LbPolicy::RingHash {
        message.set_lb_policy(LbPolicy::RoundRobin);
        message.lb_config = None;
    }
    message.typed_extension_protocol_options.clear();
    message.upstream_bind_config = None;
    message.transport_socket_matches.clear();
    message
}

/// The listener's HTTP chain without a socket.
pub(super) fn listener(listener: &Listener) -> listeners::Listener {
    let chains = listener.chains.iter().chain(&listener.default_chain);
    let mut http = chains.filter_map(|chain| match &chain.handler {
        Handler::Http(handler) => Some(pack(chain::http_to_proto(handler, Dialect::Grpc))),
        Handler::Tcp(_) => None,
    });
    listeners::Listener {
        name: listener.name.to_string(),
        api_listener: Some(ApiListener {
            api_listener: http.next_back(),
        }),
        ..Default::default()
    }
}
