//! What both ends of a TLS session say of themselves ⇄ `CommonTlsContext`.
//!
//! Files travel as their names. What the mesh's CA gives travels as Istio's names of secrets, `default` and `ROOTCA`, over
//! the stream that everything else comes over; Istio's own control plane has its agent serve them, and files under names
//! that state their paths. Our proxy needs neither: it knows its identity, and reads files itself.

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use pb::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
use pb::tls_parameters::TlsProtocol;
use snapshot::{Certificate, CertificateFiles, SubjectMatch, TlsVersion, Trust};

use super::proto::{aggregated, refuse};
use crate::rejected::Reason;

/// What the system trusts, where Envoy's own image has it. Our proxy looks wherever its system has it.
const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Secrets of the workload's identity.
pub(super) const WORKLOAD: &str = "default";
pub(super) const MESH: &str = "ROOTCA";

/// What secrets of Istio's agent are called that are files.
const FILES: &str = "file-cert:";
const ROOT_FILE: &str = "file-root:";
/// The cluster by which Istio's proxies reach their agent, for all secrets or only for those that are files.
const AGENT: [&str; 2] = ["sds-grpc", "sds-files-grpc"];

/// Ciphers of TLS 1.2 that Istio's sidecars take from each other, in Envoy's words. Ours are those of them that keep
/// what was said secret after a key is lost.
const CIPHERS: [&str; 6] = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
];

/// What both ends say.
pub(super) struct Both {
    pub(super) certificate: Option<Certificate>,
    pub(super) trust: Trust,
    pub(super) names: Vec<SubjectMatch>,
    pub(super) revocation_list: Option<String>,
    pub(super) application_protocols: Vec<String>,
    pub(super) minimum_version: TlsVersion,
}

impl Both {
    pub(super) fn to_proto(&self, parameters: pb::TlsParameters) -> pb::CommonTlsContext {
        let mut message = pb::CommonTlsContext {
            tls_params: Some(parameters),
            alpn_protocols: self.application_protocols.clone(),
            validation_context_type: self.validation(),
            ..Default::default()
        };
        match &self.certificate {
            None => {}
            Some(Certificate::Files(files)) => message.tls_certificates = vec![certificate(files)],
            Some(Certificate::Workload) => {
                message.tls_certificate_sds_secret_configs = vec![secret(WORKLOAD)];
            }
        }
        message
    }

    fn validation(&self) -> Option<ValidationContextType> {
        let trusted_ca = match &self.trust {
            Trust::System => Some(file(SYSTEM)),
            Trust::File(path) => Some(file(path)),
            Trust::Anybody | Trust::Mesh => None,
        };
        let context = pb::CertificateValidationContext {
            trusted_ca,
            crl: self.revocation_list.as_deref().map(file),
            match_subject_alt_names: self.names.iter().map(name).collect(),
            ..Default::default()
        };
        if self.trust == Trust::Mesh {
            let combined = CombinedCertificateValidationContext {
                default_validation_context: Some(context),
                validation_context_sds_secret_config: Some(secret(MESH)),
                ..Default::default()
            };
            return Some(ValidationContextType::CombinedValidationContext(combined));
        }
        let empty = context == pb::CertificateValidationContext::default();
        (!empty).then_some(ValidationContextType::ValidationContext(context))
    }

