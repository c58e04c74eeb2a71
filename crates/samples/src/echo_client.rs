//! Stands in for `h3poteto/playground-echo-client`: every three seconds it calls the server and prints the body.
//!
//! `SERVER_HOST` and `SERVER_PORT` say whom to call. Each call is a connection of its own.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};

use crate::setting;

const INTERVAL: Duration = Duration::from_secs(3);
const LIMIT: Duration = Duration::from_secs(10);

pub(crate) fn run(_arguments: Vec<String>) -> anyhow::Result<ExitCode> {
    let host = setting("SERVER_HOST").context("SERVER_HOST is not set")?;
    let port: u16 = setting("SERVER_PORT")
        .context("SERVER_PORT is not set")?
        .parse()
        .context("SERVER_PORT is not a port")?;
    crate::block_on(async move {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
            }
            match tokio::time::timeout(LIMIT, call(&host, port)).await {
                Ok(Ok(body)) => println!("{body}"),
                Ok(Err(error)) => eprintln!("call failed: {error:#}"),
                Err(_) => eprintln!("call failed: no answer in {} s", LIMIT.as_secs()),
            }
        }
    })
}

async fn call(host: &str, port: u16) -> anyhow::Result<String> {
    let stream = TcpStream::connect((host, port))
        .await
        .with_context(|| format!("connect to {host}:{port}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/")
        .header(header::HOST, format!("{host}:{port}"))
        .header(header::USER_AGENT, "Go-http-client/1.1")
        .body(Empty::<Bytes>::new())?;
    let exchange = async move {
        let reply = sender.send_request(request).await?;
        let body = reply.into_body().collect().await?.to_bytes();
        anyhow::Ok(String::from_utf8_lossy(&body).trim_end().to_owned())
    };
    // The exchange owns the sender, so the connection ends with it.
    let (body, _closed) = tokio::join!(exchange, connection);
    body
}
