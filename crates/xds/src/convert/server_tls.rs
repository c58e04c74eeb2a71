//! TLS of clients ⇄ the `transport_socket` of a filter chain. Keys and certificates are names of files, as for clusters.

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use pb::common_tls_context::ValidationContextType;
use snapshot::{ServerTls, Trust};

use super::proto::{is, pack, refuse, to_duration, unpack, yes};
use super::tls::{SYSTEM, TLS, certificate, common_from_proto, file, parameters, socket};
use crate::rejected::Reason;

const RAW_BUFFER: &str = "envoy.transport_sockets.raw_buffer";

pub(super) fn to_proto(tls: &ServerTls) -> core::TransportSocket {
    let validation = tls.client_trust.as_deref().map(|path| {
        ValidationContextType::ValidationContext(pb::CertificateValidationContext {
            trusted_ca: Some(file(path)),
            ..Default::default()
        })
    });
    let context = pb::DownstreamTlsContext {
        common_tls_context: Some(pb::CommonTlsContext {
            tls_params: Some(parameters()),
            tls_certificates: vec![certificate(&tls.certificate)],
            alpn_protocols: tls.application_protocols.clone(),
            validation_context_type: validation,
            ..Default::default()
        }),
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
    let common = common_from_proto(message.common_tls_context.unwrap_or_default())?;
    if !common.subject_alt_names.is_empty() {
        return Err(Reason::unsupported(
            "CertificateValidationContext.match_subject_alt_names",
        ));
    }
    if common.revocation_list.is_some() {
        return Err(Reason::unsupported("CertificateValidationContext.crl"));
    }
    let client_trust = match common.trust {
        Trust::Anybody => None,
        Trust::System => Some(SYSTEM.to_owned()),
        Trust::File(path) => Some(path),
    };
    let require_client_certificate = is(message.require_client_certificate, false);
    if require_client_certificate && client_trust.is_none() {
        return Err(Reason::missing("CertificateValidationContext.trusted_ca"));
    }
    Ok(ServerTls {
        certificate: common
            .certificate
            .ok_or_else(|| Reason::missing("CommonTlsContext.tls_certificates"))?,
        application_protocols: common.application_protocols,
        client_trust,
        require_client_certificate,
        handshake_timeout: None,
    })
}
