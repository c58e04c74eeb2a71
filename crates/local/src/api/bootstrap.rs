//! Objects without which nothing works: the first namespaces, and the way to the API server itself.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::client::{Client, Patch};
use super::{Gvr, Status, gvr};

const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

/// Makes what is missing, and corrects where `kubernetes` leads.
pub(super) async fn run(client: &Client, advertised: SocketAddr) -> Result<(), Status> {
    for name in NAMESPACES {
        ensure(client, &gvr::NAMESPACES, "", json!({"metadata": {"name": name}})).await?;
    }
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let service = json!({
        "metadata": {"name": "kubernetes", "labels": labels},
        "spec": {
            "type": "ClusterIP", "clusterIP": "10.96.0.1",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": advertised.port()}],
        },
    });
    ensure(client, &gvr::SERVICES, "default", service).await?;
    let slice = json!({
        "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [advertised.ip().to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": advertised.port(), "protocol": "TCP"}],
    });
    ensure(client, &gvr::ENDPOINT_SLICES, "default", slice).await?;
    let endpoints = json!({
        "metadata": {"name": "kubernetes", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{
            "addresses": [{"ip": advertised.ip().to_string()}],
            "ports": [{"name": "https", "port": advertised.port(), "protocol": "TCP"}],
        }],
    });
    ensure(client, &gvr::ENDPOINTS, "default", endpoints).await
}

/// Creates an object, or brings it back to what it should be.
async fn ensure(client: &Client, gvr: &Gvr, namespace: &str, object: Value) -> Result<(), Status> {
    match client.create(gvr, namespace, object.clone()).await {
        Err(status) if status.reason == "AlreadyExists" => {
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            client.patch(gvr, namespace, &name, Patch::Merge(object)).await?;
            Ok(())
        }
        other => other.map(drop),
    }
}
