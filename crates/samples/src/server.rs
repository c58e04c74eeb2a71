//! The HTTP server that samples share: HTTP/1.1 and h2c on one port, requests in flight finish before exit.
//!
//! Connections are bounded: past the bound the next one waits in the kernel's queue.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinSet, LocalSet};

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;
pub(crate) type Reply = Response<Body>;

/// How long after SIGTERM new requests are still welcome: an endpoint gets the signal before all its callers know
/// that it goes, and a port closed at once would fail what they send meanwhile.
const STILL_CALLED: Duration = Duration::from_secs(1);
/// Longest wait for requests in flight once told to stop.
const GRACE: Duration = Duration::from_secs(25);
/// Longest wait for the head of a request.
const HEAD_LIMIT: Duration = Duration::from_secs(60);
/// Connections of one program.
const MOST_CONNECTIONS: usize = 4096;

/// Who calls, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// Our port.
    pub(crate) port: u16,
}

/// Serves `handler` on every address until SIGINT, or shortly after SIGTERM, then finishes what is in flight.
pub(crate) fn serve<H, F>(ports: &[u16], handler: H) -> anyhow::Result<ExitCode>
where
    H: Fn(Request<Incoming>, Peer) -> F + Clone + 'static,
    F: Future<Output = Reply> + 'static,
{
    run(async move {
        let listeners = listen(ports).await?;
        http(listeners, handler, Stop::on_signal()?).await;
        Ok(())
    })
}

/// Runs the work of a server program to its end.
pub(crate) fn run(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<ExitCode> {
    crate::block_on(LocalSet::new().run_until(work))?;
    Ok(ExitCode::SUCCESS)
}

/// Listens on every IPv4 address.
pub(crate) async fn listen(ports: &[u16]) -> anyhow::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for &port in ports {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
            .await
            .with_context(|| format!("cannot listen on port {port}"))?;
        eprintln!("listening on port {port}");
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Told when it is time to take no more connections.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Comes with SIGINT, or shortly after SIGTERM. Needs the local set of [`run`].
    pub(crate) fn on_signal() -> anyhow::Result<Self> {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (tell, told) = watch::channel(false);
        tokio::task::spawn_local(async move {
            tokio::select! {
                _ = terminate.recv() => tokio::time::sleep(STILL_CALLED).await,
                _ = interrupt.recv() => {}
            }
            tell.send_replace(true);
            // Stays told for as long as anybody asks.
            tell.closed().await;
        });
        Ok(Self(told))
    }

    pub(crate) async fn told(&mut self) {
        // An error means that the teller is gone, which only happens at the end.
        let _ = self.0.wait_for(|told| *told).await;
    }
}

/// Serves HTTP on all listeners until told to stop, then finishes what is in flight.
pub(crate) async fn http<H, F>(listeners: Vec<TcpListener>, handler: H, stop: Stop)
where
    H: Fn(Request<Incoming>, Peer) -> F + Clone + 'static,
    F: Future<Output = Reply> + 'static,
{
    let graceful = Rc::new(GracefulShutdown::new());
    let mut http = auto::Builder::new(LocalExecutor);
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT);
    let http = Rc::new(http);
    let accepting = {
        let graceful = graceful.clone();
        accept(listeners, stop, move |stream, peer| {
            let handler = handler.clone();
            let service = service_fn(move |request| {
                let reply = handler(request, peer);
                async move { Ok::<_, Infallible>(reply.await) }
            });
            let connection = http.serve_connection(TokioIo::new(stream), service).into_owned();
            let connection = graceful.watch(connection);
            async move {
                let _ = connection.await;
            }
        })
    };
    accepting.await;
    if let Some(graceful) = Rc::into_inner(graceful) {
        let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
    }
}

/// Gives each connection a task, until told to stop; listeners are closed then, connections are not.
pub(crate) async fn accept<C, F>(listeners: Vec<TcpListener>, stop: Stop, connection: C)
where
    C: Fn(TcpStream, Peer) -> F + Clone + 'static,
    F: Future<Output = ()> + 'static,
{
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut loops = JoinSet::new();
    for listener in listeners {
        let (mut stop, places, connection) = (stop.clone(), places.clone(), connection.clone());
        loops.spawn_local(async move {
            tokio::select! {
                () = stop.told() => {}
                () = accept_on(&listener, &places, connection) => {}
            }
        });
    }
    while loops.join_next().await.is_some() {}
}

async fn accept_on<C, F>(listener: &TcpListener, places: &Arc<Semaphore>, connection: C)
where
    C: Fn(TcpStream, Peer) -> F,
    F: Future<Output = ()> + 'static,
{
    let port = listener.local_addr().map_or(0, |address| address.port());
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        // Out of descriptors or a connection that went away: the listener itself is fine.
        let Ok((stream, address)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let work = connection(stream, Peer { address, port });
        tokio::task::spawn_local(async move {
            work.await;
            drop(place);
        });
    }
}

/// Runs HTTP/2 streams on this thread.
#[derive(Clone)]
pub(crate) struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// A reply with a text body.
pub(crate) fn text(status: u16, body: impl Into<Bytes>) -> Reply {
    reply(status, "text/plain; charset=utf-8", body)
}

/// A reply with any body.
pub(crate) fn reply(status: u16, content_type: &str, body: impl Into<Bytes>) -> Reply {
    let status = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::BAD_REQUEST);
    let mut reply = Response::new(Full::new(body.into()).boxed_unsync());
    *reply.status_mut() = status;
    if let Ok(value) = content_type.parse() {
        reply.headers_mut().insert(http::header::CONTENT_TYPE, value);
    }
    reply
}

/// The reply with one header more; a value that is none is left out.
pub(crate) fn with_header(mut reply: Reply, name: &str, value: &str) -> Reply {
    if let (Ok(name), Ok(value)) = (name.parse::<http::HeaderName>(), value.parse()) {
        reply.headers_mut().append(name, value);
    }
    reply
}
