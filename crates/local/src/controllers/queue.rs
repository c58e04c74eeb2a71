//! What is to be looked at, and when: keys, each at most once, no key twice at a time.
//!
//! A key says only that something about an object changed; whoever takes it looks at the cluster as it is then. So a
//! thousand changes of one object are one key, and the queue is never longer than there are objects. Time is passed
//! in.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

use daemon::clock::Instant;
use serde_json::Value;

use super::object;
use crate::api::Gvr;

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) gvr: Gvr,
    /// Empty for what has no namespace.
    pub(super) namespace: String,
    pub(super) name: String,
}

/// How long a key that failed rests: twice as long after each failure in a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    pub(super) first: Duration,
    pub(super) longest: Duration,
}

/// What came of looking at a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// Nothing to do now; look again after this time, whether or not anything changes.
    After(Duration),
    Failed,
}

#[derive(Debug)]
pub(super) struct Queue {
    backoff: Backoff,
    keys: HashMap<Key, Entry>,
    ready: VecDeque<Key>,
    resting: BTreeSet<(Instant, Key)>,
}

#[derive(Debug)]
struct Entry {
    state: State,
    /// In a row.
    failures: u32,
}

#[derive(Debug, PartialEq)]
enum State {
    Ready,
    Resting(Instant),
    Taken { changed_meanwhile: bool },
}

impl Key {
    /// The key of an object of the collection `gvr`.
    pub(super) fn of(gvr: &Gvr, object: &Value) -> Self {
        Self::new(gvr, object::namespace(object), object::name(object))
    }

    pub(super) fn new(gvr: &Gvr, namespace: &str, name: &str) -> Self {
        Self {
            gvr: gvr.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}/{}", self.gvr, self.namespace, self.name)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(5),
            longest: Duration::from_secs(30),
        }
    }
}

impl Backoff {
    fn after(self, failures: u32) -> Duration {
        let factor = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }
}

