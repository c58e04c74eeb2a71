//! What Istio's own control plane says of mutual TLS is understood: secrets of its agent, its two ways to members, its
//! ciphers, and the ports at which its listeners do not look at first bytes.

use envoy_types::pb::envoy::config::cluster::v3 as clusters;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as listeners;
use envoy_types::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::google::protobuf::Struct;
use pb::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
use pb::tls_parameters::TlsProtocol;
use prost::Message;
use snapshot::{Certificate, CertificateFiles, ClientTls, SubjectMatch, Trust};

use super::proto::{pack, yes};
use super::tls::{TLS, socket};
use super::{Dialect, Resource, cluster, decode, encode_cluster, metadata, server_tls};
use crate::Kind;

/// A secret that the agent serves.
fn secret(name: &str) -> pb::SdsSecretConfig {
    let agent = core::grpc_service::EnvoyGrpc {
        cluster_name: "sds-grpc".into(),
        ..Default::default()
    };
    let service = core::GrpcService {
        target_specifier: Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(agent)),
        ..Default::default()
    };
    let source = core::ApiConfigSource {
        api_type: core::api_config_source::ApiType::Grpc.into(),
        grpc_services: vec![service],
        ..Default::default()
    };
    pb::SdsSecretConfig {
        name: name.into(),
        sds_config: Some(core::ConfigSource {
            resource_api_version: core::ApiVersion::V3.into(),
            config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::ApiConfigSource(
                source,
            )),
            ..Default::default()
        }),
    }
}

fn common(certificate: &str, root: &str, name: MatchPattern) -> pb::CommonTlsContext {
    let name = StringMatcher {
        match_pattern: Some(name),
        ..Default::default()
    };
    pb::CommonTlsContext {
        tls_params: Some(pb::TlsParameters {
            tls_minimum_protocol_version: TlsProtocol::TlSv12.into(),
            tls_maximum_protocol_version: TlsProtocol::TlSv13.into(),
            ..Default::default()
        }),
        tls_certificate_sds_secret_configs: vec![secret(certificate)],
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(
            CombinedCertificateValidationContext {
                default_validation_context: Some(pb::CertificateValidationContext {
                    match_subject_alt_names: vec![name],
                    ..Default::default()
                }),
                validation_context_sds_secret_config: Some(secret(root)),
                ..Default::default()
            },
        )),
        ..Default::default()
    }
}

fn upstream(certificate: &str, root: &str) -> core::TransportSocket {
    let identity = "spiffe://cluster.local/ns/shop/sa/web";
    let context = pb::UpstreamTlsContext {
        sni: "outbound_.80_._.web.shop.svc.cluster.local".into(),
        common_tls_context: Some(pb::CommonTlsContext {
            alpn_protocols: vec!["istio-peer-exchange".into(), "istio".into()],
            ..common(certificate, root, MatchPattern::Exact(identity.into()))
        }),
        ..Default::default()
    };
    socket(TLS, pack(context))
}

fn auto(second: Struct) -> clusters::Cluster {
    let way = |name: &str, matches, socket| clusters::cluster::TransportSocketMatch {
        name: name.into(),
        r#match: Some(matches),
        transport_socket: Some(socket),
    };
    let plain = socket("envoy.transport_sockets.raw_buffer", pack(RawBuffer {}));
    clusters::Cluster {
        name: "x".into(),
        transport_socket_matches: vec![
            way("tlsMode-istio", metadata::mutual(), upstream("default", "ROOTCA")),
            way("tlsMode-disabled", second, plain),
        ],
        ..Default::default()
    }
}

#[test]
fn clusters_with_auto_mtls_are_understood() {
    let cluster = cluster::from_proto(auto(Struct::default())).unwrap();
    assert_eq!(cluster.tls, None);
    let tls = cluster.auto_tls.unwrap();
    assert_eq!(tls.certificate, Some(Certificate::Workload));
    assert_eq!(tls.trust, Trust::Mesh);
    assert_eq!(
        tls.subject_alt_names,
        [SubjectMatch::Exact(
            "spiffe://cluster.local/ns/shop/sa/web".into()
        )]
    );
    assert!(tls.is_of_the_mesh());
    // Another word in the metadata of members would be another way to them.
    let other = cluster::from_proto(auto(metadata::mutual())).unwrap_err();
    assert_eq!(
        other.field,
        "Cluster.transport_socket_matches \"tlsMode-disabled\""
    );
}

#[test]
fn secrets_that_are_files_of_the_agent_are_files() {
    let transport_socket = upstream("file-cert:/etc/chain.pem~/etc/key.pem", "file-root:/etc/root.pem");
    let message = clusters::Cluster {
        name: "x".into(),
        transport_socket: Some(transport_socket),
        ..Default::default()
    };
    let tls = cluster::from_proto(message).unwrap().tls.unwrap();
    assert_eq!(
        tls.certificate,
        Some(Certificate::Files(CertificateFiles {
            chain: "/etc/chain.pem".into(),
            key: "/etc/key.pem".into(),
        }))
    );
    assert_eq!(tls.trust, Trust::File("/etc/root.pem".into()));
    let message = clusters::Cluster {
        name: "x".into(),
        transport_socket: Some(upstream("kubernetes://a", "ROOTCA")),
        ..Default::default()
    };
    let refused = cluster::from_proto(message).unwrap_err();
    assert_eq!(refused.field, "SdsSecretConfig \"kubernetes://a\"");
}

