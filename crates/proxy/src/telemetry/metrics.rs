//! Istio's standard metrics, counted by one data worker for itself.
//!
//! A [`Recorder`] belongs to one thread: no atomics, no locks, and nothing is allocated for a call whose labels
//! were seen before. The scraper asks each worker for a copy through a bounded channel ([`Recorder::answer`],
//! [`Collector::collect`]). Series are bounded; what comes later is counted under `overflow`.
//! <https://istio.io/latest/docs/reference/config/metrics/>

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use snapshot::cluster::ServiceRef;
use snapshot::endpoint::Workload;
use tokio::sync::{mpsc, oneshot};

use super::flags::Flags;

/// Istio's buckets, for milliseconds and bytes alike.
pub(crate) const BOUNDS: [f64; 19] = [
    0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0, 30_000.0, 60_000.0,
    300_000.0, 600_000.0, 1_800_000.0, 3_600_000.0,
];

/// Bound of series of one worker, for requests and for connections each.
pub(crate) const SERIES: usize = daemon::metrics::SERIES;

/// Longest wait for the copy of one worker.
const PATIENCE: Duration = Duration::from_secs(2);

/// Which proxy of a call reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Reporter {
    /// The client's.
    Source,
    /// The server's.
    Destination,
}

/// What was spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Http,
    Grpc,
    Tcp,
}

/// `connection_security_policy`: known at the destination only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Security {
    Unknown,
    None,
    MutualTls,
}

/// One end of a call. What is not known is `None` or empty, and `unknown` in the labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Party<'a> {
    pub(crate) workload: Option<&'a Workload>,
    /// The SPIFFE id.
    pub(crate) principal: Option<&'a str>,
}

/// Everything that tells one series from another, borrowed from the call that is being counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Call<'a> {
    pub(crate) reporter: Reporter,
    pub(crate) source: Party<'a>,
    pub(crate) destination: Party<'a>,
    /// The service called: of the cluster, else made of the cluster's name and the request's host.
    pub(crate) service: Option<&'a ServiceRef>,
    pub(crate) protocol: Protocol,
    /// 0 when the client left before there was one; unused by TCP.
    pub(crate) status: u16,
    /// `grpc-status`; `None` for HTTP.
    pub(crate) grpc_status: Option<u16>,
    pub(crate) flags: Flags,
    pub(crate) security: Security,
}

/// A finished request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestReport<'a> {
    pub(crate) call: Call<'a>,
    pub(crate) duration: Duration,
    /// Head and body.
    pub(crate) request_bytes: u64,
    /// Head and body.
    pub(crate) response_bytes: u64,
}

/// The counters of one worker. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder(Rc<RefCell<Stores>>);

#[derive(Debug, Default)]
struct Stores {
    requests: Store<RequestCounts>,
    connections: Store<ConnectionCounts>,
}

/// Numbers of one series of requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RequestCounts {
    pub(crate) total: u64,
    pub(crate) milliseconds: Spread,
    pub(crate) request_bytes: Spread,
    pub(crate) response_bytes: Spread,
}

/// Numbers of one series of opaque connections.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ConnectionCounts {
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    /// From the upstream to the client.
    pub(crate) sent: u64,
    /// From the client to the upstream.
    pub(crate) received: u64,
}

/// How values are spread over [`BOUNDS`]; the last count is of those above all.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Spread {
    pub(crate) counts: [u64; BOUNDS.len() + 1],
    pub(crate) sum: f64,
}

impl Spread {
    fn observe(&mut self, value: f64) {
        self.counts[BOUNDS.partition_point(|bound| *bound < value)] += 1;
        self.sum += value;
    }

    fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.sum += other.sum;
    }
}

/// Counts that can be put together.
pub(crate) trait Merge: Clone + Default {
    fn merge(&mut self, other: &Self);
}

impl Merge for RequestCounts {
    fn merge(&mut self, other: &Self) {
        self.total += other.total;
        self.milliseconds.add(&other.milliseconds);
        self.request_bytes.add(&other.request_bytes);
        self.response_bytes.add(&other.response_bytes);
    }
}

impl Merge for ConnectionCounts {
    fn merge(&mut self, other: &Self) {
        self.opened += other.opened;
        self.closed += other.closed;
        self.sent += other.sent;
        self.received += other.received;
    }
}

impl Recorder {
    /// Counts a finished request.
    pub(crate) fn request(&self, report: &RequestReport<'_>) {
        let mut stores = self.0.borrow_mut();
        let counts = stores.requests.counts(&report.call);
        counts.total += 1;
        counts.milliseconds.observe(report.duration.as_secs_f64() * 1000.0);
        counts.request_bytes.observe(report.request_bytes as f64);
        counts.response_bytes.observe(report.response_bytes as f64);
    }

