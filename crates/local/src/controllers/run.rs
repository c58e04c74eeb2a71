//! From watches to work: sources follow collections and name keys, the loop takes keys and works on a few at a time.

use std::future::Future;
use std::time::Duration;

use daemon::{Tasks, clock};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::Value;
use tokio::sync::mpsc;

use super::changes::Changes;
use super::queue::{Backoff, Key, Outcome, Queue};
use crate::api::client::Client;
use crate::api::{Gvr, Status};

/// Which keys a change of an object concerns.
pub(super) type KeysOf = Box<dyn Fn(&Client, &Value) -> Vec<Key> + Send + Sync>;

/// A collection that a controller looks at.
pub(super) struct Source {
    gvr: Gvr,
    keys: KeysOf,
}

/// A controller, but for what it does with a key.
pub(super) struct Definition {
    pub(super) name: &'static str,
    pub(super) sources: Vec<Source>,
    pub(super) backoff: Backoff,
    /// Keys worked on at once; calls of admission webhooks may take their time.
    pub(super) at_once: usize,
}

/// What is left to do for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing until something changes.
    Wait,
    /// Look again after this time.
    After(Duration),
}

/// Keys on their way from watches to the queue; a full channel slows the watch down.
const CHANNEL: usize = 256;

impl Source {
    /// Each object of the collection is a key.
    pub(super) fn of(gvr: Gvr) -> Self {
        let of = gvr.clone();
        Self::mapped(gvr, move |_, object| vec![Key::of(&of, object)])
    }

    /// Changes of an object concern these keys. Asked for the old and for the new state.
    pub(super) fn mapped(
        gvr: Gvr,
        keys: impl Fn(&Client, &Value) -> Vec<Key> + Send + Sync + 'static,
    ) -> Self {
        Self {
            gvr,
            keys: Box::new(keys),
        }
    }
}

/// Starts a controller. What it is given besides its sources can be sent to the returned channel.
pub(super) fn start<Work, Working>(
    definition: Definition,
    client: &Client,
    tasks: &Tasks,
    work: Work,
) -> mpsc::Sender<Key>
where
    Work: Fn(Client, Key) -> Working + Send + 'static,
    Working: Future<Output = Result<Next, Status>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(CHANNEL);
    for Source { gvr, keys } in definition.sources {
        let (client, sender) = (client.clone(), sender.clone());
        tasks.spawn(definition.name, async move {
            let mut changes = Changes::of(&client, &gvr);
            loop {
                let changed = changes.next().await;
                let mut concerned: Vec<Key> =
                    changed.states().flat_map(|state| keys(&client, state)).collect();
                concerned.dedup();
                for key in concerned {
                    // Fails only when the controller stops.
                    let _ = sender.send(key).await;
                }
            }
        });
    }
    let client = client.clone();
    let begin = move |key: Key| {
        let working = work(client.clone(), key.clone());
        async move { (key, working.await) }.boxed()
    };
    let queue = Queue::new(definition.backoff);
    tasks.spawn(
        definition.name,
        work_off(queue, receiver, definition.at_once, begin),
    );
    sender
}

/// A key that was worked on.
type Worked = (Key, Result<Next, Status>);

async fn work_off(
    mut queue: Queue,
    mut keys: mpsc::Receiver<Key>,
    at_once: usize,
    begin: impl Fn(Key) -> BoxFuture<'static, Worked> + Send,
) {
    let mut working = FuturesUnordered::new();
    loop {
        while working.len() < at_once
            && let Some(key) = queue.take(clock::now())
        {
            working.push(begin(key));
        }
        let wakes_at = queue.wakes_at().filter(|_| working.len() < at_once);
        tokio::select! {
            key = keys.recv() => match key {
                Some(key) => queue.add(key),
                None => return,
            },
            Some((key, result)) = working.next() => {
                let outcome = outcome(&key, result);
                queue.done(key, outcome, clock::now());
            }
            () = clock::sleep_until(wakes_at.unwrap_or_else(clock::now)), if wakes_at.is_some() => {}
        }
    }
}

fn outcome(key: &Key, result: Result<Next, Status>) -> Outcome {
    match result {
        Ok(Next::Wait) => Outcome::Done,
        Ok(Next::After(delay)) => Outcome::After(delay),
        // Somebody else was faster, or removed it: look again at what is there now.
        Err(status) if matches!(status.code, 404 | 409) => {
            tracing::debug!(%key, %status, "changed while it was worked on");
            Outcome::Failed
        }
        Err(status) => {
            tracing::warn!(%key, %status, "will try again");
            Outcome::Failed
        }
    }
}
