//! Group, version and resource: which collection of the API is meant.

use std::borrow::Cow;
use std::fmt;

/// A collection of the API: `apps`, `v1`, `deployments`. The core group is the empty string.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gvr {
    pub group: Cow<'static, str>,
    pub version: Cow<'static, str>,
    /// Plural, lower case.
    pub resource: Cow<'static, str>,
}

pub const AUTOSCALERS: Gvr = Gvr::fixed("autoscaling", "v2", "horizontalpodautoscalers");
pub const CONFIG_MAPS: Gvr = Gvr::fixed("", "v1", "configmaps");
pub const CUSTOM_RESOURCE_DEFINITIONS: Gvr =
    Gvr::fixed("apiextensions.k8s.io", "v1", "customresourcedefinitions");
pub const DAEMON_SETS: Gvr = Gvr::fixed("apps", "v1", "daemonsets");
pub const DEPLOYMENTS: Gvr = Gvr::fixed("apps", "v1", "deployments");
pub const ENDPOINT_SLICES: Gvr = Gvr::fixed("discovery.k8s.io", "v1", "endpointslices");
pub const ENDPOINTS: Gvr = Gvr::fixed("", "v1", "endpoints");
pub const EVENTS: Gvr = Gvr::fixed("", "v1", "events");
pub const JOBS: Gvr = Gvr::fixed("batch", "v1", "jobs");
pub const MUTATING_WEBHOOKS: Gvr = Gvr::fixed(
    "admissionregistration.k8s.io",
    "v1",
    "mutatingwebhookconfigurations",
);
pub const NAMESPACES: Gvr = Gvr::fixed("", "v1", "namespaces");
pub const NODES: Gvr = Gvr::fixed("", "v1", "nodes");
pub const PODS: Gvr = Gvr::fixed("", "v1", "pods");
pub const REPLICA_SETS: Gvr = Gvr::fixed("apps", "v1", "replicasets");
pub const SECRETS: Gvr = Gvr::fixed("", "v1", "secrets");
pub const SERVICES: Gvr = Gvr::fixed("", "v1", "services");
pub const SERVICE_ACCOUNTS: Gvr = Gvr::fixed("", "v1", "serviceaccounts");
pub const STATEFUL_SETS: Gvr = Gvr::fixed("apps", "v1", "statefulsets");
pub const VALIDATING_WEBHOOKS: Gvr = Gvr::fixed(
    "admissionregistration.k8s.io",
    "v1",
    "validatingwebhookconfigurations",
);

impl Gvr {
    /// A collection known at compile time.
    pub const fn fixed(group: &'static str, version: &'static str, resource: &'static str) -> Self {
        Self {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            resource: Cow::Borrowed(resource),
        }
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

impl fmt::Display for Gvr {
    /// `pods`, `deployments.apps`: the form of Kubernetes' messages.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.group {
            "" => out.write_str(&self.resource),
            group => write!(out, "{}.{group}", self.resource),
        }
    }
}
