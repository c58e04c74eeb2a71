//! Where a fact comes from: the resource, and the rule in it, that made a route or cluster.
//!
//! Carried to the proxy as Istio does (`filter_metadata: istio: config`), so that access logs, `explain` and
//! error reports can name the rule that decided.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The resource, and the place in it, behind a route or cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// Istio's path of a resource: `/apis/networking.istio.io/v1/namespaces/shop/virtual-service/backend`.
    pub resource: Arc<str>,
    /// Field path of the rule inside it (`spec.http[0]`); empty when the whole object decides.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub field: Arc<str>,
}
