//! TLS and PROXY protocol of a cluster ⇄ its `transport_socket`, and the part that Envoy keeps in
//! `HttpProtocolOptions.upstream_http_protocol_options`.
//!
//! Certificates travel as names of files. Istio has its agent serve the same files over SDS, so that they are read
//! again when they change; our proxy does so by itself.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
use envoy_types::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::google::protobuf::Any;
use pb::common_tls_context::ValidationContextType;
use pb::tls_parameters::TlsProtocol;
use snapshot::{CertificateFiles, ClientTls, Cluster, ProxyProtocol, Trust};

use super::http;
use super::proto::{pack, refuse, unpack};
use crate::rejected::Reason;

pub(super) const TLS: &str = "envoy.transport_sockets.tls";
const RAW_BUFFER: &str = "envoy.transport_sockets.raw_buffer";
const PROXY_PROTOCOL: &str = "envoy.transport_sockets.upstream_proxy_protocol";
/// What the system trusts, where Envoy's own image has it. Our proxy looks wherever its system has it.
pub(super) const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";

pub(super) fn to_proto(cluster: &Cluster) -> Option<core::TransportSocket> {
    let tls = cluster.tls.as_ref().map(|tls| socket(TLS, pack(context(tls))));
    let Some(version) = cluster.proxy_protocol else {
        return tls;
    };
    let version = match version {
        ProxyProtocol::V1 => core::proxy_protocol_config::Version::V1,
        ProxyProtocol::V2 => core::proxy_protocol_config::Version::V2,
    };
    let transport = ProxyProtocolUpstreamTransport {
        config: Some(core::ProxyProtocolConfig {
            version: version.into(),
            ..Default::default()
        }),
        transport_socket: Some(tls.unwrap_or_else(|| socket(RAW_BUFFER, pack(RawBuffer {})))),
        ..Default::default()
    };
    Some(socket(PROXY_PROTOCOL, pack(transport)))
}

/// What a transport socket says.
#[derive(Default)]
pub(super) struct Transport {
    pub(super) tls: Option<ClientTls>,
    pub(super) proxy_protocol: Option<ProxyProtocol>,
}

