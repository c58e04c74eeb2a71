//! Stands in for Istio's ext-authz: decides about requests of others. `x-ext-authz: allow` lets one pass, anything else
//! there denies it; over gRPC, one without the header passes if the caller's certificate is for a chosen service account.
//!
//! `ext-authz -http 8000 -grpc 9000 -allow_service_account a`. Decisions tell what was seen in
//! `x-ext-authz-check-received`. Bodies are bounded.

mod attributes;
mod wire;

use std::process::ExitCode;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;

use crate::server::{self, Reply, with_header};
use attributes::Attributes;

const CHECK: &str = "x-ext-authz";
const ALLOW: &str = "allow";
const RESULT: &str = "x-ext-authz-check-result";
const RECEIVED: &str = "x-ext-authz-check-received";
const OVERRIDE: &str = "x-ext-authz-additional-header-override";
const OVERRIDE_OF_GRPC: &str = "grpc-additional-header-override-value";
const DENIED: &str = "denied by ext_authz for not found header `x-ext-authz: allow` in the request";
/// Proxies take heads of 60 KiB; what is longer is not told in a header.
const LONGEST_TOLD: usize = 60_000;
/// Most bytes that are read of a question.
const LONGEST_QUESTION: usize = 4 << 20;
const METHODS: [&str; 2] = [
    "/envoy.service.auth.v3.Authorization/Check",
    "/envoy.service.auth.v2.Authorization/Check",
];
/// Statuses of gRPC.
const INVALID_ARGUMENT: u16 = 3;
const UNIMPLEMENTED: u16 = 12;

struct Options {
    http: u16,
    grpc: u16,
    service_account: String,
}

pub(crate) fn run(arguments: Vec<String>) -> anyhow::Result<ExitCode> {
    let options = options(&arguments)?;
    let account = options.service_account;
    server::serve(&[options.http, options.grpc], move |request, peer| {
        let account = account.clone();
        async move {
            match peer.port == options.grpc {
                true => over_grpc(request, &account).await,
                false => over_http(request).await,
            }
        }
    })
}

/// Flags as Go's programs take them.
fn options(arguments: &[String]) -> anyhow::Result<Options> {
    let mut options = Options {
        http: 8000,
        grpc: 9000,
        service_account: "a".to_owned(),
    };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let flag = argument.trim_start_matches('-');
        let (flag, value) = match flag.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (flag, None),
        };
        let value = value.or_else(|| arguments.next().cloned());
        let value = value.with_context(|| format!("flag needs an argument: -{flag}"))?;
        let port = || value.parse().with_context(|| format!("{value:?} is not a port"));
        match flag {
            "http" => options.http = port()?,
            "grpc" => options.grpc = port()?,
            "allow_service_account" => options.service_account = value,
            other => bail!("flag provided but not defined: -{other}"),
        }
    }
    Ok(options)
}

async fn over_http(request: Request<Incoming>) -> Reply {
    let (head, body) = request.into_parts();
    let body = read(body).await.unwrap_or_default();
    let host = head.headers.get("host").or(head.headers.get(":authority"));
    let host = host.map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    let host = host.or_else(|| head.uri.authority().map(ToString::to_string));
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let told = format!(
        "{} {}{path}, headers: {}, body: [{}]",
        head.method,
        host.unwrap_or_default(),
        told_headers(&head.headers),
        not_too_long(String::from_utf8_lossy(&body).into_owned())
    );
    let allowed = head.headers.get(CHECK).is_some_and(|value| value == ALLOW);
    println!("[HTTP][{}]: {told}", result(allowed));
    let over = head.headers.get(OVERRIDE).and_then(|value| value.to_str().ok());
    let reply = match allowed {
        true => server::reply(200, "", Bytes::new()),
        false => server::text(403, DENIED),
    };
    let reply = with_header(reply, RESULT, result(allowed));
    let reply = with_header(reply, OVERRIDE, over.unwrap_or_default());
    with_header(reply, RECEIVED, &one_line(&told))
}

