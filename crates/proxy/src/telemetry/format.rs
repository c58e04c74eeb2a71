//! Writes a format out: what is known about an exchange or a connection takes the places.
//!
//! One engine for header operations, text logs and JSON logs; they differ in what stands for the absent.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use daemon::clock::{self, Instant};
use snapshot::Format;
use snapshot::format::{Command, GrpcStatus, HeaderName, Operator, Piece};

use super::record::Record;
use crate::http::codec::{Fields, Request, Version};
use crate::http::date::{iso8601, strftime};
use crate::listen::accept::Ends;
use crate::tls::peer::Peer;
use crate::worker::Worker;

/// What is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) ends: Ends,
    /// When this is written.
    pub(crate) occasion: &'static str,
    /// What the client speaks; `None` when it is not HTTP.
    pub(crate) version: Option<Version>,
    /// `None` when no request could be read.
    pub(crate) request: Option<&'a Request>,
    /// `None` before there is a response.
    pub(crate) response: Option<&'a Fields>,
    pub(crate) route: &'a str,
    pub(crate) record: &'a Record,
}

/// Values of [`Facts::occasion`].
pub(crate) mod occasion {
    pub(crate) const NONE: &str = "NotSet";
    pub(crate) const HTTP_END: &str = "DownstreamEnd";
    pub(crate) const TCP_END: &str = "TcpConnectionEnd";
}

/// What takes a place.
#[derive(Debug)]
pub(crate) enum Value<'a> {
    Absent,
    Number(u64),
    Text(Cow<'a, [u8]>),
}

impl<'a> Value<'a> {
    fn text(text: impl Into<String>) -> Self {
        Self::Text(Cow::Owned(text.into().into_bytes()))
    }

    fn borrowed(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text.as_bytes()))
    }

    /// Nothing where it is empty.
    fn some(text: &'a str) -> Self {
        if text.is_empty() {
            Self::Absent
        } else {
            Self::borrowed(text)
        }
    }

    fn maybe(text: Option<impl ToString>) -> Self {
        text.map_or(Self::Absent, |text| Self::text(text.to_string()))
    }

    fn number(number: Option<impl Into<u64>>) -> Self {
        number.map_or(Self::Absent, |number| Self::Number(number.into()))
    }

    fn bytes(bytes: Option<&'a [u8]>) -> Self {
        bytes.map_or(Self::Absent, |bytes| Self::Text(Cow::Borrowed(bytes)))
    }
}

/// Writes a format out; `absent` stands for what is not known.
pub(crate) fn write(format: &Format, facts: &Facts<'_>, out: &mut Vec<u8>, absent: &str) {
    for piece in format.pieces() {
        match piece {
            Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Command(command) => match value(command, facts) {
                Value::Absent => out.extend_from_slice(absent.as_bytes()),
                Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
                Value::Text(text) => out.extend_from_slice(&text),
            },
        }
    }
}

/// What takes the place of a command, cut to its limit.
pub(crate) fn value<'a>(command: &Command, facts: &Facts<'a>) -> Value<'a> {
    let value = whole(&command.operator, facts);
    match (value, command.limit) {
        (Value::Text(Cow::Borrowed(text)), Some(limit)) => {
            Value::Text(Cow::Borrowed(&text[..limit.min(text.len())]))
        }
        (Value::Text(Cow::Owned(mut text)), Some(limit)) => {
            text.truncate(limit);
            Value::Text(Cow::Owned(text))
        }
        (value, _) => value,
    }
}

fn whole<'a>(operator: &Operator, facts: &Facts<'a>) -> Value<'a> {
    of_messages(operator, facts)
        .or_else(|| of_time(operator, facts.record))
        .or_else(|| of_outcome(operator, facts))
        .or_else(|| of_upstream(operator, facts.record))
        .or_else(|| of_downstream(operator, facts))
        .or_else(|| of_certificates(operator, facts.record))
        .unwrap_or_else(|| of_surroundings(operator, facts))
}

