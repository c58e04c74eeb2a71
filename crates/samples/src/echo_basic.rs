//! Stands in for the Gateway API's echo-basic: each answer tells what arrived, and where.
//!
//! HTTP on `HTTP_PORT` (3000), h2c on `H2C_PORT` (3001); `NAMESPACE`, `INGRESS_NAME`, `SERVICE_NAME` and `POD_NAME`
//! are told as they are. TLS, WebSocket and gRPC of the original have no stand-in, and asking for them says so.

use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use http::Version;
use serde_json::{Value, json};

use crate::call::{Call, canonical};
use crate::server::{self, Reply, with_header};
use crate::setting;

const LONGEST_DELAY: Duration = Duration::from_secs(60);

struct Place {
    h2c_port: u16,
    context: Value,
}

pub(crate) fn run(_arguments: Vec<String>) -> anyhow::Result<ExitCode> {
    for variable in ["GRPC_ECHO_SERVER", "TCP_ECHO_SERVER", "UDP_ECHO_SERVER"] {
        if setting(variable).is_some() {
            bail!("{variable}: this stand-in answers HTTP only");
        }
    }
    if setting("TLS_SERVER_CERT").is_some() || setting("TLS_CLIENT_CERT").is_some() {
        eprintln!("TLS is left out by this stand-in: nothing listens on HTTPS_PORT");
    }
    let http_port = port("HTTP_PORT", 3000)?;
    let value = |name| setting(name).unwrap_or_default();
    let place = Rc::new(Place {
        h2c_port: port("H2C_PORT", 3001)?,
        context: json!({
            "namespace": value("NAMESPACE"),
            "ingress": value("INGRESS_NAME"),
            "service": value("SERVICE_NAME"),
            "pod": value("POD_NAME"),
        }),
    });
    server::serve(&[http_port, place.h2c_port], move |request, peer| {
        let place = place.clone();
        async move {
            match Call::read(request, peer).await {
                Ok(call) => answer(&place, &call).await,
                Err(reply) => reply,
            }
        }
    })
}

fn port(variable: &str, default: u16) -> anyhow::Result<u16> {
    match setting(variable) {
        Some(port) => port
            .parse()
            .with_context(|| format!("{variable}: {port:?} is not a port")),
        None => Ok(default),
    }
}

async fn answer(place: &Place, call: &Call) -> Reply {
    if call.peer.port == place.h2c_port && call.version != Version::HTTP_2 {
        return server::text(400, "Expected h2c request");
    }
    let path = call.path.replace("//", "/");
    if path == "/health" && call.peer.port != place.h2c_port {
        return server::text(200, "OK");
    }
    if let Some(code) = path
        .strip_prefix("/status/")
        .filter(|_| call.peer.port != place.h2c_port)
    {
        let code = code
            .parse()
            .ok()
            .filter(|code| (100..1000).contains(code) && call.query.is_empty());
        return server::text(code.unwrap_or(400), "");
    }
    if path == "/ws" {
        return server::text(501, "WebSocket is left out by this stand-in");
    }
    println!(
        "Echoing back request made to {} to client ({})",
        call.target(),
        call.peer.address
    );
    if let Some(delay) = call.parameter("delay").filter(|delay| !delay.is_empty()) {
        match duration(&delay) {
            Some(delay) => tokio::time::sleep(delay.min(LONGEST_DELAY)).await,
            None => {
                let message = format!("time: invalid duration {delay:?}");
                return json_reply(500, &json!({"message": message}));
            }
        }
    }
    let text = serde_json::to_string_pretty(&told(place, call)).unwrap_or_default();
    // One blank for each level, as the original indents.
    let text = text.lines().map(halved).collect::<Vec<_>>().join("\n");
    let reply = server::reply(200, "application/json", text);
    set_headers(with_header(reply, "x-content-type-options", "nosniff"), call)
}

fn told(place: &Place, call: &Call) -> Value {
    let proto = match call.version {
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    };
    let mut headers = call.headers_as_go();
    headers.remove("Host");
    let mut told = json!({
        "path": call.target(),
        "host": call.host(),
        "method": call.method,
        "proto": proto,
        "headers": headers,
    });
    for (name, value) in place.context.as_object().into_iter().flatten() {
        told[name] = value.clone();
    }
    told["sni"] = json!("");
    told
}

/// `x-echo-set-header: a:1, b:2` asks for headers of the answer.
fn set_headers(reply: Reply, call: &Call) -> Reply {
    let asked = call.headers.get_all("x-echo-set-header").iter();
    let asked: Vec<String> = asked
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect();
    let pairs = asked.iter().flat_map(|list| list.split(','));
    pairs.fold(reply, |reply, pair| {
        let (name, value) = pair.split_once(':').unwrap_or((pair, ""));
        with_header(reply, &canonical(name.trim()), value.trim())
    })
}

fn json_reply(status: u16, value: &Value) -> Reply {
    with_header(
        server::reply(status, "application/json", value.to_string()),
        "x-content-type-options",
        "nosniff",
    )
}

fn halved(line: &str) -> &str {
    let indent = line.len() - line.trim_start().len();
    &line[indent / 2..]
}

/// `1.5s`, `200ms`, `2m`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let number = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[number.len()..] {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "" if number == "0" => 1.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_go_s() {
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("20ms"), Some(Duration::from_millis(20)));
        assert_eq!(duration("0"), Some(Duration::ZERO));
        for text in ["", "5", "s", "-1s", "1e400h", "x"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_level_is_one_blank() {
        assert_eq!(halved("    \"a\": 1"), "  \"a\": 1");
    }
}
