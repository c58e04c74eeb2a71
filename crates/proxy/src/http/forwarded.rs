//! Headers that a sidecar adds, keeps and removes. Once per request, and once per response.
//!
//! As Istio's sidecars do: `x-request-id` and `x-forwarded-proto` when absent, `server` and `date` on the way back;
//! `x-forwarded-for` is left alone. What proxies tell each other does not reach applications.

use std::net::IpAddr;
use std::time::Duration;

use daemon::clock;

use snapshot::http_options::ServerHeader;

use super::{client_certificate, edge};
use crate::http::codec::{Request, Response, Version};
use crate::http::connection::Connection;

/// What proxies of a mesh tell each other.
const BETWEEN_PROXIES: [&str; 4] = [
    UNPROCESSED,
    "x-envoy-peer-metadata",
    "x-envoy-peer-metadata-id",
    "x-envoy-decorator-operation",
];

/// On a 503 of a workload's proxy: nobody was there to process the request, so it may be sent elsewhere.
const UNPROCESSED: &str = "x-amime-unprocessed";

/// What callers cannot ask of Envoy, because it takes all of them as being outside of its own network.
const NOT_FOR_CALLERS: [&str; 15] = [
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-internal",
    "x-envoy-ip-tags",
    "x-envoy-max-retries",
    "x-envoy-original-url",
    "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-upstream-rq-timeout-ms",
];

/// Before routing.
pub(crate) fn request(request: &mut Request, connection: &Connection) {
    let options = &connection.chain.handler.options;
    for name in BETWEEN_PROXIES.into_iter().chain(NOT_FOR_CALLERS) {
        request.fields.remove(name);
    }
    client_certificate::request(request, connection);
    if let Some(edge) = options.edge {
        edge::request(request, edge, connection.ends);
    }
    let fields = &mut request.fields;
    // What strangers call their requests means nothing here.
    let doubted = options.edge.is_some() && !options.keep_external_request_id;
    let unnamed = fields.get("x-request-id").is_none_or(<[u8]>::is_empty);
    if !options.without_request_id && (doubted || unnamed) {
        fields.set("x-request-id", connection.worker.random.uuid().as_bytes());
    }
    let own = connection.ends.scheme();
    let said = match fields.get("x-forwarded-proto") {
        None => {
            fields.push("x-forwarded-proto", own.as_bytes());
            own
        }
        Some(b"https") => "https",
        Some(b"http") => "http",
        Some(_) => own,
    };
    // HTTP/2 names its scheme itself.
    if request.version != Version::Http2 {
        request.scheme = said;
    }
}

/// The client, as proxies before say; who connected, where nobody says anything. After [`request`].
pub(crate) fn client(request: &Request, connection: &Connection) -> IpAddr {
    // At the edge, what others say was weighed already.
    let name = match connection.chain.handler.options.edge {
        Some(_) => "x-envoy-external-address",
        None => "x-forwarded-for",
    };
    // Several lines are one list, and the proxy before wrote the end of it.
    let said = request.fields.all(name).last();
    let said = said.and_then(|said| std::str::from_utf8(said).ok());
    let last = said.and_then(|said| said.rsplit(',').next());
    last.and_then(|address| address.trim().parse().ok())
        .unwrap_or(connection.ends.peer.ip())
}

/// Before each attempt.
pub(crate) fn attempt(request: &mut Request, number: u32) {
    let mut text = [0; 20];
    request
        .fields
        .set("x-envoy-attempt-count", decimal(u64::from(number), &mut text));
}

/// Says that nobody processed the request.
pub(crate) fn mark_unprocessed(response: &mut Response) {
    response.fields.set(UNPROCESSED, b"true");
}

/// Whether that response says so.
pub(crate) fn is_unprocessed(response: &Response) -> bool {
    response.status == 503 && response.fields.contains(UNPROCESSED)
}

/// A response of an upstream, `took` after the request was there completely, before anything else changes it. Of a
/// response that comes sooner, no time is told.
pub(crate) fn response(response: &mut Response, took: Option<Duration>) {
    for name in BETWEEN_PROXIES {
        response.fields.remove(name);
    }
    if let Some(took) = took {
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        response.fields.set(
            "x-envoy-upstream-service-time",
            decimal(milliseconds, &mut [0; 20]),
        );
    }
}

/// Any response, also one of the proxy's own.
pub(crate) fn every_response(response: &mut Response, connection: &Connection) {
    let (worker, handler) = (&connection.worker, &connection.chain.handler);
    if !response.fields.contains("date") {
        worker.date.at(clock::unix_seconds(), |date| {
            response.fields.push("date", date.as_bytes())
        });
    }
    let server = match handler.options.server_header {
        ServerHeader::Overwrite => true,
        ServerHeader::AppendIfAbsent => !response.fields.contains("server"),
        ServerHeader::PassThrough => false,
    };
    if server && !handler.server_name.is_empty() {
        response.fields.set("server", handler.server_name.as_bytes());
    }
}

/// The id of its request, where responses carry it.
pub(crate) fn answer_id(response: &mut Response, connection: &Connection, request: &Request) {
    if connection.chain.handler.options.answer_request_id
        && let Some(id) = request.fields.get("x-request-id")
    {
        response.fields.set("x-request-id", id);
    }
}

/// The digits of a number, without an allocation.
fn decimal(number: u64, space: &mut [u8; 20]) -> &[u8] {
    let (mut left, mut start) = (number, space.len());
    loop {
        start -= 1;
        space[start] = b'0' + u8::try_from(left % 10).expect("one digit");
        left /= 10;
        if left == 0 {
            return &space[start..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_digits() {
        for number in [0, 7, 10, 1234, u64::MAX] {
            assert_eq!(decimal(number, &mut [0; 20]), number.to_string().as_bytes());
        }
    }
}