/// Header fields and sizes.
fn of_messages<'a>(operator: &Operator, facts: &Facts<'a>) -> Option<Value<'a>> {
    let request = |name: &str| facts.request.and_then(|request| of_request(request, name));
    let size = |fields: Option<&Fields>| Value::Number(fields.map_or(0, Fields::size));
    let record = facts.record;
    let response = facts.response.or(record.response.as_ref());
    Some(match operator {
        Operator::RequestHeader(header) => Value::bytes(either(header, request)),
        Operator::RequestHeaderWithoutQuery(header) => {
            let cut = |value: &'a [u8]| value.split(|byte| *byte == b'?').next().unwrap_or(value);
            Value::bytes(either(header, request).map(cut))
        }
        Operator::ResponseHeader(header) => Value::bytes(either(header, |name| response?.get(name))),
        Operator::ResponseTrailer(header) => {
            Value::bytes(either(header, |name| record.trailers.as_ref()?.get(name)))
        }
        Operator::QueryParameter(name) => Value::bytes(query_parameter(request(":path"), name)),
        Operator::RequestHeadersBytes => size_of_request(facts.request),
        Operator::ResponseHeadersBytes => size(response),
        Operator::ResponseTrailersBytes => size(record.trailers.as_ref()),
        Operator::GrpcStatusNumber | Operator::GrpcStatus(GrpcStatus::Number) => {
            Value::number(status_of_call(record))
        }
        Operator::GrpcStatus(form) => grpc_status(status_of_call(record), *form),
        _ => return None,
    })
}

fn size_of_request(request: Option<&Request>) -> Value<'static> {
    let size = request.map_or(0, |request| {
        let pseudo = [
            (":authority", request.authority.len()),
            (":method", request.method.as_str().len()),
            (":path", request.path.len()),
            (":scheme", request.scheme.len()),
        ];
        let pseudo: usize = pseudo.iter().map(|(name, length)| name.len() + length).sum();
        request.fields.size() + pseudo as u64
    });
    Value::Number(size)
}

fn of_time<'a>(operator: &Operator, record: &Record) -> Option<Value<'a>> {
    let since = |from: Option<Instant>, to: Option<Instant>| match (from, to) {
        (Some(from), Some(to)) => Value::Number(milliseconds(to.saturating_duration_since(from))),
        _ => Value::Absent,
    };
    let (times, now) = (&record.times, clock::now());
    let wall = |at: Instant, format: &Option<String>| {
        let time = clock::wall() - (now - at);
        Value::text(match format {
            None => iso8601(time),
            Some(format) => strftime(format, time),
        })
    };
    let begun = Some(record.begun);
    Some(match operator {
        Operator::StartTime(format) => wall(record.begun, format),
        Operator::EmitTime(format) => wall(now, format),
        Operator::Duration => since(begun, Some(times.sent.unwrap_or(now))),
        Operator::RequestDuration => since(begun, times.received),
        Operator::RequestTxDuration => since(begun, times.forwarded),
        Operator::ResponseDuration => since(begun, times.answered),
        Operator::ResponseTxDuration => since(times.answered, times.sent),
        _ => return None,
    })
}

fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn of_outcome<'a>(operator: &Operator, facts: &Facts<'a>) -> Option<Value<'a>> {
    let record = facts.record;
    Some(match operator {
        Operator::BytesReceived => Value::Number(record.received),
        Operator::BytesSent => Value::Number(record.sent),
        Operator::ResponseCode => Value::Number(record.status.unwrap_or(0).into()),
        Operator::ResponseCodeDetails => Value::some(&record.details),
        Operator::ResponseFlags => Value::text(record.flags.to_string()),
        Operator::ResponseFlagsLong => Value::text(record.flags.long()),
        Operator::LocalReplyBody => Value::bytes(Some(record.local_body.as_deref().unwrap_or_default())),
        Operator::ConnectionTerminationDetails => {
            Value::some(record.termination.as_deref().unwrap_or_default())
        }
        Operator::DynamicMetadata(argument) => of_filters(argument, record),
        Operator::RouteName => Value::some(facts.route),
        Operator::RequestedServerName => Value::some(record.server_name.as_deref().unwrap_or_default()),
        _ => return None,
    })
}

/// What filters found out: whether an audit asks for a line, what rules that are tried out would have done, and which
/// limit was reached.
fn of_filters(argument: &str, record: &Record) -> Value<'static> {
    let found = match argument.split_once(':') {
        Some(("envoy.common", "access_log_hint")) => record.log_hint.map(|hint| hint.to_string()),
        Some(("amime.filters.http.rate_limit", "limit")) => record.limit.clone(),
        Some(("envoy.filters.http.rbac", name)) => {
            let told = record.shadows.iter().find_map(|shadow| shadow.tells(name));
            told.map(str::to_owned)
        }
        Some((filter, path)) => {
            let path: Vec<_> = path.split(':').map(str::to_owned).collect();
            let found = record.metadata.find(filter, &path);
            found.map(|found| found.as_str().map_or_else(|| found.to_string(), str::to_owned))
        }
        None => None,
    };
    Value::maybe(found)
}

