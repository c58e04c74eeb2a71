//! Settings of the mesh, in the Snapshot of a sidecar.

use std::sync::Arc;
use std::time::Duration;

use resources::yaml;
use serde_json::json;
use snapshot::chain::TcpTarget;
use snapshot::cluster::UpstreamHttp;
use snapshot::{Action, Cluster, ClusterName, Handler, Snapshot};

use crate::{Mesh, MeshSettings, Node, Scope, snapshot};

const WORLD: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: backend, namespace: shop}
spec: {clusterIP: 10.96.0.1, selector: {app: backend}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: other, namespace: shop}
spec: {clusterIP: 10.96.0.2, selector: {app: other}, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: other, namespace: shop}
spec:
  host: other
  trafficPolicy:
    connectionPool:
      tcp: {connectTimeout: 3s, tcpKeepalive: {time: 9s}}
      http: {h2UpgradePolicy: DO_NOT_UPGRADE}
"#;

fn with(mesh: &serde_json::Value) -> Snapshot {
    let settings = MeshSettings::read(mesh.as_object().unwrap()).unwrap();
    let mesh = Mesh::of(yaml::read(WORLD).resources).with_settings(Arc::new(settings));
    let node = Node {
        namespace: "shop".into(),
        ..Node::default()
    };
    snapshot(&Scope::of(&mesh, &node))
}

fn cluster<'s>(snapshot: &'s Snapshot, service: &str) -> &'s Cluster {
    let host = format!("{service}.shop.svc.cluster.local");
    snapshot
        .clusters
        .get(ClusterName::outbound(80, "", &host.as_str().into()).as_str())
        .unwrap()
}

/// What becomes of a connection, and of a request, to somewhere that nobody knows.
fn elsewhere(snapshot: &Snapshot) -> (String, u16) {
    let listener = snapshot.listeners.get("virtualOutbound").unwrap();
    let Handler::Tcp(handler) = &listener.default_chain.as_ref().unwrap().handler else {
        panic!("opaque")
    };
    let host = snapshot.routes.get("80").unwrap().hosts.last().unwrap();
    let status = match &host.routes[0].action {
        Action::Respond(response) => response.status,
        _ => 0,
    };
    let TcpTarget::Cluster(cluster) = &handler.target else {
        panic!("one cluster")
    };
    (cluster.to_string(), status)
}

#[test]
fn with_a_registry_only_nobody_else_is_called() {
    let open = with(&json!({}));
    assert_eq!(elsewhere(&open), ("PassthroughCluster".into(), 0));
    let closed = with(&json!({"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}));
    assert_eq!(elsewhere(&closed), ("BlackHoleCluster".into(), 502));
}

#[test]
fn connections_are_as_the_settings_say_where_no_rule_says_otherwise() {
    let snapshot = with(&json!({
        "connectTimeout": "1s", "h2UpgradePolicy": "UPGRADE", "tcpKeepalive": {"time": "60s", "probes": 2},
    }));
    let seconds = |cluster: &Cluster| {
        let keepalive = cluster.tcp_keepalive.unwrap();
        (keepalive.time, keepalive.probes)
    };
    let (plain, ruled) = (cluster(&snapshot, "backend"), cluster(&snapshot, "other"));
    assert_eq!(
        (plain.connect_timeout, plain.http),
        (Duration::from_secs(1), UpstreamHttp::Http2)
    );
    assert_eq!(
        (ruled.connect_timeout, ruled.http),
        (Duration::from_secs(3), UpstreamHttp::Http1)
    );
    assert_eq!(
        (seconds(plain), seconds(ruled)),
        ((Some(60), Some(2)), (Some(9), Some(2)))
    );
}

#[test]
fn retries_of_the_mesh_take_the_place_of_the_default_ones() {
    let attempts = |mesh| {
        let snapshot = with(&mesh);
        let host = &snapshot.routes.get("80").unwrap().hosts[0];
        let Action::Forward(forward) = &host.routes[0].action else {
            panic!("forwards")
        };
        forward.retry.as_ref().map(|retry| retry.attempts)
    };
    assert_eq!(attempts(json!({})), Some(2));
    assert_eq!(
        attempts(json!({"defaultHttpRetryPolicy": {"attempts": 5, "retryOn": "5xx"}})),
        Some(5)
    );
    assert_eq!(attempts(json!({"defaultHttpRetryPolicy": {"attempts": 0}})), None);
}
