//! The counters of all workers, put together and written as Prometheus reads them.
//!
//! Label names and their order are Istio's; what is not known is `unknown`.
//! <https://istio.io/latest/docs/reference/config/metrics/>

use std::collections::BTreeMap;

use daemon::metrics::{Kind, Spread as TextSpread, Text};
use snapshot::cluster::ServiceRef;
use snapshot::endpoint::Workload;

use super::metrics::{
    BOUNDS, Call, Collector, ConnectionCounts, Counted, Merge, Party, Protocol, Reporter, RequestCounts, Security,
    Spread,
};

const UNKNOWN: &str = "unknown";

/// Labels of requests in Istio's order; connections have all but [`REQUEST_ONLY`].
const LABELS: [&str; 25] = [
    "reporter",
    "source_workload",
    "source_canonical_service",
    "source_canonical_revision",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_service",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_service_name",
    "destination_service_namespace",
    "destination_cluster",
    "request_protocol",
    "response_code",
    "grpc_response_status",
    "response_flags",
    "connection_security_policy",
];
const REQUEST_ONLY: std::ops::Range<usize> = 21..23;

/// Values of [`LABELS`].
type Values = [String; LABELS.len()];

/// Asks all workers and writes the page.
pub(crate) async fn page(collector: &Collector) -> String {
    text(&collector.collect().await)
}

/// The page for what the workers have counted.
pub(crate) fn text(workers: &[Counted]) -> String {
    let requests = merged(workers.iter().flat_map(|worker| &worker.requests).map(|(labels, counts)| {
        (values(&labels.call()), counts)
    }));
    let connections = merged(workers.iter().flat_map(|worker| &worker.connections).map(|(labels, counts)| {
        (values(&labels.call()), counts)
    }));
    let mut text = Text::new();
    text.family("istio_build", "Istio component build info", Kind::Gauge);
    text.sample("istio_build", &[("component", "proxy"), ("tag", env!("CARGO_PKG_VERSION"))], 1.0);
    write_requests(&mut text, &requests);
    write_connections(&mut text, &connections);
    text.finish()
}

