//! The services of Istio's Bookinfo: productpage asks details and reviews, reviews (from v2 on) asks ratings.
//!
//! `bookinfo SERVICE [PORT]`, port 9080. Settings are the originals' variables. Each call goes over a connection of
//! its own and takes along what belongs to a trace or to a user.

mod details;
mod productpage;
mod ratings;
mod reviews;

use std::process::ExitCode;

use anyhow::{Context, bail};
use http::HeaderMap;
use serde_json::Value;

use crate::server::{self, Reply};
use crate::setting;

const PORT: u16 = 9080;

/// Headers that one service hands on to the next, for traces of every kind and for rules about users.
const HANDED_ON: [&str; 23] = [
    "x-request-id",
    "x-ot-span-context",
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "traceparent",
    "tracestate",
    "x-cloud-trace-context",
    "grpc-trace-bin",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "sw8",
    "end-user",
    "user-agent",
    "cookie",
    "authorization",
    "jwt",
    "x-envoy-force-trace",
    "b3",
    "baggage",
];

pub(crate) fn run(arguments: Vec<String>) -> anyhow::Result<ExitCode> {
    let service = arguments.first().context("usage: bookinfo SERVICE [PORT]")?;
    let port = match arguments.get(1) {
        Some(port) => port.parse().with_context(|| format!("{port:?} is not a port"))?,
        None => PORT,
    };
    match service.as_str() {
        "details" => details::serve(port),
        "ratings" => ratings::serve(port),
        "reviews" => reviews::serve(port),
        "productpage" => productpage::serve(port),
        other => bail!("there is no service {other:?}: details, ratings, reviews, productpage"),
    }
}

/// Where another service is: `details:9080`, unless variables say otherwise.
fn place_of(service: &str) -> String {
    let variable = |suffix: &str| setting(&format!("{}_{suffix}", service.to_uppercase()));
    let host = variable("HOSTNAME").unwrap_or_else(|| service.to_owned());
    let domain = setting("SERVICES_DOMAIN").map(|domain| format!(".{domain}"));
    let port = variable("SERVICE_PORT").unwrap_or_else(|| PORT.to_string());
    format!("{host}{}:{port}", domain.unwrap_or_default())
}

fn handed_on(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for name in HANDED_ON {
        for value in headers.get_all(name) {
            kept.append(name, value.clone());
        }
    }
    kept
}

fn json_reply(status: u16, value: &Value) -> Reply {
    server::reply(status, "application/json", value.to_string())
}

/// The last part of the path as a number: `/reviews/0` → 0.
fn product_id(path: &str) -> Option<i64> {
    path.rsplit('/').next()?.parse().ok()
}
