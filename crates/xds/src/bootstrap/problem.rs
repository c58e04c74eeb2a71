//! What is wrong with a bootstrap file: everything at once, each with its line, its path and a stable code.

use std::fmt;

/// What kind of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// The file is no YAML, and no JSON.
    Syntax,
    /// A field that its message does not have.
    Unknown,
    /// Something that Envoy does and we do not.
    Unsupported,
    /// A value that is not allowed, or is missing.
    Value,
}

impl Code {
    /// Its name for scripts and for searching; it never changes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "AMI0101",
            Self::Unknown => "AMI0102",
            Self::Unsupported => "AMI0103",
            Self::Value => "AMI0104",
        }
    }
}

/// What to do about something that is not supported.
pub(super) const INSTEAD: &str = ": leave it out, or keep Envoy for this file";

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind.
    pub code: Code,
    /// `static_resources.listeners[0].filter_chains[0]`; empty for the whole file.
    pub path: String,
    /// From 1; 0 where it is not known.
    pub line: u64,
    /// What is wrong there.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(out, "line {}: ", self.line)?;
        }
        if !self.path.is_empty() {
            write!(out, "{}: ", self.path)?;
        }
        write!(out, "{} [{}]", self.text, self.code.as_str())
    }
}