    pub(super) fn from_proto(common: pb::CommonTlsContext) -> Result<Self, Reason> {
        refuse!(
            common,
            "CommonTlsContext",
            [
                tls_certificate_provider_instance,
                custom_tls_certificate_selector,
                tls_certificate_certificate_provider,
                tls_certificate_certificate_provider_instance,
                custom_handshaker,
                key_log,
            ]
        );
        let minimum_version = version(common.tls_params)?;
        let certificate = certificate_from_proto(
            common.tls_certificates,
            &common.tls_certificate_sds_secret_configs,
        )?;
        let (validation, secret) = match common.validation_context_type {
            None => Default::default(),
            Some(ValidationContextType::ValidationContext(validation)) => (validation, None),
            Some(ValidationContextType::ValidationContextSdsSecretConfig(secret)) => {
                (pb::CertificateValidationContext::default(), Some(secret))
            }
            Some(ValidationContextType::CombinedValidationContext(combined)) => {
                refuse!(
                    combined,
                    "CombinedCertificateValidationContext",
                    [
                        validation_context_certificate_provider,
                        validation_context_certificate_provider_instance
                    ]
                );
                let secret = combined.validation_context_sds_secret_config;
                (combined.default_validation_context.unwrap_or_default(), secret)
            }
            Some(_) => {
                return Err(Reason::unsupported(
                    "CommonTlsContext.validation_context_type of a certificate provider",
                ));
            }
        };
        let mut both = validation_from_proto(validation)?;
        if let Some(secret) = secret {
            if both.trust != Trust::Anybody {
                return Err(Reason::unsupported(
                    "CombinedCertificateValidationContext with trusted_ca and a secret",
                ));
            }
            both.trust = trust_of_secret(&secret)?;
        }
        Ok(Self {
            certificate,
            application_protocols: common.alpn_protocols,
            minimum_version,
            ..both
        })
    }
}

/// The oldest version, and the newest that there is.
pub(super) fn parameters(minimum: TlsVersion) -> pb::TlsParameters {
    let minimum = match minimum {
        TlsVersion::V12 => TlsProtocol::TlSv12,
        TlsVersion::V13 => TlsProtocol::TlSv13,
    };
    pb::TlsParameters {
        tls_minimum_protocol_version: minimum.into(),
        tls_maximum_protocol_version: TlsProtocol::TlSv13.into(),
        ..Default::default()
    }
}

/// As [`parameters`], with the ciphers that Istio's sidecars take.
pub(super) fn parameters_of_sidecars(minimum: TlsVersion) -> pb::TlsParameters {
    pb::TlsParameters {
        cipher_suites: CIPHERS.map(str::to_owned).into(),
        ..parameters(minimum)
    }
}

/// Ciphers and curves are the TLS library's; of versions there are 1.2 and 1.3.
fn version(parameters: Option<pb::TlsParameters>) -> Result<TlsVersion, Reason> {
    let Some(mut parameters) = parameters else {
        return Ok(TlsVersion::default());
    };
    if parameters.cipher_suites == CIPHERS {
        parameters.cipher_suites.clear();
    }
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
    let maximum = [TlsProtocol::TlsAuto, TlsProtocol::TlSv13];
    if !maximum.contains(&parameters.tls_maximum_protocol_version()) {
        return Err(Reason::unsupported("TlsParameters.tls_maximum_protocol_version"));
    }
    match parameters.tls_minimum_protocol_version() {
        TlsProtocol::TlsAuto | TlsProtocol::TlSv12 => Ok(TlsVersion::V12),
        TlsProtocol::TlSv13 => Ok(TlsVersion::V13),
        _ => Err(Reason::unsupported("TlsParameters.tls_minimum_protocol_version")),
    }
}

fn secret(name: &str) -> pb::SdsSecretConfig {
    pb::SdsSecretConfig {
        name: name.to_owned(),
        sds_config: aggregated(),
    }
}

/// Secrets come over the stream of everything else, or from Istio's agent.
fn check_source(secret: &pb::SdsSecretConfig) -> Result<(), Reason> {
    use core::config_source::ConfigSourceSpecifier::{Ads, ApiConfigSource, Self_};
    use core::grpc_service::TargetSpecifier::EnvoyGrpc;
    let source = secret.sds_config.as_ref();
    match source.and_then(|source| source.config_source_specifier.as_ref()) {
        Some(Ads(_) | Self_(_)) => Ok(()),
        Some(ApiConfigSource(source)) if source.grpc_services.iter().all(|service| {
            matches!(&service.target_specifier, Some(EnvoyGrpc(agent)) if AGENT.contains(&agent.cluster_name.as_str()))
        }) => Ok(()),
        _ => Err(Reason::new(
            "SdsSecretConfig.sds_config",
            "must be ads or Istio's agent",
        )),
    }
}

