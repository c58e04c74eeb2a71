//! Columns of what describes machines, drivers and certificates.

use serde_json::{Value, json};

use super::{Columns, Row, list, number, or_none, text};

pub static SIGNING_REQUESTS: Columns = Columns {
    columns: &[
        text("Name"),
        text("Age"),
        text("SignerName"),
        text("Requestor"),
        text("RequestedDuration"),
        text("Condition"),
    ],
    cells: |row| {
        vec![
            row.name(),
            row.age(),
            or_none(row.text("/spec/signerName")),
            json!(row.text("/spec/username")),
            requested_duration(row),
            json!(signing_state(row)),
        ]
    },
};

fn requested_duration(row: &Row<'_>) -> Value {
    let seconds = row.at("/spec/expirationSeconds").as_u64();
    let duration = seconds.map(std::time::Duration::from_secs);
    or_none(&duration.map(super::age::human).unwrap_or_default())
}

/// `Approved,Issued`.
fn signing_state(row: &Row<'_>) -> String {
    let mut states = Vec::new();
    for state in ["Approved", "Denied", "Failed"] {
        if list(row.at("/status/conditions"))
            .iter()
            .any(|one| one["type"] == state)
        {
            states.push(state);
        }
    }
    if states.is_empty() {
        states.push("Pending");
    }
    if !row.text("/status/certificate").is_empty() {
        states.push("Issued");
    }
    states.join(",")
}

pub static RUNTIME_CLASSES: Columns = Columns {
    columns: &[text("Name"), text("Handler"), text("Age")],
    cells: |row| vec![row.name(), json!(row.text("/handler")), row.age()],
};

pub static CSI_DRIVERS: Columns = Columns {
    columns: &[
        text("Name"),
        boolean("AttachRequired"),
        boolean("PodInfoOnMount"),
        boolean("StorageCapacity"),
        text("TokenRequests"),
        boolean("RequiresRepublish"),
        text("Modes"),
        text("Age"),
    ],
    cells: |row| {
        let is = |pointer: &str| json!(*row.at(pointer) == true);
        let texts = |pointer: &str, of: fn(&Value) -> Option<&str>| {
            let texts: Vec<&str> = list(row.at(pointer)).iter().filter_map(of).collect();
            texts.join(",")
        };
        let audiences = texts("/spec/tokenRequests", |request| request["audience"].as_str());
        let modes = texts("/spec/volumeLifecycleModes", Value::as_str);
        vec![
            row.name(),
            is("/spec/attachRequired"),
            is("/spec/podInfoOnMount"),
            is("/spec/storageCapacity"),
            json!(if audiences.is_empty() {
                "<unset>"
            } else {
                &audiences
            }),
            is("/spec/requiresRepublish"),
            or_none(&modes),
            row.age(),
        ]
    },
};

pub static CSI_NODES: Columns = Columns {
    columns: &[text("Name"), number("Drivers"), text("Age")],
    cells: |row| vec![row.name(), json!(list(row.at("/spec/drivers")).len()), row.age()],
};

pub static CSI_STORAGE_CAPACITIES: Columns = Columns {
    columns: &[
        text("Name"),
        text("StorageClassName"),
        text("Capacity"),
        text("Age"),
    ],
    cells: |row| {
        let capacity = match row.text("/capacity") {
            "" => "<unset>",
            capacity => capacity,
        };
        vec![
            row.name(),
            json!(row.text("/storageClassName")),
            json!(capacity),
            row.age(),
        ]
    },
};

pub static VOLUME_ATTACHMENTS: Columns = Columns {
    columns: &[
        text("Name"),
        text("Attacher"),
        text("PV"),
        text("Node"),
        boolean("Attached"),
        text("Age"),
    ],
    cells: |row| {
        vec![
            row.name(),
            json!(row.text("/spec/attacher")),
            json!(row.text("/spec/source/persistentVolumeName")),
            json!(row.text("/spec/nodeName")),
            json!(*row.at("/status/attached") == true),
            row.age(),
        ]
    },
};

const fn boolean(name: &'static str) -> super::Column {
    super::Column {
        name,
        kind: "boolean",
        priority: 0,
    }
}
