//! TLS of clients: settings from files of the proxy's, and the handshake.
//!
//! Files are read when their chain is made, and again when they have changed; what cannot be read leaves the last good
//! settings in force, and without any the connections of the chain end at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use daemon::clock::{self, Instant};
use identity::Keypair;
use identity::tls::rustls::{ServerConfig, ServerConnection};
use identity::tls::tokio_rustls::TlsAcceptor;
use identity::tls::{server_config, server_config_optional_client};
use snapshot::{Certificate, CertificateFiles, ServerTls};

use super::files::{LOOK, Stamp, read};
use super::{TlsError, client};
use crate::listen::client_hello::ClientHello;
use crate::listen::inspect;
use crate::transport::Transport;

/// Longest time for a handshake where none is stated (Envoy has no limit).
const HANDSHAKE: Duration = Duration::from_secs(15);

/// The server's side of one chain, for all workers. They meet here once a connection, for the time of a comparison.
#[derive(Debug)]
pub(crate) struct Server {
    facts: ServerTls,
    loaded: Mutex<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    configs: Option<Configs>,
    files: Vec<Stamp>,
    looked: Instant,
}

/// Agreeing on a protocol, and without a word about it: where client and server know none in common, Envoy goes on.
#[derive(Clone, Debug)]
struct Configs {
    agreeing: Arc<ServerConfig>,
    silent: Arc<ServerConfig>,
}

impl Server {
    pub(crate) fn new(facts: &ServerTls) -> Self {
        let files = stamps(facts);
        let configs = Configs::load(facts);
        if let Err(error) = &configs {
            tracing::warn!(%error, "connections of a chain cannot be decrypted");
        }
        Self {
            facts: facts.clone(),
            loaded: Mutex::new(Loaded {
                configs: configs.ok(),
                files,
                looked: clock::now(),
            }),
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
    ) -> Result<Transport, TlsError> {
        let handshake = async {
            let hello = match hello {
                Some(hello) => hello,
                None => inspect::hello(&mut transport).await.ok_or(TlsError::NoHello)?,
            };
            let config = self.current(&hello)?;
            let (socket, begun) = transport.into_begun().ok_or(TlsError::NoHello)?;
            let accepted = TlsAcceptor::from(config)
                .accept_with(socket, |session| feed(session, &begun))
                .await;
            let session = accepted.map_err(TlsError::of_handshake)?;
            let mut transport = Transport::secured(session.into());
            transport.learn_server_name(Some(hello));
            Ok(transport)
        };
        let limit = self.facts.handshake_timeout.unwrap_or(HANDSHAKE);
        match clock::timeout(limit, handshake).await {
            Ok(outcome) => outcome,
            Err(_) => Err(TlsError::TooLong),
        }
    }

    fn current(&self, hello: &ClientHello) -> Result<Arc<ServerConfig>, TlsError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now();
        if now - loaded.looked >= LOOK {
            loaded.looked = now;
            let files = stamps(&self.facts);
            if files != loaded.files {
                loaded.files = files;
                match Configs::load(&self.facts) {
                    Ok(fresh) => loaded.configs = Some(fresh),
                    Err(error) => {
                        tracing::warn!(%error, "changed TLS files cannot be used: the old ones stay in force");
                    }
                }
            }
        }
        let configs = loaded.configs.as_ref().ok_or(TlsError::NoSettings)?;
        let known = |offered: &String| self.facts.application_protocols.contains(offered);
        Ok(match hello.application_protocols.iter().any(known) {
            true => configs.agreeing.clone(),
            false => configs.silent.clone(),
        })
    }
}

/// Whether the files that TLS settings name can be used now.
pub(crate) fn check(facts: &ServerTls) -> Result<(), TlsError> {
    Configs::load(facts).map(drop)
}

impl Configs {
    fn load(facts: &ServerTls) -> Result<Self, TlsError> {
        let files = files_of(facts)?;
        let keypair = Keypair::from_pem(&read(&files.chain)?, &read(&files.key)?)?;
        let roots = trusted(facts)?.map(read).transpose()?;
        let config = |protocols: &[&[u8]]| match &roots {
            Some(roots) if !facts.require_client_certificate => {
                server_config_optional_client(&keypair, roots, protocols)
            }
            roots => server_config(&keypair, roots.as_deref(), protocols),
        };
        let protocols: Vec<&[u8]> = facts.application_protocols.iter().map(String::as_bytes).collect();
        Ok(Self {
            agreeing: config(&protocols)?,
            silent: config(&[])?,
        })
    }
}

fn stamps(facts: &ServerTls) -> Vec<Stamp> {
    let certificate = files_of(facts).into_iter();
    let certificate = certificate.flat_map(|files| [files.chain.as_str(), files.key.as_str()]);
    let paths = certificate.chain(trusted(facts).ok().flatten());
    paths.map(Stamp::of).collect()
}

fn files_of(facts: &ServerTls) -> Result<&CertificateFiles, TlsError> {
    match &facts.certificate {
        Certificate::Files(files) => Ok(files),
        Certificate::Workload => Err(TlsError::NoSettings),
    }
}

fn trusted(facts: &ServerTls) -> Result<Option<&str>, TlsError> {
    match facts.client_names.is_empty() {
        true => client::trusted(&facts.client_trust),
        false => Err(TlsError::NoSettings),
    }
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
