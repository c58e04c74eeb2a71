//! What gRPC clients understand of clusters and listeners: they refuse a whole cluster for a balancer that they lack,
//! and want an API listener, because nothing is bound. <https://github.com/grpc/proposal/blob/master/A27-xds-global-load-balancing.md>
//! Certificates come from providers that their own bootstrap names, where Istio's agent puts one called `default`.
//! <https://github.com/grpc/proposal/blob/master/A29-xds-tls-security.md>

use clusters::cluster::LbPolicy;
use envoy_types::pb::envoy::config::cluster::v3 as clusters;
use envoy_types::pb::envoy::config::listener::v3 as listeners;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use listeners::ApiListener;
use pb::common_tls_context::{
    CertificateProviderInstance, CombinedCertificateValidationContext, ValidationContextType,
};
use snapshot::{ClientTls, Cluster, Handler, Listener};

use super::proto::pack;
use super::tls::{TLS, socket};
use super::{Dialect, chain, tls_context};

/// Istio's name of the provider.
const PROVIDER: &str = "default";

/// Round robin stands in for the balancers that gRPC lacks, as in Istio.
pub(super) fn cluster(cluster: &Cluster, mut message: clusters::Cluster) -> clusters::Cluster {
    if message.lb_policy() != LbPolicy::RingHash {
        message.set_lb_policy(LbPolicy::RoundRobin);
        message.lb_config = None;
    }
    message.typed_extension_protocol_options.clear();
    message.upstream_bind_config = None;
    message.transport_socket_matches.clear();
    if let Some(tls) = cluster.tls.as_ref().filter(|tls| tls.is_of_the_mesh()) {
        message.transport_socket = Some(socket(TLS, pack(context(tls))));
    }
    message
}

fn context(tls: &ClientTls) -> pb::UpstreamTlsContext {
    let given = |certificate: &str| CertificateProviderInstance {
        instance_name: PROVIDER.to_owned(),
        certificate_name: certificate.to_owned(),
    };
    let combined = CombinedCertificateValidationContext {
        default_validation_context: Some(pb::CertificateValidationContext {
            match_subject_alt_names: tls.subject_alt_names.iter().map(tls_context::name).collect(),
            ..Default::default()
        }),
        validation_context_certificate_provider_instance: Some(given(tls_context::MESH)),
        ..Default::default()
    };
    pb::UpstreamTlsContext {
        common_tls_context: Some(pb::CommonTlsContext {
            tls_certificate_certificate_provider_instance: Some(given(tls_context::WORKLOAD)),
            validation_context_type: Some(ValidationContextType::CombinedValidationContext(combined)),
            ..Default::default()
        }),
        ..Default::default()
    }
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
