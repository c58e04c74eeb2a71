//! Mutual TLS without anyone asking: what is on the wire between two pods, and what `amime mtls report` says of it.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Local, said, wait};

const LIMIT: Duration = Duration::from_secs(60);
const IDENTITY: &str = "spiffe://cluster.local/ns/report/sa/default";

/// A server and a caller with proxies, and a caller without; both callers can also listen to what passes their pods.
const WORLD: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: report, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Service
metadata: {name: backend, namespace: report}
spec: {selector: {app: backend}, ports: [{name: http, port: 9090}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: backend, namespace: report}
spec:
  selector: {matchLabels: {app: backend}}
  template:
    metadata: {labels: {app: backend}}
    spec:
      containers:
      - {name: backend, image: soak-backend, env: [{name: NAME, value: backend}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: caller, namespace: report}
spec:
  selector: {matchLabels: {app: caller}}
  template:
    metadata: {labels: {app: caller}}
    spec:
      containers:
      - {name: caller, image: soak-load, args: [http, '20', 'backend:9090']}
      - name: tap
        image: compat-caller
        args: [wait]
        securityContext: {capabilities: {add: [NET_RAW]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: stranger, namespace: report}
spec:
  selector: {matchLabels: {app: stranger}}
  template:
    metadata: {labels: {app: stranger, sidecar.istio.io/inject: 'false'}}
    spec:
      containers:
      - {name: caller, image: soak-load, args: [http, '20', 'backend:9090']}
      - name: tap
        image: compat-caller
        args: [wait]
        securityContext: {capabilities: {add: [NET_RAW]}}
";

#[test]
fn between_two_proxies_nothing_travels_in_plain_text() {
    let local = Local::up(&[]);
    let applied = local.apply(WORLD);
    assert!(applied.status.success(), "{}", said(&applied));
    for name in ["backend", "caller", "stranger"] {
        local.wait_for_deployment("report", name);
    }
    let [backend, caller, stranger] =
        ["backend", "caller", "stranger"].map(|name| local.pod("report", &format!("app={name}")));
    let found = local.get(&["pods", &backend, "-n", "report"]);
    let address = found["status"]["podIP"].as_str().unwrap().to_owned();

    let (packets, readable) = tapped(&local, &caller, &address);
    assert!(packets > 20, "{packets} packets: the caller calls");
    assert_eq!(readable, 0, "of {packets} packets");
    // The tap hears: without a proxy the same requests, to the service's address, can be read.
    let service = local.get(&["services", "backend", "-n", "report"]);
    let (packets, readable) = tapped(&local, &stranger, service["spec"]["clusterIP"].as_str().unwrap());
    assert!(readable > 0, "of {packets} packets");

    the_report_names_both_ends(&local, &backend, &caller, &stranger);
}

/// Packets between a pod and an address within 3 s, and how many of them have in them what requests say.
fn tapped(local: &Local, pod: &str, address: &str) -> (u64, u64) {
    wait(&format!("packets of {pod}"), LIMIT, || {
        let words = ["soak-load", "tap", address, "backend:9090", "3"];
        let told: Value = serde_json::from_str(&local.exec("report", pod, "tap", &words)).ok()?;
        let count = |name: &str| told[name].as_u64().unwrap_or_default();
        (count("packets") > 20).then(|| (count("packets"), count("readable")))
    })
}

/// A line for each pair of pods: who calls, who is called, how, and the identities on both ends.
fn the_report_names_both_ends(local: &Local, backend: &str, caller: &str, stranger: &str) {
    let report = |words: &[&str]| local.ok(&[&["mtls", "report"], words].concat());
    let lines = wait("a report of both callers", LIMIT, || {
        let text = report(&["-n", "report"]);
        let line = |pod: &str| {
            let mut all = text.lines();
            Some(
                all.find(|line| line.contains(pod) && line.contains(backend))?
                    .to_owned(),
            )
        };
        Some((line(caller)?, line(stranger)?))
    });
    let (mutual, plain) = lines;
    assert_eq!(
        mutual.matches(IDENTITY).count(),
        2,
        "the identities on both ends: {mutual}"
    );
    assert!(mutual.contains("mutual"), "{mutual}");
    assert!(plain.contains("plain") && !plain.contains("mutual"), "{plain}");
    assert!(
        plain.matches(IDENTITY).count() <= 1,
        "the caller has no identity: {plain}"
    );
    assert!(report(&["-A"]).contains(caller), "-A is every namespace");
    assert!(
        !report(&["-n", "default"]).contains(caller),
        "of another namespace nothing is told"
    );
    let unknown = local.amime(&["mtls", "report", "-n", "nowhere"]);
    assert!(
        said(&unknown).contains("nowhere"),
        "a namespace that is not there is named: {}",
        said(&unknown)
    );
}
