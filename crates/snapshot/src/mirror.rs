//! Copies of requests whose answers nobody reads. Istio: `HTTPMirrorPolicy`; Envoy: `RequestMirrorPolicy`.

use serde::{Deserialize, Serialize};

use crate::{ClusterName, Share};

/// A target of copies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirror {
    /// The target. If it does not exist, nothing is sent.
    pub cluster: ClusterName,
    /// How many requests are copied, in millionths.
    pub share: Share,
    /// The host of a copy ends with `-shadow` (Istio leaves it as it is unless told otherwise).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow_suffix: bool,
}