fn of_upstream<'a>(operator: &Operator, record: &'a Record) -> Option<Value<'a>> {
    let upstream = &record.upstream;
    // Where there is no connection, the other end of it is not known either.
    let remote = upstream.local.and(upstream.endpoint);
    Some(match operator {
        Operator::UpstreamHost | Operator::UpstreamHostName => Value::maybe(upstream.endpoint),
        Operator::UpstreamCluster | Operator::UpstreamClusterRaw => match &upstream.cluster {
            Some(cluster) => Value::borrowed(cluster.facts.name.as_str()),
            None => Value::Absent,
        },
        Operator::UpstreamProtocol => match upstream.version {
            Some(version) => Value::borrowed(protocol(version)),
            None => Value::Absent,
        },
        Operator::UpstreamLocalAddress => Value::maybe(upstream.local),
        Operator::UpstreamLocalAddressWithoutPort => Value::maybe(upstream.local.map(canonical)),
        Operator::UpstreamLocalPort => Value::number(upstream.local.map(|local| local.port())),
        Operator::UpstreamRemoteAddress => Value::maybe(remote),
        Operator::UpstreamRemoteAddressWithoutPort => Value::maybe(remote.map(canonical)),
        Operator::UpstreamRemotePort => Value::number(remote.map(|remote| remote.port())),
        Operator::UpstreamRequestAttemptCount => Value::Number(record.attempts.into()),
        Operator::UpstreamTransportFailureReason => {
            Value::some(record.transport_failure.as_deref().unwrap_or_default())
        }
        _ => return None,
    })
}

fn of_downstream<'a>(operator: &Operator, facts: &Facts<'a>) -> Option<Value<'a>> {
    let Ends {
        peer, destination, ..
    } = facts.ends;
    let remote = || facts.request.and_then(stated_client).unwrap_or(peer);
    Some(match operator {
        Operator::Protocol => match facts.version {
            Some(version) => Value::borrowed(protocol(version)),
            None => Value::Absent,
        },
        Operator::DownstreamLocalAddress => Value::maybe(Some(destination)),
        Operator::DownstreamLocalAddressWithoutPort => Value::maybe(Some(canonical(destination))),
        Operator::DownstreamLocalPort => Value::Number(destination.port().into()),
        Operator::DownstreamRemoteAddress => Value::maybe(Some(remote())),
        Operator::DownstreamRemoteAddressWithoutPort => Value::maybe(Some(canonical(remote()))),
        Operator::DownstreamRemotePort => Value::Number(remote().port().into()),
        Operator::DownstreamDirectRemoteAddress => Value::maybe(Some(peer)),
        Operator::DownstreamDirectRemoteAddressWithoutPort => Value::maybe(Some(canonical(peer))),
        Operator::DownstreamDirectRemotePort => Value::Number(peer.port().into()),
        Operator::ConnectionId => Value::Number(facts.ends.connection),
        _ => return None,
    })
}

/// What certificates said, where there were any.
fn of_certificates<'a>(operator: &Operator, record: &'a Record) -> Option<Value<'a>> {
    let (client, server) = (record.peer.as_deref(), record.upstream.peer.as_deref());
    let uris = |peer: Option<&'a Peer>| {
        let uris = peer
            .map(|peer| peer.certificate.uris.join(","))
            .unwrap_or_default();
        Value::maybe(Some(uris).filter(|uris| !uris.is_empty()))
    };
    let text = |peer: Option<&'a Peer>, part: fn(&'a Peer) -> &'a str| {
        peer.map_or(Value::Absent, |peer| Value::some(part(peer)))
    };
    let own = |peer: &'a Peer| -> &'a str { &peer.own };
    Some(match operator {
        Operator::DownstreamPeerUriSan => uris(client),
        Operator::DownstreamLocalUriSan => text(client, own),
        Operator::DownstreamPeerSubject => text(client, |peer| &peer.certificate.subject),
        Operator::DownstreamPeerFingerprint256 => text(client, |peer| &peer.fingerprint),
        Operator::DownstreamTlsVersion => text(client, |peer| peer.version),
        Operator::UpstreamPeerUriSan => uris(server),
        Operator::UpstreamLocalUriSan => text(server, own),
        Operator::UpstreamPeerSubject => text(server, |peer| &peer.certificate.subject),
        Operator::UpstreamTlsVersion => text(server, |peer| peer.version),
        _ => return None,
    })
}

