//! Keys and roots over discovery (SDS), beside the four kinds of a snapshot on the same stream: messages in, messages
//! out, no IO and no clock.
//!
//! They are no [`crate::Kind`], because each node has its own and nothing waits for them but those who asked. A value
//! of [`Secret`] may hold a private key: it has neither `Debug` nor `Serialize`, and leaves in a response alone.
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/security/secret>

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use identity::{Bundle, Keypair};
use pb::secret::Type;
use prost::Message;

use crate::message::{Body, Request, Resource, Response, Status};

/// Envoy's name of the type.
pub const TYPE_URL: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
/// Istio's name for the certificate and key of the workload.
pub const WORKLOAD: &str = "default";
/// Istio's name for the roots of the mesh.
pub const ROOTS: &str = "ROOTCA";

/// Proxies that see another root sign renew within this time, each when it pleases.
pub const SPREAD: Duration = Duration::from_secs(10);

/// Names that one stream may ask for; those beyond are told to be absent.
const NAMES: usize = 64;
const INVALID_ARGUMENT: i32 = 3;

/// One secret, encoded.
#[derive(Clone)]
pub struct Secret {
    version: Arc<str>,
    body: Bytes,
}

/// Whom the mesh believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// Roots, the one that signs first.
    pub roots: Bundle,
    /// Lists of revoked certificates in PEM.
    pub revoked: Option<String>,
}

impl Trusted {
    /// Names exactly this: other roots, another order of them, or other lists have another version.
    pub fn version(&self) -> String {
        let revoked = self.revoked.as_deref().unwrap_or_default();
        let text = format!("{}{revoked}", self.roots.pem());
        identity::tls::fingerprint(&identity::CertificateDer::from(text.into_bytes()))
    }
}

impl Secret {
    /// A certificate with its key.
    pub fn certificate(name: &str, keypair: &Keypair) -> Self {
        let certificate = pb::TlsCertificate {
            certificate_chain: Some(inline(&keypair.chain_pem())),
            private_key: Some(inline(&keypair.key.key_pem())),
            ..Default::default()
        };
        // A version is seen by whoever reads the stream's log: it names the certificate, and says nothing of the key.
        let version = keypair.chain.first().map(identity::tls::fingerprint);
        Self::new(
            name,
            version.unwrap_or_default(),
            Type::TlsCertificate(certificate),
        )
    }

    /// Roots.
    pub fn roots(name: &str, trusted: &Trusted) -> Self {
        let context = pb::CertificateValidationContext {
            trusted_ca: Some(inline(trusted.roots.pem())),
            crl: trusted.revoked.as_deref().map(inline),
            ..Default::default()
        };
        Self::new(name, trusted.version(), Type::ValidationContext(context))
    }

    fn new(name: &str, version: String, content: Type) -> Self {
        let message = pb::Secret {
            name: name.to_owned(),
            r#type: Some(content),
        };
        Self {
            version: version.into(),
            body: message.encode_to_vec().into(),
        }
    }
}

fn inline(text: &str) -> core::DataSource {
    core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineString(text.to_owned())),
        ..Default::default()
    }
}

/// What one node has, wants, and should have.
#[derive(Default)]
pub struct Secrets {
    known: BTreeMap<String, Secret>,
    wanted: BTreeSet<String>,
    /// What the node took, by version.
    held: BTreeMap<String, Arc<str>>,
    /// What the node was told, also what it refused: not told again until it changes.
    told: BTreeMap<String, Option<Arc<str>>>,
    outstanding: Option<Push>,
    pushes: u64,
}

struct Push {
    nonce: String,
    versions: Vec<(String, Arc<str>)>,
}

impl Secrets {
    /// What the node should have under that name from now on.
    pub fn set(&mut self, name: &str, secret: Secret) {
        self.known.insert(name.to_owned(), secret);
    }

    /// Whether the node asked for it.
    pub fn wants(&self, name: &str) -> bool {
        self.wanted.contains(name)
    }

    /// The version that the node has acknowledged last; empty before it has any, and `None` when it never asked.
    pub fn acknowledged(&self, name: &str) -> Option<Arc<str>> {
        self.wants(name)
            .then(|| self.held.get(name).cloned().unwrap_or_default())
    }

