//! A connection inside of a request: an HTTP proxy is asked, by CONNECT or POST, to connect to somewhere else, and the
//! bytes of both directions are the bodies of that request and its response (Envoy: `TcpProxy.tunneling_config`).
//!
//! Nothing of the client's is sent before the proxy has agreed, except with POST, whose body may begin at once but
//! does not either.

use std::cell::Cell;
use std::time::Duration;

use bytes::BytesMut;
use daemon::clock;
use http::Method;
use snapshot::Tunnel;
use snapshot::cluster::UpstreamHttp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::forward::{Moved, PIECE, Way, silent, wait_readable};
use crate::error::UpstreamError;
use crate::http::codec::{Answer, CodecError, Fields, Frame, Length, Request, Sink, Version};
use crate::transport::{ReadHalf, Transport, WriteHalf};
use crate::upstream::{Cluster, Lease};

/// Whether the cluster is spoken to over HTTP/2. A connection has no version to go by.
pub(super) fn over_http2(cluster: &Cluster) -> bool {
    cluster.facts.http == UpstreamHttp::Http2
}

/// Carries the connection to its end.
pub(super) async fn carry(
    lease: &mut Lease,
    tunnel: &Tunnel,
    client: Transport,
    idle: Duration,
) -> Result<Moved, UpstreamError> {
    let over_http2 = lease.halves().is_none();
    let request = request(tunnel, over_http2);
    let (mut sink, mut answer) = lease.send(&request).map_err(|_| UpstreamError::Reset)?;
    sink.flush().await.map_err(|_| UpstreamError::Reset)?;
    let agreed = clock::timeout(idle, agreed(&mut answer)).await;
    agreed.unwrap_or(Err(UpstreamError::ConnectTimeout))?;
    if !tunnel.post {
        answer.become_opaque();
    }
    let (read, write, read_ahead) = client.split();
    let (up, down, last) = (Cell::new(0), Cell::new(0), Cell::new(clock::now()));
    let way = |moved| Way {
        moved,
        last: &last,
        idle,
    };
    let upward = upload(read, &mut sink, (read_ahead, !tunnel.post), way(&up));
    let downward = download(&mut answer, write, way(&down));
    let ended = futures_util::future::try_join(upward, downward).await;
    if let Err(error) = &ended {
        tracing::debug!(%error, "tunnel ended");
    }
    Ok(Moved {
        up: up.get(),
        down: down.get(),
        reset: ended.is_err(),
    })
}

fn request(tunnel: &Tunnel, over_http2: bool) -> Request {
    let (method, path) = match tunnel.post {
        true => (Method::POST, "/".to_owned()),
        false => (Method::CONNECT, tunnel.target.clone()),
    };
    // What follows CONNECT over HTTP/1.1 is no body.
    let length = match !tunnel.post && !over_http2 {
        true => Length::Empty,
        false => Length::Streamed,
    };
    Request {
        method,
        path,
        authority: tunnel.target.clone(),
        scheme: "http",
        fields: Fields::default(),
        length,
        upgrade: None,
        version: if over_http2 {
            Version::Http2
        } else {
            Version::Http1
        },
    }
}

async fn agreed(answer: &mut Answer<'_>) -> Result<(), UpstreamError> {
    loop {
        let head = answer.head().await.map_err(|_| UpstreamError::Closed)?;
        match head.status {
            200..=299 => return Ok(()),
            status if head.is_informational() => tracing::debug!(status, "the proxy is not ready yet"),
            status => {
                tracing::debug!(status, "the proxy refuses the connection");
                return Err(UpstreamError::Reset);
            }
        }
    }
}

async fn upload(
    mut from: ReadHalf,
    to: &mut Sink<'_>,
    (mut buffer, opaque): (BytesMut, bool),
    way: Way<'_>,
) -> Result<(), CodecError> {
    loop {
        if !buffer.is_empty() {
            way.moved.set(way.moved.get() + buffer.len() as u64);
            to.data(buffer.split().freeze()).await?;
            to.flush().await?;
            way.last.set(clock::now());
        }
        wait_readable(&from, &way).await?;
        buffer.reserve(PIECE);
        if from.read_buf(&mut buffer).await? == 0 {
            to.end(None).await?;
            if opaque {
                to.close().await;
            }
            return Ok(());
        }
    }
}

async fn download(from: &mut Answer<'_>, mut to: WriteHalf, way: Way<'_>) -> Result<(), CodecError> {
    loop {
        let frame = loop {
            let left = way.idle.saturating_sub(clock::now() - way.last.get());
            if left.is_zero() {
                return Err(silent().into());
            }
            if let Ok(frame) = clock::timeout(left, from.frame()).await {
                break frame?;
            }
        };
        match frame {
            Some(Frame::Data(data)) => {
                way.moved.set(way.moved.get() + data.len() as u64);
                let write = async {
                    to.write_all(&data).await?;
                    to.flush().await
                };
                clock::timeout(way.idle, write).await.map_err(|_| silent())??;
                way.last.set(clock::now());
            }
            Some(Frame::Trailers(_)) | None => return Ok(to.shutdown().await?),
        }
    }
}
