//! Keys of issuers, fetched for proxies: RequestAuthentication names where they are, proxies get them inline.
//!
//! Each source is asked again after 20 minutes; after a failure within a second, and then at growing intervals of up to
//! five minutes. The last keys that could be read stay in force while a source fails, for a week at most.
//!
//! At most [`AT_ONCE`] fetches run at a time, each with a limit in time and size ([`fetch`]), and at most a quarter of
//! them for one namespace. Namespaces take turns, and the last places are for those that have none: so no namespace,
//! whatever sources it names, keeps those of another from being fetched, and many together do so only until each has
//! had a turn. What the keys take in memory is bounded likewise ([`budget`]).

mod budget;
mod fetch;
#[cfg(test)]
mod tests;
mod url;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use daemon::clock::{self, Instant};
use daemon::metrics::{Counters, Registry};
use daemon::{Drain, Tasks};
use identity::jwt::KeySet;
use serde_json::Value;
use snapshot::Subnet;
use tokio::sync::{mpsc, watch};
use translate::{Demand, Fetched, KeySets, KeySource};

pub use fetch::FetchError;
use fetch::Fetcher;

/// Fetches that run at a time.
const AT_ONCE: usize = 16;
/// Those of them that one namespace may ask for.
const OF_ONE_NAMESPACE: usize = AT_ONCE / 4;
/// Those of them that are for namespaces without any other.
const OF_FIRST_ONES: usize = AT_ONCE / 4;
/// After the first failure; doubled up to the longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(5 * 60);
/// Keys that could not be fetched anew for so long are not believed any more.
const LONGEST_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// How keys are fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Time between two fetches of one source.
    pub refresh: Duration,
    /// Networks that are never connected to, besides those that no source may be in.
    pub blocked: Vec<Subnet>,
    /// Servers are believed without a certificate of a known authority.
    pub insecure: bool,
    /// Servers may be on the controller's own loopback.
    pub loopback: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(20 * 60),
            blocked: Vec::new(),
            insecure: false,
            loopback: false,
        }
    }
}

/// Sources that somebody asks for.
pub type Wanted = BTreeMap<KeySource, Demand>;

/// The two ends for who wants keys.
#[derive(Debug)]
pub struct Keys {
    /// What is wanted.
    pub wanted: watch::Sender<Wanted>,
    /// What came of it.
    pub fetched: watch::Receiver<Arc<KeySets>>,
}

/// Starts to fetch what is wanted, until the drain begins.
pub fn start(settings: &Settings, registry: &Registry, tasks: &Tasks, drain: Drain) -> Keys {
    let (wanted, wishes) = watch::channel(Wanted::new());
    let (told, fetched) = watch::channel(Arc::new(KeySets::new()));
    let keeper = Keeper {
        refresh: settings.refresh,
        fetcher: Arc::new(Fetcher::new(settings)),
        entries: BTreeMap::new(),
        running: BTreeMap::new(),
        turns: BTreeMap::new(),
        told,
        counts: Counts::new(registry),
        tasks: tasks.clone(),
    };
    tasks.spawn("keys of issuers", keeper.run(wishes, drain));
    Keys { wanted, fetched }
}

/// What is counted, under istiod's names.
struct Counts {
    successes: Counters,
    failures: Counters,
}

impl Counts {
    fn new(registry: &Registry) -> Self {
        Self {
            successes: registry.counters(
                "pilot_jwks_resolver_network_fetch_success_total",
                "Total number of successfully network fetch by pilot jwks resolver",
                &[],
            ),
            failures: registry.counters(
                "pilot_jwks_resolver_network_fetch_fail_total",
                "Total number of failed network fetch by pilot jwks resolver",
                &[],
            ),
        }
    }
}

/// What one fetch brought.
type Outcome = (KeySource, Result<String, FetchError>);

struct Keeper {
    refresh: Duration,
    fetcher: Arc<Fetcher>,
    entries: BTreeMap<KeySource, Entry>,
    /// Fetches, with the namespaces in whose places they run. Some may be of sources that nobody wants any more.
    running: BTreeMap<KeySource, String>,
    /// When each namespace had a place the last time.
    turns: BTreeMap<String, Instant>,
    told: watch::Sender<Arc<KeySets>>,
    counts: Counts,
    tasks: Tasks,
}

