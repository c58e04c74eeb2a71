//! Which workloads a security policy is for: by labels of pods, or by name of a gateway or service.

use schemars::JsonSchema;
use serde::Deserialize;

use super::WorkloadSelector;
use super::report::Report;

/// A gateway, gateway class, service or service entry that a policy is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
pub struct PolicyTargetReference {
    /// API group of the target; empty for services.
    #[serde(default)]
    #[schemars(length(max = 253), extend("pattern" = GROUP))]
    pub group: String,
    /// Kind of the target.
    #[schemars(length(min = 1, max = 63), extend("pattern" = KIND))]
    pub kind: String,
    /// Name of the target.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Must be left out: the namespace of this object is meant.
    #[serde(default)]
    pub namespace: String,
}

const GROUP: &str = r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
const KIND: &str = "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$";

/// Group, version and kind of what may be a target, as Istio lists them.
const TARGETS: [(&str, &str, &str); 4] = [
    ("", "v1", "Service"),
    ("networking.istio.io", "v1", "ServiceEntry"),
    ("gateway.networking.k8s.io", "v1", "Gateway"),
    ("gateway.networking.k8s.io", "v1", "GatewayClass"),
];

/// The ways in which a policy names whom it is for.
pub(crate) struct Targets<'a> {
    pub(crate) selector: Option<&'a WorkloadSelector>,
    pub(crate) target_ref: Option<&'a PolicyTargetReference>,
    pub(crate) target_refs: &'a [PolicyTargetReference],
}

impl Report {
    /// At most one way, and that one well-formed.
    pub(crate) fn policy_targets(&mut self, targets: &Targets<'_>) {
        let ways = [
            targets.selector.is_some(),
            targets.target_ref.is_some(),
            !targets.target_refs.is_empty(),
        ];
        if ways.iter().filter(|used| **used).count() > 1 {
            self.error("spec", "only one of targetRefs or workloadSelector can be set");
        }
        self.policy_selector(targets.selector);
        if let Some(target) = targets.target_ref {
            self.policy_target("spec.targetRef", target);
        }
        for (index, target) in targets.target_refs.iter().enumerate() {
            self.policy_target(&format!("spec.targetRefs[{index}]"), target);
        }
    }

    /// Labels without wildcards.
    pub(crate) fn policy_selector(&mut self, selector: Option<&WorkloadSelector>) {
        let Some(selector) = selector else { return };
        let field = "spec.selector.matchLabels";
        for (key, value) in &selector.match_labels {
            let label = format!("{key}={value}");
            if key.is_empty() {
                self.error(
                    field,
                    format!("empty key is not supported in selector: {label:?}"),
                );
            }
            if label.contains('*') {
                self.error(field, format!("wildcard is not supported in selector: {label:?}"));
            }
        }
        if selector.match_labels.is_empty() {
            self.warning(field, "workload selector specified without labels");
        }
    }

    fn policy_target(&mut self, field: &str, target: &PolicyTargetReference) {
        if target.name.is_empty() {
            self.error(&format!("{field}.name"), "targetRef name must be set");
        }
        if !target.namespace.is_empty() {
            let message = "targetRef namespace must not be set; cross namespace referencing is not supported";
            self.error(&format!("{field}.namespace"), message);
        }
        let group = if target.group == "core" { "" } else { &target.group };
        let known = |(of, _, kind): &(&str, &str, &str)| *of == group && *kind == target.kind;
        if !TARGETS.iter().any(known) {
            let allowed = TARGETS.map(|(group, version, kind)| match group {
                "" => format!("core/{version}/{kind}"),
                group => format!("{group}/{version}/{kind}"),
            });
            let message = format!(
                "targetRef must be to one of [{}] but was {}/{}",
                allowed.join(" "),
                target.group,
                target.kind
            );
            self.error(field, message);
        }
    }
}
