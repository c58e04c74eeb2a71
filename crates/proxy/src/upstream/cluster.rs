//! A cluster of one worker: the facts of the Snapshot, and beside them what lives on when the next one comes.
//!
//! An endpoint's pool survives as long as some Snapshot names its address in this cluster; the pool of one that
//! vanished or drains gives up its idle connections, and those in use close after their request.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use snapshot::cluster::UpstreamHttp;
use snapshot::endpoint::Workload;
use snapshot::{Discovery, Endpoints, Health};
use tokio::sync::mpsc;

use super::circuit_breaker::Usage;
use super::load_balancing::{Balancer, Host, Picker, Wish};
use super::outlier_detection::{Outcome, Suspicion};
use super::pool::Pool;
use super::purpose::Purpose;
use crate::error::UpstreamError;
use crate::random::Random;
use crate::telemetry::metrics::Label;
use crate::tls::peer::Peer;

/// Most original destinations with a pool; beyond, the idle ones are given up.
const MAX_DESTINATIONS: usize = 1024;

/// A cluster, as one worker uses it under one Snapshot.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) facts: Arc<snapshot::Cluster>,
    pub(crate) balancer: Arc<Balancer>,
    picker: Picker,
    /// All endpoints, also those that may not be picked, in the order of the balancer.
    all: Vec<Rc<Endpoint>>,
    pub(crate) live: Rc<Live>,
}

/// What outlives Snapshots.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) usage: Rc<Usage>,
    pub(crate) counters: Counters,
    pub(crate) tls: crate::tls::client::Settings,
    destinations: RefCell<foldhash::HashMap<SocketAddr, Rc<Endpoint>>>,
}

/// The basic counters that Envoy keeps for a cluster.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) requests: Cell<u64>,
    pub(crate) retries: Cell<u64>,
    pub(crate) connections: Cell<u64>,
    pub(crate) connect_failures: Cell<u64>,
}

/// Adds one.
pub(crate) fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

/// A member of a cluster.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) health: Health,
    /// It takes mutual TLS of the mesh.
    pub(crate) mutual: bool,
    pub(crate) workload: Arc<Workload>,
    pub(crate) pool: Rc<Pool>,
    /// What all workers know of it.
    pub(crate) host: Arc<Host>,
    /// Who it is in metrics, once known.
    pub(crate) label: Cell<Option<Label>>,
    /// The same since it has shown who it is.
    pub(crate) met: RefCell<Option<Met>>,
}

/// The label of requests that this peer answers.
pub(crate) type Met = (Arc<Peer>, Label);

impl Cluster {
    /// The cluster of a new Snapshot, with what lives on from the one before.
    pub(crate) fn adopt(
        balancer: &Arc<Balancer>,
        endpoints: Option<&Arc<Endpoints>>,
        before: Option<&Rc<Cluster>>,
        random: &Random,
    ) -> Rc<Self> {
        if let Some(before) = before
            && Arc::ptr_eq(&before.balancer, balancer)
        {
            return before.clone();
        }
        let facts = &balancer.facts;
        let live = before.map(|before| before.live.clone()).unwrap_or_default();
        // Connections made in another way, or beyond limits that are new, are of no use to the new cluster.
        let same_way = before.filter(|before| {
            before.facts.http == facts.http
                && before.facts.source_address == facts.source_address
                && before.facts.tls == facts.tls
                && before.facts.auto_tls == facts.auto_tls
                && before.facts.proxy_protocol == facts.proxy_protocol
                && before.facts.http2 == facts.http2
                && before.facts.tcp_keepalive == facts.tcp_keepalive
                && before.facts.circuit_breaker == facts.circuit_breaker
        });
        if same_way.is_none() {
            live.destinations
                .borrow_mut()
                .drain()
                .for_each(|(_, endpoint)| endpoint.pool.retire());
        }
        let all: Vec<_> = endpoints
            .into_iter()
            .flat_map(|endpoints| endpoints.iter())
            .zip(&balancer.hosts)
            .map(|(fact, host)| Rc::new(Endpoint::adopt(fact, host, same_way)))
            .collect();
        let picker = Picker::new(balancer, &all, random);
        if let Some(before) = before {
            let stays = |pool: &Rc<Pool>| all.iter().any(|endpoint| Rc::ptr_eq(&endpoint.pool, pool));
            before
                .all
                .iter()
                .filter(|old| !stays(&old.pool))
                .for_each(|old| old.pool.retire());
        }
        Rc::new(Self {
            facts: facts.clone(),
            balancer: balancer.clone(),
            picker,
            all,
            live,
        })
    }

    /// The cluster vanished: idle connections close, those in use after their request.
    pub(crate) fn retire(&self) {
        self.every_endpoint(|endpoint| endpoint.pool.retire());
    }

    /// One endpoint for a request, another one than those in `wish.tried` if possible.
    pub(crate) fn pick(
        &self,
        original_destination: SocketAddr,
        wish: Wish<'_>,
    ) -> Result<Rc<Endpoint>, UpstreamError> {
        match self.facts.discovery {
            Discovery::Nobody => Err(UpstreamError::NoHealthyEndpoint),
            Discovery::OriginalDestination => Ok(self.destination(original_destination)),
            Discovery::Endpoints => {
                let picked = self.picker.pick(&self.all, wish);
                picked.cloned().ok_or(UpstreamError::NoHealthyEndpoint)
            }
        }
    }

