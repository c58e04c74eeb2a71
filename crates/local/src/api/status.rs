//! Kubernetes' error object, with the exact reasons and wordings of the real server.

use serde_json::{Value, json};

use super::Gvr;

/// A failed call, as the client will see it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// HTTP status.
    pub code: u16,
    /// `NotFound`, `AlreadyExists`, `Conflict`, `Invalid` …
    pub reason: &'static str,
    pub message: String,
    /// `details` of the Status object; null when there are none.
    pub details: Value,
}

impl Status {
    /// A failure without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: Value::Null,
        }
    }

    pub fn not_found(gvr: &Gvr, name: &str) -> Self {
        Self {
            details: json!({"name": name, "group": gvr.group, "kind": gvr.resource}),
            ..Self::new(404, "NotFound", format!("{gvr} \"{name}\" not found"))
        }
    }

    pub fn already_exists(gvr: &Gvr, name: &str) -> Self {
        Self {
            details: json!({"name": name, "group": gvr.group, "kind": gvr.resource}),
            ..Self::new(409, "AlreadyExists", format!("{gvr} \"{name}\" already exists"))
        }
    }

    pub fn conflict(gvr: &Gvr, name: &str, why: &str) -> Self {
        Self {
            details: json!({"name": name, "group": gvr.group, "kind": gvr.resource}),
            ..Self::new(
                409,
                "Conflict",
                format!("Operation cannot be fulfilled on {gvr} \"{name}\": {why}"),
            )
        }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "InternalError", message)
    }

    /// The object on the wire.
    pub fn to_object(&self) -> Value {
        let mut object = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if self.reason.is_empty()
            && let Some(object) = object.as_object_mut()
        {
            object.shift_remove("reason");
        }
        if !self.details.is_null() {
            object["details"] = without_empty(self.details.clone());
        }
        object
    }
}

/// Details without texts that say nothing, such as the name of the core group.
pub(super) fn without_empty(mut details: Value) -> Value {
    if let Some(fields) = details.as_object_mut() {
        fields.retain(|_, value| *value != "");
    }
    details
}
