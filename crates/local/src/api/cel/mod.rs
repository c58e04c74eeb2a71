//! The Common Expression Language as Kubernetes uses it: rules of custom resources, admission policies, conditions of
//! webhooks.
//!
//! A [`Program`] is compiled once and run often. Every step of a run costs; a run ends with an error when its
//! [`Budget`] is spent, so that no expression holds up the server. An expression that names what there is not (a
//! function, a variable, a field of a known type) is refused when it is compiled, never silently true.
//! Own code and no crate, because those at hand cannot bound a run.
//! <https://kubernetes.io/docs/reference/using-api/cel/>, <https://github.com/google/cel-spec>

mod check;
mod convert;
mod eval;
mod lex;
mod library;
mod parse;
mod value;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

pub use check::Type;
pub use convert::to_json;
pub use value::{Map, Value};

/// What one run of one expression may cost.
pub const RUN: u64 = 1_000_000;
/// What all runs for one request may cost together: some tenths of a second of one core.
pub const REQUEST: u64 = 3_000_000;
/// Letters of one expression.
const LENGTH: usize = 100_000;

/// An expression, ready to run.
#[derive(Debug)]
pub struct Program {
    text: String,
    root: parse::Expr,
    kind: Type,
}

/// Why an expression is none: what a user sees after `compilation failed: `.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// Why a run gave no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    #[error("operation cancelled: actual cost limit exceeded")]
    Budget,
    /// `no such key: x`, `division by zero` …
    #[error("{0}")]
    Value(String),
}

/// What is left to be spent.
#[derive(Debug)]
pub struct Budget(u64);

/// The variables of a run.
pub type Variables<'a> = HashMap<&'a str, Value>;

impl Default for Budget {
    fn default() -> Self {
        Self(REQUEST)
    }
}

impl Budget {
    pub fn is_spent(&self) -> bool {
        self.0 == 0
    }
}

impl Program {
    /// Reads and checks an expression over these variables.
    ///
    /// # Errors
    /// What is wrong with it and where.
    pub fn compile(text: &str, variables: &HashMap<String, Type>) -> Result<Self, Refused> {
        if text.len() > LENGTH {
            return Err(Refused(format!(
                "expression code point size exceeds limit: size: {}, limit {LENGTH}",
                text.len()
            )));
        }
        let refuse = |error: lex::Error| Refused(error.shown(text));
        let root = parse::parse(text).map_err(refuse)?;
        let kind = check::check(&root, variables).map_err(refuse)?;
        Ok(Self {
            text: text.to_owned(),
            root,
            kind,
        })
    }

    /// The same, for an expression that must give one of these types; `wanted` names them.
    ///
    /// # Errors
    /// As for [`Program::compile`], or that it gives something else.
    pub fn compile_to(
        text: &str,
        variables: &HashMap<String, Type>,
        kinds: &[Type],
    ) -> Result<Self, Refused> {
        let program = Self::compile(text, variables)?;
        if program.kind == Type::Dyn || kinds.contains(&program.kind) {
            return Ok(program);
        }
        let names: Vec<String> = kinds.iter().map(ToString::to_string).collect();
        Err(Refused(format!("must evaluate to {}", names.join(" or "))))
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The type of what it gives, as far as it is known.
    pub fn kind(&self) -> &Type {
        &self.kind
    }

    /// Runs it; at most [`RUN`], and no more than is left of `budget`.
    ///
    /// # Errors
    /// When there is no value, or it would cost too much.
    pub fn run(&self, variables: &Variables<'_>, budget: &mut Budget) -> Result<Value, Failed> {
        let limit = budget.0.min(RUN);
        let mut left = limit;
        let outcome = eval::run(&self.root, variables, &mut left);
        budget.0 -= limit - left;
        outcome
    }

    /// Whether the expression looks at a variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.root.uses(variable)
    }
}