fn merged<'a, T: Merge + 'a>(all: impl Iterator<Item = (Values, &'a T)>) -> BTreeMap<Values, T> {
    let mut merged: BTreeMap<Values, T> = BTreeMap::new();
    for (values, counts) in all {
        merged.entry(values).or_default().merge(counts);
    }
    merged
}

fn write_requests(text: &mut Text, requests: &BTreeMap<Values, RequestCounts>) {
    if requests.is_empty() {
        return;
    }
    let name = "istio_requests_total";
    text.family(name, "Requests that have ended.", Kind::Counter);
    for (values, counts) in requests {
        text.sample(name, &request_labels(values), counts.total as f64);
    }
    type Part = fn(&RequestCounts) -> &Spread;
    let histograms: [(&str, &str, Part); 3] = [
        ("istio_request_duration_milliseconds", "Time from first byte in to last byte out.", |counts| {
            &counts.milliseconds
        }),
        ("istio_request_bytes", "Bytes of requests, head and body.", |counts| &counts.request_bytes),
        ("istio_response_bytes", "Bytes of responses, head and body.", |counts| &counts.response_bytes),
    ];
    for (name, help, part) in histograms {
        text.family(name, help, Kind::Histogram);
        for (values, counts) in requests {
            let Spread { counts, sum } = part(counts);
            let spread = TextSpread { bounds: &BOUNDS, counts, sum: *sum };
            text.histogram(name, &request_labels(values), &spread);
        }
    }
}

fn write_connections(text: &mut Text, connections: &BTreeMap<Values, ConnectionCounts>) {
    if connections.is_empty() {
        return;
    }
    type Part = fn(&ConnectionCounts) -> u64;
    let counters: [(&str, &str, Part); 4] = [
        ("istio_tcp_connections_opened_total", "Connections opened.", |counts| counts.opened),
        ("istio_tcp_connections_closed_total", "Connections closed.", |counts| counts.closed),
        ("istio_tcp_sent_bytes_total", "Bytes sent to clients.", |counts| counts.sent),
        ("istio_tcp_received_bytes_total", "Bytes received from clients.", |counts| counts.received),
    ];
    for (name, help, part) in counters {
        text.family(name, help, Kind::Counter);
        for (values, counts) in connections {
            text.sample(name, &connection_labels(values), part(counts) as f64);
        }
    }
}

fn request_labels(values: &Values) -> Vec<(&'static str, &str)> {
    LABELS.into_iter().zip(values.iter().map(String::as_str)).collect()
}

fn connection_labels(values: &Values) -> Vec<(&'static str, &str)> {
    let all = request_labels(values).into_iter().enumerate();
    all.filter(|(place, _)| !REQUEST_ONLY.contains(place)).map(|(_, label)| label).collect()
}

fn values(call: &Call<'_>) -> Values {
    let (source, destination) = (PartyLabels::of(&call.source), PartyLabels::of(&call.destination));
    let service = |part: fn(&ServiceRef) -> &str| known(call.service.map(part));
    let reporter = match call.reporter {
        Reporter::Source => "source",
        Reporter::Destination => "destination",
    };
    let protocol = match call.protocol {
        Protocol::Http => "http",
        Protocol::Grpc => "grpc",
        Protocol::Tcp => "tcp",
    };
    let security = match call.security {
        Security::Unknown => UNKNOWN,
        Security::None => "none",
        Security::MutualTls => "mutual_tls",
    };
    let (status, flags) = (call.status.to_string(), call.flags.to_string());
    let grpc_status = call.grpc_status.map(|status| status.to_string()).unwrap_or_default();
    [
        reporter,
        source.workload,
        source.canonical_service,
        source.canonical_revision,
        source.namespace,
        source.principal,
        // Without labels of its own, a workload's app and version are its canonical service and revision.
        source.canonical_service,
        source.canonical_revision,
        source.cluster,
        destination.workload,
        destination.namespace,
        destination.principal,
        destination.canonical_service,
        destination.canonical_revision,
        service(|service| &service.host),
        destination.canonical_service,
        destination.canonical_revision,
        service(|service| &service.name),
        service(|service| &service.namespace),
        destination.cluster,
        protocol,
        &status,
        &grpc_status,
        &flags,
        security,
    ]
    .map(str::to_owned)
}

struct PartyLabels<'a> {
    workload: &'a str,
    namespace: &'a str,
    canonical_service: &'a str,
    canonical_revision: &'a str,
    cluster: &'a str,
    principal: &'a str,
}

impl<'a> PartyLabels<'a> {
    fn of(party: &Party<'a>) -> Self {
        let part = |part: fn(&Workload) -> &str| known(party.workload.map(part));
        let revision = part(|workload| &workload.canonical_revision);
        let is_known = party.workload.is_some_and(|workload| !workload.is_empty());
        Self {
            workload: part(|workload| &workload.name),
            namespace: part(|workload| &workload.namespace),
            canonical_service: part(|workload| &workload.canonical_name),
            // A workload that says no revision runs the latest one.
            canonical_revision: if revision == UNKNOWN && is_known { "latest" } else { revision },
            cluster: part(|workload| &workload.cluster),
            principal: known(party.principal),
        }
    }
}

