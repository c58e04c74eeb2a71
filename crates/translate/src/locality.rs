//! `localityLbSetting`, `zoneAwareLbSetting` and a service's `trafficDistribution` → priorities and weights of
//! endpoints, as seen from where the proxy is. Istio's rules (`loadbalancer.go`), its exceptions included.

use std::collections::BTreeMap;

use resources::istio::destination_rule::{Distribute, Failover, LoadBalancer, ZoneAwareLoadBalancer};
use snapshot::{Locality, LocalityBalancing, LocalityEndpoints};

use crate::mesh::services::TrafficDistribution;
use crate::traffic_policy::Effective;

pub(crate) const REGION: &str = "topology.kubernetes.io/region";
pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";
pub(crate) const SUB_ZONE: &str = "topology.istio.io/subzone";
pub(crate) const NETWORK: &str = "topology.istio.io/network";
pub(crate) const HOST_NAME: &str = "kubernetes.io/hostname";

/// What places count for, for one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Setting<'a> {
    distribute: &'a [Distribute],
    failover: &'a [Failover],
    /// Labels, or labels with values, the most important first.
    labels: Vec<&'a str>,
    zones: Option<&'a ZoneAwareLoadBalancer>,
    /// Nearer endpoints go first only where failing ones are noticed.
    fails_over: bool,
}

/// Where a proxy is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Here<'a> {
    pub(crate) locality: &'a Locality,
    pub(crate) labels: &'a BTreeMap<String, String>,
}

/// Endpoints of one place, with the labels of each.
#[derive(Clone, Debug)]
pub(crate) struct Group<'a> {
    pub(crate) facts: LocalityEndpoints,
    pub(crate) labels: Vec<&'a BTreeMap<String, String>>,
}

impl<'a> Setting<'a> {
    /// What counts for a cluster: the rule's word, then the service's, then Istio's default, which has nearer places
    /// go first where failing endpoints are noticed. `None` when places count for nothing.
    pub(crate) fn of(effective: Effective<'a>, distribution: TrafficDistribution) -> Option<Self> {
        let noticed = effective.outlier_detection.is_some();
        let balancer: Option<&LoadBalancer> = effective.load_balancer;
        if let Some(zones) = balancer.and_then(|balancer| balancer.zone_aware_lb_setting.as_ref()) {
            return Some(Self {
                failover: &zones.failover,
                labels: zones.failover_priority.iter().map(String::as_str).collect(),
                zones: Some(zones),
                fails_over: zones.enabled != Some(false),
                ..Self::default()
            });
        }
        if let Some(setting) = balancer.and_then(|balancer| balancer.locality_lb_setting.as_ref()) {
            return (setting.enabled != Some(false)).then(|| Self {
                distribute: &setting.distribute,
                failover: &setting.failover,
                labels: setting.failover_priority.iter().map(String::as_str).collect(),
                zones: None,
                fails_over: noticed,
            });
        }
        let labels = match distribution {
            TrafficDistribution::Any => Vec::new(),
            TrafficDistribution::SameZone => vec![NETWORK, REGION, ZONE],
            TrafficDistribution::SameNode => vec![NETWORK, REGION, ZONE, SUB_ZONE, HOST_NAME],
        };
        Some(Self {
            fails_over: noticed || !labels.is_empty(),
            labels,
            ..Self::default()
        })
    }

    /// Whether the result depends on where the proxy is.
    pub(crate) fn is_relative(&self) -> bool {
        self.fails_over || !self.distribute.is_empty()
    }

    /// Names of labels that the proxy's own are asked for.
    pub(crate) fn asked_labels(&self) -> impl Iterator<Item = &'a str> {
        let labels = self.labels.iter().filter(|_| self.fails_over);
        labels.map(|label| label.split('=').next().unwrap_or(label))
    }

    /// What places count for within a priority.
    pub(crate) fn balancing(&self) -> LocalityBalancing {
        if let Some(zones) = self.zones {
            return LocalityBalancing::ZoneAware {
                enabled_percent: if self.fails_over { 100 } else { 0 },
                minimum_size: zones.min_cluster_size.unwrap_or(6),
            };
        }
        let ordered = self.fails_over && !(self.failover.is_empty() && self.labels.is_empty());
        if ordered || !self.distribute.is_empty() {
            LocalityBalancing::Weighted
        } else {
            LocalityBalancing::Ignored
        }
    }

    /// Gives endpoints their priorities and weights.
    pub(crate) fn apply(&self, here: Here<'_>, groups: Vec<Group<'_>>) -> Vec<LocalityEndpoints> {
        if self.zones.is_none() && !self.distribute.is_empty() {
            let mut places: Vec<_> = groups.into_iter().map(|group| group.facts).collect();
            distribute(self.distribute, here.locality, &mut places);
            return places;
        }
        if !self.fails_over {
            return groups.into_iter().map(|group| group.facts).collect();
        }
        let by_labels = !self.labels.is_empty();
        let mut places = if by_labels {
            by_label(&self.labels, here.labels, groups)
        } else {
            groups.into_iter().map(|group| group.facts).collect()
        };
        if self.zones.is_some() {
            rank(&mut places, 3, |place| {
                by_region(here.locality, &place.locality, self.failover)
            });
        } else if !by_labels || !self.failover.is_empty() {
            rank(&mut places, 5, |place| {
                by_distance(here.locality, &place.locality, self.failover)
            });
        }
        places
    }
}