#[test]
fn servers_of_sidecars_are_understood() {
    let context = |ciphers: &[&str]| {
        let mut common = common(
            "default",
            "ROOTCA",
            MatchPattern::Prefix("spiffe://cluster.local/".into()),
        );
        let parameters = common.tls_params.as_mut().unwrap();
        parameters.cipher_suites = ciphers.iter().map(ToString::to_string).collect();
        let context = pb::DownstreamTlsContext {
            common_tls_context: Some(pb::CommonTlsContext {
                alpn_protocols: vec!["h2".into(), "http/1.1".into()],
                ..common
            }),
            require_client_certificate: yes(),
            ..Default::default()
        };
        server_tls::from_proto(Some(socket(TLS, pack(context))), None)
    };
    let tls = context(&[
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "AES256-GCM-SHA384",
        "AES128-GCM-SHA256",
    ]);
    let tls = tls.unwrap().unwrap();
    assert_eq!(tls.certificate, Certificate::Workload);
    assert_eq!(tls.client_trust, Trust::Mesh);
    assert!(tls.require_client_certificate);
    let prefix = "spiffe://cluster.local/".to_owned();
    assert_eq!(tls.client_names, [SubjectMatch::Prefix { prefix }]);
    let refused = context(&["AES128-SHA"]).unwrap_err();
    assert_eq!(refused.field, "TlsParameters.cipher_suites");
}

#[test]
fn a_listener_that_spares_ports_which_do_not_ask_is_understood() {
    let chain = |port: u32, transport: &str| listeners::FilterChain {
        filter_chain_match: Some(listeners::FilterChainMatch {
            destination_port: super::proto::number(port),
            transport_protocol: transport.into(),
            ..Default::default()
        }),
        ..super::chain::to_proto(&black_hole(), Dialect::Envoy)
    };
    let listener = |spared: u16| {
        let range = envoy_types::pb::envoy::r#type::v3::Int32Range {
            start: spared.into(),
            end: i32::from(spared) + 1,
        };
        let rule = listeners::listener_filter_chain_match_predicate::Rule::DestinationPortRange(range);
        listeners::Listener {
            name: "virtualInbound".into(),
            address: super::proto::address("127.0.0.1:15006".parse().unwrap()),
            traffic_direction: core::TrafficDirection::Inbound.into(),
            filter_chains: vec![chain(80, "tls"), chain(90, "")],
            listener_filters: vec![listeners::ListenerFilter {
                name: "envoy.filters.listener.tls_inspector".into(),
                filter_disabled: Some(listeners::ListenerFilterChainMatchPredicate { rule: Some(rule) }),
                ..Default::default()
            }],
            ..Default::default()
        }
    };
    let read =
        |listener: listeners::Listener| decode(Kind::Listener, "virtualInbound", &listener.encode_to_vec());
    let Ok(Resource::Listener(understood)) = read(listener(90)) else {
        panic!("the listener is refused")
    };
    assert!(understood.detect_tls);
    let refused = read(listener(80)).unwrap_err();
    assert_eq!(
        refused.reason.field,
        "ListenerFilter.filter_disabled for ports whose chains ask"
    );
}

#[test]
fn a_grpc_client_takes_certificates_from_its_own_provider() {
    let tls = ClientTls {
        certificate: Some(Certificate::Workload),
        application_protocols: vec!["istio".into()],
        ..ClientTls::new(Trust::Mesh)
    };
    let cluster = snapshot::Cluster {
        tls: Some(tls),
        ..snapshot::Cluster::new("x".into(), snapshot::Discovery::Endpoints)
    };
    let body = encode_cluster(&cluster, Dialect::Grpc);
    let message = clusters::Cluster::decode(&*body).unwrap();
    let Some(core::transport_socket::ConfigType::TypedConfig(any)) =
        message.transport_socket.unwrap().config_type
    else {
        panic!("a socket without settings")
    };
    let context: pb::UpstreamTlsContext = super::proto::unpack(&any, "socket").unwrap();
    let common = context.common_tls_context.unwrap();
    assert!(common.tls_certificate_sds_secret_configs.is_empty());
    let given = common.tls_certificate_certificate_provider_instance.unwrap();
    assert_eq!(
        (given.instance_name.as_str(), given.certificate_name.as_str()),
        ("default", "default")
    );
}

fn black_hole() -> snapshot::Chain {
    snapshot::Chain {
        name: "x".into(),
        matches: snapshot::ChainMatch::default(),
        tls: None,
        filters: Vec::new(),
        handler: snapshot::Handler::Tcp(snapshot::TcpHandler::to(snapshot::ClusterName::BLACK_HOLE.into())),
    }
}