fn known(value: Option<&str>) -> &str {
    value.filter(|value| !value.is_empty()).unwrap_or(UNKNOWN)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::flags::{Flag, Flags};
    use super::super::metrics::{Recorder, RequestReport};
    use super::*;

    fn workload(name: &str) -> Workload {
        Workload {
            name: name.to_owned(),
            namespace: "shop".to_owned(),
            canonical_name: name.to_owned(),
            canonical_revision: "v1".to_owned(),
            cluster: "Kubernetes".to_owned(),
        }
    }

    fn counted(status: u16, times: usize) -> Counted {
        let (recorder, source, destination) = (Recorder::default(), workload("client"), workload("backend"));
        let service = ServiceRef {
            host: "backend.shop.svc.cluster.local".to_owned(),
            name: "backend".to_owned(),
            namespace: "shop".to_owned(),
        };
        let call = Call {
            reporter: Reporter::Source,
            source: Party { workload: Some(&source), principal: None },
            destination: Party { workload: Some(&destination), principal: None },
            service: Some(&service),
            protocol: Protocol::Http,
            status,
            grpc_status: None,
            flags: Flags::default(),
            security: Security::Unknown,
        };
        let duration = Duration::from_millis(7);
        for _ in 0..times {
            recorder.request(&RequestReport { call, duration, request_bytes: 10, response_bytes: 2000 });
        }
        let call = Call { protocol: Protocol::Tcp, flags: Flag::UpstreamConnectionFailure.into(), ..call };
        recorder.tcp_opened(&call);
        recorder.tcp_bytes(&call, 5, 7);
        recorder.tcp_closed(&call);
        recorder.counted()
    }

    #[test]
    fn workers_are_added_up_under_istios_labels() {
        let page = text(&[counted(200, 2), counted(200, 3), counted(503, 1)]);
        let labels = "reporter=\"source\",source_workload=\"client\",source_canonical_service=\"client\",\
            source_canonical_revision=\"v1\",source_workload_namespace=\"shop\",source_principal=\"unknown\",\
            source_app=\"client\",source_version=\"v1\",source_cluster=\"Kubernetes\",\
            destination_workload=\"backend\",destination_workload_namespace=\"shop\",\
            destination_principal=\"unknown\",destination_app=\"backend\",destination_version=\"v1\",\
            destination_service=\"backend.shop.svc.cluster.local\",destination_canonical_service=\"backend\",\
            destination_canonical_revision=\"v1\",destination_service_name=\"backend\",\
            destination_service_namespace=\"shop\",destination_cluster=\"Kubernetes\",request_protocol=\"http\",\
            response_code=\"200\",grpc_response_status=\"\",response_flags=\"-\",\
            connection_security_policy=\"unknown\"";
        for line in [
            format!("istio_requests_total{{{labels}}} 5\n"),
            format!("istio_request_duration_milliseconds_bucket{{{labels},le=\"5\"}} 0\n"),
            format!("istio_request_duration_milliseconds_bucket{{{labels},le=\"10\"}} 5\n"),
            format!("istio_request_duration_milliseconds_sum{{{labels}}} 35\n"),
            format!("istio_response_bytes_bucket{{{labels},le=\"2500\"}} 5\n"),
            format!("istio_request_bytes_count{{{labels}}} 5\n"),
        ] {
            assert!(page.contains(&line), "{line}\nis not in\n{page}");
        }
        assert_eq!(page.matches("# TYPE istio_requests_total counter\n").count(), 1);
    }

    #[test]
    fn connections_have_no_response_code() {
        let page = text(&[counted(200, 1), counted(200, 1)]);
        let lines: Vec<&str> = page.lines().filter(|line| line.starts_with("istio_tcp_")).collect();
        assert_eq!(lines.len(), 4, "{page}");
        assert!(lines.iter().all(|line| !line.contains("response_code") && !line.contains("grpc_response")));
        assert!(lines[0].starts_with("istio_tcp_connections_opened_total{reporter=\"source\","));
        assert!(lines[0].contains("request_protocol=\"tcp\",response_flags=\"UF\",connection_security_policy"));
        assert!(lines[2].starts_with("istio_tcp_sent_bytes_total{") && lines[2].ends_with("} 10"));
        assert!(lines[3].starts_with("istio_tcp_received_bytes_total{") && lines[3].ends_with("} 14"));
    }

    #[test]
    fn nobody_known_is_unknown() {
        let recorder = Recorder::default();
        let call = Call {
            reporter: Reporter::Destination,
            source: Party::default(),
            destination: Party::default(),
            service: None,
            protocol: Protocol::Tcp,
            status: 0,
            grpc_status: None,
            flags: Flags::default(),
            security: Security::None,
        };
        recorder.tcp_opened(&call);
        let page = text(&[recorder.counted()]);
        let line = page.lines().find(|line| line.starts_with("istio_tcp_connections_opened_total")).unwrap();
        assert_eq!(line.matches("\"unknown\"").count(), 19, "{line}");
        assert!(line.contains("connection_security_policy=\"none\""), "{line}");
    }
}
