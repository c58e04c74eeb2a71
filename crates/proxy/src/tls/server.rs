//! TLS of clients: settings from files of the proxy's or from its identity in the mesh, and the handshake.
//!
//! Settings are made anew when their files or the identity have changed; what cannot be used leaves the last good ones
//! in force, and without any the connections of the chain end at once. They stand behind a pointer that is replaced:
//! workers lock nothing.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use daemon::clock::{self, Instant};
use identity::Keypair;
use identity::tls::rustls::{self, ServerConfig, ServerConnection};
use identity::tls::tokio_rustls::{TlsAcceptor, TlsStream};
use identity::tls::{Acceptance, Clients, Sessions};
use snapshot::{Certificate, ServerTls, TlsVersion, Trust};

use super::files::{LOOK, Stamp, read};
use super::peer::Peer;
use super::workload::{Material, Workload};
use super::{TlsError, names, trusted_file};
use crate::listen::client_hello::ClientHello;
use crate::listen::inspect;
use crate::transport::Transport;

/// Longest time for a handshake where none is stated (Envoy has no limit).
const HANDSHAKE: Duration = Duration::from_secs(15);

/// The server's side of one chain, for all workers.
#[derive(Debug)]
pub(crate) struct Server {
    facts: ServerTls,
    loaded: ArcSwap<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    configs: Option<Configs>,
    files: Vec<Stamp>,
    looked: Instant,
    /// Of the identity that they were made of.
    number: u64,
}

/// Agreeing on a protocol, and without a word about it: where client and server know none in common, Envoy goes on.
#[derive(Clone, Debug)]
struct Configs {
    agreeing: Arc<ServerConfig>,
    silent: Arc<ServerConfig>,
    /// Whom clients are believed by, and who was revoked; sessions are kept as long as that is the same.
    judged_by: (Option<String>, Option<String>),
    sessions: Sessions,
    own: Arc<str>,
}

/// What one handshake needs.
struct Chosen {
    config: Arc<ServerConfig>,
    /// Who we are to the client.
    own: Arc<str>,
}

impl Server {
    pub(crate) fn new(facts: &ServerTls) -> Self {
        Self {
            facts: facts.clone(),
            loaded: ArcSwap::from_pointee(Loaded::first(facts)),
        }
    }

    /// What it was made of.
    pub(crate) fn facts(&self) -> &ServerTls {
        &self.facts
    }

    /// Decrypts a connection; its ClientHello may have been read already.
    pub(crate) async fn accept(
        &self,
        mut transport: Transport,
        hello: Option<ClientHello>,
        workload: &Workload,
    ) -> Result<Transport, TlsError> {
        let handshake = async {
            let hello = match hello {
                Some(hello) => hello,
                None => inspect::hello(&mut transport).await.ok_or(TlsError::NoHello)?,
            };
            let Chosen { config, own } = self.current(&hello, workload)?;
            let (socket, begun) = transport.into_begun().ok_or(TlsError::NoHello)?;
            let accepted = TlsAcceptor::from(config)
                .accept_with(socket, |session| feed(session, &begun))
                .await;
            let session = TlsStream::from(accepted.map_err(TlsError::of_handshake)?);
            let peer = Peer::of(session.get_ref().1, own);
            // Only a session that was taken up again gets here with one.
            if peer.as_ref().is_some_and(|peer| peer.has_expired(clock::wall())) {
                let expired = rustls::CertificateError::Expired;
                return Err(TlsError::Handshake(expired.into()));
            }
            let mut transport = Transport::secured(session, peer);
            transport.learn_server_name(Some(hello));
            Ok(transport)
        };
        let limit = self.facts.handshake_timeout.unwrap_or(HANDSHAKE);
        match clock::timeout(limit, handshake).await {
            Ok(outcome) => outcome,
            Err(_) => Err(TlsError::TooLong),
        }
    }

    /// The settings for a client now, and who we are to it. Two workers may make the same ones at once; either does.
    fn current(&self, hello: &ClientHello, workload: &Workload) -> Result<Chosen, TlsError> {
        let (now, material) = (clock::now(), workload.now());
        let mut loaded = self.loaded.load_full();
        if loaded.is_stale(&self.facts, now, &material) {
            loaded = Arc::new(loaded.next(&self.facts, now, &material));
            self.loaded.store(loaded.clone());
        }
        let configs = loaded.configs.as_ref().ok_or(TlsError::NoSettings)?;
        let known = |offered: &String| self.facts.application_protocols.contains(offered);
        let config = match hello.application_protocols.iter().any(known) {
            true => configs.agreeing.clone(),
            false => configs.silent.clone(),
        };
        Ok(Chosen {
            config,
            own: configs.own.clone(),
        })
    }
}

