//! PATCH: three ways to say how an object changes. The result is an object that has yet to be decoded and validated.

mod json;
mod merge;
mod strategic;

#[cfg(test)]
mod tests;

use serde_json::{Value, json};

pub use json::operate;

use super::Status;
use super::field::go_quote;
use super::registry::Type;
use crate::store::is_too_deep;

/// The content type of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// `application/json-patch+json`, RFC 6902.
    Json,
    /// `application/merge-patch+json`, RFC 7396.
    Merge,
    /// `application/strategic-merge-patch+json`: lists are merged by key; built-in kinds only.
    Strategic,
    /// `application/apply-patch+yaml`: server-side apply.
    Apply,
}

impl PatchKind {
    /// What a `Content-Type` says.
    pub fn from_content_type(text: &str) -> Option<Self> {
        match text.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Some(Self::Json),
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::Strategic),
            "application/apply-patch+yaml" => Some(Self::Apply),
            _ => None,
        }
    }
}

/// The object that the patch makes of `current`.
///
/// # Errors
/// 400 for a body that is no patch, 415 for a kind of patch that the type does not take, 422 for a JSON patch that
/// does not fit.
pub fn apply(kind: &Type, patch: PatchKind, current: &Value, body: &[u8]) -> Result<Value, Status> {
    let patched = match patch {
        PatchKind::Json => json::apply(current, body)?,
        PatchKind::Merge => merge::apply(current, &object(body)?),
        PatchKind::Strategic if kind.is_custom() => return Err(unsupported(kind)),
        PatchKind::Strategic => strategic::apply(&kind.rule(), current, &object(body)?)?,
        // Applied by whoever keeps the owners of fields.
        PatchKind::Apply => return Err(unsupported(kind)),
    };
    // Operations must not build, piece by piece, what could not be sent at once.
    if is_too_deep(&patched) {
        return Err(Status::bad_request("exceeded max depth"));
    }
    Ok(patched)
}

/// 422 about a patched object that its kind does not take: `why` after the object as it would have been.
pub fn unfit(patched: &Value, why: &str) -> Status {
    let shown = go_quote(&patched.to_string());
    let cause = format!("Invalid value: {shown}: {why}");
    Status {
        details: json!({"causes": [{"reason": "FieldValueInvalid", "message": cause, "field": "patch"}]}),
        ..Status::new(422, "Invalid", format!(" \"\" is invalid: patch: {cause}"))
    }
}

/// 415 with what would have been accepted.
pub fn unsupported(kind: &Type) -> Status {
    let mut accepted = vec!["application/json-patch+json", "application/merge-patch+json"];
    if !kind.is_custom() {
        accepted.push("application/strategic-merge-patch+json");
    }
    accepted.push("application/apply-patch+yaml");
    Status::new(
        415,
        "UnsupportedMediaType",
        format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        ),
    )
}

fn object(body: &[u8]) -> Result<Value, Status> {
    let patch: Value = serde_json::from_slice(body)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    if patch.is_object() {
        Ok(patch)
    } else {
        Err(Status::bad_request(
            "error decoding patch: a patch is a JSON object",
        ))
    }
}
