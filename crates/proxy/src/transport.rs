//! The byte stream under a connection: a TCP socket, or a TLS session over one.
//!
//! Codecs and tunnels see only these halves. The two kinds are told apart once for each call, so that plain text
//! costs no more than the socket itself. A TLS session is shared by its halves without a lock: both live on one worker.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use identity::tls::tokio_rustls::TlsStream;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::listen::client_hello::ClientHello;
use crate::tls::peer::Peer;

type Session = Rc<RefCell<TlsStream<TcpStream>>>;

/// Longest time without a byte on a connection in use, and longest idle time of one that is kept (Envoy: 1 h).
pub(crate) const SILENCE: Duration = Duration::from_secs(3600);

/// Time for the connections of a listener that is gone (Istio: `--drain-time-s`).
pub(crate) const DRAIN: Duration = Duration::from_secs(45);

/// What the bytes go over.
#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection as it came from `accept` or `connect`, with what has been read from it while sniffing.
#[derive(Debug)]
pub(crate) struct Transport {
    stream: Stream,
    read: BytesMut,
    server_name: Option<Box<str>>,
    peer: Option<Arc<Peer>>,
}

impl Transport {
    pub(crate) fn new(stream: TcpStream) -> Self {
        // Small messages leave at once; a proxy has nothing to gain from waiting for more.
        let _ = stream.set_nodelay(true);
        Self::of(Stream::Tcp(stream))
    }

    /// A session whose handshake is done, and who is at its other end.
    pub(crate) fn secured(session: TlsStream<TcpStream>, peer: Option<Arc<Peer>>) -> Self {
        Self {
            peer,
            ..Self::of(Stream::Tls(Box::new(session)))
        }
    }

    /// Who is at the other end, if it has shown a certificate.
    pub(crate) fn peer(&self) -> Option<&Arc<Peer>> {
        self.peer.as_ref()
    }

    fn of(stream: Stream) -> Self {
        Self {
            stream,
            read: BytesMut::new(),
            server_name: None,
            peer: None,
        }
    }

    /// The socket of a connection of which nothing has been read yet, to begin a session over it.
    pub(crate) fn into_socket(self) -> Option<TcpStream> {
        match self.stream {
            Stream::Tcp(stream) if self.read.is_empty() => Some(stream),
            Stream::Tcp(_) | Stream::Tls(_) => None,
        }
    }

    /// The socket and what has been read from it, to begin a session over both.
    pub(crate) fn into_begun(self) -> Option<(TcpStream, BytesMut)> {
        match self.stream {
            Stream::Tcp(stream) => Some((stream, self.read)),
            Stream::Tls(_) => None,
        }
    }

    /// Remembers what the ClientHello of the connection asked for.
    pub(crate) fn learn_server_name(&mut self, hello: Option<ClientHello>) {
        self.server_name = hello
            .map(|hello| hello.server_name.into_boxed_str())
            .filter(|name| !name.is_empty());
    }

    /// The server name of a ClientHello that went by.
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// The protocol that the two ends of a session agreed on.
    pub(crate) fn agreed_protocol(&self) -> Option<&[u8]> {
        match &self.stream {
            Stream::Tcp(_) => None,
            Stream::Tls(session) => session.get_ref().1.alpn_protocol(),
        }
    }

    /// Our end of the connection.
    pub(crate) fn local_address(&self) -> Option<std::net::SocketAddr> {
        match &self.stream {
            Stream::Tcp(stream) => stream.local_addr().ok(),
            Stream::Tls(session) => session.get_ref().0.local_addr().ok(),
        }
    }

    /// Bytes that were read ahead.
    pub(crate) fn read_ahead(&self) -> &[u8] {
        &self.read
    }

    /// Reads more bytes ahead. How many; 0 at the end.
    pub(crate) async fn read_more(&mut self) -> Result<usize> {
        use tokio::io::AsyncReadExt;
        match &mut self.stream {
            Stream::Tcp(stream) => stream.read_buf(&mut self.read).await,
            Stream::Tls(session) => session.read_buf(&mut self.read).await,
        }
    }

    /// Waits for a byte, or the end.
    pub(crate) async fn readable(&mut self) -> Result<()> {
        match &mut self.stream {
            _ if !self.read.is_empty() => Ok(()),
            Stream::Tcp(stream) => stream.readable().await,
            Stream::Tls(session) => poll_fn(|task| poll_plain(session, task).map_ok(drop)).await,
        }
    }