    /// Counts an opaque connection that has reached its upstream, or is about to try.
    pub(crate) fn tcp_opened(&self, call: &Call<'_>) {
        self.0.borrow_mut().connections.counts(call).opened += 1;
    }

    /// Counts the end of an opaque connection.
    pub(crate) fn tcp_closed(&self, call: &Call<'_>) {
        self.0.borrow_mut().connections.counts(call).closed += 1;
    }

    /// Counts bytes of an opaque connection: `sent` to the client, `received` from it.
    pub(crate) fn tcp_bytes(&self, call: &Call<'_>, sent: u64, received: u64) {
        let mut stores = self.0.borrow_mut();
        let counts = stores.connections.counts(call);
        counts.sent += sent;
        counts.received += received;
    }

    /// A copy of everything counted so far.
    pub(crate) fn counted(&self) -> Counted {
        let stores = self.0.borrow();
        Counted { requests: stores.requests.copy(), connections: stores.connections.copy() }
    }

    /// Answers the scraper until it is gone; one task of each worker.
    pub(crate) async fn answer(self, mut asks: Asks) {
        while let Some(reply) = asks.0.recv().await {
            // A scraper that no longer waits needs no answer.
            let _ = reply.send(self.counted());
        }
    }
}

/// Series by their labels. The index maps a hash to places, so that a lookup needs no owned key.
#[derive(Debug)]
struct Store<T> {
    index: HashMap<u64, SmallVec<[u32; 1]>>,
    series: Vec<(Arc<Labels>, T)>,
    hasher: foldhash::fast::RandomState,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self { index: HashMap::new(), series: Vec::new(), hasher: foldhash::fast::RandomState::default() }
    }
}

impl<T: Merge> Store<T> {
    fn counts(&mut self, call: &Call<'_>) -> &mut T {
        let place = match self.find(call) {
            Some(place) => place,
            None if self.series.len() < SERIES => self.add(Labels::from(call)),
            None => self.overflow(),
        };
        &mut self.series[place].1
    }

    fn find(&self, call: &Call<'_>) -> Option<usize> {
        let places = self.index.get(&self.hasher.hash_one(call))?;
        let same = |place: &&u32| self.series[**place as usize].0.call() == *call;
        places.iter().find(same).map(|place| *place as usize)
    }

    fn add(&mut self, labels: Labels) -> usize {
        let place = self.series.len();
        let hash = self.hasher.hash_one(labels.call());
        // `SERIES` bounds the places.
        self.index.entry(hash).or_default().push(place as u32);
        self.series.push((Arc::new(labels), T::default()));
        place
    }

    fn overflow(&mut self) -> usize {
        let labels = Labels::overflow();
        self.find(&labels.call()).unwrap_or_else(|| self.add(labels))
    }

    fn copy(&self) -> Vec<(Arc<Labels>, T)> {
        self.series.clone()
    }
}

/// An owned [`Call`].
#[derive(Clone, Debug)]
pub(crate) struct Labels {
    source: OwnedParty,
    destination: OwnedParty,
    service: Option<ServiceRef>,
    reporter: Reporter,
    protocol: Protocol,
    status: u16,
    grpc_status: Option<u16>,
    flags: Flags,
    security: Security,
}

#[derive(Clone, Debug)]
struct OwnedParty {
    workload: Option<Workload>,
    principal: Option<String>,
}

impl OwnedParty {
    fn from(party: &Party<'_>) -> Self {
        Self { workload: party.workload.cloned(), principal: party.principal.map(str::to_owned) }
    }

    fn party(&self) -> Party<'_> {
        Party { workload: self.workload.as_ref(), principal: self.principal.as_deref() }
    }
}

impl Labels {
    fn from(call: &Call<'_>) -> Self {
        Self {
            source: OwnedParty::from(&call.source),
            destination: OwnedParty::from(&call.destination),
            service: call.service.cloned(),
            reporter: call.reporter,
            protocol: call.protocol,
            status: call.status,
            grpc_status: call.grpc_status,
            flags: call.flags,
            security: call.security,
        }
    }

    /// Where everything beyond the bound is counted.
    fn overflow() -> Self {
        let name = "overflow".to_owned();
        let workload = Workload { name: name.clone(), namespace: name.clone(), ..Workload::default() };
        let party = OwnedParty { workload: Some(workload), principal: None };
        Self {
            source: party.clone(),
            destination: party,
            service: Some(ServiceRef { host: name.clone(), name: name.clone(), namespace: name }),
            reporter: Reporter::Source,
            protocol: Protocol::Http,
            status: 0,
            grpc_status: None,
            flags: Flags::default(),
            security: Security::Unknown,
        }
    }

