//! Istio's standard metrics, counted by one worker in plain numbers.
//!
//! A series is found by small copied keys; the texts of labels are looked at only when somebody asks for a report.
//! Series are bounded: what comes after the bound is counted together.
//! <https://istio.io/latest/docs/reference/config/metrics/>

use std::cell::RefCell;
use std::sync::Arc;

use daemon::metrics::SERIES;
use snapshot::Direction;
use snapshot::cluster::ServiceRef;
use snapshot::endpoint::Workload;

use super::callers::{Caller, Count};
use super::flags::Flags;
use crate::tls::peer::Peer;

/// Upper bounds of Istio's histograms, for milliseconds and bytes alike.
pub(crate) const BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// Number of a [`Destination`] in the table of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Label(u32);

/// The far end of a call, as the labels `destination_*` name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Destination {
    /// `source` (outbound) or `destination` (inbound).
    pub(crate) inbound: bool,
    pub(crate) workload: Arc<[String; 5]>,
    /// `destination_service`, `_name`, `_namespace`.
    pub(crate) service: [String; 3],
    /// Who the two ends are by their certificates; `None` in plain text.
    pub(crate) parties: Option<Parties>,
}

/// The two ends of a mutual TLS session.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Parties {
    /// `source_principal`.
    pub(crate) source: Arc<str>,
    /// `destination_principal`.
    pub(crate) destination: Arc<str>,
}

impl Parties {
    /// Of the connection on which a proxy met that peer: an inbound one's peer is the source.
    pub(crate) fn of(direction: Direction, peer: Option<&Arc<Peer>>) -> Option<Self> {
        let peer = peer?;
        let (theirs, own) = (Arc::from(peer.uri.as_str()), peer.own.clone());
        let (source, destination) = match direction {
            Direction::Inbound => (theirs, own),
            Direction::Outbound => (own, theirs),
        };
        Some(Self { source, destination })
    }
}

impl Destination {
    pub(crate) fn new(direction: Direction, workload: &Workload, service: &ServiceRef) -> Self {
        Self {
            inbound: direction == Direction::Inbound,
            workload: Arc::new([
                workload.name.clone(),
                workload.namespace.clone(),
                workload.canonical_name.clone(),
                workload.canonical_revision.clone(),
                workload.cluster.clone(),
            ]),
            service: [
                service.host.clone(),
                service.name.clone(),
                service.namespace.clone(),
            ],
            parties: None,
        }
    }

    /// The same between those.
    pub(crate) fn between(mut self, parties: Option<Parties>) -> Self {
        self.parties = parties;
        self
    }
}

/// What tells the HTTP series of one destination apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Outcome {
    /// 0 when the client left before there was one.
    pub(crate) status: u16,
    pub(crate) flags: Flags,
    /// A gRPC call, with its `grpc-status` if one came.
    pub(crate) grpc: Option<Option<u16>>,
}

/// What became of a request that a limit was for and that it did not simply let pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum LimitOutcome {
    Refused,
    /// It would have been refused, and passed.
    DryRun,
    /// The server of the limit was not reached.
    FailedOpen,
    FailedClosed,
}

impl LimitOutcome {
    /// The value of the label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::DryRun => "dry_run",
            Self::FailedOpen => "failed_open",
            Self::FailedClosed => "failed_closed",
        }
    }
}

/// Policy and name of a limit, and what became of requests.
pub(crate) type Limited = (String, String, LimitOutcome);

/// Numbers of finished requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct HttpSeries {
    pub(crate) milliseconds: Spread,
    pub(crate) request_bytes: Spread,
    pub(crate) response_bytes: Spread,
}

/// Numbers of opaque connections.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TcpSeries {
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// What became of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// It was one.
    Enforced,
    /// It would have been one.
    DryRun,
}

/// Refusals by one policy: in force, and tried out.
pub(crate) type Denials = [u64; 2];

