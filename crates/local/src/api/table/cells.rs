//! Columns of the kinds that need no more than a few lines each.

use serde_json::{Value, json};

use super::{Columns, Row, labels, list, number, or_none, text, wide};

pub static NAME_AND_AGE: Columns = Columns {
    columns: &[text("Name"), text("Age")],
    cells: |row| vec![row.name(), row.age()],
};

pub static NAME_AND_CREATED: Columns = Columns {
    columns: &[text("Name"), text("Created At")],
    cells: |row| vec![row.name(), row.at("/metadata/creationTimestamp").clone()],
};

pub static CUSTOM_RESOURCE_DEFINITIONS: Columns = Columns {
    columns: &[
        text("Name"),
        super::Column {
            name: "Created At",
            kind: "date",
            priority: 0,
        },
    ],
    cells: |row| vec![row.name(), row.at("/metadata/creationTimestamp").clone()],
};

pub static NAMESPACES: Columns = Columns {
    columns: &[text("Name"), text("Status"), text("Age")],
    cells: |row| vec![row.name(), row.at("/status/phase").clone(), row.age()],
};

pub static SERVICES: Columns = Columns {
    columns: &[
        text("Name"),
        text("Type"),
        text("Cluster-IP"),
        text("External-IP"),
        text("Port(s)"),
        text("Age"),
        wide("Selector"),
    ],
    cells: |row| {
        vec![
            row.name(),
            row.at("/spec/type").clone(),
            or_none(row.text("/spec/clusterIP")),
            external_address(row),
            service_ports(row),
            row.age(),
            labels(row.at("/spec/selector")),
        ]
    },
};

fn external_address(row: &Row<'_>) -> Value {
    let given: Vec<&str> = list(row.at("/spec/externalIPs"))
        .iter()
        .filter_map(Value::as_str)
        .collect();
    match row.text("/spec/type") {
        "ExternalName" => row.at("/spec/externalName").clone(),
        "LoadBalancer" => {
            let assigned = list(row.at("/status/loadBalancer/ingress")).iter();
            let assigned = assigned.filter_map(|one| one["ip"].as_str().or_else(|| one["hostname"].as_str()));
            let all: Vec<&str> = assigned.chain(given).collect();
            json!(if all.is_empty() {
                "<pending>".to_owned()
            } else {
                all.join(",")
            })
        }
        _ => or_none(&given.join(",")),
    }
}

fn service_ports(row: &Row<'_>) -> Value {
    let shown: Vec<String> = list(row.at("/spec/ports"))
        .iter()
        .map(|port| {
            let protocol = port["protocol"].as_str().unwrap_or("TCP");
            match port["nodePort"].as_i64() {
                Some(node) if node > 0 => format!("{}:{node}/{protocol}", port["port"]),
                _ => format!("{}/{protocol}", port["port"]),
            }
        })
        .collect();
    or_none(&shown.join(","))
}

pub static ENDPOINTS: Columns = Columns {
    columns: &[text("Name"), text("Endpoints"), text("Age")],
    cells: |row| {
        let mut shown = Vec::new();
        for subset in list(row.at("/subsets")) {
            let addresses = || {
                list(&subset["addresses"])
                    .iter()
                    .filter_map(|address| address["ip"].as_str())
            };
            let ports = list(&subset["ports"]);
            if ports.is_empty() {
                shown.extend(addresses().map(str::to_owned));
            }
            for port in ports {
                shown.extend(addresses().map(|address| format!("{address}:{}", port["port"])));
            }
        }
        vec![row.name(), or_none(&shortened(&shown)), row.age()]
    },
};

pub static ENDPOINT_SLICES: Columns = Columns {
    columns: &[
        text("Name"),
        text("AddressType"),
        text("Ports"),
        text("Endpoints"),
        text("Age"),
    ],
    cells: |row| {
        let ports: Vec<String> = list(row.at("/ports"))
            .iter()
            .map(|port| {
                port["port"]
                    .as_i64()
                    .map_or_else(|| "*".to_owned(), |port| port.to_string())
            })
            .collect();
        let addresses: Vec<String> = list(row.at("/endpoints"))
            .iter()
            .flat_map(|endpoint| list(&endpoint["addresses"]))
            .filter_map(|address| address.as_str().map(str::to_owned))
            .collect();
        let unset = |text: String| {
            json!(if text.is_empty() {
                "<unset>".to_owned()
            } else {
                text
            })
        };
        vec![
            row.name(),
            row.at("/addressType").clone(),
            unset(shortened(&ports)),
            unset(shortened(&addresses)),
            row.age(),
        ]
    },
};

/// The first three, and how many more there are.
fn shortened(all: &[String]) -> String {
    match all.len().checked_sub(3) {
        Some(more) if more > 0 => format!("{} + {more} more...", all[..3].join(",")),
        _ => all.join(","),
    }
}

