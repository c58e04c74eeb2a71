//! Where a captured connection was going before the kernel redirected it.
//!
//! The kernel answers from connection tracking (`SO_ORIGINAL_DST`). Tests give their own answers, because there is
//! no capture on loopback sockets.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use socket2::SockRef;
use tokio::net::TcpStream;

type Given = Arc<dyn Fn(SocketAddr) -> Option<SocketAddr> + Send + Sync>;

/// Who knows the destination of a captured connection.
#[derive(Clone, Default)]
pub enum Destinations {
    /// The kernel; a connection that was not captured was going where it arrived.
    #[default]
    Kernel,
    /// A function of the address of the client's end; `None` refuses the connection.
    Given(Given),
}

impl fmt::Debug for Destinations {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Destinations::Kernel => "Kernel",
            Destinations::Given(_) => "Given",
        })
    }
}

impl Destinations {
    /// Every connection was going to `destination`.
    pub fn all_to(destination: SocketAddr) -> Self {
        Destinations::Given(Arc::new(move |_| Some(destination)))
    }

    pub(crate) fn of(&self, stream: &TcpStream, peer: SocketAddr) -> Option<SocketAddr> {
        match self {
            Destinations::Kernel => kernel(stream),
            Destinations::Given(given) => given(peer),
        }
    }
}

fn kernel(stream: &TcpStream) -> Option<SocketAddr> {
    let local = canonical(stream.local_addr().ok()?);
    let socket = SockRef::from(stream);
    let original = if local.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    match original {
        Ok(address) => address.as_socket(),
        // Without an entry nothing was redirected.
        Err(_) => Some(local),
    }
}

/// A socket for both families shows IPv4 as `::ffff:a.b.c.d`.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
