//! Stands in for go-httpbin: answers that tell the caller what it sent, and replies made to order.
//!
//! `-port` or `PORT` (8080) is where it listens. Bodies are echoed up to 1 MiB, as the original's default.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use crate::server::{self, Reply};
use crate::setting;

const LARGEST_BODY: usize = 16 << 20;
const LONGEST_DELAY: Duration = Duration::from_secs(10);

pub(crate) fn run(arguments: Vec<String>) -> anyhow::Result<ExitCode> {
    let flag = arguments
        .windows(2)
        .find(|pair| pair[0] == "-port" || pair[0] == "--port");
    let port = match flag.map(|pair| pair[1].clone()).or_else(|| setting("PORT")) {
        Some(port) => port.parse().with_context(|| format!("{port:?} is not a port"))?,
        None => 8080,
    };
    server::serve(port, answer)
}

async fn answer(request: Request<Incoming>, peer: SocketAddr) -> Reply {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, LARGEST_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return server::text(413, "request body too large"),
    };
    let call = Call {
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        authority: head.uri.authority().map(ToString::to_string),
        body,
        peer,
    };
    route(&call).await
}

/// One request, whole.
struct Call {
    method: String,
    path: String,
    query: String,
    headers: HeaderMap,
    /// `:authority` of HTTP/2.
    authority: Option<String>,
    body: Bytes,
    peer: SocketAddr,
}

async fn route(call: &Call) -> Reply {
    let parts: Vec<&str> = call.path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        [""] => server::reply(
            200,
            "text/html; charset=utf-8",
            "<h1>httpbin</h1><p>Amime's sample httpbin.</p>",
        ),
        ["get"] => only(call, &["GET", "HEAD"], told),
        ["post"] => only(call, &["POST"], told),
        ["put"] => only(call, &["PUT"], told),
        ["patch"] => only(call, &["PATCH"], told),
        ["delete"] => only(call, &["DELETE"], told),
        ["anything", ..] => json_reply(&told(call)),
        ["headers"] => json_reply(&json!({"headers": headers(call)})),
        ["ip"] => json_reply(&json!({"origin": origin(call)})),
        ["user-agent"] => json_reply(&json!({"user-agent": call.header("user-agent")})),
        ["hostname"] => json_reply(&json!({"hostname": setting("HOSTNAME").unwrap_or_default()})),
        ["uuid"] => json_reply(&json!({"uuid": uuid(rand::random())})),
        ["json"] => json_reply(&json!({"slideshow": {"title": "Sample Slide Show", "slides": []}})),
        ["html"] => server::reply(
            200,
            "text/html; charset=utf-8",
            "<h1>Herman Melville - Moby-Dick</h1>",
        ),
        ["robots.txt"] => server::text(200, "User-agent: *\nDisallow: /deny\n"),
        ["status", codes] => status(codes),
        ["delay", seconds] => delayed(call, seconds).await,
        ["bytes", count] => bytes(count),
        ["redirect" | "relative-redirect" | "absolute-redirect", count] => redirect(count),
        ["response-headers"] => response_headers(call),
        ["basic-auth", user, password] => basic_auth(call, user, password),
        ["bearer"] => bearer(call),
        ["cookies"] => json_reply(&json!({"cookies": cookies(call)})),
        _ => server::reply(
            404,
            "application/json; charset=utf-8",
            r#"{"status_code":404,"error":"Not Found"}"#,
        ),
    }
}

impl Call {
    fn header(&self, name: &str) -> String {
        let value = self
            .headers
            .get(name)
            .map(|value| String::from_utf8_lossy(value.as_bytes()));
        value.unwrap_or_default().into_owned()
    }
}

fn only(call: &Call, methods: &[&str], answer: fn(&Call) -> Value) -> Reply {
    if methods.contains(&call.method.as_str()) {
        return json_reply(&answer(call));
    }
    server::reply(
        405,
        "application/json; charset=utf-8",
        r#"{"status_code":405,"error":"Method Not Allowed"}"#,
    )
}

fn json_reply(value: &Value) -> Reply {
    let text = serde_json::to_string_pretty(value).unwrap_or_default() + "\n";
    server::reply(200, "application/json; charset=utf-8", text)
}

/// What the caller sent.
fn told(call: &Call) -> Value {
    let mut told = json!({
        "args": arguments(&call.query),
        "headers": headers(call),
        "method": call.method,
        "origin": origin(call),
        "url": format!("http://{}{}", host(call), target(call)),
    });
    if !call.body.is_empty() {
        let text = String::from_utf8_lossy(&call.body);
        let is_form = call
            .header("content-type")
            .starts_with("application/x-www-form-urlencoded");
        told["data"] = json!(if is_form { "" } else { &text });
        told["form"] = if is_form { arguments(&text) } else { json!({}) };
        told["json"] = serde_json::from_slice(&call.body).unwrap_or(Value::Null);
    }
    told
}

fn target(call: &Call) -> String {
    if call.query.is_empty() {
        call.path.clone()
    } else {
        format!("{}?{}", call.path, call.query)
    }
}

fn host(call: &Call) -> String {
    call.authority.clone().unwrap_or_else(|| call.header("host"))
}

