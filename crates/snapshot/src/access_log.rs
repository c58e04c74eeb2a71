//! Access logs: one line for each finished request or connection, in which words, and where to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Format;

/// One destination of lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccessLog {
    /// The file; `/dev/stdout` is the proxy's own output.
    pub path: String,
    /// What a line says.
    pub format: LogFormat,
    /// Only what ended with one of these response flags (`NR`); empty means everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only_flags: Vec<String>,
}

/// How a line is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Text; the end of the line is part of it.
    Text(Format),
    /// A JSON object, one a line.
    Json(BTreeMap<String, Template>),
}

/// A JSON value with places to fill in. A text that is one place and nothing else becomes a number where the value is
/// one, and null where it is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Template {
    /// `null`.
    Null,
    /// `true`, `false`.
    Boolean(bool),
    /// A number as it is.
    Number(f64),
    /// Text with places.
    Text(Format),
    /// A list of values.
    List(Vec<Template>),
    /// A nested object.
    Object(BTreeMap<String, Template>),
}