fn trust_of_secret(secret: &pb::SdsSecretConfig) -> Result<Trust, Reason> {
    check_source(secret)?;
    match secret.name.as_str() {
        MESH => Ok(Trust::Mesh),
        other => match other.strip_prefix(ROOT_FILE) {
            Some("system") => Ok(Trust::System),
            Some(path) if !path.is_empty() => Ok(Trust::File(path.to_owned())),
            _ => Err(Reason::unsupported(format!("SdsSecretConfig {other:?}"))),
        },
    }
}

fn certificate_of_secret(secret: &pb::SdsSecretConfig) -> Result<Certificate, Reason> {
    check_source(secret)?;
    if secret.name == WORKLOAD {
        return Ok(Certificate::Workload);
    }
    let paths = secret
        .name
        .strip_prefix(FILES)
        .and_then(|paths| paths.split_once('~'));
    match paths {
        Some((chain, key)) => Ok(Certificate::Files(CertificateFiles {
            chain: chain.to_owned(),
            key: key.to_owned(),
        })),
        None => Err(Reason::unsupported(format!("SdsSecretConfig {:?}", secret.name))),
    }
}

fn certificate_from_proto(
    files: Vec<pb::TlsCertificate>,
    secrets: &[pb::SdsSecretConfig],
) -> Result<Option<Certificate>, Reason> {
    if files.len() + secrets.len() > 1 {
        return Err(Reason::unsupported(
            "CommonTlsContext.tls_certificates with several",
        ));
    }
    if let Some(secret) = secrets.first() {
        return certificate_of_secret(secret).map(Some);
    }
    let files = files.into_iter().next().map(files_from_proto).transpose()?;
    Ok(files.map(Certificate::Files))
}

pub(super) fn name(name: &SubjectMatch) -> StringMatcher {
    StringMatcher {
        match_pattern: Some(match name {
            SubjectMatch::Exact(name) => MatchPattern::Exact(name.clone()),
            SubjectMatch::Prefix { prefix } => MatchPattern::Prefix(prefix.clone()),
        }),
        ..Default::default()
    }
}

fn name_from_proto(matcher: &StringMatcher) -> Result<SubjectMatch, Reason> {
    match matcher {
        StringMatcher {
            match_pattern: Some(MatchPattern::Exact(name)),
            ignore_case: false,
        } => Ok(SubjectMatch::Exact(name.clone())),
        StringMatcher {
            match_pattern: Some(MatchPattern::Prefix(prefix)),
            ignore_case: false,
        } => Ok(SubjectMatch::Prefix {
            prefix: prefix.clone(),
        }),
        _ => Err(Reason::unsupported(
            "CertificateValidationContext.match_subject_alt_names other than exact and prefix",
        )),
    }
}

fn validation_from_proto(message: pb::CertificateValidationContext) -> Result<Both, Reason> {
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
    let names = message.match_subject_alt_names.iter().map(name_from_proto);
    let revocation_list = message
        .crl
        .map(|source| file_from_proto(source, "CertificateValidationContext.crl"));
    Ok(Both {
        certificate: None,
        trust,
        names: names.collect::<Result<_, _>>()?,
        revocation_list: revocation_list.transpose()?,
        application_protocols: Vec::new(),
        minimum_version: TlsVersion::default(),
    })
}

fn certificate(files: &CertificateFiles) -> pb::TlsCertificate {
    pb::TlsCertificate {
        certificate_chain: Some(file(&files.chain)),
        private_key: Some(file(&files.key)),
        ..Default::default()
    }
}

fn files_from_proto(message: pb::TlsCertificate) -> Result<CertificateFiles, Reason> {
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

fn file(path: &str) -> core::DataSource {
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
