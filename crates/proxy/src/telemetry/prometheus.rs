//! Reports of all workers as one page that Prometheus reads, with Istio's labels in Istio's order.

use std::collections::BTreeMap;

use daemon::metrics::{Kind, Spread as Buckets, Text};
use snapshot::endpoint::Workload;

use super::metrics::{
    BOUNDS, ClusterReport, Decider, Denials, Destination, HttpSeries, Limited, Outcome, RefusedConnection,
    Report, Spread, TcpSeries,
};

type Labels = Vec<(&'static str, String)>;
/// Name, help text, and where the value is found.
type Family<F> = (&'static str, &'static str, F);
type HttpFamily = Family<fn(&HttpSeries) -> &Spread>;
type TcpFamily = Family<fn(&TcpSeries) -> u64>;
type ClusterFamily = Family<fn(&ClusterReport) -> u64>;

/// The page. `own` is the workload of this proxy, and `principal` its SPIFFE id.
pub(crate) fn page(reports: &[Report], own: &Workload) -> String {
    let mut text = Text::new();
    text.family("istio_build", "Version of the proxy.", Kind::Gauge);
    text.sample(
        "istio_build",
        &[("component", "proxy"), ("tag", env!("CARGO_PKG_VERSION"))],
        1.0,
    );
    let http = merge_http(reports);
    let labelled: Vec<_> = http
        .iter()
        .map(|((to, outcome), series)| (http_labels(to, outcome, own), series))
        .collect();
    text.family("istio_requests_total", "Finished requests.", Kind::Counter);
    for (labels, series) in &labelled {
        text.sample(
            "istio_requests_total",
            &borrow(labels),
            number(series.milliseconds.count()),
        );
    }
    let families: [HttpFamily; 3] = [
        (
            "istio_request_duration_milliseconds",
            "Time from the first byte of a request to the last of its response.",
            |series| &series.milliseconds,
        ),
        ("istio_request_bytes", "Size of requests.", |series| {
            &series.request_bytes
        }),
        ("istio_response_bytes", "Size of responses.", |series| {
            &series.response_bytes
        }),
    ];
    for (name, help, spread) in families {
        text.family(name, help, Kind::Histogram);
        for (labels, series) in &labelled {
            let Spread { counts, sum } = spread(series);
            text.histogram(
                name,
                &borrow(labels),
                &Buckets {
                    bounds: &BOUNDS,
                    counts,
                    sum: *sum,
                },
            );
        }
    }
    tcp(&mut text, reports, own);
    text.family(
        "amime_access_log_dropped_lines_total",
        "Lines of access logs that came faster than they could be written.",
        Kind::Counter,
    );
    let dropped = reports.iter().map(|report| report.dropped_lines).sum();
    text.sample("amime_access_log_dropped_lines_total", &[], number(dropped));
    denials(&mut text, reports);
    limits(&mut text, reports);
    refused_connections(&mut text, reports);
    clusters(&mut text, reports);
    text.finish()
}

/// What was refused; `none` where no policy allowed it.
fn denials(text: &mut Text, reports: &[Report]) {
    const NAME: &str = "amime_authorization_denials_total";
    let mut merged = BTreeMap::<(Decider, &str), Denials>::new();
    for (decider, policy, counts) in reports.iter().flat_map(|report| &report.denials) {
        let sum = merged.entry((*decider, policy)).or_default();
        sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    let help = "Requests and connections that a policy refused, or would have refused.";
    text.family(NAME, help, Kind::Counter);
    for ((decider, policy), [enforced, dry_run]) in merged {
        for (count, flag) in [(enforced, "false"), (dry_run, "true")] {
            if count > 0 {
                let labels = [("kind", decider.as_str()), ("policy", policy), ("dry_run", flag)];
                text.sample(NAME, &labels, number(count));
            }
        }
    }
}

fn limits(text: &mut Text, reports: &[Report]) {
    let mut merged = BTreeMap::<&Limited, u64>::new();
    for (series, count) in reports.iter().flat_map(|report| &report.limited) {
        *merged.entry(series).or_default() += count;
    }
    let name = "amime_rate_limited_requests_total";
    text.family(
        name,
        "Requests that a limit refused, would have refused, or could not judge.",
        Kind::Counter,
    );
    for ((policy, limit, outcome), count) in merged {
        let labels = [
            ("policy", policy.as_str()),
            ("limit", limit.as_str()),
            ("outcome", outcome.as_str()),
        ];
        text.sample(name, &labels, number(count));
    }
}

/// Connections that were not taken; every reason is there from the beginning, so that its first time is seen.
fn refused_connections(text: &mut Text, reports: &[Report]) {
    const NAME: &str = "amime_refused_connections_total";
    text.family(NAME, "Connections that a listener did not take.", Kind::Counter);
    for (index, reason) in RefusedConnection::ALL.into_iter().enumerate() {
        let count = reports
            .iter()
            .map(|report| report.refused_connections[index])
            .sum();
        text.sample(NAME, &[("reason", reason.as_str())], number(count));
    }
}

fn tcp(text: &mut Text, reports: &[Report], own: &Workload) {
    let mut merged = BTreeMap::<&Destination, TcpSeries>::new();
    for (to, series) in reports.iter().flat_map(|report| &report.tcp) {
        merged.entry(to).or_default().add(*series);
    }
    let families: [TcpFamily; 4] = [
        (
            "istio_tcp_connections_opened_total",
            "Opened connections.",
            |series| series.opened,
        ),
        (
            "istio_tcp_connections_closed_total",
            "Closed connections.",
            |series| series.closed,
        ),
        ("istio_tcp_sent_bytes_total", "Bytes of responses.", |series| {
            series.sent
        }),
        ("istio_tcp_received_bytes_total", "Bytes of requests.", |series| {
            series.received
        }),
    ];
    for (name, help, value) in families {
        text.family(name, help, Kind::Counter);
        for (to, series) in &merged {
            text.sample(name, &borrow(&tcp_labels(to, own)), number(value(series)));
        }
    }
}

fn clusters(text: &mut Text, reports: &[Report]) {
    let merged = merge_clusters(reports);
    let families: [ClusterFamily; 4] = [
        ("envoy_cluster_upstream_rq_total", "Requests.", |cluster| {
            cluster.requests
        }),
        ("envoy_cluster_upstream_rq_retry", "Retries.", |cluster| {
            cluster.retries
        }),
        (
            "envoy_cluster_upstream_cx_total",
            "Opened connections.",
            |cluster| cluster.connections,
        ),
        (
            "envoy_cluster_upstream_cx_connect_fail",
            "Connections that failed to open.",
            |cluster| cluster.connect_failures,
        ),
    ];
    for (name, help, value) in families {
        text.family(name, help, Kind::Counter);
        // As with Envoy, a cluster appears when it is used.
        for cluster in merged
            .values()
            .filter(|cluster| cluster.requests + cluster.connections > 0)
        {
            text.sample(
                name,
                &[("cluster_name", cluster.name.as_str())],
                number(value(cluster)),
            );
        }
    }
}

/// The numbers of each cluster, by name.
pub(crate) fn merge_clusters(reports: &[Report]) -> BTreeMap<&str, ClusterReport> {
    let mut merged = BTreeMap::<&str, ClusterReport>::new();
    for report in reports.iter().flat_map(|report| &report.clusters) {
        let sum = merged.entry(&report.name).or_insert_with(|| ClusterReport {
            name: report.name.clone(),
            ..ClusterReport::default()
        });
        sum.requests += report.requests;
        sum.retries += report.retries;
        sum.connections += report.connections;
        sum.connect_failures += report.connect_failures;
        for endpoint in &report.endpoints {
            match sum.endpoints.iter_mut().find(|known| known.0 == endpoint.0) {
                Some(known) => known.2 += endpoint.2,
                None => sum.endpoints.push(*endpoint),
            }
        }
    }
    merged
}

fn merge_http(reports: &[Report]) -> BTreeMap<(&Destination, Outcome), HttpSeries> {
    let mut merged = BTreeMap::<_, HttpSeries>::new();
    for (to, outcome, series) in reports.iter().flat_map(|report| &report.http) {
        merged.entry((to, *outcome)).or_default().add(series);
    }
    merged
}

fn http_labels(to: &Destination, outcome: &Outcome, own: &Workload) -> Labels {
    let protocol = if outcome.grpc.is_some() { "grpc" } else { "http" };
    let grpc_status = outcome
        .grpc
        .flatten()
        .map(|status| status.to_string())
        .unwrap_or_default();
    let mut labels = peers(to, own, protocol);
    let security = labels.pop().expect("peers end with the security policy");
    labels.push(("response_code", outcome.status.to_string()));
    labels.push(("grpc_response_status", grpc_status));
    labels.push(("response_flags", outcome.flags.to_string()));
    labels.push(security);
    labels
}

fn tcp_labels(to: &Destination, own: &Workload) -> Labels {
    let mut labels = peers(to, own, "tcp");
    let security = labels.pop().expect("peers end with the security policy");
    labels.push(("response_flags", "-".to_owned()));
    labels.push(security);
    labels
}

/// Who called whom. The source knows itself, and the destination from its endpoint; a destination learns about its
/// source from peer metadata, which is not exchanged yet.
fn peers(to: &Destination, own: &Workload, protocol: &'static str) -> Labels {
    let known = |text: &str| {
        if text.is_empty() {
            "unknown".to_owned()
        } else {
            text.to_owned()
        }
    };
    let nobody = Workload::default();
    let source = if to.inbound { &nobody } else { own };
    let [name, namespace, canonical, revision, cluster] = to.workload.as_ref();
    let [host, service, service_namespace] = &to.service;
    let (source_principal, destination_principal) = match &to.parties {
        Some(parties) => (&*parties.source, &*parties.destination),
        None => ("", ""),
    };
    // A source does not say.
    let policy = match (to.inbound, &to.parties) {
        (false, _) => "unknown",
        (true, Some(_)) => "mutual_tls",
        (true, None) => "none",
    };
    vec![
        (
            "reporter",
            if to.inbound { "destination" } else { "source" }.to_owned(),
        ),
        ("source_workload", known(&source.name)),
        ("source_canonical_service", known(&source.canonical_name)),
        ("source_canonical_revision", known(&source.canonical_revision)),
        ("source_workload_namespace", known(&source.namespace)),
        ("source_principal", known(source_principal)),
        ("source_app", known(&source.canonical_name)),
        ("source_version", known(&source.canonical_revision)),
        ("source_cluster", known(&source.cluster)),
        ("destination_workload", known(name)),
        ("destination_workload_namespace", known(namespace)),
        ("destination_principal", known(destination_principal)),
        ("destination_app", known(canonical)),
        ("destination_version", known(revision)),
        ("destination_service", known(host)),
        ("destination_canonical_service", known(canonical)),
        ("destination_canonical_revision", known(revision)),
        ("destination_service_name", known(service)),
        ("destination_service_namespace", known(service_namespace)),
        ("destination_cluster", known(cluster)),
        ("request_protocol", protocol.to_owned()),
        ("connection_security_policy", policy.to_owned()),
    ]
}

fn borrow(labels: &Labels) -> Vec<(&str, &str)> {
    labels
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

#[allow(clippy::cast_precision_loss, reason = "Prometheus counts in floats")]
fn number(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use snapshot::Direction;
    use snapshot::cluster::ServiceRef;

    use super::*;
    use crate::telemetry::flags::Flags;
    use crate::telemetry::metrics::Metrics;

    #[test]
    fn workers_are_summed_and_labels_are_istios() {
        let own = Workload {
            name: "client".into(),
            namespace: "shop".into(),
            ..Workload::default()
        };
        let metrics = Metrics::default();
        let service = ServiceRef {
            host: "backend.shop".into(),
            name: "backend".into(),
            namespace: "shop".into(),
        };
        let label = metrics.label(Destination::new(
            Direction::Outbound,
            &Workload::default(),
            &service,
        ));
        let outcome = Outcome {
            status: 200,
            flags: Flags::default(),
            grpc: None,
        };
        metrics.http(label, outcome, 3.0, (10, 20));
        let page = page(&[metrics.report(), metrics.report()], &own);
        let line = page
            .lines()
            .find(|line| line.starts_with("istio_requests_total{"))
            .unwrap();
        for label in [
            "reporter=\"source\"",
            "source_workload=\"client\"",
            "destination_service_name=\"backend\"",
            "response_code=\"200\"",
            "response_flags=\"-\"",
            "request_protocol=\"http\"",
            "connection_security_policy=\"unknown\"",
        ] {
            assert!(line.contains(label), "{label} in {line}");
        }
        assert!(line.ends_with("} 2"), "{line}");
        assert!(page.contains("istio_request_duration_milliseconds_bucket{"));
    }
}
