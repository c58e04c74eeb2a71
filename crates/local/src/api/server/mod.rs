//! The sockets: TLS, HTTP/1.1 and HTTP/2 side by side, upgrades, and a bound on everything that a client can do to us.

mod accept;
mod authorize;
mod body;
mod bounds;
mod connections;
mod field_manager;
mod list_options;
mod objects;
mod respond;
mod route;
mod service;
mod shown;
mod watch_stream;

#[cfg(test)]
mod list_tests;
#[cfg(test)]
mod pressure_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod webhook_tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use daemon::{Drain, Tasks, clock};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use identity::tls::PeerCertificate;
use identity::tls::rustls::ServerConfig;
use identity::tls::tokio_rustls::TlsAcceptor;
use tokio::net::{TcpListener, TcpStream};

use super::User;
use connections::{Busy, Entry, Line, Socket};
use respond::Held;

pub(super) use bounds::{Bounds, Limits};
pub(super) use service::Service;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// What waits in one stream of HTTP/2 for a client that takes nothing.
const SEND: usize = 64 << 10;
const PING: Duration = Duration::from_secs(30);
/// For the last words to an idle connection that has to go.
const FAREWELL: Duration = Duration::from_secs(1);

/// Accepts connections and serves them.
pub(super) struct Listening {
    pub(super) service: Service,
    pub(super) tls: Arc<ServerConfig>,
    pub(super) tasks: Tasks,
    pub(super) drain: Drain,
}

impl Listening {
    pub(super) fn new(service: Service, tls: Arc<ServerConfig>, tasks: Tasks, drain: Drain) -> Arc<Self> {
        Arc::new(Self {
            service,
            tls,
            tasks,
            drain,
        })
    }

    /// Serves a listener until the drain begins.
    pub(super) fn listen(self: &Arc<Self>, listener: TcpListener) {
        let this = self.clone();
        self.tasks
            .spawn("api listener", async move { this.accept(listener).await });
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let mut drain = self.drain.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = drain.wait() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let entry = tokio::select! {
                        entry = self.service.bounds.connections.enter() => entry,
                        () = drain.wait() => return,
                    };
                    let this = self.clone();
                    self.tasks.spawn("api connection", async move {
                        if let Err(error) = this.connection(stream, entry).await {
                            tracing::debug!(%peer, error = &*error, "connection ended");
                        }
                    });
                }
                Err(error) => {
                    // Out of file descriptors, mostly: others must close some first.
                    tracing::warn!(%error, "the API server cannot accept");
                    clock::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, entry: Entry) -> Result<(), Failed> {
        protect(&stream);
        let limits = self.service.bounds.limits;
        let line = entry.line().clone();
        let handshake = TlsAcceptor::from(self.tls.clone()).accept(Socket::new(stream, entry, limits.stuck));
        let stream = tokio::select! {
            stream = clock::timeout(limits.handshake, handshake) => stream??,
            () = line.over(limits.head) => return Err("others needed its place".into()),
        };
        let session = stream.get_ref().1;
        let certificate = session.peer_certificates();
        let shown = certificate
            .and_then(|chain| PeerCertificate::of(chain).ok())
            .and_then(User::of_certificate);
        // Not found out by reading: a client that sends nothing would never be asked for its first line.
        let builder = match session.alpn_protocol() {
            Some(b"h2") => self.builder().http2_only(),
            _ => self.builder().http1_only(),
        };
        let (this, answering) = (self.clone(), line.clone());
        let service = service_fn(move |request| {
            let (this, shown, line) = (this.clone(), shown.clone(), answering.clone());
            async move { Ok::<_, std::convert::Infallible>(this.answer(request, shown, &line).await) }
        });
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let mut drain = self.drain.clone();
        tokio::select! {
            ended = &mut connection => ended,
            () = drain.wait() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            () = line.over(limits.head) => {
                connection.as_mut().graceful_shutdown();
                clock::timeout(FAREWELL, connection).await.unwrap_or(Ok(()))
            }
        }
    }

    async fn answer(
        &self,
        mut request: Request<Incoming>,
        shown: Option<User>,
        line: &Arc<Line>,
    ) -> Response<Held<Busy>> {
        let busy = line.begin();
        request.extensions_mut().insert(self.service.bounds.clone());
        let response = self.service.serve(request, shown).await;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            line.upgrade();
        }
        response.map(|body| Held::new(body, busy))
    }

    fn builder(&self) -> auto::Builder<Spawner> {
        let limits = self.service.bounds.limits;
        let mut builder = auto::Builder::new(Spawner(self.tasks.clone()));
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_buf_size(64 << 10);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(256)
            .max_header_list_size(64 << 10)
            .keep_alive_interval(PING)
            .max_send_buf_size(SEND)
            .keep_alive_timeout(limits.stuck);
        builder
    }
}

/// Small answers go out at once, and a peer that vanished is noticed.
fn protect(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let keepalive = socket2::TcpKeepalive::new().with_time(PING).with_interval(PING);
    let set = stream
        .set_nodelay(true)
        .and_then(|()| socket.set_tcp_keepalive(&keepalive))
        .and_then(|()| socket.set_tcp_user_timeout(Some(connections::PATIENCE)));
    if let Err(error) = set {
        tracing::debug!(%error, "socket options");
    }
}

/// Runs the streams of HTTP/2 connections.
#[derive(Clone)]
struct Spawner(Tasks);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Spawner {
    fn execute(&self, future: F) {
        self.0.spawn("api stream", future);
    }
}
