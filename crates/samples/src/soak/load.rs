//! `soak-load http|grpc RATE AUTHORITY [VERSION]`: that many calls a second until it is ended, over connections that
//! are kept. With `VERSION` each call says `x-version: VERSION`, and the answer must begin with `backend-VERSION`.
//! `soak-load streams COUNT AUTHORITY` keeps that many streams of gRPC, `soak-load certificates AUTHORITY` watches which
//! certificate a server shows, and `soak-load tap ADDRESS WORD SECONDS` what passes on the network; they have files of
//! their own.
//!
//! A line of JSON for each call that failed, and one a second with the sums. What fails before the first answer does
//! not count: a program may begin before its proxy.

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use super::{METHOD, VERSION, certificates, frame, streams, tap};
use crate::server::LocalExecutor;

/// Callers, each with a connection of its own.
const CALLERS: u32 = 8;
const PATIENCE: Duration = Duration::from_secs(10);
const LARGEST: usize = 64 * 1024;

struct Load {
    grpc: bool,
    authority: String,
    version: Option<String>,
    answered: Cell<u64>,
    failed: Cell<u64>,
}

pub(crate) fn run(arguments: Vec<String>) -> Result<ExitCode> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["streams", count, authority] => return streams::run(count, authority),
        ["certificates", authority] => return certificates::run(authority),
        ["tap", address, word, seconds] => return tap::run(address, word, seconds),
        _ => {}
    }
    let [kind @ ("http" | "grpc"), rate, authority, version @ ..] = words.as_slice() else {
        bail!(
            "usage: soak-load http|grpc RATE AUTHORITY [VERSION] | streams COUNT AUTHORITY | certificates AUTHORITY | \
             tap ADDRESS WORD SECONDS"
        );
    };
    let rate: u32 = rate.parse().context("RATE is a number of calls a second")?;
    ensure!(rate > 0, "RATE is at least 1");
    let load = Rc::new(Load {
        grpc: *kind == "grpc",
        authority: (*authority).to_owned(),
        version: version.first().map(|version| (*version).to_owned()),
        answered: Cell::new(0),
        failed: Cell::new(0),
    });
    crate::block_on(LocalSet::new().run_until(async move {
        for caller in 0..CALLERS {
            let pause = Duration::from_secs(1) * CALLERS / rate;
            tokio::task::spawn_local(load.clone().call_for_ever(pause, pause * caller / CALLERS));
        }
        let mut second = tokio::time::interval(Duration::from_secs(1));
        let mut terminate = signal(SignalKind::terminate())?;
        loop {
            tokio::select! {
                _ = second.tick() => load.tell(),
                _ = terminate.recv() => break,
            }
        }
        load.tell();
        Ok(())
    }))?;
    Ok(ExitCode::SUCCESS)
}

impl Load {
    fn tell(&self) {
        println!(
            "{}",
            json!({"answered": self.answered.get(), "failed": self.failed.get()})
        );
    }

    async fn call_for_ever(self: Rc<Self>, pause: Duration, first: Duration) {
        tokio::time::sleep(first).await;
        let mut turn = tokio::time::interval(pause);
        let mut connection = None;
        loop {
            turn.tick().await;
            let begun = Instant::now();
            let outcome = match tokio::time::timeout(PATIENCE, self.call(&mut connection)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(anyhow::anyhow!("no answer in time")),
            };
            match outcome {
                Ok(()) => self.answered.set(self.answered.get() + 1),
                Err(_) if self.answered.get() == 0 => connection = None,
                Err(error) => {
                    connection = None;
                    self.failed.set(self.failed.get() + 1);
                    let took = begun.elapsed().as_millis();
                    println!(
                        "{}",
                        json!({"failure": format!("{error:#}"), "milliseconds": took})
                    );
                }
            }
        }
    }

    async fn call(&self, connection: &mut Option<Connection>) -> Result<()> {
        // A connection that was closed between two calls is replaced.
        let kept = match connection.take() {
            Some(mut kept) => kept.is_open().await.then_some(kept),
            None => None,
        };
        let mut open = match kept {
            Some(kept) => kept,
            None => Connection::open(&self.authority, self.grpc).await?,
        };
        let (status, headers, body, trailers) = open.send(self.request()?).await?;
        *connection = Some(open);
        let said = String::from_utf8_lossy(&body).into_owned();
        if self.grpc {
            let status = trailers.get("grpc-status").or(headers.get("grpc-status"));
            let message = headers.get("grpc-message");
            ensure!(
                status.is_some_and(|status| status == "0"),
                "grpc-status {status:?} {message:?}"
            );
        }
        ensure!(status == 200, "status {status}: {said}");
        if let Some(version) = &self.version {
            let wanted = format!("backend-{version}");
            let said = if self.grpc {
                said.get(5..).unwrap_or_default()
            } else {
                &said
            };
            ensure!(
                said.starts_with(&wanted),
                "misrouted to {said:?} instead of {wanted}"
            );
        }
        Ok(())
    }

    fn request(&self) -> Result<Request<Full<Bytes>>> {
        let mut request = match self.grpc {
            true => Request::post(format!("http://{}{METHOD}", self.authority))
                .header("content-type", "application/grpc")
                .header("te", "trailers"),
            false => Request::get("/").header("host", &self.authority),
        };
        if let Some(version) = &self.version {
            request = request.header(VERSION, version);
        }
        let body = if self.grpc { frame(b"hello") } else { Bytes::new() };
        Ok(request.body(Full::new(body))?)
    }
}

enum Connection {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    async fn open(authority: &str, http2: bool) -> Result<Self> {
        let stream = TcpStream::connect(authority).await.context("connect")?;
        stream.set_nodelay(true)?;
        let io = TokioIo::new(stream);
        if http2 {
            let (send, connection) = http2::handshake(LocalExecutor, io).await?;
            tokio::task::spawn_local(connection);
            return Ok(Self::Http2(send));
        }
        let (send, connection) = http1::handshake(io).await?;
        tokio::task::spawn_local(connection);
        Ok(Self::Http1(send))
    }

    async fn is_open(&mut self) -> bool {
        match self {
            Self::Http1(send) => send.ready().await.is_ok(),
            Self::Http2(send) => send.ready().await.is_ok(),
        }
    }

    /// Status, headers, body and trailers.
    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<(u16, HeaderMap, Bytes, HeaderMap)> {
        let response: http::Response<Incoming> = match self {
            Self::Http1(send) => send.send_request(request).await?,
            Self::Http2(send) => send.send_request(request).await?,
        };
        let (head, body) = response.into_parts();
        let body = Limited::new(body, LARGEST).collect().await;
        let body = body.map_err(anyhow::Error::from_boxed)?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        Ok((head.status.as_u16(), head.headers, body.to_bytes(), trailers))
    }
}
