//! The fields of a PeerAuthentication. Documentation comments become descriptions in the CRD.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde_json::json;

use crate::Meta;
use crate::istio::WorkloadSelector;

/// The object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct PeerAuthentication {
    #[serde(default)]
    pub metadata: Meta,
    #[serde(default)]
    pub spec: PeerAuthenticationSpec,
}

/// Which connections the proxies of workloads take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "(has(self.selector) && has(self.selector.matchLabels) && self.selector.matchLabels.size() > 0) || !has(self.portLevelMtls)",
    "message": "portLevelMtls requires selector",
}]))]
pub struct PeerAuthenticationSpec {
    /// Workloads of the namespace that it is for; without it all of them, and in the root namespace all of the mesh.
    pub selector: Option<WorkloadSelector>,
    /// For all ports.
    pub mtls: Option<MutualTls>,
    /// For single ports, by the number that the workload listens on.
    #[schemars(extend("minProperties" = 1), transform = ports)]
    pub port_level_mtls: Option<BTreeMap<String, MutualTls>>,
}

/// Mutual TLS of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MutualTls {
    /// DISABLE takes connections without it, STRICT those with it, PERMISSIVE both; UNSET leaves it to the level above.
    pub mode: Mode,
}

/// UNSET is what the level above says, and PERMISSIVE if none says anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Mode {
    #[default]
    Unset,
    Disable,
    Permissive,
    Strict,
}

impl PeerAuthenticationSpec {
    /// The labels that a workload must have, if it is not for all of them.
    pub fn selector(&self) -> Option<&BTreeMap<String, String>> {
        let labels = self.selector.as_ref().map(|selector| &selector.match_labels);
        labels.filter(|labels| !labels.is_empty())
    }

    /// What it says of all ports, if anything.
    pub fn mode(&self) -> Option<Mode> {
        self.mtls
            .map(|mtls| mtls.mode)
            .filter(|mode| *mode != Mode::Unset)
    }

    /// What it says of single ports. What is no port says nothing.
    pub fn ports(&self) -> impl Iterator<Item = (u16, Mode)> {
        let ports = self.port_level_mtls.iter().flatten();
        ports.filter_map(|(port, mtls)| Some((port.parse().ok()?, mtls.mode)))
    }
}

/// Names of fields are numbers of ports.
fn ports(schema: &mut Schema) {
    let rule = json!([{
        "rule": "self.all(key, 0 < int(key) && int(key) <= 65535)",
        "message": "port must be between 1-65535",
    }]);
    schema.insert("x-kubernetes-validations".to_owned(), rule);
}
