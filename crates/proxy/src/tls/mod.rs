//! TLS of the data path.

pub(crate) mod client;
mod files;
pub(crate) mod peer;
pub(crate) mod server;

use identity::tls::rustls;

/// Why a connection could not be encrypted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// The proxy lacks what its settings name.
    #[error("{0}")]
    Settings(#[from] identity::Error),
    #[error("{path}: {problem}")]
    File { path: String, problem: std::io::Error },
    #[error("there are no certificates that can be used")]
    NoSettings,
    #[error("{0:?} is no name of a server")]
    ServerName(String),
    #[error("{0}")]
    Handshake(#[from] rustls::Error),
    #[error("the connection ended: {0}")]
    Ended(std::io::Error),
    #[error("the connection does not begin with TLS")]
    NoHello,
    #[error("the handshake took too long")]
    TooLong,
}

impl TlsError {
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
