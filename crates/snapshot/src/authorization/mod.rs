//! Who may do what: policies over connections and requests. Envoy: `envoy.config.rbac.v3`; Istio: `AuthorizationPolicy`.
//!
//! A policy holds when one of its permissions (what is asked for) and one of its principals (who asks) do. Of several
//! that hold the first in the order of their names decides, and is the one that logs and `explain` name.
//!
//! [`Rules::judge_plainly`] is the definition, policy by policy; [`CompiledRules`] is what the data path and `explain`
//! ask. Both give the same answer.

mod compiled;
mod index;
mod plain;
mod subject;
mod template;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Subnet;

pub use compiled::{CompiledRules, PolicyProblem};
pub use subject::{Findings, RequestFacts, Subject};
pub use template::{check_template, compile_template};

/// The metadata that verified tokens leave behind, and the name of their content in it.
pub const JWT_METADATA: &str = "envoy.filters.http.jwt_authn";
/// The name of the content of a token in [`JWT_METADATA`], as Istio has it.
pub const JWT_PAYLOAD: &str = "payload";

/// One filter: rules in force, and rules that are tried out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Authorization {
    /// In force; `None` refuses nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Rules>,
    /// Tried out: what they would have decided is told, and changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Rules>,
    /// Begins the names under which the outcome of `shadow` is told (`istio_dry_run_deny_`, `istio_ext_authz_`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub shadow_prefix: String,
    /// Prefix of statistics; on connections only, where Istio says `tcp.`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stat_prefix: String,
}

/// Policies with what follows when one holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// What follows.
    pub action: RuleAction,
    /// By name: `ns[shop]-policy[viewers]-rule[0]`.
    #[serde(default)]
    pub policies: BTreeMap<String, Policy>,
}

/// What follows when a policy holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleAction {
    /// It is let through, and what no policy holds for is not.
    Allow,
    /// It is refused, and what no policy holds for is not.
    Deny,
    /// It is let through as everything else, and access logs get a hint.
    Log,
}

/// One policy: it holds when one of each does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// What is asked for.
    pub permissions: Vec<Permission>,
    /// Who asks.
    pub principals: Vec<Principal>,
}

/// A condition made of simple ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition<T> {
    /// Always.
    Any,
    /// All of these.
    All(Vec<Condition<T>>),
    /// At least one of these.
    OneOf(Vec<Condition<T>>),
    /// Not this.
    Not(Box<Condition<T>>),
    /// This simple one.
    Is(T),
}

/// What is asked for.
pub type Permission = Condition<Target>;
/// Who asks.
pub type Principal = Condition<Source>;

/// A simple condition on what is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A header of the request, `:method` and `:authority` among them.
    Header(HeaderCondition),
    /// The path of the request, without its query.
    Path(TextMatch),
    /// The path of the request, in Envoy's templates: `/a/*/b`, `/a/**`.
    PathTemplate(String),
    /// The address that the connection was going to.
    Address(Subnet),
    /// The port that the connection was going to.
    Port(u16),
    /// The same, from the first up to but without the last.
    Ports(u32, u32),
    /// The server name of the client's TLS; empty without one.
    ServerName(TextMatch),
    /// What a filter found out before.
    Metadata(MetadataMatch),
}

/// A simple condition on who asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A certificate was shown; with a condition, one for a name like that (`spiffe://cluster.local/ns/shop/sa/web`).
    Authenticated(Option<TextMatch>),
    /// The identity that the connection's proxy tells (Envoy: filter state `io.istio.peer_principal`, for gateways
    /// inside of tunnels). The same as the certificate's here.
    Told(TextMatch),
    /// Who opened the connection.
    DirectAddress(Subnet),
    /// The same; of several ways to say it the oldest.
    ConnectionAddress(Subnet),
    /// The client, as proxies before say (`x-forwarded-for`).
    Address(Subnet),
    /// A header of the request.
    Header(HeaderCondition),
    /// The path of the request, without its query.
    Path(TextMatch),
    /// What a filter found out before.
    Metadata(MetadataMatch),
}

/// A condition on text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TextMatch {
    /// What is compared.
    #[serde(flatten)]
    pub pattern: Pattern,
    /// Letters of either case are the same; not for regular expressions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_case: bool,
}

/// What text is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// It is this.
    Exact(String),
    /// It begins with this.
    Prefix(String),
    /// It ends with this.
    Suffix(String),
    /// It has this in it.
    Contains(String),
    /// All of it matches this expression.
    Regex(String),
}

/// A condition on a header. Of a header that comes several times one value has to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HeaderCondition {
    /// In lower case, or a pseudo header of HTTP/2.
    pub name: String,
    /// What its value has to be.
    pub test: HeaderTest,
    /// The opposite is meant.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub invert: bool,
    /// A header that is not there is compared as an empty one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub missing_is_empty: bool,
}

/// What the value of a header has to be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeaderTest {
    /// There.
    Present,
    /// Like this.
    Text(TextMatch),
    /// A whole number from the first up to but without the last.
    Range(i64, i64),
}

/// A condition on what a filter found out before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetadataMatch {
    /// The filter.
    pub filter: String,
    /// Names of objects within objects.
    pub path: Vec<String>,
    /// What is there.
    pub value: ValueMatch,
    /// The opposite is meant.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub invert: bool,
}

/// A condition on a value of JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueMatch {
    /// It is null.
    Null,
    /// It is this number.
    Number(f64),
    /// It is a number from the first up to but without the last.
    Numbers(f64, f64),
    /// It is a text like this.
    Text(TextMatch),
    /// It is this.
    Bool(bool),
    /// It is there; `false` holds for nothing.
    Present(bool),
    /// It is a list, and a member of it is like this.
    Member(Box<ValueMatch>),
    /// It is one of these.
    OneOf(Vec<ValueMatch>),
}

/// What rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// Whether it is let through.
    pub allowed: bool,
    /// The policy that held.
    pub policy: Option<&'a str>,
}

impl RuleAction {
    /// Whether something is let through, for which a policy holds or none does.
    pub fn allows(self, holds: bool) -> bool {
        match self {
            Self::Allow => holds,
            Self::Deny => !holds,
            Self::Log => true,
        }
    }
}

impl TextMatch {
    /// Equal.
    pub fn exact(text: impl Into<String>) -> Self {
        Pattern::Exact(text.into()).into()
    }
}

impl From<Pattern> for TextMatch {
    fn from(pattern: Pattern) -> Self {
        Self {
            pattern,
            ignore_case: false,
        }
    }
}

impl HeaderCondition {
    /// A condition on the value of a header.
    pub fn text(name: &str, text: TextMatch) -> Self {
        Self {
            name: name.to_ascii_lowercase(),
            test: HeaderTest::Text(text),
            invert: false,
            missing_is_empty: false,
        }
    }

    /// The header is there.
    pub fn present(name: &str) -> Self {
        Self {
            test: HeaderTest::Present,
            ..Self::text(name, TextMatch::exact(""))
        }
    }
}

impl Policy {
    /// Holds never.
    pub fn never() -> Self {
        Self {
            permissions: vec![Condition::Not(Box::new(Condition::Any))],
            principals: vec![Condition::Not(Box::new(Condition::Any))],
        }
    }
}