/// By the name of what refused.
type ByPolicy = foldhash::HashMap<Box<str>, Denials>;

/// Who refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Decider {
    /// A rule of an AuthorizationPolicy.
    Rule,
    /// Who verifies tokens: a rule of a RequestAuthentication.
    Token,
    /// Somebody else, whom a rule of an AuthorizationPolicy names.
    Custom,
}

impl Decider {
    const ALL: [Self; 3] = [Self::Rule, Self::Token, Self::Custom];

    /// The value of the label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Token => "token",
            Self::Custom => "custom",
        }
    }
}

/// Why a listener did not take a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusedConnection {
    /// No chain is for it: plain text where mutual TLS is demanded, or a port that is nobody's.
    NoChain,
    /// Its certificate is missing, or not believed.
    Certificate,
    /// The client did not believe ours, or gave up with an alert.
    ByClient,
    /// Not TLS, or none that both speak.
    Protocol,
    Timeout,
    /// We have no certificates to show yet.
    NotReady,
}

impl RefusedConnection {
    pub(crate) const ALL: [Self; 6] = [
        Self::NoChain,
        Self::Certificate,
        Self::ByClient,
        Self::Protocol,
        Self::Timeout,
        Self::NotReady,
    ];

    /// The value of the label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NoChain => "no_filter_chain",
            Self::Certificate => "certificate",
            Self::ByClient => "by_client",
            Self::Protocol => "protocol",
            Self::Timeout => "timeout",
            Self::NotReady => "not_ready",
        }
    }
}

/// A histogram over [`BOUNDS`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Spread {
    pub(crate) counts: [u64; BOUNDS.len() + 1],
    pub(crate) sum: f64,
}

impl Spread {
    pub(crate) fn observe(&mut self, value: f64) {
        self.counts[BOUNDS.partition_point(|bound| *bound < value)] += 1;
        self.sum += value;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.counts
            .iter_mut()
            .zip(other.counts)
            .for_each(|(count, more)| *count += more);
        self.sum += other.sum;
    }

    /// How many values were observed.
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl HttpSeries {
    pub(crate) fn add(&mut self, other: &Self) {
        self.milliseconds.add(&other.milliseconds);
        self.request_bytes.add(&other.request_bytes);
        self.response_bytes.add(&other.response_bytes);
    }
}

impl TcpSeries {
    pub(crate) fn add(&mut self, other: Self) {
        self.opened += other.opened;
        self.closed += other.closed;
        self.sent += other.sent;
        self.received += other.received;
    }
}

/// The counters of one worker.
#[derive(Debug, Default)]
pub(crate) struct Metrics(RefCell<Inner>);

#[derive(Debug, Default)]
struct Inner {
    labels: foldhash::HashMap<Destination, Label>,
    destinations: Vec<Destination>,
    http: foldhash::HashMap<(Label, Outcome), HttpSeries>,
    tcp: foldhash::HashMap<Label, TcpSeries>,
    /// By decider, and what decided.
    denials: [ByPolicy; Decider::ALL.len()],
    limited: foldhash::HashMap<Limited, u64>,
    refused_connections: [u64; RefusedConnection::ALL.len()],
}

/// All series of a worker, with the texts of their labels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) http: Vec<(Destination, Outcome, HttpSeries)>,
    pub(crate) tcp: Vec<(Destination, TcpSeries)>,
    pub(crate) clusters: Vec<ClusterReport>,
    /// By decider and policy.
    pub(crate) denials: Vec<(Decider, String, Denials)>,
    pub(crate) limited: Vec<(Limited, u64)>,
    /// In the order of [`RefusedConnection::ALL`].
    pub(crate) refused_connections: [u64; RefusedConnection::ALL.len()],
    /// Lines of the access log that came faster than they could be written.
    pub(crate) dropped_lines: u64,
    /// Who calls this workload.
    pub(crate) callers: Vec<(Caller, Count)>,
}

