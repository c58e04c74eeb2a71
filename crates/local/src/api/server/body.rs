//! Request bodies: bounded in size and time; JSON, YAML, and protobuf for built-in kinds.

use std::time::Duration;

use bytes::Bytes;
use daemon::clock;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::super::decode::{Parsed, parse};
use super::super::registry::Type;
use super::super::{Status, protobuf};

/// As in Kubernetes.
const LIMIT: usize = 3 << 20;
const DEADLINE: Duration = Duration::from_secs(60);

/// Reads a whole body.
pub(super) async fn read(body: Incoming) -> Result<Bytes, Status> {
    let collected = clock::timeout(DEADLINE, Limited::new(body, LIMIT).collect()).await;
    match collected {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Status::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {LIMIT}"),
        )),
        Ok(Err(error)) => Err(Status::bad_request(format!(
            "unable to read the request: {error}"
        ))),
        Err(_) => Err(Status::new(
            408,
            "Timeout",
            "the request's body did not arrive in time",
        )),
    }
}

/// The media type of a request, without parameters.
pub(super) fn media_type(headers: &HeaderMap) -> &str {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// The object of a POST or PUT. Custom resources have no protobuf form.
pub(super) fn object(media_type: &str, body: &[u8], kind: Option<&Type>) -> Result<Parsed, Status> {
    const TEXTS: &[&str] = &["application/json", "application/yaml"];
    const ALL: &[&str] = &["application/json", "application/yaml", protobuf::MEDIA_TYPE];
    let custom = kind.is_some_and(Type::is_custom);
    match media_type {
        "" | "application/json" | "application/yaml" | "*/*" => parse(body, media_type),
        protobuf::MEDIA_TYPE if !custom => match protobuf::parse(body)? {
            Some(object) => Ok(object.into()),
            None => Err(unsupported(TEXTS)),
        },
        _ => Err(unsupported(if custom { TEXTS } else { ALL })),
    }
}

fn unsupported(accepted: &[&str]) -> Status {
    Status::new(
        415,
        "UnsupportedMediaType",
        format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        ),
    )
}
