//! Fields that an applier wants otherwise than their owners.

use serde_json::{Value, json};

use super::element::{Element, show};
use super::owner::Owner;
use crate::api::Status;

/// One field that belongs to somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub owner: Owner,
    pub path: Vec<Element>,
}

/// `"kubelet" with subresource "status" using v1`; an applier has no version.
fn name(owner: &Owner) -> String {
    let mut name = format!("{:?}", owner.manager);
    if !owner.subresource.is_empty() {
        name.push_str(&format!(" with subresource {:?}", owner.subresource));
    }
    if !owner.applied {
        name.push_str(&format!(" using {}", owner.api_version));
    }
    name
}

/// The 409 that names them all.
pub(super) fn status(conflicts: &[Conflict]) -> Status {
    let causes: Vec<Value> = conflicts
        .iter()
        .map(|conflict| {
            json!({"reason": "FieldManagerConflict", "message": format!("conflict with {}", name(&conflict.owner)),
                "field": show(&conflict.path)})
        })
        .collect();
    Status {
        details: json!({"causes": causes}),
        ..Status::new(409, "Conflict", message(conflicts))
    }
}

fn message(conflicts: &[Conflict]) -> String {
    if let [one] = conflicts {
        return format!(
            "Apply failed with 1 conflict: conflict with {}: {}",
            name(&one.owner),
            show(&one.path)
        );
    }
    let mut lines: Vec<String> = Vec::new();
    let mut last = None;
    for conflict in conflicts {
        if last != Some(&conflict.owner) {
            lines.push(format!("conflicts with {}:", name(&conflict.owner)));
            last = Some(&conflict.owner);
        }
        lines.push(format!("- {}", show(&conflict.path)));
    }
    format!(
        "Apply failed with {} conflicts: {}",
        conflicts.len(),
        lines.join("\n")
    )
}
