//! Nodes, for their place (`topology.kubernetes.io/region` and `…/zone`).

use serde::Deserialize;

use crate::Meta;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Node {
    pub metadata: Meta,
}
