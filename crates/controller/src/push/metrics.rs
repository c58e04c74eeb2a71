//! What is counted, under istiod's names, because dashboards exist.

use std::time::Duration;

use daemon::metrics::{Counters, Gauges, Histograms, Registry};
use xds::Kind;

/// Upper bounds in seconds: our aim is a third of one, istiod's dashboards reach to minutes.
const SECONDS: &[f64] = &[
    0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0,
];

/// The families of the control plane's push side.
#[derive(Clone, Debug)]
pub struct Metrics {
    connected: Gauges,
    pushes: Counters,
    rejects: Counters,
    convergence: Histograms,
    push_time: Histograms,
    debounce: Histograms,
    mesh_time: Histograms,
    updates: Counters,
    objects: [Gauges; 2],
}

impl Metrics {
    /// Adds the families to a registry.
    pub fn new(registry: &Registry) -> Self {
        let seconds = |name, help| registry.histograms(name, help, &[], SECONDS);
        Self {
            connected: registry.gauges(
                "pilot_xds",
                "Number of endpoints connected to this pilot using XDS.",
                &["version"],
            ),
            pushes: registry.counters(
                "pilot_xds_pushes",
                "Pilot build and send errors for lds, rds, cds and eds.",
                &["type"],
            ),
            rejects: registry.counters(
                "pilot_total_xds_rejects",
                "Total number of XDS responses from pilot rejected by proxy.",
                &["type"],
            ),
            convergence: seconds(
                "pilot_proxy_convergence_time",
                "Delay in seconds between config change and a proxy receiving all required configuration.",
            ),
            push_time: seconds(
                "pilot_xds_push_time",
                "Total time in seconds Pilot takes to push lds, rds, cds and eds.",
            ),
            debounce: seconds(
                "pilot_debounce_time",
                "Delay in seconds between the first config entering debouncing and the merged push request being pushed into the push queue.",
            ),
            mesh_time: seconds(
                "pilot_pushcontext_init_seconds",
                "Total time in seconds Pilot takes to init pushContext.",
            ),
            updates: registry.counters(
                "pilot_inbound_updates",
                "Total number of updates received by pilot.",
                &["type"],
            ),
            objects: [
                registry.gauges("pilot_services", "Total services known to pilot.", &[]),
                registry.gauges(
                    "pilot_virt_services",
                    "Total virtual services known to pilot.",
                    &[],
                ),
            ],
        }
    }

    pub(super) fn set_connected(&self, count: usize) {
        self.connected.with(&["amime"]).set(as_f64(count));
    }

    pub(super) fn pushed(&self, kind: Kind, time: Duration) {
        self.pushes
            .with(&[&kind.short().to_ascii_lowercase()])
            .increment();
        self.push_time.with(&[]).observe(time.as_secs_f64());
    }

    pub(super) fn rejected(&self, kind: Kind) {
        self.rejects
            .with(&[&kind.short().to_ascii_lowercase()])
            .increment();
    }

    pub(super) fn converged(&self, after: Duration) {
        self.convergence.with(&[]).observe(after.as_secs_f64());
    }

    pub(super) fn updated(&self, kind: resources::Kind) {
        use resources::Kind as Resource;
        let label = match kind {
            Resource::EndpointSlice | Resource::Pod => "eds",
            Resource::Service => "svc",
            Resource::Namespace
            | Resource::Node
            | Resource::VirtualService
            | Resource::DestinationRule
            | Resource::PeerAuthentication
            | Resource::RequestAuthentication
            | Resource::AuthorizationPolicy
            | Resource::RateLimit => "config",
        };
        self.updates.with(&[label]).increment();
    }

    pub(super) fn published(&self, waited: Duration, made_in: Duration) {
        self.debounce.with(&[]).observe(waited.as_secs_f64());
        self.mesh_time.with(&[]).observe(made_in.as_secs_f64());
    }

    pub(super) fn set_objects(&self, services: usize, virtual_services: usize) {
        for (gauge, count) in self.objects.iter().zip([services, virtual_services]) {
            gauge.with(&[]).set(as_f64(count));
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts of objects stay far below 2^52")]
fn as_f64(count: usize) -> f64 {
    count as f64
}
