//! Stands in for Istio's helloworld: `GET /hello` says which version and which pod answers.
//!
//! Port 5000; `SERVICE_VERSION` and `HOSTNAME` are what it says. Each answer takes some computing, as the original's
//! does, so that load can be seen.

use std::hint::black_box;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;

use crate::{server, setting};

/// What it listens on without `-b`.
const PORT: u16 = 5000;

pub(crate) fn run(arguments: Vec<String>) -> anyhow::Result<ExitCode> {
    let bind = arguments
        .windows(2)
        .find(|pair| pair[0] == "-b")
        .map(|pair| pair[1].as_str());
    serve(bind.map_or(Ok(PORT), port_of)?)
}

/// The port of an address to bind to: `[::]:5000`, `0.0.0.0:5000`, `:5000`.
pub(crate) fn port_of(bind: &str) -> anyhow::Result<u16> {
    let text = bind.rsplit_once(':').map_or(bind, |(_, port)| port);
    let parsed = bind.parse().map(|address: SocketAddr| address.port());
    parsed
        .or_else(|_| text.parse())
        .with_context(|| format!("{bind:?} names no port"))
}

pub(crate) fn serve(port: u16) -> anyhow::Result<ExitCode> {
    let or_none = |name| setting(name).unwrap_or_else(|| "None".to_owned());
    let greeting = format!(
        "Hello version: {}, instance: {}\n",
        or_none("SERVICE_VERSION"),
        or_none("HOSTNAME")
    );
    server::serve(&[port], move |request, _peer| {
        let reply = match request.uri().path() {
            "/hello" => {
                compute();
                server::reply(200, "text/html; charset=utf-8", greeting.clone())
            }
            "/health" => server::reply(200, "text/html; charset=utf-8", "Helloworld is healthy"),
            _ => server::reply(404, "text/html; charset=utf-8", "<h1>Not Found</h1>\n"),
        };
        std::future::ready(reply)
    })
}

fn compute() {
    let sum = (0..1_000_000).fold(0.0001_f64, |sum, _| sum + sum.sqrt());
    black_box(sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_an_address_is_found() {
        for (bind, port) in [("[::]:80", 80), ("0.0.0.0:5000", 5000), (":81", 81), ("82", 82)] {
            assert_eq!(port_of(bind).unwrap(), port, "{bind}");
        }
        assert!(port_of("unix:/run/x").is_err());
        assert!(port_of(":70000").is_err());
    }
}