fn of_surroundings<'a>(operator: &Operator, facts: &Facts<'a>) -> Value<'a> {
    let surroundings = &facts.worker.settings.surroundings;
    match operator {
        Operator::Hostname => Value::borrowed(&surroundings.hostname),
        Operator::Environment(name) => match surroundings.environment.get(name) {
            Some(value) => Value::borrowed(value),
            None => Value::Absent,
        },
        Operator::AccessLogType => Value::borrowed(facts.occasion),
        Operator::UniqueId => Value::text(facts.worker.random.uuid()),
        // Filter chains have no names here at run time.
        _ => Value::Absent,
    }
}

/// The client that the last proxy before this one names. It has no port there.
fn stated_client(request: &Request) -> Option<SocketAddr> {
    let last = request.fields.all("x-forwarded-for").last()?;
    let last = last.rsplit(|byte| *byte == b',').next().unwrap_or(last);
    let address: IpAddr = std::str::from_utf8(last).ok()?.trim().parse().ok()?;
    Some(SocketAddr::new(address, 0))
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
    let text = match name {
        ":method" => request.method.as_str(),
        ":path" => &request.path,
        ":authority" | "host" => &request.authority,
        ":scheme" => request.scheme,
        name => return request.fields.get(name),
    };
    Some(text.as_bytes()).filter(|text| !text.is_empty())
}

fn either<'a>(header: &HeaderName, find: impl Fn(&str) -> Option<&'a [u8]>) -> Option<&'a [u8]> {
    let alternative = || find(header.alternative.as_deref()?);
    find(&header.name).or_else(alternative)
}

fn query_parameter<'a>(path: Option<&'a [u8]>, name: &str) -> Option<&'a [u8]> {
    let mut halves = path?.splitn(2, |byte| *byte == b'?');
    let mut parameters = halves.nth(1)?.split(|byte| *byte == b'&');
    parameters.find_map(|parameter| parameter.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// Names of gRPC's statuses, by number.
const GRPC: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

/// A call of gRPC whose end told no status has the one that stands for HTTP's. For Envoy, a call of gRPC-Web tells it in
/// its head or not at all: what was in trailers is in the body.
fn status_of_call(record: &Record) -> Option<u16> {
    let told = match (&record.web, &record.response) {
        (None, _) => record.grpc_status,
        (Some(_), head) => head.as_ref().and_then(crate::http::exchange::grpc_status),
    };
    let is_call = record.grpc || record.web.is_some();
    let stands_for = |status| crate::http::reply::grpc_code(status).parse().ok();
    told.or_else(|| record.status.filter(|_| is_call).and_then(stands_for))
}

fn grpc_status(status: Option<u16>, form: GrpcStatus) -> Value<'static> {
    let Some(status) = status else {
        return Value::Absent;
    };
    match GRPC.get(usize::from(status)) {
        Some((camel, _)) if form == GrpcStatus::Camel => Value::borrowed(camel),
        Some((_, snake)) => Value::borrowed(snake),
        None => Value::text(status.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_the_last_one_that_proxies_name() {
        let client = |values: &[&str]| {
            let mut request = Request {
                method: http::Method::GET,
                path: "/".to_owned(),
                authority: "x".to_owned(),
                scheme: "http",
                fields: Fields::default(),
                length: crate::http::codec::Length::Empty,
                upgrade: None,
                version: Version::Http1,
            };
            for value in values {
                request.fields.push("x-forwarded-for", value.as_bytes());
            }
            stated_client(&request).map(|client| client.to_string())
        };
        assert_eq!(client(&["8.8.8.8, 10.0.0.1"]).as_deref(), Some("10.0.0.1:0"));
        assert_eq!(
            client(&["1.2.3.4", "2001:db8::1"]).as_deref(),
            Some("[2001:db8::1]:0")
        );
        for nothing in ["junk", "1.2.3.4:99", "1.2.3.4 ,", ""] {
            assert_eq!(client(&[nothing]), None, "{nothing:?}");
        }
        assert_eq!(client(&[]), None);
    }

    #[test]
    fn query_parameters_are_found_by_their_whole_name() {
        let path = |name| query_parameter(Some(b"/a?bb=1&b=2&c="), name);
        assert_eq!(path("b"), Some(&b"2"[..]));
        assert_eq!((path("c"), path("a")), (Some(&b""[..]), None));
        assert_eq!(query_parameter(Some(b"/a"), "b"), None);
    }
}
