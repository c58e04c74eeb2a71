//! What all workers of a proxy share of one cluster: its plan, and what is known of each endpoint. It is made away
//! from the requests, when a Snapshot is compiled, and again when an endpoint is set aside or comes back.

use std::net::SocketAddr;
use std::sync::Arc;

use daemon::clock::{self, Instant};
use snapshot::{Cluster, Endpoint, Endpoints, LocalityEndpoints};
use tokio::sync::watch;

use super::Plan;
use crate::upstream::outlier_detection::{Counters, Monitor};

/// What all workers share of one cluster.
#[derive(Debug)]
pub(crate) struct Balancer {
    pub(crate) facts: Arc<Cluster>,
    endpoints: Option<Arc<Endpoints>>,
    /// In the order of the Snapshot.
    pub(crate) hosts: Vec<Arc<Host>>,
    pub(crate) counters: Arc<Counters>,
    plan: watch::Sender<Arc<Plan>>,
}

/// An endpoint, as all workers see it. It lives as long as Snapshots name its address in the cluster.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) address: SocketAddr,
    pub(crate) weight: u32,
    /// When it joined.
    pub(crate) since: Instant,
    pub(crate) monitor: Arc<Monitor>,
}

impl Balancer {
    /// The next one, with what lives on from the one before.
    pub(crate) fn next(
        facts: &Arc<Cluster>,
        endpoints: Option<&Arc<Endpoints>>,
        before: Option<&Arc<Balancer>>,
        now: Instant,
    ) -> Arc<Self> {
        if let Some(before) = before
            && Arc::ptr_eq(&before.facts, facts)
            && before.endpoints.as_ref().map(Arc::as_ptr) == endpoints.map(Arc::as_ptr)
        {
            return before.clone();
        }
        let known: foldhash::HashMap<SocketAddr, &Arc<Host>> = before
            .into_iter()
            .flat_map(|before| &before.hosts)
            .map(|host| (host.address, host))
            .collect();
        // Other rules begin anew; and without any, nobody would bring back those who were set aside.
        let rules = &facts.outlier_detection;
        let detects =
            rules.is_some() && before.is_some_and(|before| before.facts.outlier_detection == *rules);
        let all = endpoints.into_iter().flat_map(|endpoints| endpoints.iter());
        let hosts: Vec<_> = all
            .map(|fact| Host::next(fact, known.get(&fact.address).copied(), detects, now))
            .collect();
        let localities = endpoints.map_or(&[][..], |endpoints| endpoints.localities.as_slice());
        let last = before.map(|before| before.plan());
        let plan = Plan::new(facts, localities, &hosts, last.as_deref(), now);
        Arc::new(Self {
            facts: facts.clone(),
            endpoints: endpoints.cloned(),
            hosts,
            counters: before.map(|before| before.counters.clone()).unwrap_or_default(),
            plan: watch::Sender::new(Arc::new(plan)),
        })
    }

    /// How many endpoints are set aside.
    pub(crate) fn ejected(&self) -> usize {
        self.hosts.iter().filter(|host| host.monitor.is_ejected()).count()
    }

    fn localities(&self) -> &[LocalityEndpoints] {
        self.endpoints
            .as_ref()
            .map_or(&[], |endpoints| endpoints.localities.as_slice())
    }

    /// The plan in force.
    pub(super) fn plan(&self) -> Arc<Plan> {
        self.plan.borrow().clone()
    }

    /// Follows the plan in force.
    pub(super) fn follow(&self) -> watch::Receiver<Arc<Plan>> {
        self.plan.subscribe()
    }

    /// Puts a new plan in force, if somebody was set aside or came back since the last.
    pub(crate) fn plan_again(&self, now: Instant) {
        let last = self.plan();
        if !last.holds(&self.hosts) {
            let next = Plan::new(&self.facts, self.localities(), &self.hosts, Some(&last), now);
            self.plan.send_replace(Arc::new(next));
        }
    }
}

impl Host {
    /// An endpoint that nobody chose among others.
    pub(crate) fn alone(address: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            address,
            weight: 1,
            since: clock::now(),
            monitor: Arc::default(),
        })
    }

    fn next(fact: &Endpoint, known: Option<&Arc<Host>>, detects: bool, now: Instant) -> Arc<Self> {
        let weight = fact.weight.max(1);
        let monitor = known.filter(|_| detects).map(|host| host.monitor.clone());
        match known {
            Some(host) if host.weight == weight && detects => host.clone(),
            _ => Arc::new(Self {
                address: fact.address,
                weight,
                since: known.map_or(now, |host| host.since),
                monitor: monitor.unwrap_or_default(),
            }),
        }
    }
}
