//! Accepts proxies' connections for gRPC: TLS with deadlines for the handshake and for the proof who calls, and a bound
//! on connections.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
/// How long a connection may be there over which nobody has proven who it is.
const PROOF: Duration = Duration::from_secs(15);
/// Connections between handshake and gRPC.
const SHAKEN: usize = 64;

type Patience = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One connection of a proxy.
pub(crate) struct Connection<S = TlsStream<TcpStream>> {
    stream: S,
    peer: Peer,
    /// Until somebody must have proven who it is; `None` when that was decided.
    patience: Option<Patience>,
    _permit: OwnedSemaphorePermit,
}

impl<S> Connection<S> {
    fn new(stream: S, peer: Peer, permit: OwnedSemaphorePermit) -> Self {
        Self {
            stream,
            peer,
            patience: Some(Box::pin(clock::sleep(PROOF))),
            _permit: permit,
        }
    }

    /// Whether time is up. Wakes the reader when it will be.
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        let Some(patience) = &mut self.patience else {
            return false;
        };
        if patience.as_mut().poll(context).is_pending() {
            return false;
        }
        self.patience = None;
        let over = !self.peer.proven.load(Ordering::Relaxed);
        if over {
            tracing::debug!(scope = "ads", peer = %self.peer.address, "nobody has proven who it is: closed");
        }
        over
    }
}

/// What a request's extensions say about its connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The other end.
    pub address: SocketAddr,
    certificate: Option<Arc<PeerCertificate>>,
    proven: Arc<AtomicBool>,
}

impl Peer {
    fn new(address: SocketAddr, stream: &TlsStream<TcpStream>) -> Self {
        let shown = stream.get_ref().1.peer_certificates();
        let certificate = shown.and_then(|chain| PeerCertificate::of(chain).ok());
        Self {
            address,
            certificate: certificate.map(Arc::new),
            proven: Arc::default(),
        }
    }

    /// Somebody has proven over this connection who it is: it may stay.
    pub(crate) fn prove(&self) {
        self.proven.store(true, Ordering::Relaxed);
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
                        Ok(Ok(stream)) => {
                            let peer = Peer::new(peer, &stream);
                            drop(sender.send(Ok(Connection::new(stream, peer, permit))).await);
                        }
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

impl<S> Connected for Connection<S> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut this.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    fn connection() -> (Connection<DuplexStream>, DuplexStream) {
        let (stream, client) = tokio::io::duplex(64);
        let peer = Peer {
            address: ([127, 0, 0, 1], 1).into(),
            certificate: None,
            proven: Arc::default(),
        };
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        (Connection::new(stream, peer, permit), client)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_over_which_nobody_proves_who_it_is_is_closed() {
        let (mut connection, _client) = connection();
        let begun = clock::now();
        let closed = connection.read_u8().await.unwrap_err();
        assert_eq!(closed.kind(), io::ErrorKind::TimedOut);
        assert_eq!(clock::now() - begun, PROOF);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_of_somebody_stays() {
        let (mut connection, mut client) = connection();
        connection.connect_info().prove();
        let later = async {
            clock::sleep(10 * PROOF).await;
            client.write_u8(7).await.unwrap();
        };
        let (read, ()) = tokio::join!(connection.read_u8(), later);
        assert_eq!(read.unwrap(), 7);
    }
}
