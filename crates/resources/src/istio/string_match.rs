//! A condition on text: equal, prefix, or regular expression.

use schemars::JsonSchema;
use serde::Deserialize;

use super::structural::AtMostOneOf;

/// A condition on text. At most one field may be set; none asks only for presence, where that has a meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(transform = AtMostOneOf("exact prefix regex"))]
pub struct StringMatch {
    /// The text must be equal to this.
    pub exact: Option<String>,
    /// The text must begin with this.
    pub prefix: Option<String>,
    /// The whole text must match this regular expression (RE2 syntax).
    pub regex: Option<String>,
}

/// The one condition of a [`StringMatch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition<'a> {
    Exact(&'a str),
    Prefix(&'a str),
    Regex(&'a str),
}

impl StringMatch {
    /// The condition that is set; `None` asks for presence.
    pub fn condition(&self) -> Option<Condition<'_>> {
        let exact = self.exact.as_deref().map(Condition::Exact);
        let prefix = self.prefix.as_deref().map(Condition::Prefix);
        let regex = self.regex.as_deref().map(Condition::Regex);
        exact.or(prefix).or(regex)
    }
}
