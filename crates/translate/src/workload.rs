//! Names of the workload behind a pod, as Istio's metrics use them.

use resources::kubernetes::Pod;
use snapshot::endpoint::Workload;

/// The id of the cluster, unless it has another one.
const CLUSTER: &str = "Kubernetes";

/// The workload that a pod belongs to.
pub fn workload_of(pod: &Pod) -> Workload {
    let meta = &pod.metadata;
    let label = |names: &[&str]| names.iter().find_map(|name| meta.labels.get(*name)).cloned();
    let name = owner(pod).unwrap_or_else(|| meta.name.clone());
    Workload {
        canonical_name: label(&["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"])
            .unwrap_or_else(|| name.clone()),
        canonical_revision: label(&[
            "service.istio.io/canonical-revision",
            "app.kubernetes.io/version",
            "version",
        ])
        .unwrap_or_else(|| "latest".into()),
        name,
        namespace: meta.namespace.clone(),
        cluster: CLUSTER.into(),
    }
}

/// The controller of a pod. A ReplicaSet that a Deployment made carries the hash of its template at the end of its
/// name; without it, that is the name of the Deployment.
fn owner(pod: &Pod) -> Option<String> {
    let owner = pod.metadata.controller()?;
    let hash = pod
        .metadata
        .labels
        .get("pod-template-hash")
        .filter(|_| owner.kind == "ReplicaSet");
    let deployment = hash.and_then(|hash| owner.name.strip_suffix(&format!("-{hash}")));
    Some(deployment.unwrap_or(&owner.name).to_owned())
}

#[cfg(test)]
mod tests {
    use resources::{Meta, OwnerReference};

    use super::*;

    #[test]
    fn a_pod_of_a_deployment_is_named_after_it() {
        let owner = OwnerReference {
            kind: "ReplicaSet".into(),
            name: "backend-0-5d9f".into(),
            controller: true,
            ..OwnerReference::default()
        };
        let labels = [
            ("pod-template-hash", "5d9f"),
            ("app", "backend"),
            ("version", "0"),
        ];
        let metadata = Meta {
            name: "backend-0-5d9f-x".into(),
            namespace: "shop".into(),
            owner_references: vec![owner],
            labels: labels
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..Meta::default()
        };
        let workload = workload_of(&Pod {
            metadata,
            ..Pod::default()
        });
        assert_eq!(
            (workload.name.as_str(), workload.canonical_name.as_str()),
            ("backend-0", "backend")
        );
        assert_eq!(workload.canonical_revision, "0");
    }
}
