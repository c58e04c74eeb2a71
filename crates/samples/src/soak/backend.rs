//! `soak-backend`: HTTP/1.1, h2c and gRPC on ports 9090 and 9091; each answer is `NAME`, and a stream of gRPC gives back
//! what comes for as long as its caller likes. At SIGTERM it ends at once, without closing anything, as a program without
//! a handler does.

use std::process::ExitCode;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use super::{METHOD, STREAM, frame};
use crate::server::{LocalExecutor, listen};
use crate::setting;

const PORTS: [u16; 2] = [9090, 9091];

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, hyper::Error>;

pub(crate) fn run(_arguments: Vec<String>) -> anyhow::Result<ExitCode> {
    let name = Bytes::from(setting("NAME").unwrap_or_else(|| "backend".to_owned()));
    crate::block_on(LocalSet::new().run_until(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::task::spawn_local(async move {
            terminate.recv().await;
            std::process::exit(0);
        });
        let listeners = listen(&PORTS).await?;
        let [http, grpc] = listeners.as_slice() else {
            anyhow::bail!("two ports were asked for");
        };
        tokio::try_join!(accept(http, &name), accept(grpc, &name))?;
        Ok(())
    }))?;
    Ok(ExitCode::SUCCESS)
}

async fn accept(listener: &TcpListener, name: &Bytes) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let name = name.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| std::future::ready(answer(request, name.clone())));
            let mut http = auto::Builder::new(LocalExecutor);
            // A call is answered before the rest of it is there. The library holds that against the caller, and ends a
            // connection with everything on it for the thousandth time.
            http.http2().max_local_error_reset_streams(None);
            // An error is the caller's.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Ready at once: between reading a request and writing its answer nothing else happens, also not the end.
fn answer(request: Request<Incoming>, name: Bytes) -> Result<Response<Body>, hyper::Error> {
    match request.uri().path() {
        METHOD => Ok(of_one_message(&name)),
        STREAM => {
            let mut response = Response::new(request.into_body().boxed_unsync());
            let kind = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert("content-type", kind);
            Ok(response)
        }
        _ => Ok(Response::new(whole(name))),
    }
}

fn whole(body: Bytes) -> Body {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

fn of_one_message(name: &[u8]) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(frame(name)).map_err(|never| match never {});
    let body = body.with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(body.boxed_unsync());
    response
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}
