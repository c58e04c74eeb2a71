//! Stands in for `h3poteto/playground-echo-go`: `GET /` answers with its version.
//!
//! `PORT` (8080) is where it listens, `VERSION` is what it says.

use std::process::ExitCode;

use anyhow::Context;
use http::Method;

use crate::{server, setting};

pub(crate) fn run(_arguments: Vec<String>) -> anyhow::Result<ExitCode> {
    let port = match setting("PORT") {
        Some(port) => port
            .parse()
            .with_context(|| format!("PORT: {port:?} is not a port"))?,
        None => 8080,
    };
    let greeting = format!(
        "Hello, World!, version: {}",
        setting("VERSION").unwrap_or_default()
    );
    server::serve(&[port], move |request, _peer| {
        let reply = match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/") => server::text(200, greeting.clone()),
            (_, "/") => server::reply(405, "application/json", r#"{"message":"Method Not Allowed"}"#),
            _ => server::reply(404, "application/json", r#"{"message":"Not Found"}"#),
        };
        std::future::ready(reply)
    })
}
