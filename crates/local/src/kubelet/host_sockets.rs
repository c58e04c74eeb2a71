//! Sockets of the host for the node: it asks, the launcher makes them and passes them in.
//!
//! One question at a time, each a frame; the answer is a frame and, where there is a socket, a byte that brings it.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use daemon::clock;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use crate::sys::{frame, handover};

const LIMIT: Duration = Duration::from_secs(10);

/// Which socket is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wanted {
    /// One that listens, at an address of the host's loopback range.
    Tcp(SocketAddrV4),
    Udp(SocketAddrV4),
    /// One that is connected to the n-th name server of the host.
    Resolver(usize),
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Made {
    /// The next byte brings it.
    Yes,
    /// The user may not bind this port.
    NotAllowed,
    /// Somebody else has it.
    Taken,
    /// There is no such thing.
    Nothing,
}

/// The node's end.
#[derive(Clone, Debug)]
pub struct HostSockets(Arc<Mutex<Option<UnixStream>>>);

impl HostSockets {
    /// `launcher` is what [`serve`] answers on.
    pub(crate) fn new(launcher: UnixStream) -> Self {
        Self(Arc::new(Mutex::new(Some(launcher))))
    }

    pub(crate) async fn tcp(&self, at: SocketAddrV4) -> io::Result<Result<tokio::net::TcpListener, Made>> {
        Ok(match self.ask(Wanted::Tcp(at)).await? {
            Ok(socket) => {
                let listener = TcpListener::from(socket);
                listener.set_nonblocking(true)?;
                Ok(tokio::net::TcpListener::from_std(listener)?)
            }
            Err(refused) => Err(refused),
        })
    }

    pub(crate) async fn udp(&self, wanted: Wanted) -> io::Result<Result<tokio::net::UdpSocket, Made>> {
        Ok(match self.ask(wanted).await? {
            Ok(socket) => {
                let socket = UdpSocket::from(socket);
                socket.set_nonblocking(true)?;
                Ok(tokio::net::UdpSocket::from_std(socket)?)
            }
            Err(refused) => Err(refused),
        })
    }

    async fn ask(&self, wanted: Wanted) -> io::Result<Result<OwnedFd, Made>> {
        let mut launcher = self.0.lock().await;
        // Taken out, so that whoever gives up half-way leaves no answer for the next one.
        let mut socket = launcher.take().ok_or(io::ErrorKind::NotConnected)?;
        let asking = async {
            socket.write_all(&frame::encode(&wanted)?).await?;
            let made = frame::receive(&mut socket)
                .await
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            match made {
                Made::Yes => {
                    let receive = || handover::receive(&socket);
                    io::Result::Ok(Ok(socket.async_io(Interest::READABLE, receive).await?))
                }
                refused => Ok(Err(refused)),
            }
        };
        let answer = clock::timeout(LIMIT, asking).await.map_err(io::Error::other)??;
        *launcher = Some(socket);
        Ok(answer)
    }
}

/// The launcher's end: answers until the node has gone. Binds nothing but loopback.
pub(crate) async fn serve(mut node: UnixStream) -> io::Result<()> {
    while let Some(wanted) = frame::receive(&mut node).await {
        let (made, socket) = match make(wanted) {
            Ok(socket) => (Made::Yes, Some(socket)),
            Err(error) => (refusal(&error), None),
        };
        node.write_all(&frame::encode(&made)?).await?;
        if let Some(socket) = socket {
            node.async_io(Interest::WRITABLE, || handover::send(&node, &socket))
                .await?;
        }
    }
    Ok(())
}

fn make(wanted: Wanted) -> io::Result<OwnedFd> {
    match wanted {
        Wanted::Tcp(at) | Wanted::Udp(at) if !at.ip().is_loopback() => Err(io::ErrorKind::NotFound.into()),
        Wanted::Tcp(at) => Ok(TcpListener::bind(at)?.into()),
        Wanted::Udp(at) => Ok(UdpSocket::bind(at)?.into()),
        Wanted::Resolver(position) => {
            let text = std::fs::read_to_string("/etc/resolv.conf")?;
            let server = servers(&text).nth(position).ok_or(io::ErrorKind::NotFound)?;
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.connect((server, 53))?;
            Ok(socket.into())
        }
    }
}

/// The name servers of a `resolv.conf` that are reached by IPv4.
fn servers(text: &str) -> impl Iterator<Item = Ipv4Addr> {
    let named = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"));
    named.filter_map(|rest| rest.trim().parse().ok())
}

fn refusal(error: &io::Error) -> Made {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Made::NotAllowed,
        io::ErrorKind::AddrInUse => Made::Taken,
        _ => Made::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use daemon::Tasks;

    use super::*;

    fn pair() -> (HostSockets, Tasks) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let tasks = Tasks::new();
        tasks.spawn("launcher", async move { serve(theirs).await.unwrap() });
        (HostSockets::new(ours), tasks)
    }

    #[tokio::test]
    async fn a_socket_of_the_host_arrives_and_a_taken_one_does_not() {
        let (sockets, _tasks) = pair();
        let free = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let listener = sockets.tcp(free).await.unwrap().unwrap();
        let std::net::SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            panic!("it is IPv4");
        };
        assert_eq!(sockets.tcp(address).await.unwrap().unwrap_err(), Made::Taken);
        assert!(sockets.udp(Wanted::Udp(free)).await.unwrap().is_ok());
        drop(listener);
        assert!(sockets.tcp(address).await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn nothing_but_loopback_is_bound() {
        let (sockets, _tasks) = pair();
        let outside = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        assert_eq!(sockets.tcp(outside).await.unwrap().unwrap_err(), Made::Nothing);
        let unknown = sockets.udp(Wanted::Resolver(1000)).await.unwrap();
        assert_eq!(unknown.unwrap_err(), Made::Nothing);
    }

    #[test]
    fn name_servers_are_read_from_resolv_conf() {
        let text = "# x\nsearch a\nnameserver 10.0.0.1\n nameserver\t10.0.0.2\nnameserver fe80::1\n";
        let found: Vec<_> = servers(text).collect();
        assert_eq!(found, [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)]);
    }
}