    /// Both halves and what was read ahead.
    pub(crate) fn split(self) -> (ReadHalf, WriteHalf, BytesMut) {
        let (read, write) = match self.stream {
            Stream::Tcp(stream) => {
                let (read, write) = stream.into_split();
                (ReadHalf::Tcp(read), WriteHalf::Tcp(write))
            }
            Stream::Tls(session) => {
                let session = Rc::new(RefCell::new(*session));
                (ReadHalf::Tls(session.clone()), WriteHalf::Tls(session))
            }
        };
        (read, write, self.read)
    }
}

/// Waits for decrypted bytes, without taking them; how many there are. None means the end, also when the peer closed
/// without a word: what it said is complete or not by itself (Envoy sees it so, too).
fn poll_plain(session: &mut TlsStream<TcpStream>, task: &mut Context<'_>) -> Poll<Result<usize>> {
    Poll::Ready(match ready!(Pin::new(session).poll_fill_buf(task)) {
        Ok(bytes) => Ok(bytes.len()),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
        Err(error) => Err(error),
    })
}

fn poll_read_plain(
    session: &mut TlsStream<TcpStream>,
    task: &mut Context<'_>,
    out: &mut ReadBuf<'_>,
) -> Poll<Result<()>> {
    match ready!(Pin::new(session).poll_read(task, out)) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
        outcome => Poll::Ready(outcome),
    }
}

/// Reading side of a connection.
#[derive(Debug)]
pub(crate) enum ReadHalf {
    Tcp(OwnedReadHalf),
    Tls(Session),
}

impl ReadHalf {
    /// Waits for a byte, or the end.
    pub(crate) async fn readable(&self) -> Result<()> {
        match self {
            Self::Tcp(half) => half.readable().await,
            Self::Tls(session) => {
                poll_fn(|task| poll_plain(&mut session.borrow_mut(), task).map_ok(drop)).await
            }
        }
    }

    /// Whether there is something to read now, or the end was reached.
    pub(crate) fn has_more(&self) -> bool {
        match self {
            Self::Tcp(half) => {
                !matches!(half.try_read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
            }
            Self::Tls(session) => {
                let mut nobody = Context::from_waker(Waker::noop());
                poll_plain(&mut session.borrow_mut(), &mut nobody).is_ready()
            }
        }
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(self: Pin<&mut Self>, task: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        match self.get_mut() {
            Self::Tcp(half) => Pin::new(half).poll_read(task, out),
            Self::Tls(session) => poll_read_plain(&mut session.borrow_mut(), task, out),
        }
    }
}

/// Writing side of a connection. What is written to a session leaves with a flush.
#[derive(Debug)]
pub(crate) enum WriteHalf {
    Tcp(OwnedWriteHalf),
    Tls(Session),
}

impl WriteHalf {
    /// The socket, if what is written to it is what the peer gets.
    pub(crate) fn plain_socket(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(half) => Some(half.as_ref()),
            Self::Tls(_) => None,
        }
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        match self.get_mut() {
            Self::Tcp(half) => Pin::new(half).poll_write(task, bytes),
            Self::Tls(session) => Pin::new(&mut *session.borrow_mut()).poll_write(task, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        match self.get_mut() {
            Self::Tcp(half) => Pin::new(half).poll_write_vectored(task, pieces),
            Self::Tls(session) => Pin::new(&mut *session.borrow_mut()).poll_write_vectored(task, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(half) => half.is_write_vectored(),
            Self::Tls(session) => session.borrow().is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Result<()>> {
        match self.get_mut() {
            Self::Tcp(half) => Pin::new(half).poll_flush(task),
            Self::Tls(session) => Pin::new(&mut *session.borrow_mut()).poll_flush(task),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Result<()>> {
        match self.get_mut() {
            Self::Tcp(half) => Pin::new(half).poll_shutdown(task),
            Self::Tls(session) => Pin::new(&mut *session.borrow_mut()).poll_shutdown(task),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        if self.read.is_empty() {
            return match &mut self.stream {
                Stream::Tcp(stream) => Pin::new(stream).poll_read(task, out),
                Stream::Tls(session) => poll_read_plain(session, task, out),
            };
        }
        let length = self.read.len().min(out.remaining());
        out.put_slice(&self.read[..length]);
        self.read.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(task, bytes),
            Stream::Tls(session) => Pin::new(session).poll_write(task, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(task, pieces),
            Stream::Tls(session) => Pin::new(session).poll_write_vectored(task, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Tcp(stream) => stream.is_write_vectored(),
            Stream::Tls(session) => session.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(task),
            Stream::Tls(session) => Pin::new(session).poll_flush(task),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(task),
            Stream::Tls(session) => Pin::new(session).poll_shutdown(task),
        }
    }
}
