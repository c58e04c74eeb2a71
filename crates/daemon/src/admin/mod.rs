//! A small HTTP/1.1 server for what is not the data path: readiness, metrics, debug pages, admission webhooks.
//!
//! Every part has a bound: connections, bytes of a body, and the time for a head, a body, an answer and a whole
//! connection. With TLS, each connection takes the settings that stand in the given cell when it begins.

mod shares;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::{Drain, Tasks, clock};
use shares::Shares;

/// A request with its whole body, and who sent it.
#[derive(Debug)]
pub struct Call {
    /// The request.
    pub request: Request<Bytes>,
    /// The other end of the connection.
    pub peer: SocketAddr,
}

/// An answer with its whole body.
pub type Reply = Response<Bytes>;

type Page = Arc<dyn Fn(Call) -> Pin<Box<dyn Future<Output = Reply> + Send>> + Send + Sync>;

/// What the server answers, by path.
#[derive(Clone, Default)]
pub struct Routes {
    exact: BTreeMap<String, Route>,
    prefixes: BTreeMap<String, Route>,
}

#[derive(Clone)]
struct Route {
    methods: &'static [Method],
    page: Page,
}

/// TLS settings that can be replaced while the server runs, when a certificate is renewed.
pub type Tls = Arc<ArcSwap<ServerConfig>>;

/// Bounds of a server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a request's body.
    pub body: usize,
    /// Connections at a time; more wait in the kernel's queue.
    pub connections: usize,
    /// Connections of one address at a time; what is more is closed at once. As many as [`Limits::connections`] where
    /// one caller may need them all, as an API server does for its webhooks.
    pub connections_of_one: usize,
    /// Time for a TLS handshake, a head, a body, and between two requests.
    pub read: Duration,
    /// Time for an answer.
    pub answer: Duration,
    /// Time for a connection, however busy it is.
    pub connection: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // An admission review carries an object twice, and the largest object has 1.5 MiB.
            body: 4 << 20,
            connections: 256,
            connections_of_one: 256,
            read: Duration::from_secs(15),
            answer: Duration::from_secs(30),
            connection: Duration::from_secs(600),
        }
    }
}

impl Routes {
    /// No pages: everything is 404.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers GET and HEAD at `path`; a path that ends in `/*` stands for everything below it.
    pub fn get<F>(self, path: &str, page: impl Fn(Call) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        self.route(&[Method::GET, Method::HEAD], path, page)
    }

    /// Answers POST at `path`.
    pub fn post<F>(self, path: &str, page: impl Fn(Call) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        self.route(&[Method::POST], path, page)
    }

    /// Answers `methods` at `path`.
    pub fn route<F>(
        mut self,
        methods: &'static [Method],
        path: &str,
        page: impl Fn(Call) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        let route = Route {
            methods,
            page: Arc::new(move |call| Box::pin(page(call))),
        };
        match path.strip_suffix('*') {
            Some(prefix) => self.prefixes.insert(prefix.to_owned(), route),
            None => self.exact.insert(path.to_owned(), route),
        };
        self
    }

    /// Adds the pages of `other`.
    pub fn merge(mut self, other: Self) -> Self {
        self.exact.extend(other.exact);
        self.prefixes.extend(other.prefixes);
        self
    }

    /// The page for `path`: an exact one, else the one with the longest prefix.
    fn find(&self, path: &str) -> Option<&Route> {
        let below = || {
            let fitting = self
                .prefixes
                .iter()
                .filter(|(prefix, _)| path.starts_with(*prefix));
            fitting
                .max_by_key(|(prefix, _)| prefix.len())
                .map(|(_, route)| route)
        };
        self.exact.get(path).or_else(below)
    }
}

/// An answer of plain text.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    reply(status, "text/plain; charset=utf-8", body)
}

/// An answer of JSON.
pub fn json(status: StatusCode, value: &serde_json::Value) -> Reply {
    reply(status, "application/json", value.to_string())
}

