//! The fields of an AuthorizationPolicy. Documentation comments become descriptions in the CRD.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::Meta;
use crate::istio::WorkloadSelector;
use crate::istio::policy_target::PolicyTargetReference;

/// The object.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct AuthorizationPolicy {
    #[serde(default)]
    pub metadata: Meta,
    #[serde(default)]
    pub spec: AuthorizationPolicySpec,
}

/// Who may do what with a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthorizationPolicySpec {
    /// Workloads that it is for; all of the namespace by default, and all of the mesh in the root namespace.
    pub selector: Option<WorkloadSelector>,
    /// A gateway or service that it is for; use targetRefs.
    pub target_ref: Option<PolicyTargetReference>,
    /// Gateways or services that it is for, instead of a selector.
    #[schemars(length(max = 16))]
    pub target_refs: Vec<PolicyTargetReference>,
    /// It applies to a request when one of these does. Without any it applies to none: `ALLOW` then allows nothing.
    #[schemars(length(max = 512))]
    pub rules: Vec<Rule>,
    /// What happens to a request that it applies to; `ALLOW` by default.
    pub action: Option<Action>,
    /// Who decides, for `CUSTOM`.
    pub provider: Option<Provider>,
}

impl AuthorizationPolicySpec {
    /// What happens to a request that it applies to.
    pub fn action(&self) -> Action {
        self.action.unwrap_or_default()
    }

    /// The gateways or services that it is for.
    pub fn targets(&self) -> impl Iterator<Item = &PolicyTargetReference> {
        self.target_ref.iter().chain(&self.target_refs)
    }

    /// The name of who decides; empty without one.
    pub fn provider_name(&self) -> &str {
        self.provider.as_ref().map_or("", |provider| &provider.name)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Action {
    #[default]
    Allow,
    Deny,
    Audit,
    Custom,
}

impl fmt::Display for Action {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Allow => "ALLOW",
            Self::Deny => "DENY",
            Self::Audit => "AUDIT",
            Self::Custom => "CUSTOM",
        })
    }
}

/// Who decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Provider {
    /// Name of one of the mesh's extensionProviders.
    pub name: String,
}

/// It applies when someone of `from` does something of `to`, and all of `when` hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Rule {
    /// Who asks: one of these. Without it, anybody.
    #[schemars(length(max = 512))]
    pub from: Option<Vec<From>>,
    /// What is asked for: one of these. Without it, anything.
    pub to: Option<Vec<To>>,
    /// What else must hold: all of these.
    pub when: Vec<When>,
}

impl Rule {
    /// Who asks; none is anybody.
    pub fn from(&self) -> &[From] {
        self.from.as_deref().unwrap_or_default()
    }

    /// What is asked for; none is anything.
    pub fn to(&self) -> &[To] {
        self.to.as_deref().unwrap_or_default()
    }
}

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct From {
    /// Who asks.
    pub source: Option<Source>,
}

/// Who asks: all fields that are set must hold, of each one value. Values may be `*` (any), or begin or end with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "(has(self.serviceAccounts) || has(self.notServiceAccounts)) ? (!has(self.principals) && !has(self.notPrincipals) && !has(self.namespaces) && !has(self.notNamespaces)) : true",
    "message": "Cannot set serviceAccounts with namespaces or principals",
}]))]
pub struct Source {
    /// Identities in certificates: `cluster.local/ns/shop/sa/web`.
    pub principals: Vec<String>,
    /// None of these identities.
    pub not_principals: Vec<String>,
    /// Identities in tokens: issuer, slash and subject.
    pub request_principals: Vec<String>,
    /// None of these identities in tokens.
    pub not_request_principals: Vec<String>,
    /// Namespaces of identities in certificates.
    pub namespaces: Vec<String>,
    /// None of these namespaces.
    pub not_namespaces: Vec<String>,
    /// Addresses and networks of who opened the connection.
    pub ip_blocks: Vec<String>,
    /// None of these addresses and networks.
    pub not_ip_blocks: Vec<String>,
    /// Addresses and networks of the client, as proxies before say.
    pub remote_ip_blocks: Vec<String>,
    /// None of these addresses and networks of the client.
    pub not_remote_ip_blocks: Vec<String>,
    /// Service accounts, `namespace/name`, or of the namespace of this object, `name`.
    #[schemars(length(max = 16), inner(length(max = 320)))]
    pub service_accounts: Vec<String>,
    /// None of these service accounts.
    #[schemars(length(max = 16), inner(length(max = 320)))]
    pub not_service_accounts: Vec<String>,
    /// Trust domains of identities in certificates.
    pub trust_domains: Vec<String>,
    /// None of these trust domains.
    pub not_trust_domains: Vec<String>,
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct To {
    /// What is asked for.
    pub operation: Option<Operation>,
}

/// What is asked for: all fields that are set must hold, of each one value. Values may be `*` (any), or begin or end
/// with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Operation {
    /// Hosts, in any case; with port, if requests name it.
    pub hosts: Vec<String>,
    /// None of these hosts.
    pub not_hosts: Vec<String>,
    /// Ports that connections were going to.
    pub ports: Vec<String>,
    /// None of these ports.
    pub not_ports: Vec<String>,
    /// Methods; gRPC is always POST.
    pub methods: Vec<String>,
    /// None of these methods.
    pub not_methods: Vec<String>,
    /// Paths, or templates of paths, in which `{*}` is one segment and `{**}` the rest.
    pub paths: Vec<String>,
    /// None of these paths.
    pub not_paths: Vec<String>,
}

/// What else must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct When {
    /// What is looked at: `request.headers[x-a]`, `source.ip`, `connection.sni`, ...
    pub key: String,
    /// It is one of these.
    #[serde(default)]
    pub values: Vec<String>,
    /// It is none of these.
    #[serde(default)]
    pub not_values: Vec<String>,
}