    /// Takes a message of the node; what it refuses, in its words. Messages of other kinds are none of ours.
    pub fn request(&mut self, request: &Request) -> Option<String> {
        if request.type_url != TYPE_URL {
            return None;
        }
        for name in &request.subscribe {
            // A node that asks again wants to be told again.
            self.told.remove(name);
            if self.wanted.len() < NAMES {
                self.wanted.insert(name.clone());
            }
        }
        for name in &request.unsubscribe {
            self.wanted.remove(name);
            self.held.remove(name);
            self.told.remove(name);
        }
        let push = self
            .outstanding
            .take_if(|push| push.nonce == request.response_nonce)?;
        match &request.error {
            None => {
                self.held.extend(push.versions);
                None
            }
            Some(status) => Some(status.message.clone()),
        }
    }

    /// The next message to send, if it is time for one.
    pub fn poll(&mut self) -> Option<Response> {
        if self.outstanding.is_some() {
            return None;
        }
        let version = |name: &String| self.known.get(name).map(|secret| secret.version.clone());
        let new = |name: &&String| self.told.get(*name) != Some(&version(name));
        let (mut versions, mut resources, mut removed) = (Vec::new(), Vec::new(), Vec::new());
        for name in self.wanted.iter().filter(new).cloned().collect::<Vec<_>>() {
            self.told.insert(
                name.clone(),
                self.known.get(&name).map(|secret| secret.version.clone()),
            );
            let Some(secret) = self.known.get(&name) else {
                removed.push(name);
                continue;
            };
            resources.push(Resource {
                version: secret.version.to_string(),
                body: Some(Body {
                    type_url: TYPE_URL.into(),
                    value: secret.body.clone(),
                }),
                name: name.clone(),
            });
            versions.push((name, secret.version.clone()));
        }
        if resources.is_empty() && removed.is_empty() {
            return None;
        }
        self.pushes += 1;
        let nonce = format!("SDS-{}", self.pushes);
        self.outstanding = Some(Push {
            nonce: nonce.clone(),
            versions,
        });
        Some(Response {
            system_version: self.pushes.to_string(),
            resources,
            type_url: TYPE_URL.into(),
            nonce,
            removed,
        })
    }
}

/// The question of a proxy that makes its key itself, and wants to know whom to believe.
pub fn question() -> Request {
    Request {
        type_url: TYPE_URL.into(),
        subscribe: vec![ROOTS.to_owned()],
        ..Request::default()
    }
}

/// What follows from the answer to [`question`]: what to say, and whom to believe if that is news.
pub fn answer(response: &Response) -> (Request, Option<Trusted>) {
    let told = response.resources.iter().find(|resource| resource.name == ROOTS);
    let read = told.map(trusted);
    let error = match &read {
        Some(Err(problem)) => Some(Status {
            code: INVALID_ARGUMENT,
            message: format!("{ROOTS}: {problem}"),
            details: Vec::new(),
        }),
        Some(Ok(_)) | None => None,
    };
    let request = Request {
        type_url: TYPE_URL.into(),
        response_nonce: response.nonce.clone(),
        error,
        ..Request::default()
    };
    (request, read.and_then(Result::ok))
}

fn trusted(resource: &Resource) -> Result<Trusted, String> {
    let body = resource.body.as_ref().ok_or("it has no content")?;
    let secret = pb::Secret::decode(body.value.clone()).map_err(|error| error.to_string())?;
    let Some(Type::ValidationContext(context)) = secret.r#type else {
        return Err("it holds no roots".to_owned());
    };
    let roots = text(context.trusted_ca).ok_or("its roots are not in the message")?;
    let revoked = text(context.crl).filter(|lists| !lists.trim().is_empty());
    let roots = Bundle::from_pem(&roots).map_err(|error| error.to_string())?;
    identity::tls::check_trust(roots.pem(), revoked.as_deref()).map_err(|error| error.to_string())?;
    Ok(Trusted { roots, revoked })
}

