//! Stands in for `h3poteto/playground-echo-client`: every three seconds it calls the server and prints the body.
//!
//! `SERVER_HOST` and `SERVER_PORT` say whom to call. Each call is a connection of its own.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use http::{HeaderValue, header};
use tokio::signal::unix::{SignalKind, signal};

use crate::{client, setting};

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
            match call(&host, port).await {
                Ok(body) => println!("{body}"),
                Err(error) => eprintln!("call failed: {error:#}"),
            }
        }
    })
}

async fn call(host: &str, port: u16) -> anyhow::Result<String> {
    let headers = [(header::USER_AGENT, HeaderValue::from_static("Go-http-client/1.1"))];
    let answer = client::get(
        &format!("{host}:{port}"),
        "/",
        headers.into_iter().collect(),
        LIMIT,
    )
    .await?;
    Ok(String::from_utf8_lossy(&answer.body).trim_end().to_owned())
}