pub static CONFIG_MAPS: Columns = Columns {
    columns: &[text("Name"), number("Data"), text("Age")],
    cells: |row| {
        let count = size(row.at("/data")) + size(row.at("/binaryData"));
        vec![row.name(), json!(count), row.age()]
    },
};

pub static SECRETS: Columns = Columns {
    columns: &[text("Name"), text("Type"), number("Data"), text("Age")],
    cells: |row| {
        vec![
            row.name(),
            row.at("/type").clone(),
            json!(size(row.at("/data"))),
            row.age(),
        ]
    },
};

fn size(map: &Value) -> usize {
    map.as_object().map_or(0, serde_json::Map::len)
}

pub static NODES: Columns = Columns {
    columns: &[
        text("Name"),
        text("Status"),
        text("Roles"),
        text("Age"),
        text("Version"),
        wide("Internal-IP"),
        wide("External-IP"),
        wide("OS-Image"),
        wide("Kernel-Version"),
        wide("Container-Runtime"),
    ],
    cells: |row| {
        let address = |kind: &str| {
            let all = list(row.at("/status/addresses")).iter();
            or_none(
                all.filter(|one| one["type"] == kind)
                    .find_map(|one| one["address"].as_str())
                    .unwrap_or_default(),
            )
        };
        let info = |field: &str| {
            let text = row.text(&format!("/status/nodeInfo/{field}"));
            json!(if text.is_empty() { "<unknown>" } else { text })
        };
        vec![
            row.name(),
            json!(node_status(row)),
            json!(node_roles(row)),
            row.age(),
            row.at("/status/nodeInfo/kubeletVersion").clone(),
            address("InternalIP"),
            address("ExternalIP"),
            info("osImage"),
            info("kernelVersion"),
            info("containerRuntimeVersion"),
        ]
    },
};

fn node_status(row: &Row<'_>) -> String {
    let ready = list(row.at("/status/conditions"))
        .iter()
        .find(|one| one["type"] == "Ready");
    let mut status = match ready.map(|one| &one["status"]) {
        Some(status) if *status == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if row.at("/spec/unschedulable") == true {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn node_roles(row: &Row<'_>) -> String {
    let labels = row.at("/metadata/labels").as_object();
    let mut roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(
            |(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
                Some(role) => Some(role),
                None => (key == "kubernetes.io/role").then(|| value.as_str().unwrap_or_default()),
            },
        )
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    if roles.is_empty() {
        "<none>".to_owned()
    } else {
        roles.join(",")
    }
}

pub static EVENTS: Columns = Columns {
    columns: &[
        text("Last Seen"),
        text("Type"),
        text("Reason"),
        text("Object"),
        wide("Subobject"),
        wide("Source"),
        text("Message"),
        wide("First Seen"),
        wide("Count"),
        wide("Name"),
    ],
    cells: |row| {
        // An event has other field names in its newer group.
        let either = |old: &str, new: &str| {
            if row.at(old).is_null() {
                row.at(new)
            } else {
                row.at(old)
            }
        };
        let object = either("/involvedObject", "/regarding");
        let field = |name: &str| object[name].as_str().unwrap_or_default();
        let when = |old: &str, new: &str| match either(old, new) {
            Value::Null => row.at("/eventTime"),
            time => time,
        };
        let first = when("/firstTimestamp", "/deprecatedFirstTimestamp");
        let last = match row.at("/series/lastObservedTime") {
            Value::Null => when("/lastTimestamp", "/deprecatedLastTimestamp"),
            time => time,
        };
        let count = match row.count("/series/count") {
            0 => either("/count", "/deprecatedCount").as_i64().unwrap_or(0).max(1),
            several => several,
        };
        let source = either("/source", "/deprecatedSource");
        let component = match source["component"].as_str().unwrap_or_default() {
            "" => either("/reportingComponent", "/reportingController")
                .as_str()
                .unwrap_or_default(),
            component => component,
        };
        let host = source["host"]
            .as_str()
            .map(|host| format!(", {host}"))
            .unwrap_or_default();
        vec![
            row.since(last),
            row.at("/type").clone(),
            row.at("/reason").clone(),
            json!(format!("{}/{}", field("kind").to_lowercase(), field("name"))),
            json!(field("fieldPath")),
            json!(format!("{component}{host}")),
            json!(either("/message", "/note").as_str().unwrap_or_default().trim()),
            row.since(first),
            json!(count),
            row.name(),
        ]
    },
};

pub static LEASES: Columns = Columns {
    columns: &[text("Name"), text("Holder"), text("Age")],
    cells: |row| vec![row.name(), json!(row.text("/spec/holderIdentity")), row.age()],
};
