//! Whom a proxy would ask whether a call may pass: the filters in their order, without asking.

use std::collections::BTreeMap;

use serde::Serialize;
use snapshot::authorization::{Authorization, CompiledRules};
use snapshot::ext_authz::MetadataCondition;
use snapshot::{Chain, ClusterName, Handler, HttpFilter, NetworkFilter, Origin};

use super::{Call, origin, subject};

/// Somebody who decides about a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// Where the service is.
    pub cluster: ClusterName,
    /// The rule because of which it is asked; `None` where it is asked about everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The call passes where the service does not answer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fail_open: bool,
}

/// What rules that are only tried out tell: the policy that holds, by the name that it is told under.
type Told = BTreeMap<String, String>;

/// Everybody who is asked, in order.
pub(super) fn asked(chain: &Chain, call: &Call) -> Vec<Asked> {
    let (mut all, mut told) = (Vec::new(), Told::new());
    for filter in &chain.filters {
        match filter {
            NetworkFilter::Authorization(rules) => tell(rules, false, call, &mut told),
            NetworkFilter::ExtAuthz(filter) => {
                let found = policy(filter.when.as_ref(), &told);
                all.extend(found.map(|policy| Asked {
                    cluster: filter.service.cluster.clone(),
                    origin: policy.and_then(origin),
                    fail_open: filter.fail_open,
                }));
            }
        }
    }
    let (Handler::Http(http), Some(_)) = (&chain.handler, &call.request) else {
        return all;
    };
    for filter in &http.filters {
        match filter {
            HttpFilter::Authorization(rules) => tell(rules, true, call, &mut told),
            HttpFilter::ExtAuthz(filter) => {
                let found = policy(filter.when.as_ref(), &told);
                all.extend(found.map(|policy| Asked {
                    cluster: filter.service.cluster().clone(),
                    origin: policy.and_then(origin),
                    fail_open: filter.fail_open,
                }));
            }
            HttpFilter::Stats
            | HttpFilter::GrpcWeb
            | HttpFilter::Jwt(_)
            | HttpFilter::LocalRateLimit(_)
            | HttpFilter::RateLimit(_) => {}
        }
    }
    all
}

fn tell(filter: &Authorization, of_requests: bool, call: &Call, told: &mut Told) {
    let Some(shadow) = &filter.shadow else { return };
    let (rules, _) = CompiledRules::new(shadow);
    if let Some(policy) = rules.judge(&subject(of_requests, call)).policy {
        told.insert(
            format!("{}shadow_effective_policy_id", filter.shadow_prefix),
            policy.to_owned(),
        );
    }
}

/// Whether the service is asked, and the policy because of which it is.
fn policy<'t>(when: Option<&MetadataCondition>, told: &'t Told) -> Option<Option<&'t str>> {
    let Some(condition) = when else {
        return Some(None);
    };
    let policy = told.get(condition.path.first()?)?;
    policy.starts_with(&condition.prefix).then_some(Some(policy))
}
