//! Jobs and CronJobs: the messages of `batch/v1`.

use super::core::ObjectReference;
use super::messages;
use super::meta::{LabelSelector, ObjectMeta};
use super::pod::PodTemplateSpec;
use super::scheduling::{
    WorkloadPodGroupDisruptionMode, WorkloadPodGroupResourceClaim, WorkloadPodGroupSchedulingConstraints,
    WorkloadPodGroupSchedulingPolicy,
};

messages! {
    package "io.k8s.api.batch.v1";

    CronJob {
        1 metadata: ObjectMeta nonempty, 2 spec: CronJobSpec nonempty, 3 status: CronJobStatus nonempty,
    }
    CronJobSpec {
        1 schedule: string, 2 startingDeadlineSeconds: int, 3 concurrencyPolicy: string nonempty,
        4 suspend: bool, 5 jobTemplate: JobTemplateSpec, 6 successfulJobsHistoryLimit: int,
        7 failedJobsHistoryLimit: int, 8 timeZone: string,
    }
    CronJobStatus { 1 active: [ObjectReference], 4 lastScheduleTime: Time, 5 lastSuccessfulTime: Time }
    Job { 1 metadata: ObjectMeta nonempty, 2 spec: JobSpec nonempty, 3 status: JobStatus nonempty }
    JobCondition {
        1 type: string, 2 status: string, 3 lastProbeTime: Time nonempty,
        4 lastTransitionTime: Time nonempty, 5 reason: string nonempty, 6 message: string nonempty,
    }
    JobSchedulingConfiguration {
        1 schedulingPolicy: WorkloadPodGroupSchedulingPolicy,
        2 schedulingConstraints: WorkloadPodGroupSchedulingConstraints,
        3 disruptionMode: WorkloadPodGroupDisruptionMode, 4 resourceClaims: [WorkloadPodGroupResourceClaim],
    }
    JobSpec {
        1 parallelism: int, 2 completions: int, 3 activeDeadlineSeconds: int, 4 selector: LabelSelector,
        5 manualSelector: bool, 6 template: PodTemplateSpec, 7 backoffLimit: int,
        8 ttlSecondsAfterFinished: int, 9 completionMode: string, 10 suspend: bool,
        11 podFailurePolicy: PodFailurePolicy, 12 backoffLimitPerIndex: int, 13 maxFailedIndexes: int,
        14 podReplacementPolicy: string, 15 managedBy: string, 16 successPolicy: SuccessPolicy,
        17 scheduling: JobSchedulingConfiguration,
    }
    JobStatus {
        1 conditions: [JobCondition], 2 startTime: Time, 3 completionTime: Time, 4 active: int nonempty,
        5 succeeded: int nonempty, 6 failed: int nonempty, 7 completedIndexes: string nonempty,
        8 uncountedTerminatedPods: UncountedTerminatedPods, 9 ready: int, 10 failedIndexes: string,
        11 terminating: int,
    }
    JobTemplateSpec { 1 metadata: ObjectMeta nonempty, 2 spec: JobSpec nonempty }
    PodFailurePolicy { 1 rules: [PodFailurePolicyRule] }
    PodFailurePolicyOnExitCodesRequirement { 1 containerName: string, 2 operator: string, 3 values: [int] }
    PodFailurePolicyOnPodConditionsPattern { 1 type: string, 2 status: string }
    PodFailurePolicyRule {
        1 action: string, 2 onExitCodes: PodFailurePolicyOnExitCodesRequirement,
        3 onPodConditions: [PodFailurePolicyOnPodConditionsPattern],
    }
    SuccessPolicy { 1 rules: [SuccessPolicyRule] }
    SuccessPolicyRule { 1 succeededIndexes: string, 2 succeededCount: int }
    UncountedTerminatedPods { 1 succeeded: [string], 2 failed: [string] }
}
