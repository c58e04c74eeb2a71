//! Envoy's numbers of outlier detection, by cluster, for the page that Prometheus reads. They belong to the proxy and
//! not to a worker, so no worker is asked.

use daemon::metrics::{Kind, Text};

use crate::active::Compiled;
use crate::upstream::load_balancing::Balancer;

/// The part of the page; empty where nothing is detected.
pub(crate) fn page(compiled: Option<&Compiled>) -> String {
    let mut clusters: Vec<_> = compiled
        .into_iter()
        .flat_map(Compiled::balancers)
        .filter(|balancer| balancer.facts.outlier_detection.is_some())
        .map(|balancer| (balancer.facts.name.as_str(), numbers(balancer)))
        .collect();
    clusters.sort_by_key(|(name, _)| *name);
    let Some((_, first)) = clusters.first() else {
        return String::new();
    };
    let mut text = Text::new();
    for (index, (number, _)) in first.iter().enumerate() {
        let (kind, help) = match index {
            0 => (Kind::Gauge, "Endpoints that are set aside."),
            _ => (
                Kind::Counter,
                "Endpoints that failed too often, by kind and effect.",
            ),
        };
        let name = format!("envoy_cluster_outlier_detection_{number}");
        text.family(&name, help, kind);
        for (cluster, numbers) in &clusters {
            text.sample(&name, &[("cluster_name", cluster)], numbers[index].1);
        }
    }
    text.finish()
}

/// Name and value of each; how many are set aside now comes first.
fn numbers(balancer: &Balancer) -> Vec<(&'static str, f64)> {
    let ejected = u32::try_from(balancer.ejected()).unwrap_or(u32::MAX);
    let mut numbers = vec![("ejections_active", f64::from(ejected))];
    #[allow(clippy::cast_precision_loss, reason = "counters are far below 2^52")]
    numbers.extend(balancer.counters.all().map(|(name, value)| (name, value as f64)));
    numbers
}
