//! What could not be accepted, and why: the unit of a NACK.

use std::fmt;

use crate::Kind;

/// One resource that was refused. The others of the same push are in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The field and what is wrong with it.
    pub reason: Reason,
}

impl fmt::Display for Rejected {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}: {}", self.kind.short(), self.name, self.reason)
    }
}

impl std::error::Error for Rejected {}

/// Why a message cannot be accepted: which field, and what about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Reason {
    /// Envoy's name of the field: `RouteAction.prefix_rewrite`.
    pub field: String,
    /// What about it.
    pub problem: String,
}

impl Reason {
    /// A field with something wrong in it.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }

    /// A field that would change behaviour in a way that is not implemented.
    pub fn unsupported(field: impl Into<String>) -> Self {
        Self::new(field, "is not supported")
    }

    /// A field that must be there.
    pub fn missing(field: impl Into<String>) -> Self {
        Self::new(field, "is required")
    }
}
