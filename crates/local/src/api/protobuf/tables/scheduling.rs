//! Priority classes: the messages of `scheduling.k8s.io/v1`.

use super::messages;
use super::meta::ObjectMeta;

messages! {
    package "io.k8s.api.scheduling.v1";

    PriorityClass {
        1 metadata: ObjectMeta nonempty, 2 value: int, 3 globalDefault: bool nonempty,
        4 description: string nonempty, 5 preemptionPolicy: string,
    }
    TopologyConstraint { 1 key: string }
    WorkloadPodGroupAllDisruptionMode {}
    WorkloadPodGroupBasicSchedulingPolicy {}
    WorkloadPodGroupDisruptionMode {
        1 single: WorkloadPodGroupSingleDisruptionMode, 2 all: WorkloadPodGroupAllDisruptionMode,
    }
    WorkloadPodGroupGangSchedulingPolicy { 1 minCount: int }
    WorkloadPodGroupResourceClaim {
        1 name: string, 2 resourceClaimName: string, 3 resourceClaimTemplateName: string,
    }
    WorkloadPodGroupSchedulingConstraints { 1 topology: [TopologyConstraint] }
    WorkloadPodGroupSchedulingPolicy {
        1 basic: WorkloadPodGroupBasicSchedulingPolicy, 2 gang: WorkloadPodGroupGangSchedulingPolicy,
    }
    WorkloadPodGroupSingleDisruptionMode {}
}
