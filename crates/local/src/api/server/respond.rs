//! Answers: JSON, YAML, plain text, and the Status that every failure becomes.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WARNING};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde::Serialize;

use super::super::Status;

pub(super) use super::super::pod_log::Body;

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
    Status::new(
        404,
        "NotFound",
        "the server could not find the requested resource",
    )
}