/// Whether the files that TLS settings name can be used now.
pub(crate) fn check(facts: &ServerTls) -> Result<(), TlsError> {
    Configs::load(facts, &Material::default(), None).map(drop)
}

/// Whether they need what the proxy is in the mesh.
fn is_of_the_mesh(facts: &ServerTls) -> bool {
    facts.certificate == Certificate::Workload || facts.client_trust == Trust::Mesh
}

impl Loaded {
    /// Of files they can be made at once; the identity is seen with the first connection.
    fn first(facts: &ServerTls) -> Self {
        let mut first = Self {
            configs: None,
            files: stamps(facts),
            looked: clock::now(),
            number: 0,
        };
        if !is_of_the_mesh(facts) {
            match Configs::load(facts, &Material::default(), None) {
                Ok(configs) => first.configs = Some(configs),
                Err(error) => tracing::warn!(%error, "connections of a chain cannot be decrypted"),
            }
        }
        first
    }

    fn is_stale(&self, facts: &ServerTls, now: Instant, material: &Material) -> bool {
        (is_of_the_mesh(facts) && self.number != material.number)
            || (!self.files.is_empty() && now - self.looked >= LOOK)
    }

    fn next(&self, facts: &ServerTls, now: Instant, material: &Material) -> Self {
        let mut next = Self {
            configs: self.configs.clone(),
            files: stamps(facts),
            looked: now,
            number: material.number,
        };
        let same_identity = !is_of_the_mesh(facts) || self.number == material.number;
        if next.files == self.files && same_identity {
            return next;
        }
        match Configs::load(facts, material, self.configs.as_ref()) {
            Ok(fresh) => next.configs = Some(fresh),
            Err(error) => {
                tracing::warn!(%error, "changed keys or roots cannot be used: the old ones stay in force");
            }
        }
        next
    }
}

impl Configs {
    fn load(facts: &ServerTls, material: &Material, before: Option<&Self>) -> Result<Self, TlsError> {
        let (keypair, own) = match &facts.certificate {
            Certificate::Files(files) => {
                let keypair = Keypair::from_pem(&read(&files.chain)?, &read(&files.key)?)?;
                let uris = keypair.facts()?.uris;
                (
                    Arc::new(keypair),
                    uris.first().map(String::as_str).unwrap_or_default().into(),
                )
            }
            Certificate::Workload => {
                let own = material.own.as_ref().ok_or(TlsError::NoSettings)?;
                (own.keypair.clone(), own.uri.clone())
            }
        };
        let (roots, revoked) = match &facts.client_trust {
            Trust::Mesh => {
                let trusted = material.trusted.as_ref().ok_or(TlsError::NoSettings)?;
                (Some(trusted.roots.pem().to_owned()), trusted.revoked.clone())
            }
            other => (trusted_file(other).map(read).transpose()?, None),
        };
        // Who is no longer believed must not come back by a session.
        let judged_by = (roots, revoked);
        let kept = before.filter(|before| before.judged_by == judged_by);
        let sessions = match kept {
            Some(before) => before.sessions.clone(),
            None => Sessions::new()?,
        };
        let clients = judged_by.0.as_deref().map(|roots| Clients {
            roots,
            revoked: judged_by.1.as_deref(),
            required: facts.require_client_certificate,
            are_workloads: facts.client_trust == Trust::Mesh,
            names: names(&facts.client_names),
        });
        let mut acceptance = Acceptance {
            keypair: &keypair,
            clients,
            application_protocols: facts.application_protocols.clone(),
            only_1_3: facts.minimum_version == TlsVersion::V13,
            sessions: Some(&sessions),
        };
        let agreeing = acceptance.config()?;
        acceptance.application_protocols.clear();
        let silent = acceptance.config()?;
        Ok(Self {
            agreeing,
            silent,
            sessions,
            own,
            judged_by,
        })
    }
}

fn stamps(facts: &ServerTls) -> Vec<Stamp> {
    let certificate = match &facts.certificate {
        Certificate::Files(files) => vec![files.chain.as_str(), files.key.as_str()],
        Certificate::Workload => Vec::new(),
    };
    let paths = certificate.into_iter().chain(trusted_file(&facts.client_trust));
    paths.map(Stamp::of).collect()
}

/// Gives a session what was read ahead of it. What is wrong with that comes up again in the handshake.
fn feed(session: &mut ServerConnection, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let read = session.read_tls(&mut bytes);
        if !matches!(read, Ok(1..)) || session.process_new_packets().is_err() {
            return;
        }
    }
}
