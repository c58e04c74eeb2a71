//! A watch over HTTP: one JSON object per line, for as long as the client stays.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use daemon::Drain;
use daemon::clock::{self, Instant};
use futures_util::stream;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};

use super::super::Status;
use super::super::client::{Change, Event, Watch};
use super::super::registry::Type;
use super::super::verbs::{Api, Target};
use super::list_options::{self, query};
use super::respond::{self, Body};
use super::service::{Asked, Parameters};
use super::shown::Shown;

/// Between bookmarks, for those who want them.
const BOOKMARK: Duration = Duration::from_secs(60);
/// Without `timeoutSeconds` a watch lasts this long, and up to twice that.
const LIFETIME: Duration = Duration::from_secs(1800);

/// Where a watch begins, and what it tells beside changes.
#[derive(Debug, PartialEq, Eq)]
struct Begin {
    /// `None`: with all there is.
    after: Option<u64>,
    bookmarks: bool,
    /// A bookmark marks the end of what there was.
    mark_initial: bool,
}

/// A watch on the wire.
struct Stream {
    api: Arc<Api>,
    watch: Watch,
    /// What the objects are shown as.
    served: Arc<Type>,
    shown: Shown,
    /// `kind` and `apiVersion` of bookmarks.
    kind: (String, String),
    drain: Drain,
    ends: Instant,
    next_bookmark: Option<Instant>,
    mark_initial: bool,
    first: bool,
    ended: bool,
}

/// Begins the stream.
pub(super) fn serve(
    api: &Arc<Api>,
    asked: &Asked,
    target: &Target,
    drain: Drain,
) -> Result<Response<Body>, Status> {
    let begin = begin(&asked.parameters, *api.store.revisions().borrow())?;
    let mut query = query(&asked.parameters);
    if !target.name.is_empty() {
        // The old way to watch one object: `GET …/NAME?watch=true`.
        let name = format!("metadata.name={}", target.name);
        query.fields = if query.fields.is_empty() {
            name
        } else {
            format!("{},{name}", query.fields)
        };
    }
    let watch = match api.watch(target, &query, begin.after.unwrap_or(0)) {
        Ok(watch) => watch,
        // A version out of reach is told inside of the stream.
        Err(status) if status.code == 410 => return Ok(single(&line("ERROR", &status.to_object()))),
        Err(status) => return Err(status),
    };
    let now = clock::now();
    let seconds = asked
        .parameters
        .get("timeoutSeconds")
        .and_then(|text| text.parse().ok());
    let lifetime = match seconds {
        Some(seconds) if seconds > 0 => Duration::from_secs(seconds).min(LIFETIME * 48),
        _ => LIFETIME.mul_f64(1.0 + rand::random::<f64>()),
    };
    let stream = Stream {
        api: Arc::clone(api),
        served: Arc::clone(&target.kind),
        shown: Shown::of(asked, target),
        kind: (target.kind.kind.to_string(), target.kind.api_version()),
        drain,
        ends: now + lifetime,
        next_bookmark: begin.bookmarks.then(|| now + BOOKMARK),
        mark_initial: begin.mark_initial,
        first: true,
        ended: false,
        watch,
    };
    let lines = stream::unfold(stream, |mut stream| async move {
        let line = stream.next().await?;
        Some((Ok(Frame::data(line)), stream))
    });
    Ok(respond::answer(
        200,
        "application/json",
        StreamBody::new(lines).boxed_unsync(),
    ))
}

impl Stream {
    /// The next line; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        if self.mark_initial
            && self.watch.initial_is_over()
            && let Some(version) = self.watch.bookmark()
        {
            self.mark_initial = false;
            return Some(self.bookmark(version, true));
        }
        loop {
            let wakes = self.next_bookmark.map_or(self.ends, |at| at.min(self.ends));
            tokio::select! {
                event = self.watch.next() => return match event? {
                    Ok(event) => Some(self.converted(event).await),
                    Err(status) => Some(self.error(&status)),
                },
                () = self.drain.wait() => return None,
                () = clock::sleep_until(wakes) => {}
            }
            if wakes == self.ends {
                return None;
            }
            self.next_bookmark = Some(clock::now() + BOOKMARK);
            if let Some(version) = self.watch.bookmark() {
                return Some(self.bookmark(version, false));
            }
        }
    }

    /// What cannot be shown in the version that was asked for ends the watch.
    async fn converted(&mut self, event: Event) -> Bytes {
        let Event { change, object } = event;
        match self.api.shown(&self.served, object).await {
            Ok(object) => self.line(&Event { change, object }),
            Err(status) => self.error(&status),
        }
    }

    fn error(&mut self, status: &Status) -> Bytes {
        self.ended = true;
        line("ERROR", &status.to_object())
    }

    fn line(&mut self, event: &Event) -> Bytes {
        let kind = match event.change {
            Change::Added => "ADDED",
            Change::Modified => "MODIFIED",
            Change::Deleted => "DELETED",
        };
        let object = self.shown.event(&event.object, self.first);
        self.first = false;
        line(kind, &object)
    }

    fn bookmark(&self, version: u64, initial: bool) -> Bytes {
        let (kind, api_version) = &self.kind;
        let mut metadata = json!({"resourceVersion": version.to_string(), "creationTimestamp": null});
        if initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        line("BOOKMARK", &object)
    }
}

/// What the query says about the beginning; `newest` is the store's version.
fn begin(parameters: &Parameters, newest: u64) -> Result<Begin, Status> {
    let bookmarks = parameters.is_set("allowWatchBookmarks");
    list_options::check_watch(parameters)?;
    let version = list_options::version(parameters)?;
    let initial = parameters
        .get("sendInitialEvents")
        .map(|text| text != "false" && text != "0");
    Ok(match (initial, version) {
        (Some(true), _) => Begin {
            after: None,
            bookmarks,
            mark_initial: bookmarks,
        },
        (Some(false), None | Some(0)) => Begin {
            after: Some(newest),
            bookmarks,
            mark_initial: false,
        },
        (None, Some(0)) => Begin {
            after: None,
            bookmarks,
            mark_initial: bookmarks,
        },
        (None, None) => Begin {
            after: None,
            bookmarks,
            mark_initial: false,
        },
        (_, Some(version)) => Begin {
            after: Some(version),
            bookmarks,
            mark_initial: false,
        },
    })
}

fn single(line: &Bytes) -> Response<Body> {
    respond::answer(200, "application/json", respond::full(line.clone()))
}

fn line(kind: &str, object: &Value) -> Bytes {
    let mut text = format!("{{\"type\":\"{kind}\",\"object\":");
    text.push_str(&object.to_string());
    text.push_str("}\n");
    text.into()
}