/// Shares by place, of the first setting that is for where the proxy is. Places that it does not name get nothing.
fn distribute(settings: &[Distribute], here: &Locality, places: &mut [LocalityEndpoints]) {
    let Some(setting) = settings.iter().find(|setting| fits(here, &setting.from)) else {
        return;
    };
    let mut named = vec![false; places.len()];
    for (to, share) in &setting.to {
        let fitting = (0..places.len()).filter(|at| !named[*at] && fits(&places[*at].locality, to));
        let fitting: Vec<usize> = fitting.collect();
        let weight = |at: &usize| u64::from(places[*at].weight.max(1));
        let total: u64 = fitting.iter().map(weight).sum();
        for at in fitting {
            named[at] = true;
            let part = (u64::from(places[at].weight.max(1)) * u64::from(*share)).div_ceil(total);
            if part > 0 {
                places[at].weight = u32::try_from(part).unwrap_or(u32::MAX);
            }
        }
    }
    for (place, named) in places.iter_mut().zip(named) {
        if !named {
            place.endpoints.clear();
        }
    }
}

/// Whether a place is one of `region/zone/subzone`, where a star or nothing is any.
fn fits(place: &Locality, pattern: &str) -> bool {
    let mut parts = pattern.split('/');
    let region = parts.next().unwrap_or_default();
    let mut is = |own: &str| {
        let part = parts.next().unwrap_or_default();
        part.is_empty() || part == "*" || part == own
    };
    let inner = is(&place.zone) && is(&place.sub_zone);
    (region == "*" || region == place.region) && inner
}

/// 0 in the same sub-zone, 1 in the same zone, 2 in the same region, 3 elsewhere; 4 where this region's failover
/// does not lead to.
fn by_distance(here: &Locality, there: &Locality, failover: &[Failover]) -> u32 {
    if here.region != there.region {
        let rule = failover.iter().find(|rule| rule.from == here.region);
        return if rule.is_some_and(|rule| rule.to != there.region) {
            4
        } else {
            3
        };
    }
    if here.zone != there.zone {
        2
    } else {
        u32::from(here.sub_zone != there.sub_zone)
    }
}

/// 0 in the same region, 1 where its failover leads to, 2 elsewhere.
fn by_region(here: &Locality, there: &Locality, failover: &[Failover]) -> u32 {
    if here.region == there.region {
        return 0;
    }
    let rule = failover.iter().find(|rule| rule.from == here.region);
    if rule.is_some_and(|rule| rule.to == there.region) {
        1
    } else {
        2
    }
}

/// Orders places within the order that they have already, and leaves no number out.
fn rank(places: &mut [LocalityEndpoints], ranks: u32, rank: impl Fn(&LocalityEndpoints) -> u32) {
    for place in places.iter_mut() {
        place.priority = place.priority * ranks + rank(place);
    }
    compact(places);
}

fn compact(places: &mut [LocalityEndpoints]) {
    let mut numbers: Vec<_> = places.iter().map(|place| place.priority).collect();
    numbers.sort_unstable();
    numbers.dedup();
    for place in places {
        let number = numbers.binary_search(&place.priority);
        place.priority = u32::try_from(number.unwrap_or(0)).unwrap_or(u32::MAX);
    }
}

/// Endpoints that share more of the labels with the proxy go first; a place is taken apart for it.
fn by_label(
    asked: &[&str],
    own: &BTreeMap<String, String>,
    groups: Vec<Group<'_>>,
) -> Vec<LocalityEndpoints> {
    let mut places = Vec::new();
    for Group { facts, labels } in groups {
        let mut parts: BTreeMap<u32, LocalityEndpoints> = BTreeMap::new();
        for (endpoint, labels) in facts.endpoints.into_iter().zip(labels) {
            let priority = strangeness(asked, own, labels);
            let part = parts.entry(priority).or_insert_with(|| LocalityEndpoints {
                locality: facts.locality.clone(),
                priority,
                ..LocalityEndpoints::default()
            });
            part.weight += endpoint.weight;
            part.endpoints.push(endpoint);
        }
        places.extend(parts.into_values());
    }
    compact(&mut places);
    places
}

/// How many labels are left from the first that differs on. Another network alone is worse than all of that.
fn strangeness(asked: &[&str], own: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> u32 {
    let count = u32::try_from(asked.len()).unwrap_or(u32::MAX);
    let mut elsewhere = 0;
    for (position, label) in (0_u32..).zip(asked) {
        let (name, wanted) = match label.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (*label, own.get(*label).map(String::as_str)),
        };
        if wanted.unwrap_or_default() == labels.get(name).map_or("", String::as_str) {
            continue;
        }
        if position == 0 && *label == NETWORK {
            elsewhere = count;
            continue;
        }
        return elsewhere + count - position;
    }
    elsewhere
}