/// What is known of a source.
struct Entry {
    demand: Demand,
    /// The namespace on whose account its keys are ([`budget`]); `None` without keys.
    payer: Option<String>,
    /// `None` before the first fetch ended.
    fetched: Option<Fetched>,
    /// When the keys came.
    refreshed: Option<Instant>,
    failures: u32,
    /// When to fetch next; in the past while a fetch runs, and while there is no place for it.
    due: Instant,
}

impl Keeper {
    async fn run(mut self, mut wishes: watch::Receiver<Wanted>, mut drain: Drain) {
        let (sender, mut outcomes) = mpsc::channel(AT_ONCE);
        loop {
            let next = self.start_what_is_due(&sender);
            tokio::select! {
                () = drain.wait() => return,
                changed = wishes.changed() => match changed {
                    Ok(()) => {
                        let wanted = wishes.borrow_and_update().clone();
                        self.want(&wanted);
                    }
                    Err(_) => return,
                },
                Some((source, outcome)) = outcomes.recv() => self.learn(&source, outcome),
                () = until(next) => {}
            }
        }
    }

    /// Forgets what nobody wants any more, and notes what is new.
    fn want(&mut self, wanted: &Wanted) {
        self.entries.retain(|source, _| wanted.contains_key(source));
        for (source, demand) in wanted {
            let new = || Entry::new(clock::now());
            let entry = self.entries.entry(source.clone()).or_insert_with(new);
            entry.demand = demand.clone();
        }
        let asking: BTreeSet<&String> = wanted.values().flat_map(|demand| &demand.namespaces).collect();
        self.turns.retain(|namespace, _| asking.contains(namespace));
        self.pay_anew();
        self.tell();
    }

    /// Finds somebody else for keys on the account of a namespace that no longer asks for them.
    fn pay_anew(&mut self) {
        let gone = |entry: &Entry| {
            let payer = entry.payer.as_ref();
            payer.is_some_and(|payer| !entry.demand.namespaces.contains(payer))
        };
        let unpaid = self.entries.iter().filter(|(_, entry)| gone(entry));
        let unpaid: Vec<_> = unpaid
            .map(|(source, entry)| (source.clone(), entry.size()))
            .collect();
        for (source, size) in unpaid {
            let payer = budget::payer(&self.entries, &source, size);
            let Some(entry) = self.entries.get_mut(&source) else {
                continue;
            };
            match payer {
                Ok(payer) => entry.payer = payer,
                Err(no_room) => entry.lost_its_room(&no_room.into()),
            }
        }
    }

    /// Starts fetches, and says when the next one is due. What is due already and did not start waits for the end of
    /// one that runs.
    fn start_what_is_due(&mut self, outcomes: &mpsc::Sender<Outcome>) -> Option<Instant> {
        let now = clock::now();
        for (source, limit) in self.take_places(now) {
            let (fetcher, outcomes) = (self.fetcher.clone(), outcomes.clone());
            self.tasks.spawn("key fetch", async move {
                let outcome = fetcher.fetch(&source, limit).await;
                // Nobody listens any more once the keeper has ended.
                let _ = outcomes.send((source, outcome)).await;
            });
        }
        let later = self.entries.values().map(|entry| entry.due);
        later.filter(|due| *due > now).min()
    }

    /// The sources that are fetched now, with the time for each.
    fn take_places(&mut self, now: Instant) -> Vec<(KeySource, Duration)> {
        let mut taken = Vec::new();
        while let Some((source, namespace, limit)) = self.next_in_turn(now) {
            self.turns.insert(namespace.clone(), now);
            self.running.insert(source.clone(), namespace);
            taken.push((source, limit));
        }
        taken
    }

    /// The source that has the next place, and in whose name: the namespace that has the fewest places goes first, then
    /// the one whose last is longest ago, and of its sources the one that has been due longest. A source that several
    /// namespaces ask for waits only while all of them do.
    fn next_in_turn(&self, now: Instant) -> Option<(KeySource, String, Duration)> {
        let free = AT_ONCE.saturating_sub(self.running.len());
        if free == 0 {
            return None;
        }
        let mut places: BTreeMap<&String, usize> = BTreeMap::new();
        for namespace in self.running.values() {
            *places.entry(namespace).or_default() += 1;
        }
        let due = self.entries.iter();
        let due = due.filter(|(source, entry)| entry.due <= now && !self.running.contains_key(*source));
        let asked = due.flat_map(|(source, entry)| {
            let namespaces = entry.demand.namespaces.iter();
            namespaces.map(move |namespace| (source, entry, namespace))
        });
        let turns = asked.filter_map(|(source, entry, namespace)| {
            let own = places.get(namespace).copied().unwrap_or_default();
            let may = own == 0 || (own < OF_ONE_NAMESPACE && free > OF_FIRST_ONES);
            let turn = (own, self.turns.get(namespace), entry.due);
            may.then_some((turn, source, entry, namespace))
        });
        let (_, source, entry, namespace) = turns.min_by_key(|(turn, ..)| *turn)?;
        Some((source.clone(), namespace.clone(), entry.demand.limit))
    }

