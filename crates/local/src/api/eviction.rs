//! Eviction: a deletion that asks the PodDisruptionBudgets first.
//!
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/>

use daemon::clock;
use serde_json::{Value, json};

use super::client::{DeleteOptions, Object, Query};
use super::patch::PatchKind;
use super::verbs::{Api, Call, Part, Target};
use super::{Gvr, Status, label_selector, time};
use crate::controllers::object;

const BUDGETS: Gvr = Gvr::fixed("policy", "v1", "poddisruptionbudgets");
const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
/// How often a budget is tried that changes meanwhile.
const ATTEMPTS: u32 = 8;

impl Api {
    /// Deletes a pod if its budget allows that.
    ///
    /// # Errors
    /// 429 when it does not; what a deletion may say.
    pub(super) async fn evict(&self, call: &Call, options: &DeleteOptions) -> Result<(), Status> {
        let mut attempts = ATTEMPTS;
        loop {
            attempts -= 1;
            let pod = self.get(&call.target)?;
            let spent = match self.budget_of(call, &pod)? {
                Some(budget) if !goes_anyway(&pod) => self.spend(call, &pod, &budget).await,
                _ => Ok(()),
            };
            match spent {
                Err(status) if status.code == 409 && attempts > 0 => {}
                Err(status) => return Err(status),
                Ok(()) => return self.delete(call, options).await.map(drop),
            }
        }
    }

    /// The one budget that covers a pod.
    fn budget_of(&self, call: &Call, pod: &Value) -> Result<Option<Object>, Status> {
        let target = Target {
            kind: self.kind(&BUDGETS)?,
            namespace: call.target.namespace.clone(),
            name: String::new(),
        };
        let labels = &pod["metadata"]["labels"];
        let covers = |budget: &Object| label_selector::matches(&budget["spec"]["selector"], labels);
        let mut budgets = self.list(&target, &Query::default())?.items;
        budgets.retain(covers);
        if budgets.len() > 1 {
            return Err(Status::internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
        Ok(budgets.pop())
    }

    /// Takes one disruption from what the budget allows.
    async fn spend(&self, call: &Call, pod: &Value, budget: &Value) -> Result<(), Status> {
        let (spec, status) = (&budget["spec"], &budget["status"]);
        let is_ready = object::is_condition_true(pod, "Ready");
        let number = |field: &str| object::number(&status[field]);
        let (healthy, desired) = (number("currentHealthy"), number("desiredHealthy"));
        let is_enough = healthy >= desired && desired > 0;
        // One that serves nobody is no loss, unless it is waited for.
        if !is_ready && (spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow" || is_enough) {
            return Ok(());
        }
        let name = object::name(budget);
        if number("observedGeneration") < object::number(&budget["metadata"]["generation"]) {
            return Err(refused(&format!(
                "The disruption budget {name} is still being processed by the server."
            )));
        }
        let allowed = number("disruptionsAllowed");
        if allowed <= 0 {
            return Err(refused(&format!(
                "The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"
            )));
        }
        if call.dry_run {
            return Ok(());
        }
        let patch = json!({
            "metadata": {"resourceVersion": budget["metadata"]["resourceVersion"]},
            "status": {
                "disruptionsAllowed": allowed - 1,
                "disruptedPods": {object::name(pod): time::rfc3339(clock::wall())},
            },
        });
        let target = Target {
            kind: self.kind(&BUDGETS)?,
            namespace: object::namespace(budget).to_owned(),
            name: name.to_owned(),
        };
        let call = Call {
            target,
            ..call.clone()
        };
        self.patch(
            &call,
            Part::Status,
            PatchKind::Merge,
            patch.to_string().as_bytes(),
        )
        .await
        .map(drop)
    }
}

/// Whether no budget is asked: it has ended, has not begun, or is on its way out.
fn goes_anyway(pod: &Value) -> bool {
    object::is_ending(pod)
        || matches!(
            pod["status"]["phase"].as_str(),
            Some("Succeeded" | "Failed" | "Pending")
        )
}

fn refused(why: &str) -> Status {
    Status {
        details: json!({"causes": [{"reason": "DisruptionBudget", "message": why}]}),
        ..Status::new(429, "TooManyRequests", REFUSED)
    }
}
