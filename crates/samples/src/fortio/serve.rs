//! `fortio server`: HTTP echo and debug, redirects, and TCP echo.
//!
//! The echo understands fortio's own parameters: `status=503:10,200:90`, `delay=100ms:50`, `size=1024`,
//! `close=true`, `header=name:value`. The user interface, gRPC ping and UDP echo have no stand-in.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use tokio::io::copy;
use tokio::net::TcpStream;

use super::options::Options;
use crate::call::{Call, pairs};
use crate::echo_basic::duration;
use crate::server::{self, Peer, Reply, Stop, with_header};
use crate::setting;

const LONGEST_DELAY: Duration = Duration::from_secs(30);
const LARGEST: usize = 256 << 10;
const TCP_LIMIT: Duration = Duration::from_secs(3600);

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let Options {
        http_port,
        tcp_port,
        redirect_port,
        ..
    } = *options;
    server::run(async move {
        let http = server::listen(&[http_port, redirect_port]).await?;
        let tcp = server::listen(&[tcp_port]).await?;
        let stop = Stop::on_signal()?;
        println!(
            "Fortio 1.60.3-amime: echo on port {http_port}, TCP echo on {tcp_port}, redirects on {redirect_port}"
        );
        let answering = server::http(
            http,
            move |request, peer| async move {
                match Call::read(request, peer).await {
                    Ok(call) if peer.port == redirect_port => to_https(&call),
                    Ok(call) => answer(&call).await,
                    Err(reply) => reply,
                }
            },
            stop.clone(),
        );
        tokio::join!(answering, server::accept(tcp, stop, echo));
        Ok(())
    })
}

async fn echo(mut stream: TcpStream, _peer: Peer) {
    let (mut read, mut write) = stream.split();
    // An error is the other side's: it went away.
    let _ = tokio::time::timeout(TCP_LIMIT, copy(&mut read, &mut write)).await;
}

fn to_https(call: &Call) -> Reply {
    let host = call.host();
    let host = host.split(':').next().unwrap_or_default();
    with_header(
        server::text(303, ""),
        "location",
        &format!("https://{host}{}", call.target()),
    )
}

async fn answer(call: &Call) -> Reply {
    match call.path.as_str() {
        path if path.starts_with("/debug") => server::text(200, debug(call)),
        "/fortio/" | "/fortio" => server::text(200, "fortio's user interface has no stand-in here\n"),
        "/favicon.ico" => server::text(404, ""),
        _ => echoed(call).await,
    }
}

async fn echoed(call: &Call) -> Reply {
    let parameter = |name| call.parameter(name).unwrap_or_default();
    let delay = chosen(&parameter("delay"), rand::random()).and_then(|text| duration(&text));
    if let Some(delay) = delay {
        tokio::time::sleep(delay.min(LONGEST_DELAY)).await;
    }
    let status = chosen(&parameter("status"), rand::random()).and_then(|text| text.parse().ok());
    let status = status.filter(|status| (200..600).contains(status)).unwrap_or(200);
    let size = chosen(&parameter("size"), rand::random()).and_then(|text| text.parse::<usize>().ok());
    let body = match size {
        Some(size) => vec![b'#'; size.min(LARGEST)].into(),
        None => call.body.clone(),
    };
    let kind = call.header("content-type");
    let reply = server::reply(
        status,
        if kind.is_empty() {
            "text/plain; charset=UTF-8"
        } else {
            &kind
        },
        body,
    );
    let reply = pairs(&call.query)
        .filter(|(name, _)| name == "header")
        .fold(reply, |reply, (_, text)| {
            let (name, value) = text.split_once(':').unwrap_or((&text, ""));
            with_header(reply, name.trim(), value.trim())
        });
    if parameter("close") == "true" {
        with_header(reply, "connection", "close")
    } else {
        reply
    }
}

/// `503:10,200:20`: each with its share in percent; nothing for what is left.
fn chosen(text: &str, chance: f64) -> Option<String> {
    let mut left = chance * 100.0;
    for choice in text.split(',').filter(|choice| !choice.is_empty()) {
        let Some((value, percent)) = choice.split_once(':') else {
            return Some(choice.to_owned());
        };
        left -= percent.parse::<f64>().unwrap_or_default();
        if left < 0.0 {
            return Some(value.to_owned());
        }
    }
    None
}

fn debug(call: &Call) -> String {
    let mut text = format!(
        "Φορτίο version 1.60.3-amime echo debug server on {} - request from {}\n\n{} {} HTTP/1.1\n\nheaders:\n\nHost: {}\n",
        setting("HOSTNAME").unwrap_or_default(),
        call.peer.address,
        call.method,
        call.target(),
        call.host()
    );
    for (name, values) in call.headers_as_go().iter().filter(|(name, _)| *name != "Host") {
        let _ = writeln!(text, "{name}: {}", values.join(","));
    }
    let _ = write!(text, "\nbody:\n\n{}\n", String::from_utf8_lossy(&call.body));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_come_by_their_percents() {
        assert_eq!(chosen("503", 0.99).as_deref(), Some("503"));
        assert_eq!(chosen("503:10,404:20", 0.05).as_deref(), Some("503"));
        assert_eq!(chosen("503:10,404:20", 0.25).as_deref(), Some("404"));
        assert_eq!(chosen("503:10,404:20", 0.35), None);
        assert_eq!(chosen("", 0.0), None);
        assert_eq!(chosen("a:b", 0.0), None);
    }
}