    fn learn(&mut self, source: &KeySource, outcome: Result<String, FetchError>) {
        let counter = if outcome.is_ok() {
            &self.counts.successes
        } else {
            &self.counts.failures
        };
        counter.with(&[]).increment();
        self.running.remove(source);
        let outcome = outcome.and_then(|text| {
            KeySet::parse(&text)?;
            let payer = budget::payer(&self.entries, source, text.len())?;
            Ok((text, payer))
        });
        // It may not be wanted any more.
        let Some(entry) = self.entries.get_mut(source) else {
            return;
        };
        match outcome {
            Ok((keys, payer)) => {
                entry.payer = payer;
                entry.succeeded(&keys, self.refresh);
            }
            Err(error) => {
                tracing::warn!(scope = "model", %source, %error, "keys of an issuer were not fetched");
                entry.failed(&error);
            }
        }
        self.tell();
    }

    /// Tells what is new.
    fn tell(&self) {
        let sets: KeySets = self
            .entries
            .iter()
            .filter_map(|(source, entry)| Some((source.clone(), entry.fetched.clone()?)))
            .collect();
        self.told.send_if_modified(|known| {
            let new = **known != sets;
            *known = Arc::new(sets);
            new
        });
    }
}

impl Entry {
    fn new(due: Instant) -> Self {
        Self {
            demand: Demand::default(),
            payer: None,
            fetched: None,
            refreshed: None,
            failures: 0,
            due,
        }
    }

    fn succeeded(&mut self, keys: &str, refresh: Duration) {
        let now = clock::now();
        self.failures = 0;
        self.refreshed = Some(now);
        self.due = now + refresh.mul_f64(0.9 + 0.2 * share());
        let known = self.fetched.take().and_then(|fetched| fetched.keys);
        // Some servers give the same keys in another order each time: that is no news for proxies.
        let keys = known
            .filter(|known| same_keys(known, keys))
            .unwrap_or_else(|| keys.into());
        self.fetched = Some(Fetched {
            keys: Some(keys),
            problem: None,
        });
    }

    fn failed(&mut self, error: &FetchError) {
        let now = clock::now();
        let wait = FIRST_RETRY
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST_RETRY);
        self.failures = self.failures.saturating_add(1);
        self.due = now + wait.mul_f64(0.5 + 0.5 * share());
        let fetched = self.fetched.get_or_insert_default();
        fetched.problem = Some(error.told());
        if self.refreshed.is_some_and(|then| now - then > LONGEST_LIFE) {
            fetched.keys = None;
            self.payer = None;
        }
    }

    fn lost_its_room(&mut self, error: &FetchError) {
        self.payer = None;
        self.fetched = None;
        self.failed(error);
    }

    /// Bytes of its keys.
    fn size(&self) -> usize {
        let keys = self.fetched.as_ref().and_then(|fetched| fetched.keys.as_ref());
        keys.map_or(0, |keys| keys.len())
    }
}

/// Whether two sets say the same, in whatever order.
fn same_keys(one: &str, other: &str) -> bool {
    let sorted = |text: &str| {
        let set: Value = serde_json::from_str(text).ok()?;
        let mut keys: Vec<String> = set
            .get("keys")?
            .as_array()?
            .iter()
            .map(Value::to_string)
            .collect();
        keys.sort_unstable();
        Some(keys)
    };
    one == other || sorted(one).is_some_and(|one| sorted(other) == Some(one))
}

/// Evenly from 0 to 1, so that many sources, or many controllers, do not ask in one moment.
#[allow(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
fn share() -> f64 {
    let random = RandomState::new().hash_one(0_u8);
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => clock::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
