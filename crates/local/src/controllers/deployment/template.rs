//! Pod templates: which ReplicaSet has the wanted one, and what a new one is called.

use serde_json::{Value, json};

use super::super::{hash, object};
use super::view::{DESIRED, Deployment, HASH, MOST, REVISION, REVISION_HISTORY, ReplicaSet};

/// Annotations of a Deployment that its ReplicaSets do not get.
const NOT_COPIED: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MOST,
];

/// The oldest ReplicaSet whose pods are as the Deployment wants them.
pub(super) fn find_current(deployment: &Deployment, replica_sets: &[ReplicaSet]) -> Option<usize> {
    let wanted = canonical_template(&deployment.object);
    replica_sets
        .iter()
        .position(|set| canonical_template(&set.object) == wanted)
}

/// The template as text, without the hash that only ReplicaSets add.
pub(super) fn canonical_template(object: &Value) -> String {
    let mut template = object["spec"]["template"].clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.shift_remove(HASH);
    }
    object::canonical(&template)
}

/// The hash of template and collision count.
pub(super) fn hash(deployment: &Value) -> String {
    let collisions = object::number(&deployment["status"]["collisionCount"]);
    hash::of(&canonical_template(deployment), collisions)
}

/// The ReplicaSet for the wanted template.
pub(super) fn new_replica_set(deployment: &Deployment, replicas: i64, revision: i64) -> Value {
    let object = &deployment.object;
    let hash = hash(object);
    let mut template = object["spec"]["template"].clone();
    template["metadata"]["labels"][HASH] = hash.as_str().into();
    let mut selector = object["spec"]["selector"].clone();
    selector["matchLabels"][HASH] = hash.as_str().into();
    let mut annotations = copied_annotations(object);
    annotations[REVISION] = revision.to_string().into();
    annotations[DESIRED] = deployment.replicas.to_string().into();
    annotations[MOST] = deployment.most().to_string().into();
    let mut spec = json!({"replicas": replicas, "selector": selector, "template": template});
    if !object["spec"]["minReadySeconds"].is_null() {
        spec["minReadySeconds"] = object["spec"]["minReadySeconds"].clone();
    }
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": format!("{}-{hash}", deployment.name()),
            "namespace": object::namespace(object),
            "labels": template["metadata"]["labels"],
            "annotations": annotations,
            "ownerReferences": [object::controller_reference(object)],
        },
        "spec": spec,
    })
}

/// The annotations that a Deployment shares with its current ReplicaSet.
pub(super) fn copied_annotations(deployment: &Value) -> Value {
    let annotations = deployment["metadata"]["annotations"]
        .as_object()
        .into_iter()
        .flatten();
    let copied = annotations.filter(|(key, _)| !NOT_COPIED.contains(&key.as_str()));
    Value::Object(copied.map(|(key, value)| (key.clone(), value.clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_depends_on_the_template_and_on_collisions_alone() {
        let one = json!({"spec": {"replicas": 1, "template": {"metadata": {"labels": {"a": "b"}}}}});
        let mut other = one.clone();
        other["spec"]["replicas"] = 2.into();
        assert_eq!(hash(&one), hash(&other));
        other["status"]["collisionCount"] = 1.into();
        assert_ne!(hash(&one), hash(&other));
    }
}