/// Every header with the list of its values, names as Go prints them.
fn headers(call: &Call) -> Value {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in &call.headers {
        all.entry(canonical(name.as_str()))
            .or_default()
            .push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    all.entry("Host".to_owned()).or_insert_with(|| vec![host(call)]);
    json!(all)
}

/// `x-request-id` → `X-Request-Id`.
fn canonical(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters
            .next()
            .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
            .unwrap_or_default()
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}

fn origin(call: &Call) -> String {
    let forwarded = call.header("x-forwarded-for");
    let first = forwarded
        .split(',')
        .next()
        .map(str::trim)
        .filter(|first| !first.is_empty());
    first.map_or_else(|| call.peer.ip().to_string(), str::to_owned)
}

fn arguments(query: &str) -> Value {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        all.entry(decoded(name)).or_default().push(decoded(value));
    }
    json!(all)
}

/// `%41+b` → `A b`; what is not an escape stays.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes
            .get(at + 1..at + 3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match (
            bytes[at],
            escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()),
        ) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn uuid(random: u128) -> String {
    // Version 4, variant 1 (RFC 9562).
    let bits = (random & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// `/status/503` or `/status/200:0.9,503:0.1`.
fn status(codes: &str) -> Reply {
    let choices: Option<Vec<(u16, f64)>> = codes
        .split(',')
        .map(|choice| {
            let (code, weight) = choice.split_once(':').unwrap_or((choice, "1"));
            let code = code.parse().ok().filter(|code| (200..600).contains(code))?;
            Some((code, weight.parse().ok().filter(|weight: &f64| *weight >= 0.0)?))
        })
        .collect();
    let Some(choices) = choices else {
        return server::text(400, "invalid status code");
    };
    let sum: f64 = choices.iter().map(|(_, weight)| weight).sum();
    let mut left = rand::random::<f64>() * sum;
    for (code, weight) in &choices {
        left -= weight;
        if left < 0.0 {
            return server::text(*code, "");
        }
    }
    server::text(choices.last().map_or(200, |(code, _)| *code), "")
}

async fn delayed(call: &Call, seconds: &str) -> Reply {
    let delay = seconds
        .trim_end_matches('s')
        .parse()
        .ok()
        .and_then(|s: f64| Duration::try_from_secs_f64(s).ok());
    let Some(delay) = delay else {
        return server::text(400, "invalid duration");
    };
    tokio::time::sleep(delay.min(LONGEST_DELAY)).await;
    json_reply(&told(call))
}

fn bytes(count: &str) -> Reply {
    let Ok(count) = count.parse::<usize>() else {
        return server::text(400, "invalid byte count");
    };
    let body: Vec<u8> = (0..count.min(100 * 1024)).map(|_| rand::random()).collect();
    server::reply(200, "application/octet-stream", body)
}

fn redirect(count: &str) -> Reply {
    let Some(count) = count.parse::<u32>().ok().filter(|count| *count > 0) else {
        return server::text(400, "invalid redirect count");
    };
    let next = if count == 1 {
        "/get".to_owned()
    } else {
        format!("/relative-redirect/{}", count - 1)
    };
    with_header(server::text(302, ""), header::LOCATION.as_str(), &next)
}

fn with_header(mut reply: Reply, name: &str, value: &str) -> Reply {
    if let (Ok(name), Ok(value)) = (name.parse::<http::HeaderName>(), value.parse()) {
        reply.headers_mut().append(name, value);
    }
    reply
}

fn response_headers(call: &Call) -> Reply {
    let asked = arguments(&call.query);
    let pairs = asked.as_object().into_iter().flatten();
    let values = |(name, values): (&String, &Value)| {
        let list = values.as_array().cloned().unwrap_or_default();
        list.into_iter()
            .filter_map(|value| Some((name.clone(), value.as_str()?.to_owned())))
            .collect::<Vec<_>>()
    };
    pairs
        .flat_map(values)
        .fold(json_reply(&asked), |reply, (name, value)| {
            with_header(reply, &name, &value)
        })
}

fn basic_auth(call: &Call, user: &str, password: &str) -> Reply {
    use base64::Engine;
    let expected = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    let authorized = call.header("authorization") == format!("Basic {expected}");
    let mut reply = json_reply(&json!({"authorized": authorized, "user": user}));
    if !authorized {
        *reply.status_mut() = http::StatusCode::UNAUTHORIZED;
        reply = with_header(reply, "www-authenticate", "Basic realm=\"Fake Realm\"");
    }
    reply
}

fn bearer(call: &Call) -> Reply {
    match call.header("authorization").strip_prefix("Bearer ") {
        Some(token) => json_reply(&json!({"authenticated": true, "token": token})),
        None => with_header(server::text(401, ""), "www-authenticate", "Bearer"),
    }
}

fn cookies(call: &Call) -> Value {
    let pairs = call.header("cookie");
    let pairs = pairs.split(';').filter_map(|pair| pair.trim().split_once('='));
    Value::Object(
        pairs
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect::<Map<_, _>>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_and_broken_ones_stay() {
        assert_eq!(decoded("a%20b+c%zz%4"), "a b c%zz%4");
        assert_eq!(arguments("a=1&a=2&b"), json!({"a": ["1", "2"], "b": [""]}));
    }

    #[test]
    fn a_uuid_is_of_version_four() {
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn status_refuses_what_is_no_code() {
        assert_eq!(status("503").status(), 503);
        assert_eq!(status("200:0,418:1").status(), 418);
        assert_eq!(status("1000").status(), 400);
        assert_eq!(status("abc").status(), 400);
    }
}
