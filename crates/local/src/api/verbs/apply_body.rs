//! The body of a server-side apply: what its author wants to own.

use serde_json::Value;

use super::super::decode::{FieldValidation, Parsed, decode, parse, unknown_fields};
use super::super::fields::problems;
use super::super::{Status, scale};
use super::{Call, Part, metadata};
use crate::store::is_too_deep;

/// An applied object, checked.
pub(super) struct Stated {
    pub(super) object: Value,
    pub(super) warnings: Vec<String>,
}

/// Reads a body, JSON or YAML.
///
/// # Errors
/// 400 for what is no object of this kind; 500, as in Kubernetes, for fields that its schema does not have.
pub(super) fn read(call: &Call, part: Part, body: &[u8]) -> Result<Stated, Status> {
    let kind = &call.target.kind;
    let Parsed { value, duplicates } = text(body)?;
    let (api_version, name) = match part {
        Part::Scale => ("autoscaling/v1".to_owned(), "Scale"),
        Part::Whole | Part::Status | Part::Finalize => (kind.api_version(), &*kind.kind),
    };
    if value["apiVersion"] != api_version || value["kind"] != name {
        return Err(Status::bad_request(format!(
            "invalid object type: {}",
            of_type(&value)
        )));
    }
    if !value["metadata"]["managedFields"].is_null() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let mut warnings = duplicate(&duplicates, call.validation)?;
    let mut object = if part == Part::Scale {
        scale::stated(kind, &value)?
    } else {
        value
    };
    check_name(call, &object)?;
    metadata::place(&call.target, &mut object)?;
    metadata::of(&mut object).insert("name".to_owned(), call.target.name.clone().into());
    let unknown = unknown_fields(kind, &object)?;
    let problems = problems(&kind.rule(), &object, &unknown);
    if !problems.is_empty() {
        let all = match problems.as_slice() {
            [one] => one.clone(),
            several => format!("errors:\n  {}", several.join("\n  ")),
        };
        let message = format!(
            "failed to create typed patch object ({}/{}; {}): {all}",
            call.target.namespace,
            call.target.name,
            of_type(&object)
        );
        return Err(Status::new(500, "", message));
    }
    let decoded = decode(kind, object, FieldValidation::Ignore)?;
    warnings.extend(decoded.warnings);
    Ok(Stated {
        object: decoded.object,
        warnings,
    })
}

fn text(body: &[u8]) -> Result<Parsed, Status> {
    let failed = |why: &str| Status::bad_request(format!("error decoding patch: {why}"));
    // kubectl sends JSON under YAML's name; read as such, fields that are given twice are noticed.
    let is_json = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let json = if is_json {
        parse(body, "application/json").ok()
    } else {
        None
    };
    let parsed = match json {
        Some(parsed) => parsed,
        None => parse(body, "application/yaml").map_err(|status| failed(&status.message))?,
    };
    if is_too_deep(&parsed.value) {
        Err(failed("exceeded max depth"))
    } else if parsed.value.is_object() {
        Ok(parsed)
    } else {
        Err(failed("an object is applied, nothing else"))
    }
}

/// `apps/v1, Kind=Deployment`, as Go shows it.
fn of_type(object: &Value) -> String {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let version = text("apiVersion");
    let slash = if version.contains('/') { "" } else { "/" };
    format!("{slash}{version}, Kind={}", text("kind"))
}

fn duplicate(duplicates: &[String], validation: FieldValidation) -> Result<Vec<String>, Status> {
    let texts: Vec<String> = duplicates
        .iter()
        .map(|path| format!("duplicate field \"{path}\""))
        .collect();
    match validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(texts),
        FieldValidation::Strict if texts.is_empty() => Ok(texts),
        FieldValidation::Strict => Err(Status::bad_request(format!(
            "error strict decoding patch: {}",
            texts.join(", ")
        ))),
    }
}

fn check_name(call: &Call, object: &Value) -> Result<(), Status> {
    match object["metadata"]["name"].as_str().unwrap_or_default() {
        "" => Ok(()),
        name if name == call.target.name => Ok(()),
        other => Err(Status::bad_request(format!(
            "the name of the object ({other}) does not match the name on the URL ({})",
            call.target.name
        ))),
    }
}
