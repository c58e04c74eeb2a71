//! TLS and PROXY protocol of a cluster ⇄ its `transport_socket` or `transport_socket_matches`, and the part that Envoy
//! keeps in `HttpProtocolOptions.upstream_http_protocol_options`.
//!
//! Auto mTLS is Istio's pair of matches: TLS for members whose metadata say `tlsMode: istio`, plain text for the rest.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::cluster::v3::cluster::TransportSocketMatch;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
use envoy_types::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::google::protobuf::{Any, Struct};
use snapshot::{ClientTls, Cluster, ProxyProtocol, TlsVersion};

use super::proto::{pack, refuse, unpack};
use super::tls_context::{Both, parameters};
use super::{http, metadata};
use crate::rejected::Reason;

pub(super) const TLS: &str = "envoy.transport_sockets.tls";
const RAW_BUFFER: &str = "envoy.transport_sockets.raw_buffer";
const PROXY_PROTOCOL: &str = "envoy.transport_sockets.upstream_proxy_protocol";
/// Istio's names of the two ways.
const MUTUAL: &str = "tlsMode-istio";
const PLAIN: &str = "tlsMode-disabled";

/// The way to all members.
pub(super) fn to_proto(cluster: &Cluster) -> Option<core::TransportSocket> {
    let tls = cluster.tls.as_ref().map(|tls| socket(TLS, pack(context(tls))));
    match (tls, cluster.proxy_protocol) {
        (None, Some(version)) if cluster.auto_tls.is_none() => Some(announced(version, plain())),
        (Some(tls), Some(version)) => Some(announced(version, tls)),
        (tls, _) => tls,
    }
}

/// The ways to members by what they take; Envoy uses the first that fits, and these before the way to all.
pub(super) fn matches_to_proto(cluster: &Cluster) -> Vec<TransportSocketMatch> {
    let Some(tls) = cluster.auto_tls.as_ref().filter(|_| cluster.tls.is_none()) else {
        return Vec::new();
    };
    let way = |name: &str, matches: Struct, inner: core::TransportSocket| TransportSocketMatch {
        name: name.to_owned(),
        r#match: Some(matches),
        transport_socket: Some(match cluster.proxy_protocol {
            Some(version) => announced(version, inner),
            None => inner,
        }),
    };
    vec![
        way(MUTUAL, metadata::mutual(), socket(TLS, pack(context(tls)))),
        way(PLAIN, Struct::default(), plain()),
    ]
}

fn plain() -> core::TransportSocket {
    socket(RAW_BUFFER, pack(RawBuffer {}))
}

/// A connection that begins with a PROXY protocol header.
fn announced(version: ProxyProtocol, inner: core::TransportSocket) -> core::TransportSocket {
    let version = match version {
        ProxyProtocol::V1 => core::proxy_protocol_config::Version::V1,
        ProxyProtocol::V2 => core::proxy_protocol_config::Version::V2,
    };
    let transport = ProxyProtocolUpstreamTransport {
        config: Some(core::ProxyProtocolConfig {
            version: version.into(),
            ..Default::default()
        }),
        transport_socket: Some(inner),
        ..Default::default()
    };
    socket(PROXY_PROTOCOL, pack(transport))
}

/// What transport sockets say.
#[derive(Default, PartialEq)]
pub(super) struct Transport {
    pub(super) tls: Option<ClientTls>,
    pub(super) auto_tls: Option<ClientTls>,
    pub(super) proxy_protocol: Option<ProxyProtocol>,
}

pub(super) fn from_proto(
    message: Option<core::TransportSocket>,
    matches: &[TransportSocketMatch],
    options: &HashMap<String, Any>,
) -> Result<Transport, Reason> {
    let mut transport = match (message, matches) {
        (None, []) => Transport::default(),
        (Some(message), []) => transport_from_proto(&message)?,
        (_, matches) => matches_from_proto(matches)?,
    };
    let options = options.get(http::KEY);
    let options =
        options.map(|any| unpack::<HttpProtocolOptions>(any, "Cluster.typed_extension_protocol_options"));
    if let Some(options) = options
        .transpose()?
        .and_then(|options| options.upstream_http_protocol_options)
    {
        refuse!(options, "UpstreamHttpProtocolOptions", [override_auto_sni_header]);
        // Without TLS nobody is asked for a name.
        if let Some(tls) = &mut transport.tls {
            tls.request_names_server = options.auto_sni;
            tls.verify_request_host = options.auto_san_validation;
        }
    }
    Ok(transport)
}

