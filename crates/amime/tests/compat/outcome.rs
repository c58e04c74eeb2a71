//! An outcome as a flat list of named values, without what must differ from call to call.

use std::collections::BTreeMap;

use serde_json::Value;

/// `status`, `header.server`, `upstream.path`, `upstream.header.x-forwarded-proto` …
pub(crate) type Outcome = BTreeMap<String, String>;

/// Header fields whose values are of the moment; that they are there is compared.
const OF_THE_MOMENT: [&str; 7] = [
    "x-envoy-upstream-service-time",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "traceparent",
    "x-client-trace-id",
    "x-envoy-original-dst-host",
];
/// Our own mark, and the moment itself.
const LEFT_OUT: [&str; 2] = ["x-call", "date"];

/// `arrived` is what backends told of this call.
pub(crate) fn of(told: &Value, arrived: &[&Value]) -> Outcome {
    let mut outcome = Outcome::new();
    let mut put = |name: &str, value: String| outcome.insert(name.to_owned(), value);
    for field in ["status", "error", "version"] {
        if !told[field].is_null() {
            put(field, plain(&told[field]));
        }
    }
    let body = told["body"].as_str().unwrap_or_default();
    let mut lines: Vec<&str> = told["lines"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let upstream = if told["lines"].as_array().is_some_and(|lines| !lines.is_empty()) && body.is_empty() {
        let first = lines.first().and_then(|line| telling(line));
        if first.is_some() {
            lines[0] = "<told>";
        }
        first
    } else {
        telling(body)
    };
    // Who speaks first on an opaque connection says its name alone.
    if let Some(name) = lines.first().copied().filter(|name| application(name) != *name) {
        put("upstream", name.to_owned());
        lines[0] = application(name);
    }
    match (&upstream, body) {
        (Some(_), _) | (None, "") => {}
        (None, text) => drop(put("body", text.to_owned())),
    }
    if !lines.is_empty() {
        let lines: Vec<_> = lines.into_iter().map(without_caller).collect();
        put("lines", lines.join(" / "));
    }
    if told["sequence"].is_null() {
        put("arrivals", arrived.len().to_string());
        let mut attempts: Vec<String> = arrived.iter().map(|record| attempt(record)).collect();
        attempts.sort();
        put("attempts", attempts.join(" "));
    }
    put_fields(&mut outcome, "header", &told["headers"], upstream.is_some());
    put_fields(&mut outcome, "trailer", &told["trailers"], false);
    if let Some(upstream) = upstream {
        put_upstream(&mut outcome, &upstream);
    }
    outcome
}

/// What a backend told, if this is that.
fn telling(text: &str) -> Option<Value> {
    let told: Value = serde_json::from_str(text).ok()?;
    (told.get("name").is_some() && told.get("headers").is_some()).then_some(told)
}

fn attempt(record: &Value) -> String {
    let number = record["attempt"].as_str().unwrap_or("-");
    format!(
        "{}#{number}",
        application(record["name"].as_str().unwrap_or_default())
    )
}

/// Without the version: which of equals is chosen is chance.
pub(crate) fn application(name: &str) -> &str {
    name.rsplit_once("-v")
        .map_or(name, |(application, _)| application)
}

fn put_upstream(outcome: &mut Outcome, upstream: &Value) {
    for field in [
        "name",
        "method",
        "path",
        "authority",
        "version",
        "tls",
        "proxy_protocol",
        "body_length",
        "trailers",
    ] {
        if let Some(value) = upstream.get(field).filter(|value| !value.is_null()) {
            let name = if field == "name" {
                "upstream".to_owned()
            } else {
                format!("upstream.{field}")
            };
            outcome.insert(name, plain(value));
        }
    }
    put_fields(outcome, "upstream.header", &upstream["headers"], false);
}

fn put_fields(outcome: &mut Outcome, prefix: &str, fields: &Value, told: bool) {
    for (name, values) in fields.as_object().into_iter().flatten() {
        if LEFT_OUT.contains(&name.as_str()) {
            continue;
        }
        let values: Vec<&str> = values
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let value = values.join(" | ");
        let value = match name.as_str() {
            // What a backend tells has names of its own in it.
            "content-length" if told => "<length>".to_owned(),
            name if OF_THE_MOMENT.contains(&name) => "<of the moment>".to_owned(),
            "x-request-id" if is_uuid(&value) => "<uuid>".to_owned(),
            "set-cookie" => without_hashes(&value),
            "x-forwarded-client-cert" => without_fingerprints(&value),
            _ => value,
        };
        outcome.insert(format!("{prefix}.{name}"), value);
    }
}

/// `PROXY TCP4 CALLER DESTINATION PORT PORT` without the caller's address and port.
fn without_caller(line: &str) -> String {
    match line.split(' ').collect::<Vec<_>>().as_slice() {
        [word @ "PROXY", family, _, destination, _, port] => {
            format!("{word} {family} <caller> {destination} <port> {port}")
        }
        _ => line.to_owned(),
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text
            .chars()
            .all(|letter| letter == '-' || letter.is_ascii_hexdigit())
}

/// A generated cookie is a hash of the connection's addresses.
fn without_hashes(text: &str) -> String {
    let is_hash = |part: &str| part.len() == 16 && part.chars().all(|letter| letter.is_ascii_hexdigit());
    let parts = text
        .split('"')
        .map(|part| if is_hash(part) { "<hash>" } else { part });
    parts.collect::<Vec<_>>().join("\"")
}

/// `Hash=` of a client's certificate, of which every workload has its own.
fn without_fingerprints(text: &str) -> String {
    let parts = text.split(';').map(|part| match part.strip_prefix("Hash=") {
        Some(hash) if hash.len() == 64 => "Hash=<hash>",
        _ => part,
    });
    parts.collect::<Vec<_>>().join(";")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
