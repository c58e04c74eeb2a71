//! `GET …/pods/NAME/log`: which container, which lines; then the kubelet's lines as they come.
//!
//! Words and codes as in Kubernetes' pod registry and its validation of `PodLogOptions`.
//! <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/>

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use daemon::{Drain, clock};
use futures_util::stream;
use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::node_link::{ContainerRef, LogOptions, NodeLink};
use super::{Status, time};

/// The body of every answer of this server.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Answers with a container's log. Ends when the log does, when the client goes, or when the server drains.
pub(crate) async fn log(
    pod: &Value,
    parameters: &[(String, String)],
    link: &NodeLink,
    drain: Drain,
) -> Result<Response<Body>, Status> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let options = options(name, parameters, clock::wall())?;
    let of = container(pod, first(parameters, "container"))?;
    let body = if scheduled(pod) {
        follow(link.log(of, options).await?, drain)
    } else {
        // Nothing has run anywhere: Kubernetes answers with an empty log.
        Empty::new().boxed_unsync()
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    Ok(response)
}

/// Each piece goes out at once. Dropping the body closes the channel, by which the kubelet learns that nobody reads.
fn follow(lines: mpsc::Receiver<Bytes>, drain: Drain) -> Body {
    let pieces = stream::unfold((lines, drain), |(mut lines, mut drain)| async move {
        let piece = tokio::select! {
            // What is there already is not cut off.
            biased;
            piece = lines.recv() => piece?,
            () = drain.wait() => return None,
        };
        Some((Ok(Frame::data(piece)), (lines, drain)))
    });
    StreamBody::new(pieces).boxed_unsync()
}

/// Whether a node has the pod.
pub(super) fn scheduled(pod: &Value) -> bool {
    pod["spec"]["nodeName"]
        .as_str()
        .is_some_and(|node| !node.is_empty())
}

/// The container that a request means: the only one, or the one that it names.
///
/// kubectl looks at the annotation `kubectl.kubernetes.io/default-container` itself; Kubernetes' server does not.
pub(super) fn container(pod: &Value, wanted: Option<&str>) -> Result<ContainerRef, Status> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = text(&pod["metadata"]["name"]);
    let names = |list: &str| -> Vec<&str> {
        let list = pod["spec"][list].as_array().map_or(&[][..], Vec::as_slice);
        list.iter()
            .filter_map(|container| container["name"].as_str())
            .collect()
    };
    let (main, init) = (names("containers"), names("initContainers"));
    let container = match (wanted, &main[..]) {
        (Some(wanted), _) => {
            let ephemeral = names("ephemeralContainers");
            if ![&main, &init, &ephemeral]
                .iter()
                .any(|list| list.contains(&wanted))
            {
                return Err(Status::bad_request(format!(
                    "container {wanted} is not valid for pod {name}"
                )));
            }
            wanted
        }
        (None, [only]) => only,
        (None, several) => {
            let mut message = format!("a container name must be specified for pod {name}");
            if !several.is_empty() {
                message += &format!(", choose one of: [{}]", several.join(" "));
            }
            if !several.is_empty() && !init.is_empty() {
                message += &format!(" or one of the init containers: [{}]", init.join(" "));
            }
            return Err(Status::bad_request(message));
        }
    };
    Ok(ContainerRef {
        namespace: text(&pod["metadata"]["namespace"]),
        container: container.to_owned(),
        pod: name,
    })
}

/// The first value of a parameter; an empty one counts as absent.
pub(super) fn first<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = parameters.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| &**value).filter(|value| !value.is_empty())
}

/// Go's reading of a flag in a query: the bare name means yes.
pub(super) fn flag(parameters: &[(String, String)], name: &str) -> bool {
    let found = parameters.iter().find(|(key, _)| key == name);
    found.is_some_and(|(_, value)| value != "0" && !value.eq_ignore_ascii_case("false"))
}

fn options(pod: &str, parameters: &[(String, String)], now: SystemTime) -> Result<LogOptions, Status> {
    let number = |name: &'static str, least: i64, rule: &str| -> Result<Option<i64>, Status> {
        let Some(text) = first(parameters, name) else {
            return Ok(None);
        };
        let value = text.parse().map_err(|_| {
            Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
        })?;
        if value < least {
            let why = format!("Invalid value: {value}: {rule}");
            return Err(invalid(pod, name, "FieldValueInvalid", &why));
        }
        Ok(Some(value))
    };
    let tail = number("tailLines", 0, "must be greater than or equal to 0")?;
    let limit = number("limitBytes", 1, "must be greater than 0")?;
    let seconds = number("sinceSeconds", 1, "must be greater than 0")?;
    let since = match (first(parameters, "sinceTime"), seconds) {
        (Some(_), Some(_)) => {
            let why = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified";
            return Err(invalid(pod, "sinceSeconds", "FieldValueForbidden", why));
        }
        (Some(text), None) => Some(since_time(text)?),
        (None, Some(seconds)) => now.checked_sub(Duration::from_secs(seconds.unsigned_abs())),
        (None, None) => None,
    };
    if let Some(stream) = first(parameters, "stream").filter(|stream| *stream != "All") {
        let why = format!("Unsupported value: \"{stream}\": supported values: \"All\"");
        return Err(invalid(pod, "stream", "FieldValueNotSupported", &why));
    }
    let size = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
    Ok(LogOptions {
        follow: flag(parameters, "follow"),
        previous: flag(parameters, "previous"),
        timestamps: flag(parameters, "timestamps"),
        tail_lines: tail.map(size),
        limit_bytes: limit.map(size),
        since,
    })
}

fn since_time(text: &str) -> Result<SystemTime, Status> {
    time::parse(text).ok_or_else(|| {
        let layout = "2006-01-02T15:04:05Z07:00";
        Status::bad_request(format!(
            "parsing time {text:?} as {layout:?}: cannot parse {text:?}"
        ))
    })
}

fn invalid(pod: &str, field: &str, reason: &str, why: &str) -> Status {
    Status {
        details: json!({"name": pod, "kind": "PodLogOptions", "causes": [
            {"reason": reason, "message": why, "field": field}]}),
        ..Status::new(
            422,
            "Invalid",
            format!("PodLogOptions \"{pod}\" is invalid: {field}: {why}"),
        )
    }
}

#[cfg(test)]
mod tests;
