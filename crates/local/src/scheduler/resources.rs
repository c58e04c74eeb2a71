//! What pods ask for and what nodes have: numbers by resource, in thousandths.
//!
//! <https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/>

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::validate::quantity;
use crate::controllers::object::{list, text};

/// By the resource's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Amounts(BTreeMap<String, i128>);

impl Amounts {
    /// A map of quantities, as `requests` and `allocatable` are.
    pub(super) fn of(quantities: &Value) -> Self {
        let thousandth = quantity::parse("1m").expect("it is a quantity");
        let amounts = quantities.as_object().into_iter().flatten();
        let amounts = amounts.filter_map(|(name, value)| {
            let amount = quantity::parse(text(value))?.counted_in(thousandth)?;
            Some((name.clone(), amount))
        });
        Self(amounts.collect())
    }

    /// What a pod reserves: the sum of its containers, or what its init containers need at their worst moment.
    pub(super) fn of_pod(spec: &Value) -> Self {
        let of = |container: &Value| Self::of(&container["resources"]["requests"]);
        let mut running = Self::default();
        let mut most = Self::default();
        for container in list(&spec["initContainers"]) {
            // A sidecar stays; an ordinary one is alone with the sidecars before it.
            if container["restartPolicy"] == "Always" {
                running.add(&of(container));
                most.raise(&running);
            } else {
                let mut moment = running.clone();
                moment.add(&of(container));
                most.raise(&moment);
            }
        }
        for container in list(&spec["containers"]) {
            running.add(&of(container));
        }
        most.raise(&running);
        most.add(&Self::of(&spec["overhead"]));
        most
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*amount);
        }
    }

    fn raise(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let most = self.0.entry(name.clone()).or_default();
            *most = (*most).max(*amount);
        }
    }

    pub(super) fn get(&self, name: &str) -> i128 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// The resources of which `capacity` does not have this much more than `used`.
    pub(super) fn lacking<'a>(&'a self, used: &Self, capacity: &Self) -> Vec<&'a str> {
        let exceeds = |(name, amount): &(&String, &i128)| {
            **amount > 0 && used.get(name).saturating_add(**amount) > capacity.get(name)
        };
        self.0
            .iter()
            .filter(exceeds)
            .map(|(name, _)| name.as_str())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn container(cpu: &str) -> Value {
        json!({"resources": {"requests": {"cpu": cpu}}})
    }

    #[test]
    fn a_pod_reserves_what_it_needs_at_its_worst_moment() {
        let mut sidecar = container("100m");
        sidecar["restartPolicy"] = "Always".into();
        let cpu = |spec: Value| Amounts::of_pod(&spec).get("cpu");
        assert_eq!(
            cpu(json!({"containers": [container("1"), container("500m")]})),
            1500
        );
        assert_eq!(
            cpu(json!({"initContainers": [sidecar, container("2")], "containers": [container("1")]})),
            2100,
            "the init container beside the sidecar needs most"
        );
    }

    #[test]
    fn what_is_not_there_is_lacking() {
        let wanted = Amounts::of(&json!({"cpu": "1", "memory": "1Gi", "example.com/gpu": "1"}));
        let capacity = Amounts::of(&json!({"cpu": "2", "memory": "4Gi"}));
        let used = Amounts::of(&json!({"cpu": "1500m"}));
        assert_eq!(wanted.lacking(&used, &capacity), ["cpu", "example.com/gpu"]);
    }
}
