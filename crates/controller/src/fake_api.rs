//! An API server that is a function: from method, path and body to status and object.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use kube::client::Body;
use serde_json::{Value, json};

/// A client whose calls `answer` gets.
pub(crate) fn client(
    answer: impl Fn(&Method, &str, Value) -> (u16, Value) + Send + Sync + 'static,
) -> kube::Client {
    let answer = Arc::new(answer);
    let service = tower::service_fn(move |request: Request<Body>| {
        let answer = answer.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body
                .collect()
                .await
                .expect("the client's bodies are in memory")
                .to_bytes();
            let path = head
                .uri
                .path_and_query()
                .map_or("/", |path| path.as_str())
                .trim_end_matches(['?', '&']);
            let (status, object) = answer(
                &head.method,
                path,
                serde_json::from_slice(&body).unwrap_or_default(),
            );
            let reply = Response::builder()
                .status(status)
                .header("content-type", "application/json");
            Ok::<_, Infallible>(
                reply
                    .body(Full::new(Bytes::from(object.to_string())))
                    .expect("a plain response"),
            )
        }
    });
    kube::Client::new(service, "default")
}

/// A refusal as the API server words it.
pub(crate) fn failure(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message,
    });
    (code, status)
}
