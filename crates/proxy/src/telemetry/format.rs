//! Writes a format string out: what is known about an exchange takes the places.

use std::net::{IpAddr, SocketAddr};

use daemon::clock::{self, Instant};
use snapshot::format::{HeaderName, Operator, Piece};
use snapshot::{ClusterName, Format};

use crate::http::codec::{Fields, Request, Version};
use crate::http::connection::Connection;
use crate::http::date::iso8601;

/// What is known about an exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) request: &'a Request,
    /// `None` before there is a response.
    pub(crate) response: Option<&'a Fields>,
    pub(crate) route: &'a str,
    /// Since when.
    pub(crate) begun: Instant,
    /// Where it goes, once that is known.
    pub(crate) cluster: Option<&'a ClusterName>,
    pub(crate) upstream: Option<SocketAddr>,
}

/// Writes a format out; `absent` stands for what is not known.
pub(crate) fn write(format: &Format, facts: &Facts<'_>, out: &mut Vec<u8>, absent: &str) {
    for piece in format.pieces() {
        let command = match piece {
            Piece::Text(text) => {
                out.extend_from_slice(text.as_bytes());
                continue;
            }
            Piece::Command(command) => command,
        };
        let start = out.len();
        if !write_one(&command.operator, facts, out) {
            out.extend_from_slice(absent.as_bytes());
        }
        if let Some(limit) = command.limit {
            out.truncate(start.saturating_add(limit).min(out.len()));
        }
    }
}

/// Whether there was something to write.
fn write_one(operator: &Operator, facts: &Facts<'_>, out: &mut Vec<u8>) -> bool {
    let ends = facts.connection.ends;
    let text = match operator {
        Operator::RequestHeader(header) => {
            return write_header(header, out, |name| of_request(facts.request, name));
        }
        Operator::ResponseHeader(header) => {
            return write_header(header, out, |name| facts.response?.get(name));
        }
        Operator::StartTime => Some(iso8601(clock::wall() - (clock::now() - facts.begun))),
        Operator::Protocol => Some(protocol(facts.request.version).to_owned()),
        Operator::UpstreamHost => facts.upstream.map(|address| address.to_string()),
        Operator::UpstreamCluster => facts.cluster.map(ToString::to_string),
        Operator::DownstreamLocalAddress => Some(ends.destination.to_string()),
        Operator::DownstreamLocalAddressWithoutPort => Some(canonical(ends.destination).to_string()),
        Operator::DownstreamLocalPort => Some(ends.destination.port().to_string()),
        Operator::DownstreamRemoteAddress => Some(ends.peer.to_string()),
        Operator::DownstreamRemoteAddressWithoutPort => Some(canonical(ends.peer).to_string()),
        Operator::DownstreamRemotePort => Some(ends.peer.port().to_string()),
        Operator::RouteName => Some(facts.route.to_owned()).filter(|name| !name.is_empty()),
    };
    out.extend_from_slice(text.as_deref().unwrap_or_default().as_bytes());
    text.is_some()
}

fn canonical(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::Http1 => "HTTP/1.1",
        Version::Http2 => "HTTP/2",
    }
}

/// Pseudo-headers are asked for by their HTTP/2 names.
fn of_request<'a>(request: &'a Request, name: &str) -> Option<&'a [u8]> {
    match name {
        ":method" => Some(request.method.as_str().as_bytes()),
        ":path" => Some(request.path.as_bytes()),
        ":authority" | "host" => Some(request.authority.as_bytes()),
        ":scheme" => Some(request.scheme.as_bytes()),
        name => request.fields.get(name),
    }
}

fn write_header<'a>(header: &HeaderName, out: &mut Vec<u8>, find: impl Fn(&str) -> Option<&'a [u8]>) -> bool {
    let alternative = || find(header.alternative.as_deref()?);
    match find(&header.name).or_else(alternative) {
        Some(value) => {
            out.extend_from_slice(value);
            true
        }
        None => false,
    }
}