/// The basic numbers of one cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClusterReport {
    pub(crate) name: String,
    pub(crate) requests: u64,
    pub(crate) retries: u64,
    pub(crate) connections: u64,
    pub(crate) connect_failures: u64,
    /// Address, health and requests in flight of each endpoint.
    pub(crate) endpoints: Vec<(std::net::SocketAddr, &'static str, u32)>,
}

impl Metrics {
    /// The number of a destination; the same text has the same number.
    pub(crate) fn label(&self, destination: Destination) -> Label {
        let mut inner = self.0.borrow_mut();
        if let Some(label) = inner.labels.get(&destination) {
            return *label;
        }
        let destination = if inner.destinations.len() < SERIES {
            destination
        } else {
            overflow(&destination)
        };
        if let Some(label) = inner.labels.get(&destination) {
            return *label;
        }
        let label = Label(u32::try_from(inner.destinations.len()).expect("bounded above"));
        inner.destinations.push(destination.clone());
        inner.labels.insert(destination, label);
        label
    }

    /// Counts a finished request.
    pub(crate) fn http(&self, label: Label, outcome: Outcome, milliseconds: f64, bytes: (u64, u64)) {
        let mut inner = self.0.borrow_mut();
        let known = inner.http.len() < 4 * SERIES || inner.http.contains_key(&(label, outcome));
        // Statuses of upstreams are at most 900; what an attacker adds beyond the bound is counted as status 0.
        let outcome = if known {
            outcome
        } else {
            Outcome { status: 0, ..outcome }
        };
        let series = inner.http.entry((label, outcome)).or_default();
        series.milliseconds.observe(milliseconds);
        #[allow(clippy::cast_precision_loss, reason = "a histogram's sum is a float")]
        let (request, response) = (bytes.0 as f64, bytes.1 as f64);
        series.request_bytes.observe(request);
        series.response_bytes.observe(response);
    }

    /// Changes the numbers of opaque connections.
    pub(crate) fn tcp(&self, label: Label, change: impl FnOnce(&mut TcpSeries)) {
        change(self.0.borrow_mut().tcp.entry(label).or_default());
    }

    /// Counts what was refused, and by which policy; without one, nothing allowed it.
    pub(crate) fn denied(&self, decider: Decider, denial: Denial, policy: Option<&str>) {
        let denials = &mut self.0.borrow_mut().denials;
        let policy = policy.unwrap_or("none");
        let many = denials.iter().map(foldhash::HashMap::len).sum::<usize>();
        let of_decider = &mut denials[decider as usize];
        let policy = match many < SERIES || of_decider.contains_key(policy) {
            true => policy,
            false => "overflow",
        };
        match of_decider.get_mut(policy) {
            Some(known) => known[denial as usize] += 1,
            None => {
                let mut counts = Denials::default();
                counts[denial as usize] = 1;
                of_decider.insert(policy.into(), counts);
            }
        }
    }

    /// Counts what a limit did to a request. Policies have come and gone when there are more than fit.
    pub(crate) fn limited(&self, policy: &str, limit: &str, outcome: LimitOutcome) {
        let mut inner = self.0.borrow_mut();
        let series = (policy.to_owned(), limit.to_owned(), outcome);
        if inner.limited.len() < SERIES || inner.limited.contains_key(&series) {
            *inner.limited.entry(series).or_default() += 1;
        }
    }

    /// Counts a connection that was not taken.
    pub(crate) fn refused_connection(&self, why: RefusedConnection) {
        self.0.borrow_mut().refused_connections[why as usize] += 1;
    }

