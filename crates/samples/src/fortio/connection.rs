//! One connection of the load generator: opened when needed, kept while it works.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::options::Options;

const LARGEST_BODY: usize = 64 << 20;

/// What is sent again and again.
#[derive(Clone)]
pub(super) struct Target {
    /// `host:port`.
    authority: String,
    method: Method,
    path: Uri,
    headers: HeaderMap,
    payload: Bytes,
    timeout: Duration,
    keepalive: bool,
}

/// What came back.
pub(super) struct Outcome {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Bytes,
}

#[derive(Default)]
pub(super) struct Connection {
    open: Option<SendRequest<Full<Bytes>>>,
    /// Sockets that were opened, and to where.
    pub(super) opened: Vec<Opened>,
}

pub(super) struct Opened {
    pub(super) address: SocketAddr,
    pub(super) took: Duration,
}

impl Target {
    pub(super) fn new(options: &Options) -> anyhow::Result<Self> {
        let url = options.url.as_deref().context("no URL is given")?;
        let url = if url.contains("://") {
            url.to_owned()
        } else {
            format!("http://{url}")
        };
        let uri: Uri = url.parse().with_context(|| format!("{url:?} is no URL"))?;
        if uri.scheme_str() != Some("http") {
            bail!("{url}: this stand-in speaks plain http only");
        }
        let authority = uri.authority().context("the URL names no host")?;
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(authority.as_str())?);
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static("fortio.org/fortio-1.60.3"),
        );
        for (name, value) in &options.headers {
            let name = HeaderName::try_from(name).with_context(|| format!("{name:?} is no header"))?;
            let value =
                HeaderValue::from_str(value).with_context(|| format!("{value:?} is no header value"))?;
            if name == header::HOST || name == header::USER_AGENT {
                headers.insert(name, value);
            } else {
                headers.append(name, value);
            }
        }
        let default = if options.payload.is_empty() { "GET" } else { "POST" };
        Ok(Self {
            authority: format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80)),
            method: options
                .method
                .as_deref()
                .unwrap_or(default)
                .parse()
                .context("no HTTP method")?,
            path: uri.path_and_query().map_or("/", |path| path.as_str()).parse()?,
            headers,
            payload: options.payload.clone().into(),
            timeout: options.timeout,
            keepalive: options.keepalive,
        })
    }
}

impl Connection {
    /// One call; a connection that failed is not used again.
    pub(super) async fn call(&mut self, target: &Target) -> anyhow::Result<Outcome> {
        let outcome = tokio::time::timeout(target.timeout, self.exchange(target)).await;
        match outcome {
            Ok(Ok((outcome, sender))) => {
                self.open = sender.filter(|_| target.keepalive);
                Ok(outcome)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => bail!("timeout after {:?}", target.timeout),
        }
    }

    async fn exchange(
        &mut self,
        target: &Target,
    ) -> anyhow::Result<(Outcome, Option<SendRequest<Full<Bytes>>>)> {
        // Taken out: whatever interrupts this leaves no half-used connection behind.
        let kept = self.open.take().filter(|sender| !sender.is_closed());
        let mut sender = match kept {
            Some(sender) => sender,
            None => self.open(target).await?,
        };
        sender.ready().await?;
        let mut request = Request::new(Full::new(target.payload.clone()));
        *request.method_mut() = target.method.clone();
        *request.uri_mut() = target.path.clone();
        *request.headers_mut() = target.headers.clone();
        let reply = sender.send_request(request).await?;
        let closes = reply
            .headers()
            .get(header::CONNECTION)
            .is_some_and(|value| value == "close");
        let status = reply.status();
        let mut head = format!(
            "HTTP/1.1 {} {}\r\n",
            status.as_u16(),
            status.canonical_reason().unwrap_or_default()
        );
        for (name, value) in reply.headers() {
            head += &format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes()));
        }
        head += "\r\n";
        let body = Limited::new(reply.into_body(), LARGEST_BODY).collect().await;
        let body = body.map_err(anyhow::Error::from_boxed)?.to_bytes();
        let outcome = Outcome {
            status: status.as_u16(),
            head,
            body,
        };
        Ok((outcome, (!closes).then_some(sender)))
    }

    async fn open(&mut self, target: &Target) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let begin = Instant::now();
        let stream = TcpStream::connect(&target.authority)
            .await
            .with_context(|| format!("cannot connect to {}", target.authority))?;
        let _ = stream.set_nodelay(true);
        self.opened.push(Opened {
            address: stream.peer_addr()?,
            took: begin.elapsed(),
        });
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}
