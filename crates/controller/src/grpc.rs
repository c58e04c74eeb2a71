//! Accepts proxies' connections for gRPC: TLS with a deadline for the handshake, and a bound on connections.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use daemon::admin::Tls;
use daemon::{Drain, Tasks, clock};
use identity::tls::PeerCertificate;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

/// More proxies than one controller should serve; the next ones wait in the kernel's queue.
const CONNECTIONS: usize = 20_000;
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections between handshake and gRPC.
const SHAKEN: usize = 64;

/// One connection of a proxy.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    _permit: OwnedSemaphorePermit,
}

/// What a request's extensions say about its connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The other end.
    pub address: SocketAddr,
    certificate: Option<Arc<PeerCertificate>>,
}

impl Peer {
    fn new(address: SocketAddr, stream: &TlsStream<TcpStream>) -> Self {
        let shown = stream.get_ref().1.peer_certificates();
        let certificate = shown.and_then(|chain| PeerCertificate::of(chain).ok());
        Self {
            address,
            certificate: certificate.map(Arc::new),
        }
    }

    /// The certificate that the other end has shown, if it has one of the mesh.
    pub fn certificate(&self) -> Option<&PeerCertificate> {
        self.certificate.as_deref()
    }
}

/// Connections as they come, until the drain begins. `tasks` owns the accept loop and the handshakes.
pub(crate) fn incoming(
    listener: TcpListener,
    tls: Tls,
    tasks: &Tasks,
    drain: Drain,
) -> ReceiverStream<io::Result<Connection>> {
    let (sender, receiver) = mpsc::channel(SHAKEN);
    let owner = tasks.clone();
    tasks.spawn("xds accept", async move {
        accept(&listener, &tls, &owner, &sender, drain).await
    });
    ReceiverStream::new(receiver)
}

async fn accept(
    listener: &TcpListener,
    tls: &Tls,
    tasks: &Tasks,
    sender: &mpsc::Sender<io::Result<Connection>>,
    mut drain: Drain,
) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let permit = permits
            .clone()
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let accepted = tokio::select! {
            () = drain.wait() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (acceptor, sender) = (TlsAcceptor::from(tls.load_full()), sender.clone());
                tasks.spawn("xds handshake", async move {
                    let _ = stream.set_nodelay(true);
                    match clock::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                        // An error means that the server has gone, and the connection goes with it.
                        Ok(Ok(stream)) => drop(
                            sender
                                .send(Ok(Connection {
                                    peer: Peer::new(peer, &stream),
                                    stream,
                                    _permit: permit,
                                }))
                                .await,
                        ),
                        Ok(Err(error)) => {
                            tracing::debug!(scope = "ads", %peer, %error, "TLS handshake failed")
                        }
                        Err(_) => tracing::debug!(scope = "ads", %peer, "TLS handshake took too long"),
                    }
                });
            }
            Err(error) => {
                tracing::warn!(scope = "ads", %error, "cannot accept a connection");
                clock::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
