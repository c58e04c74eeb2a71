//! Where a captured connection was going before it was redirected to us (`SO_ORIGINAL_DST`).

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use snapshot::Direction;
use tokio::net::TcpStream;

/// Answers with the original destination of an accepted connection; given its direction, local and peer address.
type Answer = dyn Fn(Direction, SocketAddr, SocketAddr) -> Option<SocketAddr> + Send + Sync;

/// How the original destination is found.
#[derive(Clone, Default)]
pub enum OriginalDestination {
    /// The kernel's connection tracking knows.
    #[default]
    Kernel,
    /// For tests, which capture nothing.
    Given(Arc<Answer>),
}

impl OriginalDestination {
    /// The same answer whatever the connection.
    pub fn given(
        answer: impl Fn(Direction, SocketAddr, SocketAddr) -> Option<SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        Self::Given(Arc::new(answer))
    }

    /// Where the connection was going; `None` when it was not redirected, but aimed at our own listener.
    pub(crate) fn of(
        &self,
        direction: Direction,
        stream: &TcpStream,
        peer: SocketAddr,
    ) -> Option<SocketAddr> {
        let local = stream.local_addr().ok()?;
        match self {
            Self::Kernel => kernel(stream, local).filter(|destination| *destination != local),
            Self::Given(answer) => answer(direction, local, peer),
        }
    }
}

fn kernel(stream: &TcpStream, local: SocketAddr) -> Option<SocketAddr> {
    if local.is_ipv4() {
        rustix::net::sockopt::ip_original_dst(stream)
            .ok()
            .map(SocketAddr::V4)
    } else {
        rustix::net::sockopt::ipv6_original_dst(stream)
            .ok()
            .map(SocketAddr::V6)
    }
}

impl fmt::Debug for OriginalDestination {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Kernel => "Kernel",
            Self::Given(_) => "Given",
        })
    }
}
