//! `http.mirror` and `http.mirrors` → targets of copies. Istio: `HTTPMirrorPolicy`.

use resources::istio::virtual_service::HttpRoute;
use resources::istio::{Destination, Percent};
use snapshot::{ClusterName, Mirror, Share};

/// Everybody who gets a copy; a share of nothing is nobody.
pub(super) fn mirrors(rule: &HttpRoute, to: impl Fn(&Destination) -> ClusterName) -> Vec<Mirror> {
    let percent = |stated: Option<Percent>| stated.map(|percentage| percentage.value);
    let old = rule
        .mirror_percent
        .or(rule.mirror_percent_snake_case)
        .map(f64::from);
    let one = rule
        .mirror
        .iter()
        .map(|destination| (destination, percent(rule.mirror_percentage).or(old)));
    let several = rule
        .mirrors
        .iter()
        .map(|mirror| (&mirror.destination, percent(mirror.percentage)));
    one.chain(several)
        .map(|(destination, percent)| Mirror {
            cluster: to(destination),
            share: percent.map_or(Share::ALL, Share::from_percent),
            shadow_suffix: false,
        })
        .filter(|mirror| mirror.share > Share::NONE)
        .collect()
}
