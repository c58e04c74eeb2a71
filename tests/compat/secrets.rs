//! The two secrets of a workload's identity, as a controller gives them: Envoy takes no cluster and no listener whose
//! secrets it lacks.

use std::time::{Duration, UNIX_EPOCH};

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use identity::Authority;
use pb::secret::Type;
use prost::Message;
use xds::message::{Body, Request, Resource, Response};

const TYPE_URL: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/// When certificates begin, and how long they last: Envoy looks at neither before somebody connects.
const BEGIN: Duration = Duration::from_secs(1_700_000_000);
const LIFETIME: Duration = Duration::from_secs(86_400);

pub(crate) struct Secrets {
    certificate: Type,
    roots: Type,
    answers: u64,
}

impl Secrets {
    pub(crate) fn new() -> Self {
        let now = UNIX_EPOCH + BEGIN;
        let authority = Authority::generate("test", LIFETIME, now).unwrap();
        let identity = authority
            .issue_server(&["spiffe://cluster.local/ns/shop/sa/default"], LIFETIME, now)
            .unwrap();
        Self {
            certificate: Type::TlsCertificate(pb::TlsCertificate {
                certificate_chain: inline(identity.chain_pem()),
                private_key: inline(identity.key.key_pem()),
                ..Default::default()
            }),
            roots: Type::ValidationContext(pb::CertificateValidationContext {
                trusted_ca: inline(authority.root_pem().to_owned()),
                ..Default::default()
            }),
            answers: 0,
        }
    }

    /// What a question asks for; `None` for what is no question about secrets.
    pub(crate) fn answer(&mut self, request: &Request) -> Option<Response> {
        if request.type_url != TYPE_URL || request.subscribe.is_empty() {
            return None;
        }
        self.answers += 1;
        let resource = |name: &String| {
            let content = match name.as_str() {
                "ROOTCA" => &self.roots,
                _ => &self.certificate,
            };
            let secret = pb::Secret {
                name: name.clone(),
                r#type: Some(content.clone()),
            };
            let body = Body {
                type_url: TYPE_URL.to_owned(),
                value: secret.encode_to_vec().into(),
            };
            Resource {
                version: "1".to_owned(),
                body: Some(body),
                name: name.clone(),
            }
        };
        Some(Response {
            resources: request.subscribe.iter().map(resource).collect(),
            type_url: TYPE_URL.to_owned(),
            nonce: format!("SDS-{}", self.answers),
            ..Default::default()
        })
    }
}

fn inline(text: String) -> Option<core::DataSource> {
    Some(core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineString(text)),
        ..Default::default()
    })
}