    /// Everything counted so far.
    pub(crate) fn report(&self) -> Report {
        let inner = self.0.borrow();
        let name = |label: &Label| inner.destinations[label.0 as usize].clone();
        Report {
            http: inner
                .http
                .iter()
                .map(|((label, outcome), series)| (name(label), *outcome, series.clone()))
                .collect(),
            tcp: inner
                .tcp
                .iter()
                .map(|(label, series)| (name(label), *series))
                .collect(),
            clusters: Vec::new(),
            denials: inner.denials(),
            limited: inner
                .limited
                .iter()
                .map(|(series, count)| (series.clone(), *count))
                .collect(),
            refused_connections: inner.refused_connections,
            dropped_lines: 0,
            callers: Vec::new(),
        }
    }
}

impl Inner {
    fn denials(&self) -> Vec<(Decider, String, Denials)> {
        let each = Decider::ALL.into_iter().zip(&self.denials);
        let named = |(decider, denials): (Decider, &ByPolicy)| {
            let of_decider = denials.iter();
            of_decider
                .map(|(policy, counts)| (decider, policy.to_string(), *counts))
                .collect::<Vec<_>>()
        };
        each.flat_map(named).collect()
    }
}

fn overflow(destination: &Destination) -> Destination {
    let text = || "overflow".to_owned();
    Destination {
        inbound: destination.inbound,
        workload: Arc::new([text(), text(), text(), text(), text()]),
        service: [text(), text(), text()],
        // Who they are is not told, but that somebody knows is.
        parties: destination.parties.as_ref().map(|_| Parties {
            source: "overflow".into(),
            destination: "overflow".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(name: &str) -> Destination {
        let service = ServiceRef {
            host: name.into(),
            name: name.into(),
            namespace: "shop".into(),
        };
        Destination::new(Direction::Outbound, &Workload::default(), &service)
    }

    #[test]
    fn one_destination_has_one_number() {
        let metrics = Metrics::default();
        let first = metrics.label(destination("a"));
        assert_eq!(metrics.label(destination("a")), first);
        assert_ne!(metrics.label(destination("b")), first);
    }

    #[test]
    fn destinations_are_bounded() {
        let metrics = Metrics::default();
        for number in 0..SERIES {
            metrics.label(destination(&number.to_string()));
        }
        assert_eq!(
            metrics.label(destination("x")),
            metrics.label(destination("y")),
            "both overflow"
        );
    }

    #[test]
    fn refusals_are_counted_by_who_refused_and_why_and_bounded() {
        let metrics = Metrics::default();
        for decider in Decider::ALL {
            metrics.denied(decider, Denial::Enforced, Some("a"));
        }
        metrics.denied(Decider::Rule, Denial::DryRun, Some("a"));
        for number in 0..SERIES {
            metrics.denied(Decider::Custom, Denial::Enforced, Some(&number.to_string()));
        }
        metrics.denied(Decider::Token, Denial::Enforced, Some("b"));
        metrics.denied(Decider::Token, Denial::Enforced, Some("a"));
        let report = metrics.report();
        let of = |decider, policy: &str| {
            let mut found = report.denials.iter();
            found.find_map(|(by, name, counts)| (*by == decider && name == policy).then_some(*counts))
        };
        assert_eq!(of(Decider::Rule, "a"), Some([1, 1]));
        assert_eq!(of(Decider::Token, "a"), Some([2, 0]), "what is known is counted");
        assert_eq!(
            (of(Decider::Token, "b"), of(Decider::Token, "overflow")),
            (None, Some([1, 0]))
        );
        assert_eq!(of(Decider::Custom, "overflow"), Some([3, 0]));
        assert_eq!(report.denials.len(), SERIES + 2, "and what there is no room for");
    }

    #[test]
    fn values_fall_into_the_bucket_whose_bound_they_do_not_exceed() {
        let mut spread = Spread::default();
        [0.5, 0.6, 7_200_000.0]
            .into_iter()
            .for_each(|value| spread.observe(value));
        assert_eq!(
            (spread.counts[0], spread.counts[1], spread.counts[BOUNDS.len()]),
            (1, 1, 1)
        );
        assert_eq!(spread.count(), 3);
    }
}
