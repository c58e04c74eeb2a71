//! Answers of the proxy itself: local replies with Envoy's statuses and bodies, and a route's direct response.

use bytes::Bytes;
use snapshot::route::DirectResponse;

use crate::error::{ProxyError, StreamError, UpstreamError};
use crate::http::codec::{Fields, Length, Request, Response};
use crate::http::headers::Changes;

/// Most bytes of a body that a call of gRPC is told: heads have a bound.
const LONGEST_MESSAGE: usize = 8 * 1024;

/// Head and body of an answer.
#[derive(Debug)]
pub(crate) struct LocalReply {
    pub(crate) response: Response,
    pub(crate) body: Bytes,
}

impl LocalReply {
    /// Changes its fields as a route says. The type of a body is stated after that, unless the route states one.
    pub(crate) fn change(&mut self, changes: &Changes<'_>) {
        let fields = &mut self.response.fields;
        let states_type = !self.body.is_empty() && fields.remove("content-type");
        changes.apply(fields);
        if states_type && !fields.contains("content-type") {
            fields.push("content-type", b"text/plain");
        }
    }
}

/// The answer for a request that failed. gRPC callers get it in their form.
pub(crate) fn for_error(error: &ProxyError, retried: bool, to_grpc: bool) -> LocalReply {
    let (status, body) = (error.status(), error.client_message(retried));
    let mut reply = match error {
        _ if !to_grpc => plain(status, body),
        // DEADLINE_EXCEEDED
        ProxyError::Stream(StreamError::TooLong { .. }) => grpc_with("4", &body),
        _ => grpc(status, &body),
    };
    if matches!(error, ProxyError::Upstream(UpstreamError::Overflow)) {
        reply.response.fields.push("x-envoy-overloaded", b"true");
    }
    reply
}

/// The answer that a route states. As Envoy's, one that creates or moves something says where that is: here.
pub(crate) fn direct(direct: &DirectResponse, request: &Request) -> LocalReply {
    let mut reply = stated(direct.status, None, &direct.body, request);
    if matches!(direct.status, 201 | 300..400) {
        let here = format!("{}://{}{}", request.scheme, request.authority, request.path);
        reply.response.fields.push("location", here.as_bytes());
    }
    reply
}

/// An answer that somebody stated: with a status for callers that speak gRPC, or with the one that stands for `status`.
pub(crate) fn stated(status: u16, grpc: Option<u32>, body: &str, request: &Request) -> LocalReply {
    match (is_grpc(&request.fields), grpc) {
        (false, _) => plain(status, body.to_owned()),
        (true, Some(code)) => grpc_with(&code.to_string(), body),
        (true, None) => self::grpc(status, body),
    }
}

/// An answer with any body. A call of gRPC has no room for one: it is told the beginning as a message.
pub(crate) fn with_body(status: u16, body: Bytes, request: &Request) -> LocalReply {
    if is_grpc(&request.fields) {
        let message = &body[..body.len().min(LONGEST_MESSAGE)];
        return grpc(status, &String::from_utf8_lossy(message));
    }
    let mut reply = plain(status, String::new());
    if !body.is_empty() {
        reply.response.fields.push("content-type", b"text/plain");
        reply.response.length = Length::Exact(body.len() as u64);
        reply.body = body;
    }
    reply
}

/// A redirect to that location.
pub(crate) fn redirect(status: u16, location: &str, request: &Request) -> LocalReply {
    let mut reply = stated(status, None, "", request);
    // The path is the client's; its bytes were checked when it was read.
    reply.response.fields.push("location", location.as_bytes());
    reply
}

/// An answer with a body of text, or none.
pub(crate) fn plain(status: u16, body: String) -> LocalReply {
    let mut response = Response::new(status);
    if !body.is_empty() {
        response.fields.push("content-type", b"text/plain");
        response.length = Length::Exact(body.len() as u64);
    } else {
        response.length = Length::Empty;
    }
    LocalReply {
        response,
        body: body.into(),
    }
}

/// Whether a head belongs to a gRPC call.
pub(crate) fn is_grpc(fields: &Fields) -> bool {
    let subtype = fields
        .get("content-type")
        .and_then(|value| value.strip_prefix(b"application/grpc"));
    // `application/grpc-web` is another protocol, and parameters are none that Envoy knows.
    matches!(subtype, Some([] | [b'+', ..]))
}

/// gRPC says its status in trailers; without a body, they are the head.
fn grpc(status: u16, message: &str) -> LocalReply {
    grpc_with(grpc_code(status), message)
}

/// The code of gRPC that stands for a status.
pub(crate) fn grpc_code(status: u16) -> &'static str {
    match status {
        400 => "13",
        401 => "16",
        403 => "7",
        404 => "12",
        429 | 502..=504 => "14",
        _ => "2",
    }
}

fn grpc_with(code: &str, message: &str) -> LocalReply {
    let mut response = Response::new(200);
    // HTTP/1.1 states a length of 0 all the same; HTTP/2 and Envoy do not.
    response.length = Length::Empty;
    response.fields.push("content-type", b"application/grpc");
    response.fields.push("grpc-status", code.as_bytes());
    if !message.is_empty() {
        response
            .fields
            .push("grpc-message", percent_encode(message).as_bytes());
    }
    LocalReply {
        response,
        body: Bytes::new(),
    }
}

/// `grpc-message` is printable ASCII without `%`.
pub(crate) fn percent_encode(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b' '..=b'~' if byte != b'%' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_callers_get_a_grpc_status() {
        let reply = grpc(503, "no healthy upstream");
        assert_eq!(
            (reply.response.status, reply.response.fields.text("grpc-status")),
            (200, Some("14"))
        );
        assert_eq!(percent_encode("50% \n"), "50%25 %0A");
        let mut fields = Fields::default();
        fields.push("content-type", b"application/grpc+proto");
        assert!(is_grpc(&fields));
        for other in ["application/grpc-web", "application/grpc;x", "application/grpcx"] {
            fields.set("content-type", other.as_bytes());
            assert!(!is_grpc(&fields), "{other}");
        }
    }
}
