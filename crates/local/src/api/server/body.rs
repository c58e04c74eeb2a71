//! Request bodies: bounded in size and time; JSON, YAML, and protobuf for built-in kinds.

use std::sync::Arc;

use bytes::Bytes;
use daemon::clock;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};

use super::super::decode::{Parsed, parse};
use super::super::registry::Type;
use super::super::{Status, protobuf};
use super::bounds::{Arrival, Bounds, too_many};
use super::respond;

/// As in Kubernetes.
const LIMIT: usize = 3 << 20;

/// Reads a whole body.
pub(super) async fn read(request: Request<Incoming>) -> Result<Bytes, Status> {
    let bounds = request.extensions().get::<Arc<Bounds>>().cloned();
    let bounds = bounds.expect("every request passes the listener, which puts it there");
    let body = request.into_body();
    if body.size_hint().lower() > LIMIT as u64 {
        return Err(too_large());
    }
    let arrival = bounds.body();
    tokio::select! {
        collected = clock::timeout(bounds.limits.body, collect(body, &arrival)) => {
            collected.unwrap_or_else(|_| Err(respond::took_too_long()))
        }
        () = arrival.cut() => Err(too_many()),
    }
}

async fn collect(mut body: Incoming, arrival: &Arrival) -> Result<Bytes, Status> {
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Status::bad_request(format!("unable to read the request: {error}")))?;
        // Trailers say nothing to us.
        let Ok(data) = frame.into_data() else { continue };
        if all.len() + data.len() > LIMIT {
            return Err(too_large());
        }
        arrival.grow(data.len());
        all.extend_from_slice(&data);
    }
    Ok(all.into())
}

fn too_large() -> Status {
    let message = format!("Request entity too large: limit is {LIMIT}");
    Status::new(413, "RequestEntityTooLarge", message)
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
