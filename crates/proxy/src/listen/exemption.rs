//! Whether the proxy's own connections escape capture: tested at the start, before the proxy says that it is ready.
//!
//! A connection to an address that nobody has (RFC 5737) either fails or stays without an answer. If it is
//! established at once, the capture rules have turned it round to this proxy, and every connection that it made
//! for its workload would come back to it for ever.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use daemon::clock;
use socket2::SockRef;
use tokio::net::TcpSocket;

/// Nobody answers there.
const NOBODY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The own kernel answers in microseconds, and nobody else ever does.
const PATIENCE: Duration = Duration::from_millis(250);

/// Why the proxy cannot work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the proxy captures its own connections: it runs neither as the user nor with the mark that the rules exempt")]
    Captured,
    #[error("cannot set the mark {mark} on a connection (needs NET_ADMIN): {error}")]
    Mark { mark: u32, error: io::Error },
    #[error("cannot make a connection: {0}")]
    Socket(io::Error),
}

/// Tests the exemption. `own_port` is where captured outbound connections arrive: as the destination of the trial
/// it makes the accept loop refuse what comes back.
pub(crate) async fn check(mark: Option<u32>, own_port: u16) -> Result<(), Broken> {
    probe(SocketAddr::new(NOBODY.into(), own_port), mark).await
}

async fn probe(nobody: SocketAddr, mark: Option<u32>) -> Result<(), Broken> {
    let socket = TcpSocket::new_v4().map_err(Broken::Socket)?;
    if let Some(mark) = mark {
        SockRef::from(&socket).set_mark(mark).map_err(|error| Broken::Mark { mark, error })?;
    }
    match clock::timeout(PATIENCE, socket.connect(nobody)).await {
        Ok(Ok(_)) => Err(Broken::Captured),
        // No route, refused, or silence: it went out, and nobody was there.
        Ok(Err(_)) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_trial_that_is_answered_was_captured() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let answered = probe(listener.local_addr().unwrap(), None).await;
        assert!(matches!(answered, Err(Broken::Captured)), "{answered:?}");
    }

    #[tokio::test]
    async fn a_trial_that_nobody_answers_has_escaped() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert!(probe(address, None).await.is_ok());
    }
}
