//! Problems with single fields, in the wording of Kubernetes' `field.Error`, and the 422 that carries them.
//!
//! Validation never stops at the first problem: everything that is wrong with an object is said at once.

use std::collections::HashSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Status;
use super::registry::Type;

/// What kind of problem it is; the first text is the `reason` of a cause, the second opens its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Required,
    Invalid,
    TypeInvalid,
    NotSupported,
    Duplicate,
    Forbidden,
    TooLong,
    TooMany,
    NotFound,
}

impl Trouble {
    fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::NotFound => "FieldValueNotFound",
        }
    }

    /// Whether rules in CEL could not even be asked about such an object.
    pub fn stops_rules(self) -> bool {
        matches!(
            self,
            Self::Required | Self::TypeInvalid | Self::TooLong | Self::TooMany
        )
    }

    fn title(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Duplicate => "Duplicate value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::NotFound => "Not found",
        }
    }
}

/// One problem with one field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    pub trouble: Trouble,
    /// `spec.containers[0].name`.
    pub path: String,
    /// Opening of the message and what follows: `Invalid value: -1: must be …`.
    pub body: String,
}

/// All problems of one object.
#[derive(Clone, Debug, Default)]
pub struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &FieldError> {
        self.0.iter()
    }

    fn push(&mut self, trouble: Trouble, path: impl Into<String>, value: Option<&str>, detail: &str) {
        let mut body = trouble.title().to_owned();
        for part in value.into_iter().chain([detail]).filter(|part| !part.is_empty()) {
            body.push_str(": ");
            body.push_str(part);
        }
        self.0.push(FieldError {
            trouble,
            path: path.into(),
            body,
        });
    }

    /// A problem of any kind with a value.
    pub fn add(&mut self, trouble: Trouble, path: impl Into<String>, value: &Value, detail: &str) {
        let shown = matches!(trouble, Trouble::Invalid | Trouble::Duplicate).then(|| go_value(value));
        self.push(trouble, path, shown.as_deref(), detail);
    }

    pub fn required(&mut self, path: impl Into<String>, detail: &str) {
        self.push(Trouble::Required, path, None, detail);
    }

    pub fn invalid(&mut self, path: impl Into<String>, value: &Value, detail: &str) {
        self.push(Trouble::Invalid, path, Some(&go_value(value)), detail);
    }

    /// A value of the wrong JSON type.
    pub fn type_invalid(&mut self, path: impl Into<String>, shown: &str, detail: &str) {
        self.push(Trouble::TypeInvalid, path, Some(shown), detail);
    }

    pub fn not_supported(&mut self, path: impl Into<String>, value: &Value, supported: &[&str]) {
        let quoted: Vec<String> = supported.iter().map(|one| go_quote(one)).collect();
        let detail = format!("supported values: {}", quoted.join(", "));
        self.push(Trouble::NotSupported, path, Some(&go_value(value)), &detail);
    }

    pub fn duplicate(&mut self, path: impl Into<String>, value: &Value) {
        self.push(Trouble::Duplicate, path, Some(&go_value(value)), "");
    }

    /// A name that nothing has.
    pub fn not_found(&mut self, path: impl Into<String>, value: &Value) {
        self.push(Trouble::NotFound, path, Some(&go_value(value)), "");
    }

    pub fn forbidden(&mut self, path: impl Into<String>, detail: &str) {
        self.push(Trouble::Forbidden, path, None, detail);
    }

    pub fn too_long(&mut self, path: impl Into<String>, limit: usize) {
        let unit = if limit == 1 { "byte" } else { "bytes" };
        self.push(
            Trouble::TooLong,
            path,
            None,
            &format!("may not be more than {limit} {unit}"),
        );
    }

    pub fn too_many(&mut self, path: impl Into<String>, count: usize, limit: usize) {
        let unit = if limit == 1 { "item" } else { "items" };
        let detail = format!("must have at most {limit} {unit}");
        self.push(Trouble::TooMany, path, Some(&count.to_string()), &detail);
    }

    /// The 422 that names them all, or nothing when there are none.
    pub fn into_result(self, kind: &Type, name: &str) -> Result<(), Status> {
        if self.is_empty() {
            return Ok(());
        }
        let mut seen = HashSet::new();
        let errors: Vec<&FieldError> = self
            .0
            .iter()
            .filter(|e| seen.insert((&e.path, &e.body)))
            .collect();
        let texts: Vec<String> = errors
            .iter()
            .map(|error| format!("{}: {}", error.path, error.body))
            .collect();
        let all = match texts.as_slice() {
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        let causes: Vec<Value> = errors
            .iter()
            .map(|e| json!({"reason": e.trouble.reason(), "message": e.body, "field": e.path}))
            .collect();
        let mut message = kind.kind.to_string();
        if !kind.gvr.group.is_empty() {
            let _ = write!(message, ".{}", kind.gvr.group);
        }
        let _ = write!(message, " {} is invalid: {all}", go_quote(name));
        let details = json!({"name": name, "group": kind.gvr.group, "kind": kind.kind, "causes": causes});
        Err(Status {
            details,
            ..Status::new(422, "Invalid", message)
        })
    }
}

/// A value as Go's `%q` and `%v` show it inside a message: strings quoted, the rest as JSON.
pub fn go_value(value: &Value) -> String {
    match value {
        Value::String(text) => go_quote(text),
        other => other.to_string(),
    }
}

/// A string as Go's `%q` shows it.
pub fn go_quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control.is_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(control));
            }
            plain => out.push(plain),
        }
    }
    out.push('"');
    out
}
