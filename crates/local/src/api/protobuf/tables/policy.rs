//! Disruption budgets and evictions: the messages of `policy/v1`.

use super::messages;
use super::meta::{Condition, DeleteOptions, LabelSelector, ObjectMeta};

messages! {
    package "io.k8s.api.policy.v1";

    Eviction { 1 metadata: ObjectMeta nonempty, 2 deleteOptions: DeleteOptions }
    PodDisruptionBudget {
        1 metadata: ObjectMeta nonempty, 2 spec: PodDisruptionBudgetSpec nonempty,
        3 status: PodDisruptionBudgetStatus nonempty,
    }
    PodDisruptionBudgetSpec {
        1 minAvailable: IntOrString, 2 selector: LabelSelector, 3 maxUnavailable: IntOrString,
        4 unhealthyPodEvictionPolicy: string,
    }
    PodDisruptionBudgetStatus {
        1 observedGeneration: int nonempty, 2 disruptedPods: {Time}, 3 disruptionsAllowed: int,
        4 currentHealthy: int, 5 desiredHealthy: int, 6 expectedPods: int, 7 conditions: [Condition],
    }
}
