//! Pods whose probes a kubelet makes without an identity, where nobody without one is let in.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Local, said, wait};

const LIMIT: Duration = Duration::from_secs(60);

/// Only mutual TLS, and nobody at all.
const POLICIES: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: guarded, labels: {istio-injection: enabled}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: guarded}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: nobody, namespace: guarded}
spec: {}
";

/// The same probes twice; those of `bare` are left as they are.
const WORKLOADS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: probed, namespace: guarded}
spec:
  selector: {matchLabels: {app: probed}}
  template:
    metadata: {labels: {app: probed}}
    spec:
      containers:
      - name: backend
        image: soak-backend
        ports: [{name: web, containerPort: 9090}]
        startupProbe: {tcpSocket: {port: web}, periodSeconds: 1, failureThreshold: 60}
        readinessProbe: {httpGet: {port: web, path: /ready}, periodSeconds: 1}
        livenessProbe: {httpGet: {port: 9090, path: /live}, periodSeconds: 1, failureThreshold: 2}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: bare, namespace: guarded}
spec:
  selector: {matchLabels: {app: bare}}
  template:
    metadata:
      labels: {app: bare}
      annotations: {sidecar.istio.io/rewriteAppHTTPProbers: 'false'}
    spec:
      containers:
      - name: backend
        image: soak-backend
        ports: [{name: web, containerPort: 9090}]
        readinessProbe: {httpGet: {port: web, path: /ready}, periodSeconds: 1}
";

#[test]
fn a_pod_that_lets_nobody_in_becomes_ready_by_its_probes() {
    let local = Local::up(&[]);
    for text in [POLICIES, WORKLOADS] {
        let applied = local.apply(text);
        assert!(applied.status.success(), "{}", said(&applied));
    }
    local.wait_for_deployment("guarded", "probed");
    let pod = local.pod("guarded", "app=probed");
    let found = local.get(&["pods", &pod, "-n", "guarded"]);
    let containers = found["spec"]["containers"].as_array().unwrap();
    let backend = containers
        .iter()
        .find(|container| container["name"] == "backend")
        .unwrap();
    assert_eq!(
        backend["readinessProbe"]["httpGet"]["path"],
        "/app-health/backend/readyz"
    );

    // The policies are in force: the kubelet itself is refused.
    let bare = local.pod("guarded", "app=bare");
    wait("a probe that is refused", LIMIT, || {
        let events = local.events("guarded", &bare);
        let refused = |(reason, message): &(String, String)| {
            reason == "Unhealthy" && message.starts_with("Readiness probe failed")
        };
        events.iter().any(refused).then_some(())
    });
    wait("the sidecar beside it to be ready", LIMIT, || {
        let found = local.get(&["pods", &bare, "-n", "guarded"]);
        let statuses = found["status"]["containerStatuses"].as_array()?.clone();
        let ready = |name: &str| {
            let status = statuses.iter().find(|status| status["name"] == name)?;
            status["ready"].as_bool()
        };
        (ready("istio-proxy")? && !ready("backend")?).then_some(())
    });

    // Meanwhile liveness was asked as often as it takes to end a container.
    let found = local.get(&["pods", &pod, "-n", "guarded"]);
    let statuses = found["status"]["containerStatuses"].as_array().unwrap();
    for status in statuses {
        assert_eq!(
            (&status["restartCount"], &status["ready"]),
            (&json!(0), &json!(true)),
            "{status}"
        );
    }
}
