//! Columns of storage, scaling, ingress and policy: kinds that this server keeps for others to act on.

use serde_json::{Value, json};

use super::{Columns, Row, list, number, or_none, text, wide};
use crate::api::versions;

pub static PERSISTENT_VOLUMES: Columns = Columns {
    columns: &[
        text("Name"),
        text("Capacity"),
        text("Access Modes"),
        text("Reclaim Policy"),
        text("Status"),
        text("Claim"),
        text("StorageClass"),
        text("VolumeAttributesClass"),
        text("Reason"),
        text("Age"),
        wide("VolumeMode"),
    ],
    cells: |row| {
        let claim = match row.text("/spec/claimRef/name") {
            "" => String::new(),
            name => format!("{}/{name}", row.text("/spec/claimRef/namespace")),
        };
        vec![
            row.name(),
            json!(row.text("/spec/capacity/storage")),
            access_modes(row.at("/spec/accessModes")),
            json!(row.text("/spec/persistentVolumeReclaimPolicy")),
            json!(row.text("/status/phase")),
            json!(claim),
            json!(row.text("/spec/storageClassName")),
            or_unset(row.text("/spec/volumeAttributesClassName")),
            json!(row.text("/status/reason")),
            row.age(),
            json!(row.text("/spec/volumeMode")),
        ]
    },
};

pub static PERSISTENT_VOLUME_CLAIMS: Columns = Columns {
    columns: &[
        text("Name"),
        text("Status"),
        text("Volume"),
        text("Capacity"),
        text("Access Modes"),
        text("StorageClass"),
        text("VolumeAttributesClass"),
        text("Age"),
        wide("VolumeMode"),
    ],
    cells: |row| {
        vec![
            row.name(),
            json!(row.text("/status/phase")),
            json!(row.text("/spec/volumeName")),
            json!(row.text("/status/capacity/storage")),
            access_modes(row.at("/status/accessModes")),
            json!(row.text("/spec/storageClassName")),
            or_unset(row.text("/spec/volumeAttributesClassName")),
            row.age(),
            json!(row.text("/spec/volumeMode")),
        ]
    },
};

fn or_unset(text: &str) -> Value {
    json!(if text.is_empty() { "<unset>" } else { text })
}

fn access_modes(modes: &Value) -> Value {
    let short = |mode: &Value| match mode.as_str() {
        Some("ReadWriteOnce") => "RWO",
        Some("ReadOnlyMany") => "ROX",
        Some("ReadWriteMany") => "RWX",
        Some("ReadWriteOncePod") => "RWOP",
        _ => "",
    };
    json!(list(modes).iter().map(short).collect::<Vec<_>>().join(","))
}

pub static AUTOSCALERS: Columns = Columns {
    columns: &[
        text("Name"),
        text("Reference"),
        text("Targets"),
        text("MinPods"),
        text("MaxPods"),
        number("Replicas"),
        text("Age"),
    ],
    cells: |row| {
        let reference = format!(
            "{}/{}",
            row.text("/spec/scaleTargetRef/kind"),
            row.text("/spec/scaleTargetRef/name")
        );
        vec![
            row.name(),
            json!(reference),
            json!(targets(row)),
            json!(row.at("/spec/minReplicas").to_string()),
            json!(row.at("/spec/maxReplicas").to_string()),
            json!(row.count("/status/currentReplicas")),
            row.age(),
        ]
    },
};

/// The same of the older version.
pub static AUTOSCALERS_V1: Columns = Columns {
    columns: AUTOSCALERS.columns,
    cells: |row| {
        let mut newer = row.object.clone();
        versions::autoscaler_to_v2(&mut newer);
        (AUTOSCALERS.cells)(&Row {
            object: &newer,
            now: row.now,
        })
    },
};

/// What is measured stands before what is wanted; nothing is measured here until a controller does.
fn targets(row: &Row<'_>) -> String {
    let shown: Vec<String> = list(row.at("/spec/metrics"))
        .iter()
        .filter_map(|metric| {
            let resource = &metric["resource"];
            let wanted = resource["target"]["averageUtilization"].as_i64()?;
            let current = list(row.at("/status/currentMetrics"))
                .iter()
                .find(|one| one["resource"]["name"] == resource["name"])
                .and_then(|one| one["resource"]["current"]["averageUtilization"].as_i64())
                .map_or_else(|| "<unknown>".to_owned(), |current| format!("{current}%"));
            Some(format!("{}: {current}/{wanted}%", resource["name"].as_str()?))
        })
        .collect();
    if shown.is_empty() {
        "<none>".to_owned()
    } else {
        shown.join(", ")
    }
}

pub static PRIORITY_CLASSES: Columns = Columns {
    columns: &[
        text("Name"),
        number("Value"),
        text("Global-Default"),
        text("Age"),
        text("PreemptionPolicy"),
    ],
    cells: |row| {
        let policy = row.text("/preemptionPolicy");
        vec![
            row.name(),
            row.at("/value").clone(),
            json!(*row.at("/globalDefault") == true),
            row.age(),
            json!(if policy.is_empty() {
                "PreemptLowerPriority"
            } else {
                policy
            }),
        ]
    },
};

