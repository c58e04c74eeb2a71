//! Workloads: the messages of `apps/v1`.

use super::messages;
use super::meta::{LabelSelector, ObjectMeta};
use super::pod::PodTemplateSpec;
use super::volumes::PersistentVolumeClaim;

messages! {
    package "io.k8s.api.apps.v1";

    ControllerRevision { 1 metadata: ObjectMeta nonempty, 2 data: Raw, 3 revision: int }
    DaemonSet {
        1 metadata: ObjectMeta nonempty, 2 spec: DaemonSetSpec nonempty, 3 status: DaemonSetStatus nonempty,
    }
    DaemonSetCondition {
        1 type: string, 2 status: string, 3 lastTransitionTime: Time nonempty, 4 reason: string nonempty,
        5 message: string nonempty,
    }
    DaemonSetSpec {
        1 selector: LabelSelector, 2 template: PodTemplateSpec,
        3 updateStrategy: DaemonSetUpdateStrategy nonempty, 4 minReadySeconds: int nonempty,
        6 revisionHistoryLimit: int,
    }
    DaemonSetStatus {
        1 currentNumberScheduled: int, 2 numberMisscheduled: int, 3 desiredNumberScheduled: int,
        4 numberReady: int, 5 observedGeneration: int nonempty, 6 updatedNumberScheduled: int nonempty,
        7 numberAvailable: int nonempty, 8 numberUnavailable: int nonempty, 9 collisionCount: int,
        10 conditions: [DaemonSetCondition],
    }
    DaemonSetUpdateStrategy { 1 type: string nonempty, 2 rollingUpdate: RollingUpdateDaemonSet }
    Deployment {
        1 metadata: ObjectMeta nonempty, 2 spec: DeploymentSpec nonempty,
        3 status: DeploymentStatus nonempty,
    }
    DeploymentCondition {
        1 type: string, 2 status: string, 4 reason: string nonempty, 5 message: string nonempty,
        6 lastUpdateTime: Time nonempty, 7 lastTransitionTime: Time nonempty,
    }
    DeploymentSpec {
        1 replicas: int, 2 selector: LabelSelector, 3 template: PodTemplateSpec,
        4 strategy: DeploymentStrategy nonempty, 5 minReadySeconds: int nonempty,
        6 revisionHistoryLimit: int, 7 paused: bool nonempty, 9 progressDeadlineSeconds: int,
    }
    DeploymentStatus {
        1 observedGeneration: int nonempty, 2 replicas: int nonempty, 3 updatedReplicas: int nonempty,
        4 availableReplicas: int nonempty, 5 unavailableReplicas: int nonempty,
        6 conditions: [DeploymentCondition], 7 readyReplicas: int nonempty, 8 collisionCount: int,
        9 terminatingReplicas: int,
    }
    DeploymentStrategy { 1 type: string nonempty, 2 rollingUpdate: RollingUpdateDeployment }
    ReplicaSet {
        1 metadata: ObjectMeta nonempty, 2 spec: ReplicaSetSpec nonempty,
        3 status: ReplicaSetStatus nonempty,
    }
    ReplicaSetCondition {
        1 type: string, 2 status: string, 3 lastTransitionTime: Time nonempty, 4 reason: string nonempty,
        5 message: string nonempty,
    }
    ReplicaSetSpec {
        1 replicas: int, 2 selector: LabelSelector, 3 template: PodTemplateSpec nonempty,
        4 minReadySeconds: int nonempty,
    }
    ReplicaSetStatus {
        1 replicas: int, 2 fullyLabeledReplicas: int nonempty, 3 observedGeneration: int nonempty,
        4 readyReplicas: int nonempty, 5 availableReplicas: int nonempty,
        6 conditions: [ReplicaSetCondition], 7 terminatingReplicas: int,
    }
    RollingUpdateDaemonSet { 1 maxUnavailable: IntOrString, 2 maxSurge: IntOrString }
    RollingUpdateDeployment { 1 maxUnavailable: IntOrString, 2 maxSurge: IntOrString }
    RollingUpdateStatefulSetStrategy { 1 partition: int, 2 maxUnavailable: IntOrString }
    StatefulSet {
        1 metadata: ObjectMeta nonempty, 2 spec: StatefulSetSpec nonempty,
        3 status: StatefulSetStatus nonempty,
    }
    StatefulSetCondition {
        1 type: string, 2 status: string, 3 lastTransitionTime: Time nonempty, 4 reason: string nonempty,
        5 message: string nonempty,
    }
    StatefulSetOrdinals { 1 start: int }
    StatefulSetPersistentVolumeClaimRetentionPolicy {
        1 whenDeleted: string nonempty, 2 whenScaled: string nonempty,
    }
    StatefulSetSpec {
        1 replicas: int, 2 selector: LabelSelector, 3 template: PodTemplateSpec,
        4 volumeClaimTemplates: [PersistentVolumeClaim], 5 serviceName: string,
        6 podManagementPolicy: string nonempty, 7 updateStrategy: StatefulSetUpdateStrategy nonempty,
        8 revisionHistoryLimit: int, 9 minReadySeconds: int nonempty,
        10 persistentVolumeClaimRetentionPolicy: StatefulSetPersistentVolumeClaimRetentionPolicy,
        11 ordinals: StatefulSetOrdinals,
    }
    StatefulSetStatus {
        1 observedGeneration: int nonempty, 2 replicas: int, 3 readyReplicas: int nonempty,
        4 currentReplicas: int nonempty, 5 updatedReplicas: int nonempty,
        6 currentRevision: string nonempty, 7 updateRevision: string nonempty, 9 collisionCount: int,
        10 conditions: [StatefulSetCondition], 11 availableReplicas: int,
    }
    StatefulSetUpdateStrategy { 1 type: string nonempty, 2 rollingUpdate: RollingUpdateStatefulSetStrategy }
}