fn text(source: Option<core::DataSource>) -> Option<String> {
    match source?.specifier? {
        core::data_source::Specifier::InlineString(text) => Some(text),
        core::data_source::Specifier::InlineBytes(bytes) => String::from_utf8(bytes).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use identity::Authority;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn authority() -> Authority {
        // No handshake looks at it: any time will do.
        Authority::generate("test", HOUR, SystemTime::UNIX_EPOCH + HOUR).unwrap()
    }

    fn trust(authority: &Authority) -> Trusted {
        Trusted {
            roots: Bundle::from_pem(authority.root_pem()).unwrap(),
            revoked: None,
        }
    }

    fn asks(names: &[&str]) -> Request {
        Request {
            type_url: TYPE_URL.into(),
            subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Request::default()
        }
    }

    fn names(response: &Response) -> Vec<&str> {
        response
            .resources
            .iter()
            .map(|resource| resource.name.as_str())
            .collect()
    }

    #[test]
    fn who_asked_is_told_once_and_again_when_it_changes() {
        let (one, two) = (authority(), authority());
        let mut server = Secrets::default();
        server.set(ROOTS, Secret::roots(ROOTS, &trust(&one)));
        assert!(server.poll().is_none(), "nobody asked");
        server.request(&asks(&[ROOTS, "other"]));
        let response = server.poll().unwrap();
        assert_eq!(
            (names(&response), response.removed.as_slice()),
            (vec![ROOTS], ["other".to_owned()].as_slice())
        );
        assert_eq!(server.acknowledged(ROOTS).as_deref(), Some(""));
        let (said, believed) = answer(&response);
        assert_eq!(believed, Some(trust(&one)));
        server.request(&said);
        let first = trust(&one).version();
        assert_eq!(server.acknowledged(ROOTS).as_deref(), Some(&*first));
        assert!(server.poll().is_none());
        server.set(ROOTS, Secret::roots(ROOTS, &trust(&two)));
        assert_eq!(
            server.acknowledged(ROOTS).as_deref(),
            Some(&*first),
            "it has the former one"
        );
        assert_eq!(names(&server.poll().unwrap()), [ROOTS]);
    }

    #[test]
    fn what_is_refused_is_not_sent_again_and_does_not_count_as_held() {
        let mut server = Secrets::default();
        server.set(ROOTS, Secret::roots(ROOTS, &trust(&authority())));
        server.request(&asks(&[ROOTS]));
        let response = server.poll().unwrap();
        let refusal = Request {
            type_url: TYPE_URL.into(),
            response_nonce: response.nonce,
            error: Some(Status {
                message: "no".into(),
                ..Status::default()
            }),
            ..Request::default()
        };
        assert_eq!(server.request(&refusal).as_deref(), Some("no"));
        assert!(server.poll().is_none());
        assert_eq!(server.acknowledged(ROOTS).as_deref(), Some(""));
    }

    #[test]
    fn a_proxy_takes_roots_and_never_a_key() {
        let authority = authority();
        let keypair = authority
            .issue_workload(&["spiffe://a/ns/b/sa/c"], HOUR, SystemTime::UNIX_EPOCH + HOUR)
            .unwrap();
        let mut server = Secrets::default();
        server.set(ROOTS, Secret::certificate(ROOTS, &keypair));
        server.request(&question());
        let (said, believed) = answer(&server.poll().unwrap());
        assert!(said.error.is_some() && believed.is_none());
    }

    #[test]
    fn a_list_that_no_handshake_could_use_is_refused() {
        let list = |text: &str| Trusted {
            revoked: Some(text.to_owned()),
            ..trust(&authority())
        };
        for (text, good) in [
            (include_str!("../../../fuzz/corpus/pem/list.pem"), true),
            (include_str!("../../../fuzz/corpus/pem/list_v1.pem"), false),
            (
                include_str!("../../../fuzz/corpus/pem/list_without_end.pem"),
                false,
            ),
        ] {
            let mut server = Secrets::default();
            server.set(ROOTS, Secret::roots(ROOTS, &list(text)));
            server.request(&question());
            let (said, believed) = answer(&server.poll().unwrap());
            assert_eq!((said.error.is_none(), believed.is_some()), (good, good), "{text}");
        }
    }

    #[test]
    fn a_key_is_not_printed() {
        let keypair = authority()
            .issue_workload(&["spiffe://a/ns/b/sa/c"], HOUR, SystemTime::UNIX_EPOCH + HOUR)
            .unwrap();
        let mut server = Secrets::default();
        server.set(WORKLOAD, Secret::certificate(WORKLOAD, &keypair));
        server.request(&asks(&[WORKLOAD]));
        let response = server.poll().unwrap();
        let body = &response.resources[0].body.as_ref().unwrap().value;
        let printed = format!("{response:?}");
        assert!(printed.contains(TYPE_URL), "{printed}");
        assert!(
            !printed.contains("PRIVATE KEY") && !printed.contains(&format!("{body:?}")),
            "{printed}"
        );
    }

    #[test]
    fn questions_are_bounded() {
        let mut server = Secrets::default();
        let many: Vec<String> = (0..10 * NAMES).map(|number| number.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        server.request(&asks(&many));
        assert_eq!(server.poll().unwrap().removed.len(), NAMES);
    }
}