pub(super) fn from_proto(
    message: Option<core::TransportSocket>,
    options: &HashMap<String, Any>,
) -> Result<Transport, Reason> {
    let mut transport = match message {
        None => Transport::default(),
        Some(message) => transport_from_proto(&message)?,
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
            proxy_protocol: None,
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

fn context(tls: &ClientTls) -> pb::UpstreamTlsContext {
    let trusted_ca = match &tls.trust {
        Trust::Anybody => None,
        Trust::System => Some(file(SYSTEM)),
        Trust::File(path) => Some(file(path)),
    };
    let names = tls.subject_alt_names.iter().map(|name| StringMatcher {
        match_pattern: Some(MatchPattern::Exact(name.clone())),
        ..Default::default()
    });
    let validation = pb::CertificateValidationContext {
        trusted_ca,
        crl: tls.revocation_list.as_deref().map(file),
        match_subject_alt_names: names.collect(),
        ..Default::default()
    };
    pb::UpstreamTlsContext {
        sni: tls.server_name.clone(),
        common_tls_context: Some(pb::CommonTlsContext {
            tls_params: Some(parameters()),
            tls_certificates: tls.certificate.iter().map(certificate).collect(),
            alpn_protocols: tls.application_protocols.clone(),
            validation_context_type: Some(ValidationContextType::ValidationContext(validation)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub(super) fn parameters() -> pb::TlsParameters {
    pb::TlsParameters {
        tls_minimum_protocol_version: TlsProtocol::TlSv12.into(),
        tls_maximum_protocol_version: TlsProtocol::TlSv13.into(),
        ..Default::default()
    }
}

pub(super) fn certificate(files: &CertificateFiles) -> pb::TlsCertificate {
    pb::TlsCertificate {
        certificate_chain: Some(file(&files.chain)),
        private_key: Some(file(&files.key)),
        ..Default::default()
    }
}

fn context_from_proto(message: pb::UpstreamTlsContext) -> Result<ClientTls, Reason> {
    refuse!(
        message,
        "UpstreamTlsContext",
        [auto_host_sni, auto_sni_san_validation, allow_renegotiation]
    );
    let mut tls = common_from_proto(message.common_tls_context.unwrap_or_default())?;
    tls.server_name = message.sni;
    Ok(tls)
}

/// What both ends of a session have: a certificate, whom they trust, protocols.
pub(super) fn common_from_proto(common: pb::CommonTlsContext) -> Result<ClientTls, Reason> {
    refuse!(
        common,
        "CommonTlsContext",
        [
            tls_certificate_sds_secret_configs,
            tls_certificate_provider_instance,
            custom_tls_certificate_selector,
            tls_certificate_certificate_provider,
            tls_certificate_certificate_provider_instance,
            custom_handshaker,
            key_log,
        ]
    );
    check_parameters(common.tls_params)?;
    let validation = match common.validation_context_type {
        None => pb::CertificateValidationContext::default(),
        Some(ValidationContextType::ValidationContext(validation)) => validation,
        Some(_) => {
            return Err(Reason::unsupported(
                "CommonTlsContext.validation_context_type other than validation_context",
            ));
        }
    };
    let mut certificates = common.tls_certificates.into_iter();
    let certificate = certificates.next().map(certificate_from_proto).transpose()?;
    if certificates.next().is_some() {
        return Err(Reason::unsupported(
            "CommonTlsContext.tls_certificates with several",
        ));
    }
    let mut tls = validation_from_proto(validation)?;
    tls.certificate = certificate;
    tls.application_protocols = common.alpn_protocols;
    Ok(tls)
}

/// Ciphers and curves are the TLS library's; of versions there are 1.2 and 1.3.
fn check_parameters(parameters: Option<pb::TlsParameters>) -> Result<(), Reason> {
    let Some(parameters) = parameters else {
        return Ok(());
    };
    refuse!(
        parameters,
        "TlsParameters",
        [
            cipher_suites,
            ecdh_curves,
            signature_algorithms,
            compliance_policies
        ]
    );
    let minimum = [TlsProtocol::TlsAuto, TlsProtocol::TlSv12];
    let maximum = [TlsProtocol::TlsAuto, TlsProtocol::TlSv13];
    if !minimum.contains(&parameters.tls_minimum_protocol_version()) {
        return Err(Reason::unsupported("TlsParameters.tls_minimum_protocol_version"));
    }
    if !maximum.contains(&parameters.tls_maximum_protocol_version()) {
        return Err(Reason::unsupported("TlsParameters.tls_maximum_protocol_version"));
    }
    Ok(())
}

fn validation_from_proto(message: pb::CertificateValidationContext) -> Result<ClientTls, Reason> {
    refuse!(
        message,
        "CertificateValidationContext",
        [
            ca_certificate_provider_instance,
            system_root_certs,
            watched_directory,
            verify_certificate_spki,
            verify_certificate_hash,
            match_typed_subject_alt_names,
            require_signed_certificate_timestamp,
            allow_expired_certificate,
            trust_chain_verification,
            custom_validator_config,
            only_verify_leaf_cert_crl,
            max_verify_depth,
        ]
    );
    let trust = match message.trusted_ca {
        None => Trust::Anybody,
        Some(source) => match file_from_proto(source, "CertificateValidationContext.trusted_ca")? {
            path if path == SYSTEM => Trust::System,
            path => Trust::File(path),
        },
    };
    let names = message
        .match_subject_alt_names
        .into_iter()
        .map(|matcher| match matcher {
            StringMatcher {
                match_pattern: Some(MatchPattern::Exact(name)),
                ignore_case: false,
            } => Ok(name),
            _ => Err(Reason::unsupported(
                "CertificateValidationContext.match_subject_alt_names other than exact",
            )),
        });
    let revocation_list = message
        .crl
        .map(|source| file_from_proto(source, "CertificateValidationContext.crl"));
    Ok(ClientTls {
        subject_alt_names: names.collect::<Result<_, _>>()?,
        revocation_list: revocation_list.transpose()?,
        ..ClientTls::new(trust)
    })
}

fn certificate_from_proto(message: pb::TlsCertificate) -> Result<CertificateFiles, Reason> {
    refuse!(
        message,
        "TlsCertificate",
        [
            pkcs12,
            watched_directory,
            private_key_provider,
            password,
            ocsp_staple,
            signed_certificate_timestamp
        ]
    );
    let path = |source: Option<core::DataSource>, field: &str| match source {
        Some(source) => file_from_proto(source, field),
        None => Err(Reason::missing(field)),
    };
    Ok(CertificateFiles {
        chain: path(message.certificate_chain, "TlsCertificate.certificate_chain")?,
        key: path(message.private_key, "TlsCertificate.private_key")?,
    })
}

pub(super) fn file(path: &str) -> core::DataSource {
    core::DataSource {
        specifier: Some(core::data_source::Specifier::Filename(path.to_owned())),
        ..Default::default()
    }
}

fn file_from_proto(source: core::DataSource, field: &str) -> Result<String, Reason> {
    match source.specifier {
        Some(core::data_source::Specifier::Filename(path)) => Ok(path),
        _ => Err(Reason::unsupported(format!("{field} other than filename"))),
    }
}
