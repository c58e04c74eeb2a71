//! Whom to choose from, worked out once for all workers, away from the requests: shares of priorities and places,
//! who is usable in each, and the ring or table of a consistent choice. Immutable; when an endpoint is set aside or
//! comes back, there is a next plan.

use std::time::Duration;

use daemon::clock::Instant;
use snapshot::{Cluster, Health, LoadBalancing, LocalityBalancing, LocalityEndpoints};

use super::Host;
use super::maglev::Maglev;
use super::priorities::{Load, Population, loads};
use super::ring::{Ring, Share};
use std::sync::Arc;

/// Highest number of a priority (Envoy refuses higher ones).
const MAX_PRIORITY: u32 = 128;
/// A place keeps its weight while 1/1.4 of its endpoints are usable.
const OVERPROVISIONING: f64 = 1.4;

/// Whom to choose from.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// The most urgent first.
    pub(super) priorities: Vec<Priority>,
    /// Who was set aside when this was worked out.
    pub(super) ejected: Vec<u32>,
}

/// One priority.
#[derive(Debug, Default)]
pub(super) struct Priority {
    /// Up to which percentage requests come here.
    pub(super) until: u64,
    /// Whoever is there, in no regard to places.
    pub(super) all: Group,
    /// By place, with weights; empty where places do not count.
    pub(super) places: Vec<(f64, Group)>,
    pub(super) table: Option<Arc<Table>>,
}

/// Endpoints to choose from, by their place among all of the cluster.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) members: Vec<u32>,
    /// They have turns by weight, because weights differ or somebody is warming up.
    pub(super) scheduled: bool,
}

/// A consistent choice among one priority.
#[derive(Debug)]
pub(super) struct Table {
    policy: LoadBalancing,
    shares: Vec<Share>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Ring(Ring),
    Maglev(Maglev),
}

/// Endpoints of one place, as the plan sees them.
struct Place<'a> {
    facts: &'a LocalityEndpoints,
    /// The first one's place among all of the cluster.
    first: usize,
}

impl Plan {
    /// `hosts` are all endpoints in the order of `localities`. Tables of `before` that still hold are shared.
    pub(super) fn new(
        facts: &Cluster,
        localities: &[LocalityEndpoints],
        hosts: &[Arc<Host>],
        before: Option<&Plan>,
        now: Instant,
    ) -> Self {
        let work = Work { facts, hosts, now };
        let mut by_priority: Vec<Vec<Place<'_>>> = Vec::new();
        let mut first = 0;
        for facts in localities {
            let priority = facts.priority.min(MAX_PRIORITY) as usize;
            if by_priority.len() <= priority {
                by_priority.resize_with(priority + 1, Vec::new);
            }
            by_priority[priority].push(Place { facts, first });
            first += facts.endpoints.len();
        }
        let populations: Vec<_> = by_priority.iter().map(|places| work.population(places)).collect();
        let mut until = 0;
        let loads = if populations.is_empty() {
            Vec::new()
        } else {
            loads(&populations, facts.panic_percent)
        };
        let priorities = by_priority
            .iter()
            .zip(loads)
            .enumerate()
            .map(|(number, (places, load))| {
                until += load.percent;
                let known = before.and_then(|before| before.priorities.get(number)?.table.as_ref());
                Priority {
                    until,
                    ..work.priority(places, load, known)
                }
            });
        Self {
            priorities: priorities.collect(),
            ejected: ejected(hosts),
        }
    }

    /// Whether this is what would be worked out for those hosts now.
    pub(super) fn holds(&self, hosts: &[Arc<Host>]) -> bool {
        self.ejected == ejected(hosts)
    }
}

fn ejected(hosts: &[Arc<Host>]) -> Vec<u32> {
    let all = hosts.iter().enumerate();
    all.filter(|(_, host)| host.monitor.is_ejected())
        .map(|(index, _)| number(index))
        .collect()
}

/// What everything is worked out from.
struct Work<'a> {
    facts: &'a Cluster,
    hosts: &'a [Arc<Host>],
    now: Instant,
}

