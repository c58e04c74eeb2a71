//! From a request body to an object: well-formed, of the right kind, without fields that the kind does not have.
//!
//! The object stays the `serde_json` value that the user sent, in the user's order; reading it through the typed
//! form only finds out what is wrong with it. Nothing is taken out but unknown fields and nulls, and nothing is
//! rewritten but quantities (`0.5` becomes `500m`), as the real server does.

mod parse;
mod typed;

#[cfg(test)]
mod tests;

use serde_json::Value;

use super::Status;
use super::registry::{Shape, Type};
use super::validate::quantity;

pub use parse::{Parsed, parse};
pub use typed::{Findings, Step, check};

/// What to do about fields that the kind does not have, and about fields given twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop them silently.
    Ignore,
    /// Drop them and warn.
    #[default]
    Warn,
    /// Refuse the request.
    Strict,
}

impl FieldValidation {
    /// The query parameter; absent is `Warn`.
    pub fn from_query(text: Option<&str>) -> Result<Self, Status> {
        match text {
            None | Some("" | "Warn") => Ok(Self::Warn),
            Some("Ignore") => Ok(Self::Ignore),
            Some("Strict") => Ok(Self::Strict),
            Some(other) => Err(Status::new(
                422,
                "Invalid",
                format!(
                    " \"\" is invalid: fieldValidation: Unsupported value: \"{other}\": supported values: \"Ignore\", \
                     \"Strict\", \"Warn\""
                ),
            )),
        }
    }
}

/// An object that may be worked with, and what its sender should be told (`Warning: 299 - …`).
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    pub object: Value,
    pub warnings: Vec<String>,
}

/// Checks an object against its kind. `Value` and [`Parsed`] both do; only the latter knows of duplicate fields.
pub fn decode(kind: &Type, input: impl Into<Parsed>, validation: FieldValidation) -> Result<Decoded, Status> {
    let Parsed {
        mut value,
        duplicates,
    } = input.into();
    identify(kind, &mut value)?;
    let findings = findings(kind, &value)?;
    let strict = strictness(&duplicates, &findings);
    clean(&mut value, &findings);
    let mut warnings = match validation {
        FieldValidation::Ignore => Vec::new(),
        FieldValidation::Warn => strict,
        FieldValidation::Strict if strict.is_empty() => Vec::new(),
        FieldValidation::Strict => {
            return Err(cannot_be_handled(
                kind,
                &format!("strict decoding error: {}", strict.join(", ")),
            ));
        }
    };
    warnings.extend(match &kind.shape {
        Shape::Custom(version) => version.deprecation.iter().cloned().collect(),
        Shape::BuiltIn(_) => Vec::new(),
    });
    Ok(Decoded {
        object: value,
        warnings,
    })
}

/// Fields of an object that its kind does not have.
pub fn unknown_fields(kind: &Type, object: &Value) -> Result<Vec<Vec<Step>>, Status> {
    Ok(findings(kind, object)?.unknown)
}

fn findings(kind: &Type, value: &Value) -> Result<Findings, Status> {
    let misfit = |why: String| cannot_be_handled(kind, &why);
    match &kind.shape {
        Shape::BuiltIn(built_in) => (built_in.check)(value).map_err(misfit),
        Shape::Custom(version) => {
            let mut findings = match value.get("metadata") {
                Some(metadata) => typed::check_metadata(metadata).map_err(misfit)?,
                None => Findings::default(),
            };
            findings.unknown.extend(version.schema.unknown_fields(value));
            Ok(findings)
        }
    }
}

/// Fills in `kind` and `apiVersion` when absent, and refuses others than the collection's.
fn identify(kind: &Type, value: &mut Value) -> Result<(), Status> {
    let Some(object) = value.as_object_mut() else {
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: \
             json: cannot unmarshal {} into Go value of type struct",
            kind.kind,
            typed::json_type(value)
        )));
    };
    let expected = kind.api_version();
    for (field, wanted) in [("kind", &*kind.kind), ("apiVersion", &expected)] {
        if object
            .get(field)
            .is_none_or(|given| given.is_null() || given == "")
        {
            object.insert(field.to_owned(), wanted.into());
        }
    }
    if object.get("metadata").is_none_or(Value::is_null) {
        object.insert("metadata".to_owned(), Value::Object(serde_json::Map::new()));
    }
    if object["apiVersion"] != *expected {
        let given = object["apiVersion"].as_str().unwrap_or_default().to_owned();
        return Err(Status::bad_request(format!(
            "the API version in the data ({given}) does not match the expected API version ({expected})"
        )));
    }
    if object["kind"] != *kind.kind {
        let given = object["kind"].as_str().unwrap_or_default();
        return Err(Status::bad_request(format!(
            "{given} in version \"{}\" cannot be handled as a {}: converting ({expected}.{given}) to ({expected}.{}): \
             unknown conversion",
            kind.gvr.version, kind.kind, kind.kind
        )));
    }
    Ok(())
}

fn cannot_be_handled(kind: &Type, why: &str) -> Status {
    Status::bad_request(format!(
        "{} in version \"{}\" cannot be handled as a {}: {why}",
        kind.kind, kind.gvr.version, kind.kind
    ))
}

/// Duplicate and unknown fields as texts, in Kubernetes' words.
fn strictness(duplicates: &[String], findings: &Findings) -> Vec<String> {
    let unknown = findings
        .unknown
        .iter()
        .map(|path| format!("unknown field \"{}\"", typed::show(path)));
    duplicates
        .iter()
        .map(|path| format!("duplicate field \"{path}\""))
        .chain(unknown)
        .collect()
}

fn clean(value: &mut Value, findings: &Findings) {
    for path in findings.unknown.iter().chain(&findings.nulls) {
        if let Some((Step::Field(last), parents)) = path.split_last()
            && let Some(parent) = typed::find(value, parents).and_then(Value::as_object_mut)
        {
            parent.shift_remove(last);
        }
    }
    for path in &findings.quantities {
        if let Some(place) = typed::find(value, path)
            && let Some(canonical) = quantity::canonical_value(place)
        {
            *place = Value::String(canonical);
        }
    }
}
