//! Namespaces, for their labels.

use serde::Deserialize;

use crate::Meta;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Namespace {
    pub metadata: Meta,
}
