//! The HTTP server that samples share: HTTP/1.1 and h2c on one port, requests in flight finish before exit.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) type Reply = Response<Full<Bytes>>;

/// How long after SIGTERM new requests are still welcome: an endpoint gets the signal before all its callers know
/// that it goes, and a port closed at once would fail what they send meanwhile.
const STILL_CALLED: Duration = Duration::from_secs(1);
/// Longest wait for requests in flight once told to stop.
const GRACE: Duration = Duration::from_secs(25);

/// Serves `handler` on every address until SIGINT, or shortly after SIGTERM, then finishes what is in flight.
pub(crate) fn serve<H, F>(port: u16, handler: H) -> anyhow::Result<ExitCode>
where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + 'static,
    F: Future<Output = Reply> + 'static,
{
    crate::block_on(async move {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
            .await
            .with_context(|| format!("cannot listen on port {port}"))?;
        eprintln!("listening on port {port}");
        tokio::task::LocalSet::new()
            .run_until(accept(listener, handler))
            .await?;
        Ok(ExitCode::SUCCESS)
    })
}

async fn accept<H, F>(listener: TcpListener, handler: H) -> anyhow::Result<()>
where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + 'static,
    F: Future<Output = Reply> + 'static,
{
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut end = pin!(async {
        tokio::select! {
            _ = terminate.recv() => tokio::time::sleep(STILL_CALLED).await,
            _ = interrupt.recv() => {}
        }
    });
    let graceful = GracefulShutdown::new();
    let mut http = auto::Builder::new(LocalExecutor);
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(60));
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                // Out of descriptors or a connection that went away: the listener itself is fine.
                Err(_) => { tokio::time::sleep(Duration::from_millis(10)).await; continue }
            },
            () = &mut end => break,
        };
        let _ = stream.set_nodelay(true);
        let handler = handler.clone();
        let service = service_fn(move |request| {
            let reply = handler(request, peer);
            async move { Ok::<_, Infallible>(reply.await) }
        });
        let connection = http.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::task::spawn_local(async move {
            let _ = connection.await;
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
    Ok(())
}

/// Runs HTTP/2 streams on this thread.
#[derive(Clone)]
struct LocalExecutor;

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
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    if let Ok(value) = content_type.parse() {
        reply.headers_mut().insert(http::header::CONTENT_TYPE, value);
    }
    reply
}