/// An answer of any type.
pub fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(body.into());
    *reply.status_mut() = status;
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// The page that says whether all conditions hold: 200, or 503 with the reasons.
pub fn ready_page(ready: &crate::ready::Ready) -> Reply {
    match ready.check() {
        Ok(()) => text(StatusCode::OK, "ok\n"),
        Err(reasons) => text(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n"),
    }
}

/// A server to be started.
#[derive(Clone)]
pub struct Server {
    /// Its pages.
    pub routes: Routes,
    /// Its bounds.
    pub limits: Limits,
    /// TLS, or plain text without.
    pub tls: Option<Tls>,
}

impl Server {
    /// A server in plain text with the usual bounds.
    pub fn plain(routes: Routes) -> Self {
        Self {
            routes,
            limits: Limits::default(),
            tls: None,
        }
    }

    /// A server over TLS with the usual bounds.
    pub fn secure(routes: Routes, tls: Tls) -> Self {
        Self {
            routes,
            limits: Limits::default(),
            tls: Some(tls),
        }
    }

    /// Accepts until the drain begins, then lets running requests finish. `tasks` owns accept loop and connections.
    pub fn start(self, name: &'static str, listener: TcpListener, tasks: &Tasks, drain: Drain) {
        let owner = tasks.clone();
        tasks.spawn(name, async move {
            Arc::new(self).accept(name, &listener, &owner, drain).await
        });
    }

    async fn accept(
        self: Arc<Self>,
        name: &'static str,
        listener: &TcpListener,
        tasks: &Tasks,
        mut drain: Drain,
    ) {
        let permits = Arc::new(Semaphore::new(self.limits.connections));
        let shares = Shares::new(self.limits.connections_of_one);
        let connection_drain = drain.clone();
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
                    let Some(share) = shares.take(peer.ip().to_canonical()) else {
                        tracing::debug!(server = name, %peer, "closed: its address has too many connections");
                        continue;
                    };
                    let (server, drain) = (self.clone(), connection_drain.clone());
                    tasks.spawn(name, async move {
                        server.connection(stream, peer, drain).await;
                        drop((permit, share));
                    });
                }
                Err(error) => {
                    // Usually too many open files: they close in time, a tight loop would not help.
                    tracing::warn!(server = name, %error, "cannot accept a connection");
                    clock::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, drain: Drain) {
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else {
            return self.serve(stream, peer, drain).await;
        };
        let acceptor = TlsAcceptor::from(tls.load_full());
        match clock::timeout(self.limits.read, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.serve(stream, peer, drain).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
        }
    }

    async fn serve<S>(self: Arc<Self>, stream: S, peer: SocketAddr, mut drain: Drain)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = self.limits;
        let service = service_fn(move |request| {
            let server = self.clone();
            async move { Ok::<_, Infallible>(server.answer(request, peer).await.map(Full::new)) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.read)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = drain.wait() => finish(connection, limits).await,
            () = clock::sleep(limits.connection) => finish(connection, limits).await,
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "connection ended early");
        }
    }

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Reply {
        let Some(route) = self.routes.find(request.uri().path()) else {
            return text(StatusCode::NOT_FOUND, "404 page not found\n");
        };
        if !route.methods.contains(request.method()) {
            return not_allowed(route.methods);
        }
        let (head, body) = request.into_parts();
        let body =
            match clock::timeout(self.limits.read, Limited::new(body, self.limits.body).collect()).await {
                Ok(Ok(body)) => body.to_bytes(),
                Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                    return text(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large\n");
                }
                Ok(Err(_)) => return text(StatusCode::BAD_REQUEST, "the body could not be read\n"),
                Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the body took too long\n"),
            };
        let call = Call {
            request: Request::from_parts(head, body),
            peer,
        };
        clock::timeout(self.limits.answer, (route.page)(call))
            .await
            .unwrap_or_else(|_| text(StatusCode::GATEWAY_TIMEOUT, "the answer took too long\n"))
    }
}

fn not_allowed(methods: &[Method]) -> Reply {
    let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    if let Ok(value) = HeaderValue::from_str(&names.join(", ")) {
        reply.headers_mut().insert(ALLOW, value);
    }
    reply
}

/// Lets the running request finish and closes; forcibly when it takes longer than an answer may.
async fn finish<S, I>(
    mut connection: Pin<&mut http1::Connection<TokioIo<I>, S>>,
    limits: Limits,
) -> Result<(), hyper::Error>
where
    S: hyper::service::HttpService<Incoming, ResBody = Full<Bytes>>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    connection.as_mut().graceful_shutdown();
    clock::timeout(limits.answer, connection).await.unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests;