/// Whose name is asked for, and looked for in the certificate.
pub(super) fn http_options(tls: Option<&ClientTls>) -> Option<core::UpstreamHttpProtocolOptions> {
    let tls = tls.filter(|tls| tls.request_names_server || tls.verify_request_host)?;
    Some(core::UpstreamHttpProtocolOptions {
        auto_sni: tls.request_names_server,
        auto_san_validation: tls.verify_request_host,
        ..Default::default()
    })
}

pub(super) fn socket(name: &str, config: Any) -> core::TransportSocket {
    core::TransportSocket {
        name: name.to_owned(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(config)),
    }
}

fn transport_from_proto(message: &core::TransportSocket) -> Result<Transport, Reason> {
    let Some(core::transport_socket::ConfigType::TypedConfig(config)) = &message.config_type else {
        return Err(Reason::missing("TransportSocket.typed_config"));
    };
    match message.name.as_str() {
        RAW_BUFFER => Ok(Transport::default()),
        TLS => Ok(Transport {
            tls: Some(context_from_proto(unpack(
                config,
                "TransportSocket.typed_config",
            )?)?),
            ..Transport::default()
        }),
        PROXY_PROTOCOL => {
            let outer: ProxyProtocolUpstreamTransport = unpack(config, "TransportSocket.typed_config")?;
            let version = outer.config.unwrap_or_default();
            refuse!(version, "ProxyProtocolConfig", [pass_through_tlvs, added_tlvs]);
            let inner = outer
                .transport_socket
                .ok_or_else(|| Reason::missing("ProxyProtocolUpstreamTransport.transport_socket"))?;
            if inner.name == PROXY_PROTOCOL {
                return Err(Reason::unsupported(
                    "ProxyProtocolUpstreamTransport in another one",
                ));
            }
            Ok(Transport {
                proxy_protocol: Some(match version.version() {
                    core::proxy_protocol_config::Version::V1 => ProxyProtocol::V1,
                    core::proxy_protocol_config::Version::V2 => ProxyProtocol::V2,
                }),
                ..transport_from_proto(&inner)?
            })
        }
        other => Err(Reason::unsupported(format!("TransportSocket {other:?}"))),
    }
}

/// Istio's two ways, and no others: who waits for other words in the metadata of members would get plain text.
fn matches_from_proto(matches: &[TransportSocketMatch]) -> Result<Transport, Reason> {
    let [mutual, plain] = matches else {
        return Err(Reason::unsupported(
            "Cluster.transport_socket_matches other than tlsMode istio and none",
        ));
    };
    let way = |way: &TransportSocketMatch, wanted: &Struct| {
        let asked = way.r#match.as_ref().map(|asked| &asked.fields);
        if asked.unwrap_or(&HashMap::new()) != &wanted.fields {
            return Err(Reason::unsupported(format!(
                "Cluster.transport_socket_matches {:?}",
                way.name
            )));
        }
        let message = way.transport_socket.as_ref();
        transport_from_proto(message.ok_or_else(|| Reason::missing("TransportSocketMatch.transport_socket"))?)
    };
    let mutual = way(mutual, &metadata::mutual())?;
    let plain = way(plain, &Struct::default())?;
    if plain.tls.is_some() || plain.proxy_protocol != mutual.proxy_protocol {
        return Err(Reason::unsupported(
            "Cluster.transport_socket_matches with TLS for members that do not take the mesh's",
        ));
    }
    Ok(Transport {
        tls: None,
        auto_tls: mutual.tls,
        proxy_protocol: mutual.proxy_protocol,
    })
}

fn context(tls: &ClientTls) -> pb::UpstreamTlsContext {
    let both = Both {
        certificate: tls.certificate.clone(),
        trust: tls.trust.clone(),
        names: tls.subject_alt_names.clone(),
        revocation_list: tls.revocation_list.clone(),
        application_protocols: tls.application_protocols.clone(),
        minimum_version: TlsVersion::V12,
    };
    pb::UpstreamTlsContext {
        sni: tls.server_name.clone(),
        common_tls_context: Some(both.to_proto(parameters(TlsVersion::V12))),
        ..Default::default()
    }
}

fn context_from_proto(message: pb::UpstreamTlsContext) -> Result<ClientTls, Reason> {
    refuse!(
        message,
        "UpstreamTlsContext",
        [auto_host_sni, auto_sni_san_validation, allow_renegotiation]
    );
    let both = Both::from_proto(message.common_tls_context.unwrap_or_default())?;
    if both.minimum_version != TlsVersion::V12 {
        return Err(Reason::unsupported("TlsParameters.tls_minimum_protocol_version"));
    }
    Ok(ClientTls {
        server_name: message.sni,
        subject_alt_names: both.names,
        revocation_list: both.revocation_list,
        certificate: both.certificate,
        application_protocols: both.application_protocols,
        ..ClientTls::new(both.trust)
    })
}