impl Queue {
    pub(super) fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            keys: HashMap::new(),
            ready: VecDeque::new(),
            resting: BTreeSet::new(),
        }
    }

    /// Something about the object changed. A key that rests is woken: the change may be what it waits for.
    pub(super) fn add(&mut self, key: Key) {
        let Some(entry) = self.keys.get_mut(&key) else {
            let entry = Entry {
                state: State::Ready,
                failures: 0,
            };
            self.keys.insert(key.clone(), entry);
            return self.ready.push_back(key);
        };
        match &mut entry.state {
            State::Ready => {}
            State::Taken { changed_meanwhile } => *changed_meanwhile = true,
            State::Resting(until) => {
                self.resting.remove(&(*until, key.clone()));
                entry.state = State::Ready;
                self.ready.push_back(key);
            }
        }
    }

    /// The next key to look at; give it back with [`Queue::done`].
    pub(super) fn take(&mut self, now: Instant) -> Option<Key> {
        while self.resting.first().is_some_and(|(until, _)| *until <= now) {
            let (_, key) = self.resting.pop_first().expect("there is a first one");
            self.keys
                .get_mut(&key)
                .expect("every resting key has an entry")
                .state = State::Ready;
            self.ready.push_back(key);
        }
        let key = self.ready.pop_front()?;
        let entry = self.keys.get_mut(&key).expect("every ready key has an entry");
        entry.state = State::Taken {
            changed_meanwhile: false,
        };
        Some(key)
    }

    pub(super) fn done(&mut self, key: Key, outcome: Outcome, now: Instant) {
        let Some(entry) = self.keys.get_mut(&key) else {
            return;
        };
        let changed = entry.state
            == State::Taken {
                changed_meanwhile: true,
            };
        entry.failures = match outcome {
            Outcome::Failed => entry.failures.saturating_add(1),
            Outcome::Done | Outcome::After(_) => 0,
        };
        // A failure rests even if there was a change: it may be the failure's own doing.
        let rest = match outcome {
            Outcome::Failed => Some(self.backoff.after(entry.failures)),
            _ if changed => Some(Duration::ZERO),
            Outcome::After(delay) => Some(delay),
            Outcome::Done => None,
        };
        match rest {
            None => {
                self.keys.remove(&key);
            }
            Some(delay) => {
                entry.state = State::Resting(now + delay);
                self.resting.insert((now + delay, key));
            }
        }
    }

    /// When [`Queue::take`] will have something without another [`Queue::add`].
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.resting.first().map(|(until, _)| *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::gvr::PODS;

    fn key(name: &str) -> Key {
        Key::new(&PODS, "default", name)
    }

    fn queue() -> Queue {
        Queue::new(Backoff {
            first: Duration::from_millis(50),
            longest: Duration::from_secs(1),
        })
    }

    #[test]
    fn many_changes_of_one_object_are_one_key() {
        let (mut queue, now) = (queue(), daemon::clock::now());
        queue.add(key("a"));
        queue.add(key("a"));
        queue.add(key("b"));
        assert_eq!(queue.take(now), Some(key("a")));
        assert_eq!(queue.take(now), Some(key("b")));
        assert_eq!(queue.take(now), None);
    }

    #[test]
    fn a_change_during_the_work_brings_the_key_back_once_it_is_done() {
        let (mut queue, now) = (queue(), daemon::clock::now());
        queue.add(key("a"));
        queue.take(now);
        queue.add(key("a"));
        assert_eq!(queue.take(now), None, "not twice at a time");
        queue.done(key("a"), Outcome::Done, now);
        assert_eq!(queue.take(now), Some(key("a")));
        queue.done(key("a"), Outcome::Done, now);
        assert!(queue.keys.is_empty());
    }

    #[test]
    fn failures_rest_twice_as_long_each_time_up_to_a_second() {
        let (mut queue, mut now) = (queue(), daemon::clock::now());
        queue.add(key("a"));
        for wait in [50, 100, 200, 400, 800, 1000, 1000] {
            queue.take(now).expect("rested");
            queue.done(key("a"), Outcome::Failed, now);
            now += Duration::from_millis(wait - 1);
            assert_eq!(queue.take(now), None, "{wait}");
            now += Duration::from_millis(1);
        }
        queue.take(now).expect("rested");
        queue.done(key("a"), Outcome::Done, now);
        queue.add(key("a"));
        queue.take(now);
        queue.done(key("a"), Outcome::Failed, now);
        assert_eq!(
            queue.wakes_at(),
            Some(now + Duration::from_millis(50)),
            "a success forgets"
        );
    }

    #[test]
    fn a_change_wakes_a_key_that_rests() {
        let (mut queue, now) = (queue(), daemon::clock::now());
        queue.add(key("a"));
        queue.take(now);
        queue.done(key("a"), Outcome::After(Duration::from_secs(600)), now);
        queue.add(key("a"));
        assert_eq!(queue.take(now), Some(key("a")));
        queue.done(key("a"), Outcome::Done, now);
        assert_eq!(queue.wakes_at(), None, "the old alarm is gone");
    }

    proptest::proptest! {
        /// Whatever happens in whatever order: no key is out twice, and after a change every key comes out again.
        #[test]
        fn no_change_is_forgotten(steps in proptest::collection::vec((0u8..4, 0u8..3), 1..200)) {
            let mut queue = queue();
            let mut now = daemon::clock::now();
            let mut out = Vec::new();
            let mut unseen = std::collections::BTreeSet::new();
            for (step, number) in steps {
                let name = key(&number.to_string());
                match step {
                    0 => {
                        queue.add(name.clone());
                        unseen.insert(name);
                    }
                    1 => if let Some(taken) = queue.take(now) {
                        proptest::prop_assert!(!out.contains(&taken));
                        unseen.remove(&taken);
                        out.push(taken);
                    },
                    2 => if let Some(taken) = out.pop() {
                        let outcome = if number == 0 { Outcome::Failed } else { Outcome::Done };
                        queue.done(taken, outcome, now);
                    },
                    _ => now += Duration::from_millis(30),
                }
            }
            for taken in out {
                queue.done(taken, Outcome::Done, now);
            }
            now += Duration::from_secs(2);
            while let Some(taken) = queue.take(now) {
                unseen.remove(&taken);
                queue.done(taken, Outcome::Done, now);
            }
            proptest::prop_assert!(unseen.is_empty());
        }
    }
}
