//! Index of services: Kubernetes Services in the form that the rest of the translation reads.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use resources::kubernetes::{self, TargetPort};
use resources::{Meta, Resource};
use snapshot::Host;
use snapshot::cluster::ServiceRef;

use super::Stored;
use super::visibility::Visibility;
use crate::{DOMAIN, Protocol};

/// All services, oldest first, and by host.
#[derive(Debug, Default)]
pub struct Services {
    in_order: Vec<Arc<Service>>,
    by_host: BTreeMap<Host, Arc<Service>>,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    /// `backend.shop.svc.cluster.local`.
    pub host: Host,
    pub name: String,
    pub namespace: String,
    /// Virtual addresses.
    pub addresses: Vec<IpAddr>,
    /// Without virtual address, on purpose: clients connect to the pods themselves.
    pub is_headless: bool,
    /// Of type ExternalName: another name for this host.
    pub external_name: Option<Host>,
    pub ports: Vec<ServicePort>,
    pub selector: BTreeMap<String, String>,
    pub visibility: Visibility,
    pub(crate) traffic_distribution: TrafficDistribution,
}

/// Which endpoints a service wants its clients to prefer (`spec.trafficDistribution`, or the annotation
/// `networking.istio.io/traffic-distribution`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum TrafficDistribution {
    #[default]
    Any,
    SameZone,
    SameNode,
}

impl TrafficDistribution {
    fn of(service: &kubernetes::Service) -> Self {
        let annotation = service
            .metadata
            .annotations
            .get("networking.istio.io/traffic-distribution");
        let said = service.spec.traffic_distribution.as_ref().or(annotation);
        match said.map(|said| said.to_ascii_lowercase()).as_deref() {
            Some("preferclose" | "prefersamezone") => Self::SameZone,
            Some("prefersamenode") => Self::SameNode,
            _ => Self::Any,
        }
    }
}

/// One port of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServicePort {
    pub name: String,
    pub port: u16,
    pub protocol: Protocol,
    /// `None` is the same number.
    pub target: Option<TargetPort>,
}

impl Services {
    pub(super) fn derive<'a>(stored: impl Iterator<Item = &'a Stored>) -> Self {
        let mut all: Vec<_> = stored
            .filter_map(|stored| match &stored.resource {
                Resource::Service(service) => Some(service),
                _ => None,
            })
            .collect();
        all.sort_by(|a, b| a.metadata.age_order().cmp(&b.metadata.age_order()));
        let in_order: Vec<_> = all
            .into_iter()
            .map(|service| Arc::new(Service::of(service)))
            .collect();
        let by_host = in_order
            .iter()
            .map(|service| (service.host.clone(), service.clone()))
            .collect();
        Self { in_order, by_host }
    }

    /// All services, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.in_order.iter()
    }

    /// The service of that host.
    pub fn get(&self, host: &str) -> Option<&Arc<Service>> {
        self.by_host.get(host)
    }
}

impl Service {
    fn of(service: &kubernetes::Service) -> Self {
        let (meta, spec) = (&service.metadata, &service.spec);
        let mut addresses: Vec<IpAddr> = spec.cluster_ips.iter().filter_map(|ip| ip.parse().ok()).collect();
        if addresses.is_empty() {
            addresses.extend(spec.cluster_ip.parse::<IpAddr>().ok());
        }
        let external_name = (spec.service_type == "ExternalName").then(|| {
            spec.external_name
                .trim_end_matches('.')
                .to_ascii_lowercase()
                .into()
        });
        let ports = spec.ports.iter().map(|port| ServicePort {
            name: port.name.clone(),
            port: port.port,
            protocol: Protocol::of(port),
            target: port.target_port.clone(),
        });
        Self {
            host: service_host(&meta.name, &meta.namespace),
            name: meta.name.clone(),
            namespace: meta.namespace.clone(),
            addresses,
            is_headless: spec.cluster_ip == "None" && external_name.is_none(),
            external_name,
            ports: ports.collect(),
            selector: spec.selector.clone(),
            visibility: visibility(meta),
            traffic_distribution: TrafficDistribution::of(service),
        }
    }

    /// How metrics name it.
    pub(crate) fn reference(&self) -> ServiceRef {
        ServiceRef {
            host: self.host.to_string(),
            name: self.name.clone(),
            namespace: self.namespace.clone(),
        }
    }

    /// Whether it selects a pod with these labels. A service without selector selects none.
    pub fn selects(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        self.namespace == namespace && !self.selector.is_empty() && contains_all(labels, &self.selector)
    }

    /// The port of that number.
    pub fn port(&self, number: u32) -> Option<&ServicePort> {
        self.ports
            .iter()
            .find(|port| u32::from(port.port) == number && port.protocol != Protocol::Udp)
    }
}

/// Whether `labels` has everything that `wanted` has.
pub(crate) fn contains_all(labels: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// `backend.shop.svc.cluster.local`.
pub fn service_host(name: &str, namespace: &str) -> Host {
    format!("{name}.{namespace}.svc.{DOMAIN}").into()
}

fn visibility(meta: &Meta) -> Visibility {
    let export_to = meta.annotations.get("networking.istio.io/exportTo");
    Visibility::of(
        export_to.into_iter().flat_map(|list| list.split(',')),
        &meta.namespace,
    )
}
