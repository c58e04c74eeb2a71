//! The byte stream under a connection: today a TCP socket, tomorrow a TLS session over one.
//!
//! The one place to change for mTLS: codecs and tunnels see only these halves.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::listen::client_hello::ClientHello;

/// Reading side of a connection.
pub(crate) type ReadHalf = tokio::net::tcp::OwnedReadHalf;
/// Writing side of a connection.
pub(crate) type WriteHalf = tokio::net::tcp::OwnedWriteHalf;

/// Longest time without a byte on a connection in use, and longest idle time of one that is kept (Envoy: 1 h).
pub(crate) const SILENCE: Duration = Duration::from_secs(3600);

/// Time for the connections of a listener that is gone (Istio: `--drain-time-s`).
pub(crate) const DRAIN: Duration = Duration::from_secs(45);

/// A connection as it came from `accept` or `connect`, with what has been read from it while sniffing.
#[derive(Debug)]
pub(crate) struct Transport {
    stream: TcpStream,
    read: BytesMut,
    server_name: Option<Box<str>>,
}

impl Transport {
    pub(crate) fn new(stream: TcpStream) -> Self {
        // Small messages leave at once; a proxy has nothing to gain from waiting for more.
        let _ = stream.set_nodelay(true);
        Self {
            stream,
            read: BytesMut::new(),
            server_name: None,
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

    /// Our end of the connection.
    pub(crate) fn local_address(&self) -> Option<std::net::SocketAddr> {
        self.stream.local_addr().ok()
    }

    /// Bytes that were read ahead.
    pub(crate) fn read_ahead(&self) -> &[u8] {
        &self.read
    }

    /// Reads more bytes ahead. How many; 0 at the end.
    pub(crate) async fn read_more(&mut self) -> std::io::Result<usize> {
        use tokio::io::AsyncReadExt;
        self.stream.read_buf(&mut self.read).await
    }

    /// Waits for a byte, or the end.
    pub(crate) async fn readable(&self) -> std::io::Result<()> {
        if self.read.is_empty() {
            self.stream.readable().await
        } else {
            Ok(())
        }
    }

    /// Both halves and what was read ahead.
    pub(crate) fn split(self) -> (ReadHalf, WriteHalf, BytesMut) {
        let (read, write) = self.stream.into_split();
        (read, write, self.read)
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(task, out);
        }
        let length = self.read.len().min(out.remaining());
        out.put_slice(&self.read[..length]);
        self.read.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(task, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        pieces: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(task, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}
