//! Service `kube-dns`: the well-known address of the node's DNS; written anew at each start.

use serde_json::{Value, json};

use super::{DNS_SERVICE, Settings, object};
use crate::api::client::{Client, Patch};
use crate::api::gvr::{ENDPOINT_SLICES, SERVICES};
use crate::api::{Gvr, Status};

pub(super) async fn write(client: &Client, settings: &Settings) -> Result<(), Status> {
    put(client, &SERVICES, service()).await?;
    put(client, &ENDPOINT_SLICES, endpoints(settings)).await
}

/// Creates the object, or makes the one that is there say the same.
async fn put(client: &Client, gvr: &Gvr, object: Value) -> Result<(), Status> {
    let (namespace, name) = (
        object::namespace(&object).to_owned(),
        object::name(&object).to_owned(),
    );
    match client.create(gvr, &namespace, object.clone()).await {
        Err(status) if status.reason == "AlreadyExists" => client
            .patch(gvr, &namespace, &name, Patch::Merge(object))
            .await
            .map(drop),
        created => created.map(drop),
    }
}

fn service() -> Value {
    let port = DNS_SERVICE.port();
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "kube-dns", "namespace": "kube-system",
            "labels": {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"},
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": DNS_SERVICE.ip().to_string(),
            "ports": [
                {"name": "dns", "port": port, "protocol": "UDP", "targetPort": port},
                {"name": "dns-tcp", "port": port, "protocol": "TCP", "targetPort": port},
            ],
        },
    })
}

fn endpoints(settings: &Settings) -> Value {
    let port = DNS_SERVICE.port();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": "kube-dns", "namespace": "kube-system",
            "labels": {"kubernetes.io/service-name": "kube-dns"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [settings.node_address.to_string()], "conditions": {"ready": true}}],
        "ports": [
            {"name": "dns", "port": port, "protocol": "UDP"},
            {"name": "dns-tcp", "port": port, "protocol": "TCP"},
        ],
    })
}
