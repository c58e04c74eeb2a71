//! Parts that several Istio kinds share.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::structural::label_values;

/// Where traffic goes: a service, optionally one subset and one port of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Destination {
    /// Name of a service. A name without a dot is looked up in the namespace of this object.
    pub host: String,
    /// Name of a subset that a DestinationRule of this host defines.
    pub subset: Option<String>,
    /// Port of the service; may be left out when it has only one.
    pub port: Option<PortSelector>,
}

/// A port by its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct PortSelector {
    /// Port number.
    #[serde(default)]
    pub number: u32,
}

/// A share of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
pub struct Percent {
    /// From 0 to 100, with a precision of 0.0001.
    #[serde(default)]
    pub value: f64,
}

/// Which workloads an object applies to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadSelector {
    /// Labels that a pod must have, all of them.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 4096), transform = label_values)]
    pub match_labels: BTreeMap<String, String>,
}
