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

use super::circuit_breaker::Usage;
use super::load_balancing::{self, Members};
use super::pool::Pool;
use crate::error::UpstreamError;
use crate::random::Random;
use crate::telemetry::metrics::Label;

/// Most original destinations with a pool; beyond, the idle ones are given up.
const MAX_DESTINATIONS: usize = 1024;
/// How often another endpoint is looked for when one was tried already (Envoy: `host_selection_retry_max_attempts`).
const RESELECTIONS: usize = 5;

/// A cluster, as one worker uses it under one Snapshot.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) facts: Arc<snapshot::Cluster>,
    endpoints: Option<Arc<Endpoints>>,
    members: Members,
    /// All endpoints, also those that may not be picked.
    all: Vec<Rc<Endpoint>>,
    pub(crate) live: Rc<Live>,
}

/// What outlives Snapshots.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) usage: Rc<Usage>,
    pub(crate) counters: Counters,
    cursor: Cell<usize>,
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
    pub(crate) weight: u32,
    pub(crate) health: Health,
    pub(crate) workload: Arc<Workload>,
    pub(crate) pool: Rc<Pool>,
    /// Who it is in metrics, once known.
    pub(crate) label: Cell<Option<Label>>,
}

impl Cluster {
    /// The cluster of a new Snapshot, with what lives on from the one before.
    pub(crate) fn adopt(
        facts: &Arc<snapshot::Cluster>,
        endpoints: Option<&Arc<Endpoints>>,
        before: Option<&Rc<Cluster>>,
    ) -> Rc<Self> {
        if let Some(before) = before
            && Arc::ptr_eq(&before.facts, facts)
            && before.endpoints.as_ref().map(Arc::as_ptr) == endpoints.map(Arc::as_ptr)
        {
            return before.clone();
        }
        let live = before.map(|before| before.live.clone()).unwrap_or_default();
        // Connections made in another way are of no use to the new cluster.
        let same_way = before.filter(|before| {
            before.facts.http == facts.http && before.facts.source_address == facts.source_address
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
            .map(|fact| Rc::new(Endpoint::adopt(fact, same_way)))
            .collect();
        let members = Members::new(endpoints.map(AsRef::as_ref), &all);
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
            endpoints: endpoints.cloned(),
            members,
            all,
            live,
        })
    }

    /// The cluster vanished: idle connections close, those in use after their request.
    pub(crate) fn retire(&self) {
        self.every_endpoint(|endpoint| endpoint.pool.retire());
    }

    /// One endpoint for a request, another one than those in `tried` if possible.
    pub(crate) fn pick(
        &self,
        original_destination: SocketAddr,
        tried: &[SocketAddr],
        random: &Random,
    ) -> Result<Rc<Endpoint>, UpstreamError> {
        match self.facts.discovery {
            Discovery::Nobody => Err(UpstreamError::NoHealthyEndpoint),
            Discovery::OriginalDestination => Ok(self.destination(original_destination)),
            Discovery::Endpoints => {
                let pick = || {
                    load_balancing::pick(
                        self.facts.load_balancing,
                        &self.members,
                        &self.live.cursor,
                        random,
                    )
                };
                let mut endpoint = pick().ok_or(UpstreamError::NoHealthyEndpoint)?;
                for _ in 0..RESELECTIONS {
                    if !tried.contains(&endpoint.address) {
                        break;
                    }
                    endpoint = pick().ok_or(UpstreamError::NoHealthyEndpoint)?;
                }
                Ok(endpoint.clone())
            }
        }
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
        let limit = self
            .facts
            .circuit_breaker
            .idle_timeout
            .unwrap_or(crate::transport::SILENCE);
        self.every_endpoint(|endpoint| endpoint.pool.sweep(now, limit));
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
            weight: 1,
            health: Health::Healthy,
            workload: Arc::default(),
            pool: Rc::default(),
            label: Cell::default(),
        });
        destinations.insert(address, endpoint.clone());
        endpoint
    }
}

impl Endpoint {
    fn adopt(fact: &snapshot::Endpoint, before: Option<&Rc<Cluster>>) -> Self {
        let known = before.and_then(|before| before.all.iter().find(|old| old.address == fact.address));
        let workload = match known {
            Some(old) if *old.workload == fact.workload => old.workload.clone(),
            _ => Arc::new(fact.workload.clone()),
        };
        let pool: Rc<Pool> = known.map(|old| old.pool.clone()).unwrap_or_default();
        match fact.health {
            Health::Draining => pool.retire(),
            Health::Healthy | Health::Unhealthy => pool.revive(),
        }
        Self {
            address: fact.address,
            weight: fact.weight.max(1),
            health: fact.health,
            workload,
            pool,
            label: Cell::default(),
        }
    }
}
