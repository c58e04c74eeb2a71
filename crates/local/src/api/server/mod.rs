//! The sockets: TLS, HTTP/1.1 and HTTP/2 side by side, upgrades, and a bound on everything that a client can do to us.

mod accept;
mod authorize;
mod body;
mod list_options;
mod manager;
mod objects;
mod respond;
mod route;
mod service;
mod shown;
mod watch_stream;

#[cfg(test)]
mod list_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod webhook_tests;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use daemon::{Drain, Tasks, clock};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use identity::tls::PeerCertificate;
use identity::tls::rustls::ServerConfig;
use identity::tls::tokio_rustls::TlsAcceptor;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::User;
pub(super) use service::Service;

/// Connections at once, over all listeners.
const CONNECTIONS: usize = 2048;
const HANDSHAKE: Duration = Duration::from_secs(10);
/// For the head of a request; also how long an idle connection stays open.
const HEAD: Duration = Duration::from_secs(90);
/// A peer that takes nothing for so long is gone.
const STUCK: Duration = Duration::from_secs(60);
const PING: Duration = Duration::from_secs(30);

/// Accepts connections and serves them.
pub(super) struct Listening {
    pub(super) service: Service,
    pub(super) tls: Arc<ServerConfig>,
    pub(super) tasks: Tasks,
    pub(super) drain: Drain,
    connections: Arc<Semaphore>,
}

impl Listening {
    pub(super) fn new(service: Service, tls: Arc<ServerConfig>, tasks: Tasks, drain: Drain) -> Arc<Self> {
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        Arc::new(Self {
            service,
            tls,
            tasks,
            drain,
            connections,
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
            let Ok(permit) = self.connections.clone().acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = drain.wait() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let this = self.clone();
                    self.tasks.spawn("api connection", async move {
                        this.connection(stream, peer).await;
                        drop(permit);
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

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        protect(&stream);
        let handshake = TlsAcceptor::from(self.tls.clone()).accept(stream);
        let stream = match clock::timeout(HANDSHAKE, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => return tracing::debug!(%peer, "TLS handshake took too long"),
        };
        let certificate = stream.get_ref().1.peer_certificates();
        let shown = certificate
            .and_then(|chain| PeerCertificate::of(chain).ok())
            .and_then(User::of_certificate);
        let this = self.clone();
        let service = service_fn(move |request| {
            let (this, shown) = (this.clone(), shown.clone());
            async move { Ok::<_, std::convert::Infallible>(this.service.serve(request, shown).await) }
        });
        let builder = self.builder();
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let mut drain = self.drain.clone();
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = drain.wait() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, error = &*error, "connection ended");
        }
    }

    fn builder(&self) -> auto::Builder<Spawner> {
        let mut builder = auto::Builder::new(Spawner(self.tasks.clone()));
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(64 << 10);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(256)
            .max_header_list_size(64 << 10)
            .keep_alive_interval(PING)
            .keep_alive_timeout(STUCK);
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
        .and_then(|()| socket.set_tcp_user_timeout(Some(STUCK)));
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