impl Work<'_> {
    fn population(&self, places: &[Place<'_>]) -> Population {
        let count = |place: &Place<'_>| self.usable(place, false).len() as u64;
        Population {
            all: places
                .iter()
                .map(|place| place.facts.endpoints.len() as u64)
                .sum(),
            healthy: places.iter().map(count).sum(),
        }
    }

    /// Endpoints of a place that may be picked; in panic all.
    fn usable(&self, place: &Place<'_>, panic: bool) -> Vec<u32> {
        let endpoints = place.facts.endpoints.iter().enumerate();
        endpoints
            .filter(|(offset, endpoint)| {
                panic
                    || endpoint.health == Health::Healthy
                        && !self.hosts[place.first + offset].monitor.is_ejected()
            })
            .map(|(offset, _)| number(place.first + offset))
            .collect()
    }

    fn priority(&self, places: &[Place<'_>], load: Load, known: Option<&Arc<Table>>) -> Priority {
        let usable: Vec<_> = places
            .iter()
            .map(|place| self.usable(place, load.panic))
            .collect();
        let weighted = self.facts.locality == LocalityBalancing::Weighted;
        if self.facts.load_balancing.is_consistent() {
            let shares = self.shares(places, &usable, weighted);
            let known = known.filter(|table| table.is_of(self.facts.load_balancing, &shares));
            let table = match known {
                Some(known) => known.clone(),
                None => Arc::new(Table::new(self.facts.load_balancing, shares)),
            };
            return Priority {
                table: Some(table),
                ..Priority::default()
            };
        }
        let weight = |place: &Place<'_>, usable: &[u32]| {
            let availability =
                OVERPROVISIONING * float(usable.len()) / float(place.facts.endpoints.len().max(1));
            f64::from(place.facts.weight) * availability.min(1.0)
        };
        let by_place = places.iter().zip(&usable).map(|(place, usable)| {
            let group = self.group(usable.clone());
            (weight(place, usable), group)
        });
        Priority {
            all: self.group(usable.concat()),
            places: by_place
                .filter(|(weight, _)| weighted && !load.panic && *weight > 0.0)
                .collect(),
            ..Priority::default()
        }
    }

    fn group(&self, members: Vec<u32>) -> Group {
        let host = |member: &u32| &self.hosts[*member as usize];
        let differ = members
            .windows(2)
            .any(|pair| host(&pair[0]).weight != host(&pair[1]).weight);
        let window = self.facts.slow_start.map_or(Duration::ZERO, |slow| slow.window);
        let is_new = |member: &u32| self.now.duration_since(host(member).since) < window;
        Group {
            scheduled: members.len() > 1 && (differ || members.iter().any(is_new)),
            members,
        }
    }

    /// The share of each endpoint: of its place's share where places count, else of all.
    fn shares(&self, places: &[Place<'_>], usable: &[Vec<u32>], weighted: bool) -> Vec<Share> {
        let total: f64 = places.iter().map(|place| f64::from(place.facts.weight)).sum();
        let all = usable.concat();
        let groups: Vec<(f64, &[u32])> = if weighted {
            let by_place = places.iter().zip(usable);
            by_place
                .filter(|(place, _)| place.facts.weight > 0)
                .map(|(place, usable)| (f64::from(place.facts.weight) / total, usable.as_slice()))
                .collect()
        } else {
            vec![(1.0, &all)]
        };
        let mut shares = Vec::new();
        for (share, members) in groups {
            let weight = |member: &u32| f64::from(self.hosts[*member as usize].weight);
            let sum: f64 = members.iter().map(weight).sum();
            shares.extend(members.iter().map(|member| Share {
                host: *member,
                address: self.hosts[*member as usize].address,
                share: weight(member) * share / sum,
            }));
        }
        shares
    }
}

impl Table {
    fn new(policy: LoadBalancing, shares: Vec<Share>) -> Self {
        let kind = match policy {
            LoadBalancing::RingHash {
                minimum_size,
                maximum_size,
            } => {
                let (minimum, maximum) = bounded(minimum_size, maximum_size);
                Kind::Ring(Ring::new(&shares, minimum, maximum))
            }
            LoadBalancing::Maglev { table_size } => Kind::Maglev(Maglev::new(&shares, table_size)),
            LoadBalancing::LeastRequest | LoadBalancing::Random | LoadBalancing::RoundRobin => {
                Kind::Ring(Ring::default())
            }
        };
        Self { policy, shares, kind }
    }

    fn is_of(&self, policy: LoadBalancing, shares: &[Share]) -> bool {
        self.policy == policy && self.shares == shares
    }

    pub(super) fn choose(&self, key: u64, attempt: usize) -> Option<u32> {
        match &self.kind {
            Kind::Ring(ring) => ring.choose(key, attempt),
            Kind::Maglev(maglev) => maglev.choose(key, attempt),
        }
    }
}

/// Sizes of a ring that we keep.
pub(super) fn bounded(minimum: u64, maximum: u64) -> (u64, u64) {
    (
        minimum.min(LoadBalancing::LARGEST_RING),
        maximum.min(LoadBalancing::LARGEST_RING),
    )
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("far fewer endpoints than 2^32")
}

#[allow(clippy::cast_precision_loss, reason = "far fewer endpoints than 2^52")]
fn float(count: usize) -> f64 {
    count as f64
}