    /// The labels as they were given.
    pub(crate) fn call(&self) -> Call<'_> {
        Call {
            reporter: self.reporter,
            source: self.source.party(),
            destination: self.destination.party(),
            service: self.service.as_ref(),
            protocol: self.protocol,
            status: self.status,
            grpc_status: self.grpc_status,
            flags: self.flags,
            security: self.security,
        }
    }
}

/// A copy of what one worker, or all, have counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counted {
    pub(crate) requests: Vec<(Arc<Labels>, RequestCounts)>,
    pub(crate) connections: Vec<(Arc<Labels>, ConnectionCounts)>,
}

/// The worker's end: questions of the scraper.
#[derive(Debug)]
pub(crate) struct Asks(mpsc::Receiver<oneshot::Sender<Counted>>);

/// The scraper's end of one worker.
#[derive(Clone, Debug)]
pub(crate) struct Ask(mpsc::Sender<oneshot::Sender<Counted>>);

/// Joins a worker and the scraper.
pub(crate) fn channel() -> (Ask, Asks) {
    // One scrape at a time is usual; a few more wait, the rest get less than everything.
    let (sender, receiver) = mpsc::channel(4);
    (Ask(sender), Asks(receiver))
}

/// Asks all workers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Collector(Arc<[Ask]>);

impl Collector {
    pub(crate) fn new(workers: Vec<Ask>) -> Self {
        Self(workers.into())
    }

    /// What each worker has counted; a worker that is busy beyond all measure is left out.
    pub(crate) async fn collect(&self) -> Vec<Counted> {
        let mut all = Vec::with_capacity(self.0.len());
        for ask in self.0.iter() {
            match daemon::clock::timeout(PATIENCE, ask.counted()).await {
                Ok(Some(counted)) => all.push(counted),
                Ok(None) => {}
                Err(_) => tracing::warn!("a data worker did not answer the scraper in time"),
            }
        }
        all
    }
}

impl Ask {
    async fn counted(&self) -> Option<Counted> {
        let (sender, receiver) = oneshot::channel();
        self.0.send(sender).await.ok()?;
        receiver.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(service: &ServiceRef) -> Call<'_> {
        Call {
            reporter: Reporter::Source,
            source: Party::default(),
            destination: Party::default(),
            service: Some(service),
            protocol: Protocol::Http,
            status: 200,
            grpc_status: None,
            flags: Flags::default(),
            security: Security::Unknown,
        }
    }

    fn service(name: &str) -> ServiceRef {
        ServiceRef { host: format!("{name}.shop"), name: name.to_owned(), namespace: "shop".to_owned() }
    }

    fn count(recorder: &Recorder, call: Call<'_>) {
        let duration = Duration::from_millis(3);
        recorder.request(&RequestReport { call, duration, request_bytes: 100, response_bytes: 0 });
    }

    #[test]
    fn calls_with_equal_labels_share_a_series() {
        let recorder = Recorder::default();
        let (one, same, other) = (service("a"), service("a"), service("b"));
        count(&recorder, call(&one));
        count(&recorder, call(&same));
        count(&recorder, call(&other));
        count(&recorder, Call { status: 503, ..call(&one) });
        let totals: Vec<u64> = recorder.counted().requests.iter().map(|(_, counts)| counts.total).collect();
        assert_eq!(totals, [2, 1, 1]);
    }

    #[test]
    fn a_value_on_a_bound_belongs_to_that_bound() {
        let mut spread = Spread::default();
        for value in [0.0, 0.5, 0.6, 3_600_000.0, 1e9] {
            spread.observe(value);
        }
        assert_eq!((spread.counts[0], spread.counts[1], spread.counts[18], spread.counts[19]), (2, 1, 1, 1));
    }

    #[test]
    fn series_beyond_the_bound_are_counted_together() {
        let recorder = Recorder::default();
        for number in 0..SERIES + 50 {
            count(&recorder, call(&service(&number.to_string())));
        }
        let counted = recorder.counted().requests;
        assert_eq!(counted.len(), SERIES + 1);
        let (labels, counts) = &counted[SERIES];
        assert_eq!(labels.call().service.map(|service| service.name.as_str()), Some("overflow"));
        assert_eq!(counts.total, 50);
    }

    #[tokio::test]
    async fn the_scraper_gets_a_copy_from_every_worker_that_lives() {
        let (recorder, (ask, asks), (gone, _)) = (Recorder::default(), channel(), channel());
        count(&recorder, call(&service("a")));
        let collector = Collector::new(vec![ask, gone]);
        let collected = tokio::select! {
            () = recorder.answer(asks) => unreachable!("the collector still lives"),
            collected = collector.collect() => collected,
        };
        assert_eq!(collected.len(), 1);
        assert_eq!(collected[0].requests[0].1.total, 1);
    }
}
