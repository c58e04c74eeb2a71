//! `AdmissionReview` of `admission.k8s.io/v1`: the question and the answer. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use json_patch::PatchOperation;
use serde_json::{Value, json};

use super::{Operation, Review};
use crate::api::Status;
use crate::api::registry::Type;

/// An answer that lets the write pass.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) patch: Option<Vec<PatchOperation>>,
    pub(super) warnings: Vec<String>,
}

/// Why there is no such answer.
#[derive(Debug)]
pub(super) enum Unusable {
    /// The webhook said no; here is its `status`.
    Denied(Value),
    Malformed(String),
}

/// The question, about `object` as version `kind` shows it.
pub(super) fn request(review: &Review<'_>, kind: &Type, object: &Value, uid: &str) -> Value {
    let show = |object: &Value| {
        if object.is_null() || kind.gvr == review.kind.gvr {
            object.clone()
        } else {
            kind.from_stored(review.kind.to_stored(object.clone()))
        }
    };
    let options = match review.operation {
        Operation::Create => "CreateOptions",
        Operation::Update => "UpdateOptions",
        Operation::Delete => "DeleteOptions",
    };
    let kind_of =
        |kind: &Type| json!({"group": kind.gvr.group, "version": kind.gvr.version, "kind": kind.kind});
    let resource_of = |kind: &Type| json!({"group": kind.gvr.group, "version": kind.gvr.version, "resource": kind.gvr.resource});
    let user = review.user;
    let mut request = json!({
        "uid": uid, "kind": kind_of(kind), "resource": resource_of(kind),
        "requestKind": kind_of(review.kind), "requestResource": resource_of(review.kind),
        "name": review.name, "operation": review.operation.name(),
        "userInfo": {"username": user.name, "groups": user.groups},
        "object": show(object), "oldObject": review.old.map_or(Value::Null, show),
        "dryRun": review.dry_run,
        "options": {"kind": options, "apiVersion": "meta.k8s.io/v1"},
    });
    if !review.namespace.is_empty() {
        request["namespace"] = json!(review.namespace);
    }
    if let Some(part) = review.subresource {
        request["subResource"] = json!(part);
        request["requestSubResource"] = json!(part);
    }
    if !user.uid.is_empty() {
        request["userInfo"]["uid"] = json!(user.uid);
    }
    if !user.extra.is_empty() {
        request["userInfo"]["extra"] = json!(user.extra);
    }
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request})
}

/// Reads the answer to the question with this uid.
pub(super) fn response(body: &[u8], uid: &str) -> Result<Answer, Unusable> {
    let malformed = |why: String| Unusable::Malformed(why);
    let review: Value = serde_json::from_slice(body)
        .map_err(|error| malformed(format!("couldn't get version/kind; json parse error: {error}")))?;
    if review["kind"] != "AdmissionReview" || review["apiVersion"] != "admission.k8s.io/v1" {
        let text = |field: &str| review[field].as_str().unwrap_or_default().to_owned();
        return Err(malformed(format!(
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {}, Kind={}",
            text("apiVersion"),
            text("kind")
        )));
    }
    let response = &review["response"];
    if !response.is_object() {
        return Err(malformed("webhook response was absent".to_owned()));
    }
    let given = response["uid"].as_str().unwrap_or_default();
    if given != uid {
        return Err(malformed(format!(
            "expected response.uid=\"{uid}\", got \"{given}\""
        )));
    }
    if response["allowed"] != true {
        return Err(Unusable::Denied(response["status"].clone()));
    }
    let patch = response["patch"].as_str().filter(|patch| !patch.is_empty());
    let patch = match (patch, response["patchType"].as_str()) {
        (None, None) => None,
        (Some(patch), Some("JSONPatch")) => Some(operations(patch).map_err(malformed)?),
        (_, Some("JSONPatch")) => {
            return Err(malformed(
                "webhook returned response.patchType but not response.patch".to_owned(),
            ));
        }
        (_, other) => {
            let other = other.unwrap_or_default();
            return Err(malformed(format!(
                "webhook returned invalid response.patchType of \"{other}\""
            )));
        }
    };
    let warnings = response["warnings"].as_array().into_iter().flatten();
    Ok(Answer {
        patch,
        warnings: warnings.filter_map(Value::as_str).map(str::to_owned).collect(),
    })
}

fn operations(encoded: &str) -> Result<Vec<PatchOperation>, String> {
    let bytes = STANDARD
        .decode(encoded)
        .map_err(|error| format!("illegal base64 data: {error}"))?;
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}

/// The refusal that the caller sees; codes that are none become 400.
pub(super) fn denied(webhook: &str, status: &Value) -> Status {
    const KNOWN: [&str; 9] = [
        "BadRequest",
        "Conflict",
        "Forbidden",
        "Gone",
        "Invalid",
        "InternalError",
        "NotFound",
        "Timeout",
        "Unauthorized",
    ];
    let by = format!("admission webhook \"{webhook}\" denied the request");
    let reason = status["reason"].as_str().unwrap_or_default();
    let message = match status["message"].as_str().unwrap_or_default() {
        "" if reason.is_empty() => format!("{by} without explanation"),
        "" => format!("{by}: {reason}"),
        message => format!("{by}: {message}"),
    };
    let code = status["code"]
        .as_u64()
        .and_then(|code| u16::try_from(code).ok())
        .unwrap_or(0);
    let code = if (400..600).contains(&code) { code } else { 400 };
    let reason = KNOWN
        .iter()
        .find(|known| **known == reason)
        .copied()
        .unwrap_or_default();
    Status {
        details: status["details"].clone(),
        ..Status::new(code, reason, message)
    }
}
