//! One GET over a connection of its own, bounded in size and time: how the sample services call each other, so that
//! every call is balanced anew.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

const LARGEST_BODY: usize = 1 << 20;

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

/// Asks `authority` (`host:port`) for `path`.
pub(crate) async fn get(
    authority: &str,
    path: &str,
    headers: HeaderMap,
    limit: Duration,
) -> anyhow::Result<Answer> {
    match tokio::time::timeout(limit, exchange(authority, path, headers)).await {
        Ok(outcome) => outcome,
        Err(_) => bail!("no answer in {} s", limit.as_secs_f64()),
    }
}

async fn exchange(authority: &str, path: &str, mut headers: HeaderMap) -> anyhow::Result<Answer> {
    let stream = TcpStream::connect(authority)
        .await
        .with_context(|| format!("connect to {authority}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    headers.insert(header::HOST, HeaderValue::from_str(authority)?);
    let mut request = Request::get(path).body(Empty::<Bytes>::new())?;
    *request.headers_mut() = headers;
    let exchange = async move {
        let reply = sender.send_request(request).await?;
        let status = reply.status().as_u16();
        let body = Limited::new(reply.into_body(), LARGEST_BODY).collect().await;
        let body = body.map_err(anyhow::Error::from_boxed)?.to_bytes();
        anyhow::Ok(Answer { status, body })
    };
    // The exchange owns the sender, so the connection ends with it.
    let (answer, _closed) = tokio::join!(exchange, connection);
    answer
}
