//! What every object has, and what a deletion says: the messages of `meta.k8s.io/v1`.

use super::messages;

messages! {
    package "io.k8s.apimachinery.pkg.apis.meta.v1";

    Condition {
        1 type: string, 2 status: string, 3 observedGeneration: int nonempty, 4 lastTransitionTime: Time,
        5 reason: string, 6 message: string,
    }
    DeleteOptions {
        1 gracePeriodSeconds: int, 2 preconditions: Preconditions, 3 orphanDependents: bool,
        4 propagationPolicy: string, 5 dryRun: [string],
        6 ignoreStoreReadErrorWithClusterBreakingPotential: bool,
    }
    FieldSelectorRequirement { 1 key: string, 2 operator: string, 3 values: [string] }
    LabelSelector { 1 matchLabels: {string}, 2 matchExpressions: [LabelSelectorRequirement] }
    LabelSelectorRequirement { 1 key: string, 2 operator: string, 3 values: [string] }
    ManagedFieldsEntry {
        1 manager: string nonempty, 2 operation: string nonempty, 3 apiVersion: string nonempty,
        4 time: Time, 6 fieldsType: string nonempty, 7 fieldsV1: Raw, 8 subresource: string nonempty,
    }
    ObjectMeta {
        1 name: string nonempty, 2 generateName: string nonempty, 3 namespace: string nonempty,
        4 selfLink: string nonempty, 5 uid: string nonempty, 6 resourceVersion: string nonempty,
        7 generation: int nonempty, 8 creationTimestamp: Time nonempty, 9 deletionTimestamp: Time,
        10 deletionGracePeriodSeconds: int, 11 labels: {string}, 12 annotations: {string},
        13 ownerReferences: [OwnerReference], 14 finalizers: [string],
        17 managedFields: [ManagedFieldsEntry],
    }
    OwnerReference {
        1 kind: string, 3 name: string, 4 uid: string, 5 apiVersion: string, 6 controller: bool,
        7 blockOwnerDeletion: bool,
    }
    Preconditions { 1 uid: string, 2 resourceVersion: string }
}
