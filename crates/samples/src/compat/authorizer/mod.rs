//! `compat-authorizer`: somebody who is asked about requests, over HTTP on 8000 and as Envoy's
//! `envoy.service.auth.v3.Authorization` on 9000. It decides as the request's header `x-authorize` says, and tells in
//! the body of a refusal what it was asked, when that says `tell`.
//!
//! Words of the header: `allow`, `deny`, `error`, `reset` or `tell`, then `status=401`, `body=TEXT`, `wait=500ms`,
//! `NAME=VALUE` (a field for whoever the answer is for), `append:NAME=VALUE`, `remove:NAME` and `answer:NAME=VALUE` (a
//! field of the answer to an allowed request).

mod messages;
mod wish;

use std::process::ExitCode;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::backend::fields;
use super::body::{self, Body};
use super::grpc;
use crate::server::{self, LocalExecutor, Stop};
use wish::{Verdict, Wish};

const PORTS: [u16; 2] = [8000, 9000];
const LARGEST_BODY: usize = 1 << 20;
/// gRPC's code for what is broken inside.
const INTERNAL: u32 = 13;

pub(crate) fn run(_arguments: Vec<String>) -> anyhow::Result<ExitCode> {
    server::run(async {
        let stop = Stop::on_signal()?;
        server::accept(server::listen(&PORTS).await?, stop, |stream, _| serve(stream)).await;
        Ok(())
    })
}

async fn serve(stream: TcpStream) {
    let http = auto::Builder::new(LocalExecutor);
    // An error is the caller's, or was asked for.
    let _ = http
        .serve_connection(TokioIo::new(stream), service_fn(decide))
        .await;
}

async fn decide(request: Request<Incoming>) -> Result<Response<Body>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, LARGEST_BODY).collect().await;
    let body = body.map_err(std::io::Error::other)?.to_bytes();
    let is_grpc = head
        .headers
        .get("content-type")
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if is_grpc {
        let asked = messages::Check::read(&body).ok_or_else(|| std::io::Error::other("no CheckRequest"))?;
        let wish = Wish::of(asked.header("x-authorize"));
        let verdict = reached(&wish).await?;
        let message = match verdict {
            Verdict::Error => None,
            Verdict::Allow => Some(messages::allowed(&wish)),
            Verdict::Deny => Some(messages::denied(&wish, wish.body.clone())),
            Verdict::Tell => Some(messages::denied(&wish, asked.told().to_string())),
        };
        return Ok(in_grpc(message));
    }
    let wish = Wish::of(
        head.headers
            .get("x-authorize")
            .and_then(|value| value.to_str().ok()),
    );
    let verdict = reached(&wish).await?;
    let told = json!({
        "method": head.method.as_str(), "target": head.uri.to_string(),
        "headers": steady(fields(&head.headers)), "body": String::from_utf8_lossy(&body),
    });
    Ok(in_http(&wish, verdict, &told))
}

/// What is decided, in the time that was asked for; an error ends the connection.
async fn reached(wish: &Wish) -> Result<Verdict, std::io::Error> {
    tokio::time::sleep(wish.wait).await;
    wish.verdict
        .ok_or_else(|| std::io::Error::other("reset as asked"))
}

fn in_http(wish: &Wish, verdict: Verdict, told: &Value) -> Response<Body> {
    let (status, text) = match verdict {
        Verdict::Allow => (200, String::new()),
        Verdict::Deny => (wish.status, wish.body.clone()),
        Verdict::Tell => (wish.status, told.to_string()),
        Verdict::Error => (500, "broken as asked".to_owned()),
    };
    let mut reply = Response::new(body::whole(text));
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
    for field in wish.set.iter().chain(&wish.append).chain(&wish.answer) {
        put(reply.headers_mut(), field);
    }
    reply
}

fn put(headers: &mut HeaderMap, (name, value): &(String, String)) {
    if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
        headers.append(name, value);
    }
}

/// One message and its status; without a message the status says why.
fn in_grpc(message: Option<Bytes>) -> Response<Body> {
    let mut reply = grpc::head();
    let Some(message) = message else {
        reply.headers_mut().insert("grpc-status", INTERNAL.into());
        return reply;
    };
    let (send, receive) = mpsc::channel(2);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    // There is room for both.
    let _ = send.try_send(Ok(Frame::data(grpc::frame(&message))));
    let _ = send.try_send(Ok(Frame::trailers(trailers)));
    *reply.body_mut() = body::of_pieces(receive);
    reply
}

/// Fields without what is of the moment or of one side.
fn steady<T: Into<Value>>(fields: impl IntoIterator<Item = (String, T)>) -> Value {
    const OF_THE_MOMENT: [&str; 6] = [
        "x-request-id",
        "x-call",
        "x-forwarded-for",
        "x-b3-traceid",
        "x-b3-spanid",
        "traceparent",
    ];
    let kept = fields.into_iter().map(|(name, value)| {
        let value = if OF_THE_MOMENT.contains(&name.as_str()) {
            "<there>".into()
        } else {
            value.into()
        };
        (name, value)
    });
    // By name: the order of a map is none.
    let sorted: std::collections::BTreeMap<String, Value> = kept.collect();
    json!(sorted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_call_to_call_is_only_said_to_be_there() {
        let fields = [("x-request-id", "1"), ("b", "2"), ("a", "3")];
        let told = steady(fields.map(|(name, value)| (name.to_owned(), value)));
        assert_eq!(told.to_string(), r#"{"a":"3","b":"2","x-request-id":"<there>"}"#);
    }
}
