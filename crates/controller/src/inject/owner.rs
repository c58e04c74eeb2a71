//! The workload that a pod belongs to: what made the thing that made it, as far as the names tell.

use serde_json::Value;

/// A workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) name: String,
    /// `kubernetes://apis/apps/v1/namespaces/shop/deployments/cart`
    pub(super) path: String,
}

/// The controller of the pod; behind a ReplicaSet its Deployment, behind a Job its CronJob; else the pod itself.
pub(super) fn of(pod: &Value, namespace: &str) -> Owner {
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let metadata = &pod["metadata"];
    let controller = metadata["ownerReferences"].as_array().and_then(|references| {
        references
            .iter()
            .find(|reference| reference["controller"] == true)
    });
    let (api_version, kind, name) = match controller {
        Some(owner) => behind(
            pod,
            &text(owner, "apiVersion"),
            &text(owner, "kind"),
            &text(owner, "name"),
        ),
        None => ("v1".to_owned(), "Pod".to_owned(), own_name(metadata)),
    };
    let path = format!(
        "kubernetes://apis/{api_version}/namespaces/{namespace}/{}s/{name}",
        kind.to_lowercase()
    );
    Owner { name, path }
}

/// A pod that has no name yet has the beginning of one.
fn own_name(metadata: &Value) -> String {
    let text = |field: &str| metadata[field].as_str();
    let name = text("name").or_else(|| text("generateName")).unwrap_or_default();
    name.trim_end_matches('-').to_owned()
}

fn behind(pod: &Value, api_version: &str, kind: &str, name: &str) -> (String, String, String) {
    let label = |name: &str| pod["metadata"]["labels"][name].as_str();
    match kind {
        "ReplicaSet" => {
            let hash = label("pod-template-hash").map(|hash| format!("-{hash}"));
            if let Some(deployment) = hash.and_then(|hash| name.strip_suffix(hash.as_str())) {
                return (
                    api_version.to_owned(),
                    "Deployment".to_owned(),
                    deployment.to_owned(),
                );
            }
        }
        "ReplicationController" => {
            if let Some(config) = label("deploymentconfig") {
                return (
                    "apps.openshift.io/v1".to_owned(),
                    "DeploymentConfig".to_owned(),
                    config.to_owned(),
                );
            }
        }
        "Job" => {
            // A CronJob appends the minutes since 1970 to its name.
            if let Some((cron, minutes)) = name.rsplit_once('-')
                && (8..=10).contains(&minutes.len())
                && minutes.bytes().all(|byte| byte.is_ascii_digit())
            {
                return (api_version.to_owned(), "CronJob".to_owned(), cron.to_owned());
            }
        }
        _ => {}
    }
    (api_version.to_owned(), kind.to_owned(), name.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_workload_behind_the_owner_is_found() {
        for (api_version, kind, name, expected) in [
            (
                "apps/v1",
                "ReplicaSet",
                "cart-6d4cf56db6",
                "apps/v1/namespaces/shop/deployments/cart",
            ),
            (
                "apps/v1",
                "ReplicaSet",
                "cart",
                "apps/v1/namespaces/shop/replicasets/cart",
            ),
            (
                "apps/v1",
                "StatefulSet",
                "db",
                "apps/v1/namespaces/shop/statefulsets/db",
            ),
            (
                "batch/v1",
                "Job",
                "report-28512345",
                "batch/v1/namespaces/shop/cronjobs/report",
            ),
            (
                "batch/v1",
                "Job",
                "report-once",
                "batch/v1/namespaces/shop/jobs/report-once",
            ),
        ] {
            let pod = json!({"metadata": {
                "labels": {"pod-template-hash": "6d4cf56db6"},
                "ownerReferences": [{"apiVersion": api_version, "kind": kind, "name": name, "controller": true}],
            }});
            assert_eq!(of(&pod, "shop").path, format!("kubernetes://apis/{expected}"));
        }
    }

    #[test]
    fn a_pod_on_its_own_is_its_own_workload() {
        assert_eq!(
            of(&json!({"metadata": {"name": "lonely"}}), "shop").name,
            "lonely"
        );
        let generated = of(&json!({"metadata": {"generateName": "lonely-"}}), "shop");
        assert_eq!(generated.path, "kubernetes://apis/v1/namespaces/shop/pods/lonely");
    }
}
