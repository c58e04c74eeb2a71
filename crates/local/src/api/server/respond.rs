//! Answers: JSON, YAML, plain text, and the Status that every failure becomes.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WARNING};
use http::{Response, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use serde::Serialize;

use super::super::Status;

pub(super) use super::super::pod_log::Body;

/// A body that holds something until it is through or its client gone.
pub(super) struct Held<T> {
    body: Body,
    _held: T,
}

impl<T> Held<T> {
    pub(super) fn new(body: Body, held: T) -> Self {
        Self { body, _held: held }
    }
}

impl<T: Unpin> http_body::Body for Held<T> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

/// An answer of this content type.
pub(super) fn answer(code: u16, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

pub(super) fn text(code: u16, content: &'static str) -> Response<Body> {
    answer(code, "text/plain; charset=utf-8", full(content))
}

pub(super) fn json(code: u16, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => answer(code, "application/json", full(bytes)),
        Err(error) => status(&Status::internal(error.to_string())),
    }
}

/// JSON that is a text already.
pub(super) fn json_text(text: Bytes) -> Response<Body> {
    answer(200, "application/json", full(text))
}

/// JSON, or YAML for those who prefer it.
pub(super) fn written(code: u16, yaml: bool, value: &impl Serialize) -> Response<Body> {
    if !yaml {
        return json(code, value);
    }
    match serde_saphyr::to_string(value) {
        Ok(text) => answer(code, "application/yaml", full(text)),
        Err(error) => status(&Status::internal(error.to_string())),
    }
}

pub(super) fn status(status: &Status) -> Response<Body> {
    let mut response = json(status.code, &status.to_object());
    if let Some(seconds) = status.details["retryAfterSeconds"].as_u64() {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// Adds the `Warning` headers that kubectl prints.
pub(super) fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for warning in warnings {
        let quoted = warning
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace(['\r', '\n'], " ");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(WARNING, value);
        }
    }
}

/// 504: the request, or its answer, took too long.
pub(super) fn took_too_long() -> Status {
    Status::new(
        504,
        "Timeout",
        "Timeout: request did not complete within the allotted timeout",
    )
}

/// 405.
pub(super) fn wrong_method() -> Status {
    Status::new(
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
    )
}

/// 404 for a resource or a part that is not served.
pub(super) fn no_such_resource() -> Status {
    Status {
        // Empty, not absent: `kubectl debug` reads it without looking.
        details: serde_json::json!({}),
        ..Status::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
    }
}