pub static INGRESSES: Columns = Columns {
    columns: &[
        text("Name"),
        text("Class"),
        text("Hosts"),
        text("Address"),
        text("Ports"),
        text("Age"),
    ],
    cells: |row| {
        let hosts: Vec<&str> = list(row.at("/spec/rules"))
            .iter()
            .filter_map(|rule| rule["host"].as_str())
            .collect();
        let addresses: Vec<&str> = list(row.at("/status/loadBalancer/ingress"))
            .iter()
            .filter_map(|one| one["ip"].as_str().or_else(|| one["hostname"].as_str()))
            .collect();
        let ports = if list(row.at("/spec/tls")).is_empty() {
            "80"
        } else {
            "80, 443"
        };
        vec![
            row.name(),
            or_none(row.text("/spec/ingressClassName")),
            json!(if hosts.is_empty() {
                "*".to_owned()
            } else {
                hosts.join(",")
            }),
            json!(addresses.join(",")),
            json!(ports),
            row.age(),
        ]
    },
};

pub static INGRESS_CLASSES: Columns = Columns {
    columns: &[text("Name"), text("Controller"), text("Parameters"), text("Age")],
    cells: |row| {
        let parameters = match row.text("/spec/parameters/kind") {
            "" => String::new(),
            kind => format!("{kind}/{}", row.text("/spec/parameters/name")),
        };
        vec![
            row.name(),
            json!(row.text("/spec/controller")),
            or_none(&parameters),
            row.age(),
        ]
    },
};

pub static NETWORK_POLICIES: Columns = Columns {
    columns: &[text("Name"), text("Pod-Selector"), text("Age")],
    cells: |row| {
        let selector = crate::api::label_selector::to_query(row.at("/spec/podSelector"));
        vec![row.name(), or_none(&selector), row.age()]
    },
};

pub static ROLE_BINDINGS: Columns = Columns {
    columns: &[
        text("Name"),
        text("Role"),
        text("Age"),
        wide("Users"),
        wide("Groups"),
        wide("ServiceAccounts"),
    ],
    cells: |row| {
        let subjects = |kind: &str| {
            let of_kind = list(row.at("/subjects"))
                .iter()
                .filter(|subject| subject["kind"] == kind);
            let names: Vec<String> = of_kind
                .map(|subject| {
                    let name = subject["name"].as_str().unwrap_or_default();
                    match subject["namespace"].as_str() {
                        Some(namespace) if kind == "ServiceAccount" => format!("{namespace}/{name}"),
                        _ => name.to_owned(),
                    }
                })
                .collect();
            json!(names.join(", "))
        };
        let role = format!("{}/{}", row.text("/roleRef/kind"), row.text("/roleRef/name"));
        vec![
            row.name(),
            json!(role),
            row.age(),
            subjects("User"),
            subjects("Group"),
            subjects("ServiceAccount"),
        ]
    },
};

pub static DISRUPTION_BUDGETS: Columns = Columns {
    columns: &[
        text("Name"),
        text("Min Available"),
        text("Max Unavailable"),
        number("Allowed Disruptions"),
        text("Age"),
    ],
    cells: |row| {
        let share = |pointer: &str| match row.at(pointer) {
            Value::Null => json!("N/A"),
            Value::String(text) => json!(text),
            number => json!(number.to_string()),
        };
        vec![
            row.name(),
            share("/spec/minAvailable"),
            share("/spec/maxUnavailable"),
            json!(row.count("/status/disruptionsAllowed")),
            row.age(),
        ]
    },
};

pub static STORAGE_CLASSES: Columns = Columns {
    columns: &[
        text("Name"),
        text("Provisioner"),
        text("ReclaimPolicy"),
        text("VolumeBindingMode"),
        text("AllowVolumeExpansion"),
        text("Age"),
    ],
    cells: |row| {
        let default =
            row.at("/metadata/annotations")["storageclass.kubernetes.io/is-default-class"] == "true";
        let name = format!(
            "{}{}",
            row.text("/metadata/name"),
            if default { " (default)" } else { "" }
        );
        vec![
            json!(name),
            json!(row.text("/provisioner")),
            json!(row.text("/reclaimPolicy")),
            json!(row.text("/volumeBindingMode")),
            json!(*row.at("/allowVolumeExpansion") == true),
            row.age(),
        ]
    },
};

pub static WEBHOOKS: Columns = Columns {
    columns: &[text("Name"), number("Webhooks"), text("Age")],
    cells: |row| vec![row.name(), json!(list(row.at("/webhooks")).len()), row.age()],
};

pub static QUOTAS: Columns = Columns {
    columns: &[text("Name"), text("Request"), text("Limit"), text("Age")],
    cells: |row| {
        let shares = |limits: bool| {
            let mut shares: Vec<String> = row
                .at("/status/hard")
                .as_object()
                .into_iter()
                .flatten()
                .filter(|(resource, _)| resource.starts_with("limits.") == limits)
                .map(|(resource, hard)| {
                    let used = row.at("/status/used")[resource].as_str().unwrap_or("0");
                    format!("{resource}: {used}/{}", hard.as_str().unwrap_or_default())
                })
                .collect();
            shares.sort();
            json!(shares.join(", "))
        };
        vec![row.name(), shares(false), shares(true), row.age()]
    },
};
