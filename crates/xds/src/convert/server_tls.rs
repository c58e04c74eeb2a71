//! TLS of clients ⇄ the `transport_socket` of a filter chain.

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use snapshot::{ServerTls, Trust};

use super::proto::{is, pack, refuse, to_duration, unpack, yes};
use super::tls::{TLS, socket};
use super::tls_context::{Both, parameters, parameters_of_sidecars};
use crate::rejected::Reason;

const RAW_BUFFER: &str = "envoy.transport_sockets.raw_buffer";

pub(super) fn to_proto(tls: &ServerTls) -> core::TransportSocket {
    let both = Both {
        certificate: Some(tls.certificate.clone()),
        trust: tls.client_trust.clone(),
        names: tls.client_names.clone(),
        revocation_list: None,
        application_protocols: tls.application_protocols.clone(),
        minimum_version: tls.minimum_version,
    };
    let parameters = match tls.client_trust {
        Trust::Mesh => parameters_of_sidecars(tls.minimum_version),
        Trust::Anybody | Trust::System | Trust::File(_) => parameters(tls.minimum_version),
    };
    let context = pb::DownstreamTlsContext {
        common_tls_context: Some(both.to_proto(parameters)),
        require_client_certificate: if tls.require_client_certificate {
            yes()
        } else {
            None
        },
        ..Default::default()
    };
    socket(TLS, pack(context))
}

/// The handshake's limit stands beside the socket.
pub(super) fn from_proto(
    message: Option<core::TransportSocket>,
    timeout: Option<envoy_types::pb::google::protobuf::Duration>,
) -> Result<Option<ServerTls>, Reason> {
    let Some(message) = message else { return Ok(None) };
    let Some(core::transport_socket::ConfigType::TypedConfig(config)) = &message.config_type else {
        return Err(Reason::missing("TransportSocket.typed_config"));
    };
    let mut tls = match message.name.as_str() {
        RAW_BUFFER => return Ok(None),
        TLS => context_from_proto(unpack(config, "TransportSocket.typed_config")?)?,
        other => return Err(Reason::unsupported(format!("TransportSocket {other:?}"))),
    };
    tls.handshake_timeout = timeout
        .map(|value| to_duration(value, "FilterChain.transport_socket_connect_timeout"))
        .transpose()?
        .filter(|limit| !limit.is_zero());
    Ok(Some(tls))
}

/// How long sessions can be taken up again is the TLS library's affair.
fn context_from_proto(message: pb::DownstreamTlsContext) -> Result<ServerTls, Reason> {
    refuse!(
        message,
        "DownstreamTlsContext",
        [
            ocsp_staple_policy,
            prefer_client_ciphers,
            session_ticket_keys_type
        ]
    );
    if is(message.require_sni, false) {
        return Err(Reason::unsupported("DownstreamTlsContext.require_sni"));
    }
    let both = Both::from_proto(message.common_tls_context.unwrap_or_default())?;
    if both.trust != Trust::Mesh && !both.names.is_empty() {
        return Err(Reason::unsupported(
            "CertificateValidationContext.match_subject_alt_names",
        ));
    }
    if both.revocation_list.is_some() {
        return Err(Reason::unsupported("CertificateValidationContext.crl"));
    }
    let require_client_certificate = is(message.require_client_certificate, false);
    if require_client_certificate && both.trust.is_anybody() {
        return Err(Reason::missing("CertificateValidationContext.trusted_ca"));
    }
    let certificate = both
        .certificate
        .ok_or_else(|| Reason::missing("CommonTlsContext.tls_certificates"))?;
    Ok(ServerTls {
        application_protocols: both.application_protocols,
        client_trust: both.trust,
        client_names: both.names,
        require_client_certificate,
        minimum_version: both.minimum_version,
        ..ServerTls::new(certificate)
    })
}
