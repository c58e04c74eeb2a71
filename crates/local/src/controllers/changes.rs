//! Every change of a collection, for ever: list, watch, and list again after a gap, so that no deletion is missed.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use daemon::clock;
use serde_json::Value;

use super::object;
use crate::api::client::{Change, Client, Event, Object, Query, Watch};
use crate::api::{Gvr, Status};

/// What happened to an object: its state before and after; one of them may be missing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Changed {
    pub(crate) before: Option<Object>,
    pub(crate) after: Option<Object>,
}

impl Changed {
    pub(crate) fn states(&self) -> impl Iterator<Item = &Value> {
        [&self.before, &self.after]
            .into_iter()
            .flatten()
            .map(|object| &**object)
    }
}

/// A collection in all namespaces, followed from now on.
pub(crate) struct Changes {
    client: Client,
    gvr: Gvr,
    known: Known,
    pending: VecDeque<Changed>,
    watch: Option<Watch>,
}

/// By namespace and name.
type Known = HashMap<(String, String), Object>;

/// How long a broken watch rests before it begins anew.
const PAUSE: Duration = Duration::from_millis(100);

impl Changes {
    pub(crate) fn of(client: &Client, gvr: &Gvr) -> Self {
        Self {
            client: client.clone(),
            gvr: gvr.clone(),
            known: HashMap::new(),
            pending: VecDeque::new(),
            watch: None,
        }
    }

    /// The next change; at first one for each object that there is. Nothing is lost when the caller stops waiting.
    pub(crate) async fn next(&mut self) -> Changed {
        loop {
            if let Some(changed) = self.pending.pop_front() {
                return changed;
            }
            let result = match &mut self.watch {
                None => self.list(),
                Some(watch) => match watch.next().await {
                    Some(event) => event.map(|event| self.note(event)),
                    None => Err(Status::internal("the watch ended")),
                },
            };
            if let Err(status) = result {
                // Normal when it fell behind (410), and while a kind comes or goes (404).
                tracing::debug!(gvr = %self.gvr, %status, "listing again");
                self.watch = None;
                clock::sleep(PAUSE).await;
            }
        }
    }

    fn list(&mut self) -> Result<(), Status> {
        let list = self.client.list(&self.gvr, "", &Query::default())?;
        let watch = self
            .client
            .watch(&self.gvr, "", &Query::default(), list.resource_version)?;
        let mut gone = std::mem::take(&mut self.known);
        for object in list.items {
            let before = gone.remove(&place(&object));
            self.known.insert(place(&object), object.clone());
            if before.as_ref() != Some(&object) {
                let after = Some(object);
                self.pending.push_back(Changed { before, after });
            }
        }
        let gone = gone.into_values().map(Some);
        self.pending
            .extend(gone.map(|before| Changed { before, after: None }));
        self.watch = Some(watch);
        Ok(())
    }

    fn note(&mut self, Event { change, object }: Event) {
        let changed = match change {
            Change::Added | Change::Modified => Changed {
                before: self.known.insert(place(&object), object.clone()),
                after: Some(object),
            },
            Change::Deleted => Changed {
                before: Some(self.known.remove(&place(&object)).unwrap_or(object)),
                after: None,
            },
        };
        self.pending.push_back(changed);
    }
}

/// Waits for a change in either collection, and a little longer for those that come with it.
pub(crate) async fn collect(one: &mut Changes, other: &mut Changes, window: Duration) {
    tokio::select! {
        _ = one.next() => {}
        _ = other.next() => {}
    }
    let end = clock::now() + window;
    loop {
        tokio::select! {
            biased;
            () = clock::sleep_until(end) => return,
            _ = one.next() => {}
            _ = other.next() => {}
        }
    }
}

fn place(object: &Value) -> (String, String) {
    (
        object::namespace(object).to_owned(),
        object::name(object).to_owned(),
    )
}