    /// Remembers how something with an endpoint ended. When it failed too often, that is told once; if it cannot be
    /// told now, the next failure tells it.
    pub(crate) fn ended(&self, endpoint: &Endpoint, outcome: Outcome, suspicions: &mpsc::Sender<Suspicion>) {
        let Some(detection) = &self.facts.outlier_detection else {
            return;
        };
        let monitor = &endpoint.host.monitor;
        monitor.count(detection, outcome, |failure| {
            let suspicion = Suspicion {
                cluster: self.facts.name.clone(),
                monitor: monitor.clone(),
                failure,
            };
            if suspicions.try_send(suspicion).is_err() {
                monitor.reset(failure);
            }
        });
    }

    /// HTTP version to speak for a request that came in `downstream`'s.
    pub(crate) fn speaks_http2(&self, downstream: crate::http::codec::Version) -> bool {
        match self.facts.http {
            UpstreamHttp::Http1 => false,
            UpstreamHttp::Http2 => true,
            UpstreamHttp::Downstream => downstream == crate::http::codec::Version::Http2,
        }
    }

    /// Calls `each` with every endpoint, those of original destinations included.
    pub(crate) fn every_endpoint(&self, mut each: impl FnMut(&Endpoint)) {
        self.all.iter().for_each(|endpoint| each(endpoint));
        self.live
            .destinations
            .borrow()
            .values()
            .for_each(|endpoint| each(endpoint));
    }

    /// Closes what has been idle for too long, and forgets original destinations without connections.
    pub(crate) fn sweep(&self, now: daemon::clock::Instant) {
        let breaker = &self.facts.circuit_breaker;
        self.every_endpoint(|endpoint| endpoint.pool.sweep(now, breaker));
        self.live
            .destinations
            .borrow_mut()
            .retain(|_, endpoint| endpoint.pool.is_in_use());
    }

    fn destination(&self, address: SocketAddr) -> Rc<Endpoint> {
        let mut destinations = self.live.destinations.borrow_mut();
        if let Some(known) = destinations.get(&address) {
            return known.clone();
        }
        if destinations.len() >= MAX_DESTINATIONS {
            destinations.retain(|_, endpoint| {
                let keep = endpoint.pool.in_flight() > 0;
                if !keep {
                    endpoint.pool.retire();
                }
                keep
            });
        }
        let endpoint = Rc::new(Endpoint {
            address,
            health: Health::Healthy,
            mutual: false,
            workload: Arc::default(),
            pool: Rc::default(),
            host: Host::alone(address),
            label: Cell::default(),
            met: RefCell::default(),
        });
        destinations.insert(address, endpoint.clone());
        endpoint
    }
}

impl Endpoint {
    /// An endpoint of which nothing else is known.
    #[cfg(test)]
    pub(crate) fn of(host: &Arc<Host>) -> Rc<Self> {
        Rc::new(Self {
            address: host.address,
            health: Health::Healthy,
            mutual: false,
            workload: Arc::default(),
            pool: Rc::default(),
            host: host.clone(),
            label: Cell::default(),
            met: RefCell::default(),
        })
    }

    /// Envoy's words for its health.
    pub(crate) fn health_flags(&self) -> &'static str {
        match (self.health, self.host.monitor.is_ejected()) {
            (Health::Healthy, false) => "healthy",
            (Health::Healthy, true) => "/failed_outlier_check",
            (Health::Draining, _) => "/eds_status_draining",
            (Health::Unhealthy, false) => "/failed_eds_health",
            (Health::Unhealthy, true) => "/failed_outlier_check/failed_eds_health",
        }
    }

    /// The same member, with the connections that are opened for that purpose.
    pub(crate) fn toward(self: &Rc<Self>, purpose: &Purpose) -> Rc<Self> {
        if purpose.is_plain() {
            return self.clone();
        }
        Rc::new(Self {
            address: self.address,
            health: self.health,
            mutual: self.mutual,
            workload: self.workload.clone(),
            pool: self.pool.special(purpose),
            host: self.host.clone(),
            label: self.label.clone(),
            met: RefCell::default(),
        })
    }

    fn adopt(fact: &snapshot::Endpoint, host: &Arc<Host>, before: Option<&Rc<Cluster>>) -> Self {
        let known = before.and_then(|before| before.all.iter().find(|old| old.address == fact.address));
        let workload = match known {
            Some(old) if *old.workload == fact.workload => old.workload.clone(),
            _ => Arc::new(fact.workload.clone()),
        };
        // Connections in plain text are of no use to a member that takes mutual TLS now, nor the other way round.
        let alike = known.filter(|old| old.mutual == fact.mutual);
        let pool: Rc<Pool> = alike.map(|old| old.pool.clone()).unwrap_or_default();
        match fact.health {
            Health::Draining => pool.retire(),
            Health::Healthy | Health::Unhealthy => pool.revive(),
        }
        Self {
            address: fact.address,
            health: fact.health,
            mutual: fact.mutual,
            workload,
            pool,
            host: host.clone(),
            label: Cell::default(),
            met: RefCell::default(),
        }
    }
}
