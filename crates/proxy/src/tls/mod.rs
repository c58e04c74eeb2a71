//! TLS of the data path: in both directions, with files of the proxy's or with its identity in the mesh.

pub(crate) mod client;
mod files;
pub(crate) mod peer;
pub(crate) mod renewal;
pub(crate) mod server;
pub(crate) mod workload;

use identity::tls::{PeerName, SYSTEM_ROOTS, rustls};
use snapshot::{SubjectMatch, Trust};

use crate::telemetry::metrics::RefusedConnection;

/// The file with the authorities that are believed, where they are in one.
fn trusted_file(trust: &Trust) -> Option<&str> {
    match trust {
        Trust::Anybody | Trust::Mesh => None,
        Trust::System => {
            let found = SYSTEM_ROOTS.iter().find(|path| std::fs::metadata(path).is_ok());
            Some(found.unwrap_or(&SYSTEM_ROOTS[0]))
        }
        Trust::File(path) => Some(path),
    }
}

/// Names that certificates must have.
fn names(names: &[SubjectMatch]) -> Vec<PeerName> {
    let name = |name: &SubjectMatch| match name {
        SubjectMatch::Exact(exact) => PeerName::Exact(exact.clone()),
        SubjectMatch::Prefix { prefix } => PeerName::Prefix(prefix.clone()),
    };
    names.iter().map(name).collect()
}

/// Why a connection could not be encrypted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// The proxy lacks what its settings name.
    #[error(transparent)]
    Settings(#[from] identity::Error),
    #[error("{path}: {problem}")]
    File { path: String, problem: std::io::Error },
    #[error("there are no certificates that can be used")]
    NoSettings,
    #[error("{0:?} is no name of a server")]
    ServerName(String),
    #[error(transparent)]
    Handshake(#[from] rustls::Error),
    #[error("the connection ended: {0}")]
    Ended(std::io::Error),
    #[error("the connection does not begin with TLS")]
    NoHello,
    #[error("the handshake took too long")]
    TooLong,
}

impl TlsError {
    /// What it counts as, where a client was the reason; who only looks whether somebody listens counts as nothing.
    pub(crate) fn refused_connection(&self) -> Option<RefusedConnection> {
        use rustls::Error as E;
        Some(match self {
            Self::Ended(_) => return None,
            Self::Handshake(E::InvalidCertificate(_) | E::NoCertificatesPresented) => {
                RefusedConnection::Certificate
            }
            Self::Handshake(E::AlertReceived(_)) => RefusedConnection::ByClient,
            Self::Handshake(_) | Self::NoHello | Self::ServerName(_) => RefusedConnection::Protocol,
            Self::TooLong => RefusedConnection::Timeout,
            Self::Settings(_) | Self::File { .. } | Self::NoSettings => RefusedConnection::NotReady,
        })
    }

    /// What ended a handshake.
    fn of_handshake(error: std::io::Error) -> Self {
        let inner = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(inner) => Self::Handshake(inner.clone()),
            None => Self::Ended(error),
        }
    }
}