async fn over_grpc(request: Request<Incoming>, account: &str) -> Reply {
    let known = METHODS.contains(&request.uri().path());
    let body = read(request.into_body()).await;
    let question = body.as_deref().and_then(wire::unframed);
    match question.and_then(Attributes::of_question) {
        _ if !known => grpc_reply(UNIMPLEMENTED, None),
        None => grpc_reply(INVALID_ARGUMENT, None),
        Some(attributes) => {
            let allowed = decide(&attributes, account);
            let told = attributes.to_string();
            println!(
                "[gRPC][{}]: {}{}, attributes: {told}",
                result(allowed),
                attributes.host,
                attributes.path
            );
            grpc_reply(0, Some(answer(allowed, &not_too_long(told))))
        }
    }
}

/// The header decides; without it, whose certificate it is.
fn decide(attributes: &Attributes, account: &str) -> bool {
    match attributes.header(CHECK) {
        Some(value) => value == ALLOW,
        None => attributes
            .source
            .as_ref()
            .is_some_and(|source| source.principal.ends_with(&format!("/sa/{account}"))),
    }
}

/// `CheckResponse`.
fn answer(allowed: bool, told: &str) -> Vec<u8> {
    let headers = [
        (RESULT, result(allowed)),
        (RECEIVED, told),
        (OVERRIDE, OVERRIDE_OF_GRPC),
    ];
    let mut response = Vec::new();
    if !allowed {
        // HttpStatus, 403.
        wire::bytes(&mut response, 1, &wire::number(1, 403));
    }
    for (name, value) in headers {
        let mut header = Vec::new();
        wire::bytes(&mut header, 1, name.as_bytes());
        wire::bytes(&mut header, 2, value.as_bytes());
        let mut option = Vec::new();
        wire::bytes(&mut option, 1, &header);
        wire::bytes(&mut response, 2, &option);
    }
    let mut message = Vec::new();
    if allowed {
        wire::bytes(&mut message, 1, &[]);
        wire::bytes(&mut message, 3, &response);
    } else {
        wire::bytes(&mut response, 3, DENIED.as_bytes());
        // PERMISSION_DENIED.
        wire::bytes(&mut message, 1, &wire::number(1, 7));
        wire::bytes(&mut message, 2, &response);
    }
    message
}

fn grpc_reply(status: u16, message: Option<Vec<u8>>) -> Reply {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.into());
    let body = Full::new(message.map_or_else(Bytes::new, |message| wire::framed(&message).into()));
    let body = body.with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut reply = http::Response::new(body.boxed_unsync());
    *reply.status_mut() = StatusCode::OK;
    reply
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("application/grpc"));
    reply
}

/// `None` for a body that is too long, or does not come to its end.
async fn read(body: Incoming) -> Option<Bytes> {
    let body = Limited::new(body, LONGEST_QUESTION).collect().await;
    body.ok().map(http_body_util::Collected::to_bytes)
}

fn result(allowed: bool) -> &'static str {
    if allowed { "allowed" } else { "denied" }
}

fn not_too_long(text: String) -> String {
    if text.len() > LONGEST_TOLD {
        "<too-long>".to_owned()
    } else {
        text
    }
}

/// What a header can hold.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}

/// As Go prints them: `map[A:[1] B:[2 3]]`.
fn told_headers(headers: &HeaderMap) -> String {
    let mut names: Vec<&HeaderName> = headers.keys().filter(|name| *name != "host").collect();
    names.sort_by_key(|name| name.as_str());
    let fields: Vec<_> = names
        .into_iter()
        .map(|name| {
            let values = headers.get_all(name).iter();
            let values: Vec<_> = values
                .map(|value| String::from_utf8_lossy(value.as_bytes()))
                .collect();
            format!("{}:[{}]", canonical(name.as_str()), values.join(" "))
        })
        .collect();
    format!("map[{}]", fields.join(" "))
}

/// `x-ext-authz` → `X-Ext-Authz`.
fn canonical(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    });
    words.collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests;
