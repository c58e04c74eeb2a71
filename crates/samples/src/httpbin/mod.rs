//! Stands in for httpbin, in both of its kinds: answers that tell the caller what it sent, and replies made to order.
//!
//! go-httpbin (`-port` or `PORT`, 8080) gives every header and argument as a list; the Python original (behind
//! `gunicorn`) as one text. Bodies are echoed up to a bound, delays and sizes are bounded too.

mod authenticate;
mod replies;
mod stream;
mod told;

use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Value, json};

use crate::call::Call;
use crate::server::{self, Reply, with_header};
use crate::setting;

/// Whose answers are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Go,
    Python,
}

/// One request, and in whose style it is answered.
struct Asked<'a> {
    call: &'a Call,
    style: Style,
}

pub(crate) fn run(arguments: Vec<String>) -> anyhow::Result<ExitCode> {
    let flag = arguments
        .windows(2)
        .find(|pair| pair[0] == "-port" || pair[0] == "--port");
    let port = match flag.map(|pair| pair[1].clone()).or_else(|| setting("PORT")) {
        Some(port) => port.parse().with_context(|| format!("{port:?} is not a port"))?,
        None => 8080,
    };
    serve(port, Style::Go)
}

pub(crate) fn serve(port: u16, style: Style) -> anyhow::Result<ExitCode> {
    server::serve(&[port], move |request, peer| async move {
        let reply = match Call::read(request, peer).await {
            Ok(call) => answer(&Asked { call: &call, style }).await,
            Err(reply) => reply,
        };
        finish(reply, style)
    })
}

/// What every answer has.
fn finish(reply: Reply, style: Style) -> Reply {
    let reply = match style {
        Style::Go => reply,
        Style::Python => with_header(reply, "server", "gunicorn/19.9.0"),
    };
    let reply = with_header(reply, "access-control-allow-origin", "*");
    with_header(reply, "access-control-allow-credentials", "true")
}

async fn answer(asked: &Asked<'_>) -> Reply {
    let call = asked.call;
    if call.method == "OPTIONS" {
        let reply = server::text(200, "");
        let methods = "GET, POST, HEAD, PUT, DELETE, PATCH, OPTIONS";
        return with_header(
            with_header(reply, "access-control-allow-methods", methods),
            "access-control-max-age",
            "3600",
        );
    }
    let parts: Vec<&str> = call.path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        [""] => replies::page(
            "httpbin",
            "<p>Amime's sample httpbin: ask for /headers, /status/418, /delay/2 …</p>",
        ),
        ["get"] => asked.only(&["GET", "HEAD"]),
        ["head"] => asked.only(&["HEAD"]),
        ["post"] => asked.only(&["POST"]),
        ["put"] => asked.only(&["PUT"]),
        ["patch"] => asked.only(&["PATCH"]),
        ["delete"] => asked.only(&["DELETE"]),
        ["anything", ..] => json_reply(&told::everything(asked)),
        ["headers"] => json_reply(&json!({"headers": told::headers(asked)})),
        ["ip"] => json_reply(&json!({"origin": told::origin(call)})),
        ["user-agent"] => json_reply(&json!({"user-agent": call.header("user-agent")})),
        ["hostname"] => json_reply(&json!({"hostname": setting("HOSTNAME").unwrap_or_default()})),
        ["dump", "request"] => server::text(200, told::dump(call)),
        ["delay", seconds] => stream::delayed(asked, seconds).await,
        ["drip"] => stream::drip(call).await,
        ["stream", lines] => stream::lines(asked, lines),
        ["sse"] => stream::events(call),
        ["basic-auth", user, password] => authenticate::basic(call, user, password, false),
        ["hidden-basic-auth", user, password] => authenticate::basic(call, user, password, true),
        ["bearer"] => authenticate::bearer(call),
        ["cookies", rest @ ..] => authenticate::cookies(asked, rest),
        rest => replies::made_to_order(call, rest),
    }
}

impl Asked<'_> {
    fn only(&self, methods: &[&str]) -> Reply {
        if methods.contains(&self.call.method.as_str()) {
            json_reply(&told::everything(self))
        } else {
            with_header(error(405, ""), "allow", &methods.join(", "))
        }
    }
}

fn json_reply(value: &Value) -> Reply {
    json_with(200, value)
}

fn json_with(status: u16, value: &Value) -> Reply {
    let text = serde_json::to_string_pretty(value).unwrap_or_default() + "\n";
    server::reply(status, "application/json; charset=utf-8", text)
}

/// What is wrong, as JSON.
fn error(status: u16, detail: &str) -> Reply {
    let reason = http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason());
    let mut told = json!({"status_code": status, "error": reason.unwrap_or_default()});
    if !detail.is_empty() {
        told["detail"] = json!(detail);
    }
    json_with(status, &told)
}
