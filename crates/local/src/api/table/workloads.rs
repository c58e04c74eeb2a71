//! Workloads: how many pods there are, and how many there should be.

use serde_json::{Value, json};

use super::{Columns, Row, age, labels, list, number, or_none, text, wide};
use crate::api::{label_selector, time};

pub static DEPLOYMENTS: Columns = Columns {
    columns: &[
        text("Name"),
        text("Ready"),
        text("Up-to-date"),
        text("Available"),
        text("Age"),
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells: |row| {
        let cells = vec![
            row.name(),
            ready_of_wanted(row),
            json!(row.count("/status/updatedReplicas")),
            json!(row.count("/status/availableReplicas")),
            row.age(),
        ];
        with_template(row, cells, true)
    },
};

pub static REPLICA_SETS: Columns = Columns {
    columns: &[
        text("Name"),
        number("Desired"),
        number("Current"),
        number("Ready"),
        text("Age"),
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells: |row| {
        let counts = ["/spec/replicas", "/status/replicas", "/status/readyReplicas"];
        let counts = counts.into_iter().map(|pointer| json!(row.count(pointer)));
        let cells = std::iter::once(row.name())
            .chain(counts)
            .chain([row.age()])
            .collect();
        with_template(row, cells, true)
    },
};

pub static STATEFUL_SETS: Columns = Columns {
    columns: &[
        text("Name"),
        text("Ready"),
        text("Age"),
        wide("Containers"),
        wide("Images"),
    ],
    cells: |row| with_template(row, vec![row.name(), ready_of_wanted(row), row.age()], false),
};

pub static DAEMON_SETS: Columns = Columns {
    columns: &[
        text("Name"),
        number("Desired"),
        number("Current"),
        number("Ready"),
        number("Up-to-date"),
        number("Available"),
        text("Node Selector"),
        text("Age"),
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells: |row| {
        let counts = [
            "/status/desiredNumberScheduled",
            "/status/currentNumberScheduled",
            "/status/numberReady",
            "/status/updatedNumberScheduled",
            "/status/numberAvailable",
        ];
        let counts = counts.into_iter().map(|pointer| json!(row.count(pointer)));
        let selector = labels(row.at("/spec/template/spec/nodeSelector"));
        let cells = std::iter::once(row.name())
            .chain(counts)
            .chain([selector, row.age()])
            .collect();
        with_template(row, cells, true)
    },
};

pub static JOBS: Columns = Columns {
    columns: &[
        text("Name"),
        text("Status"),
        text("Completions"),
        text("Duration"),
        text("Age"),
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells: |row| {
        let completions = match (
            row.at("/spec/completions").as_i64(),
            row.count("/spec/parallelism"),
        ) {
            (Some(wanted), _) => format!("{}/{wanted}", row.count("/status/succeeded")),
            (None, several) if several > 1 => format!("{}/1 of {several}", row.count("/status/succeeded")),
            (None, _) => format!("{}/1", row.count("/status/succeeded")),
        };
        let cells = vec![
            row.name(),
            json!(job_status(row)),
            json!(completions),
            duration(row),
            row.age(),
        ];
        with_template(row, cells, true)
    },
};

pub static CRON_JOBS: Columns = Columns {
    columns: &[
        text("Name"),
        text("Schedule"),
        text("Timezone"),
        text("Suspend"),
        number("Active"),
        text("Last Schedule"),
        text("Age"),
    ],
    cells: |row| {
        let last = row.at("/status/lastScheduleTime");
        let suspended = if row.at("/spec/suspend") == true {
            "True"
        } else {
            "False"
        };
        vec![
            row.name(),
            row.at("/spec/schedule").clone(),
            or_none(row.text("/spec/timeZone")),
            json!(suspended),
            json!(list(row.at("/status/active")).len()),
            if last.is_null() {
                json!("<none>")
            } else {
                row.since(last)
            },
            row.age(),
        ]
    },
};

pub static CONTROLLER_REVISIONS: Columns = Columns {
    columns: &[text("Name"), text("Controller"), text("Revision"), text("Age")],
    cells: |row| {
        let owners = list(row.at("/metadata/ownerReferences"));
        let owner = owners
            .iter()
            .find(|owner| owner["controller"] == true)
            .map(|owner| {
                let kind = owner["kind"].as_str().unwrap_or_default().to_lowercase();
                let group = owner["apiVersion"]
                    .as_str()
                    .and_then(|version| version.split_once('/'));
                let group = group.map(|(group, _)| format!(".{group}")).unwrap_or_default();
                format!("{kind}{group}/{}", owner["name"].as_str().unwrap_or_default())
            });
        vec![
            row.name(),
            or_none(&owner.unwrap_or_default()),
            row.at("/revision").clone(),
            row.age(),
        ]
    },
};

fn ready_of_wanted(row: &Row<'_>) -> Value {
    json!(format!(
        "{}/{}",
        row.count("/status/readyReplicas"),
        row.count("/spec/replicas")
    ))
}

/// Containers, images and, for most, the selector.
fn with_template(row: &Row<'_>, mut cells: Vec<Value>, selector: bool) -> Vec<Value> {
    let containers = list(row.at("/spec/template/spec/containers"));
    for field in ["name", "image"] {
        let all: Vec<&str> = containers.iter().filter_map(|one| one[field].as_str()).collect();
        cells.push(json!(all.join(",")));
    }
    if selector {
        let given = row.at("/spec/selector");
        let plain = given
            .as_object()
            .is_some_and(|fields| fields.values().all(Value::is_string));
        cells.push(if plain {
            labels(given)
        } else {
            or_none(&label_selector::to_query(given))
        });
    }
    cells
}

fn job_status(row: &Row<'_>) -> &'static str {
    let is = |name: &str| {
        list(row.at("/status/conditions"))
            .iter()
            .any(|one| one["type"] == name && one["status"] == "True")
    };
    if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if !row.at("/metadata/deletionTimestamp").is_null() {
        "Terminating"
    } else if is("Suspended") {
        "Suspended"
    } else if is("FailureTarget") {
        "FailureTarget"
    } else if is("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn duration(row: &Row<'_>) -> Value {
    let at = |pointer: &str| row.at(pointer).as_str().and_then(time::parse);
    let Some(start) = at("/status/startTime") else {
        return json!("");
    };
    let end = at("/status/completionTime").unwrap_or(row.now);
    json!(age::human(end.duration_since(start).unwrap_or_default()))
}
