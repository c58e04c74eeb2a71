//! Watches: changes of a collection as one caller may see them.
//!
//! An object that stops matching the selectors is `Deleted` for this watch, one that begins to match is `Added`.
//! Nothing is queued for a watch but what one turn took from the store's history: a slow reader holds up nobody.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::Status;
use super::client::{Change, Event, Object};
use super::query::Filter;
use super::registry::Type;
use super::verbs::Target;
use crate::store::{Feed, Record, TooOld, revision_of};

/// Changes of a collection, in order, without gaps. One that falls behind the store's history gets a single
/// `410 Expired`, then the end; its owner lists again.
pub struct Watch {
    kind: Arc<Type>,
    namespace: String,
    filter: Filter,
    ready: VecDeque<Event>,
    feed: Feed,
    /// How many of `ready` are what there was at the beginning.
    initial: usize,
    ended: bool,
}

impl Watch {
    pub(super) fn new(target: &Target, filter: Filter, initial: Vec<Object>, feed: Feed) -> Self {
        Self {
            kind: target.kind.clone(),
            namespace: target.namespace.clone(),
            filter,
            initial: initial.len(),
            ready: initial
                .into_iter()
                .map(|object| Event {
                    change: Change::Added,
                    object,
                })
                .collect(),
            feed,
            ended: false,
        }
    }

    /// The next event; `None` after an error. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Result<Event, Status>> {
        loop {
            if self.ended {
                return None;
            }
            if let Some(event) = self.ready.pop_front() {
                self.initial = self.initial.saturating_sub(1);
                return Some(Ok(event));
            }
            match self.feed.next().await {
                Ok(records) => {
                    let events = records.iter().filter_map(|record| self.event(record));
                    let events: Vec<_> = events.collect();
                    self.ready.extend(events);
                }
                Err(too_old) => {
                    self.ended = true;
                    return Some(Err(expired(&too_old)));
                }
            }
        }
    }

    /// Whether everything that was there at the beginning has been handed out.
    pub fn initial_is_over(&self) -> bool {
        self.initial == 0
    }

    /// The version up to which everything has been handed out, for bookmarks; `None` while something waits.
    pub fn bookmark(&mut self) -> Option<u64> {
        self.ready.is_empty().then(|| self.feed.position())
    }

    fn event(&self, record: &Record) -> Option<Event> {
        let shown = |object: &Value| {
            (self.namespace.is_empty() || object["metadata"]["namespace"] == self.namespace)
                && self.filter.matches(object)
        };
        let before = record.previous.as_deref().is_some_and(shown);
        let after = !record.removed && shown(&record.object);
        let (change, object) = match (before, after) {
            (false, false) => return None,
            (false, true) => (Change::Added, record.object.clone()),
            (true, true) => (Change::Modified, record.object.clone()),
            (true, false) if record.removed => (Change::Deleted, record.object.clone()),
            (true, false) => (Change::Deleted, last_seen(record)),
        };
        Some(Event {
            change,
            object: self.kind.served(&object),
        })
    }
}

/// What the watch has seen of an object that no longer matches, with the version of the change.
fn last_seen(record: &Record) -> Object {
    let mut object = record.previous.as_deref().cloned().unwrap_or_default();
    object["metadata"]["resourceVersion"] = revision_of(&record.object).to_string().into();
    Arc::new(object)
}

/// 410: the owner must list again.
pub(super) fn expired(too_old: &TooOld) -> Status {
    Status::new(410, "Expired", too_old.to_string())
}

impl fmt::Debug for Watch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Watch")
            .field("kind", &self.kind.gvr)
            .field("feed", &self.feed)
            .finish_non_exhaustive()
    }
}
