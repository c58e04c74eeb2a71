//! Storage classes and what drivers say: the messages of `storage.k8s.io/v1`.

use super::core::TopologySelectorTerm;
use super::messages;
use super::meta::{LabelSelector, ObjectMeta};
use super::volumes::PersistentVolumeSpec;

messages! {
    package "io.k8s.api.storage.v1";

    CSIDriver { 1 metadata: ObjectMeta nonempty, 2 spec: CSIDriverSpec }
    CSIDriverSpec {
        1 attachRequired: bool, 2 podInfoOnMount: bool, 3 volumeLifecycleModes: [string],
        4 storageCapacity: bool, 5 fsGroupPolicy: string, 6 tokenRequests: [TokenRequest],
        7 requiresRepublish: bool, 8 seLinuxMount: bool, 9 nodeAllocatableUpdatePeriodSeconds: int,
        10 serviceAccountTokenInSecrets: bool, 11 preventPodSchedulingIfMissing: bool,
    }
    CSINode { 1 metadata: ObjectMeta nonempty, 2 spec: CSINodeSpec, 3 status: CSINodeStatus nonempty }
    CSINodeDriver {
        1 name: string, 2 nodeID: string, 3 topologyKeys: [string], 4 allocatable: VolumeNodeResources,
    }
    CSINodeSpec { 1 drivers: [CSINodeDriver] }
    CSINodeStatus { 1 storageHealth: [StorageHealth] }
    CSIStorageCapacity {
        1 metadata: ObjectMeta nonempty, 2 nodeTopology: LabelSelector, 3 storageClassName: string,
        4 capacity: Quantity, 5 maximumVolumeSize: Quantity,
    }
    StorageClass {
        1 metadata: ObjectMeta nonempty, 2 provisioner: string, 3 parameters: {string},
        4 reclaimPolicy: string, 5 mountOptions: [string], 6 allowVolumeExpansion: bool,
        7 volumeBindingMode: string, 8 allowedTopologies: [TopologySelectorTerm],
    }
    StorageHealth { 1 name: string, 2 healthConditions: [StorageHealthCondition] }
    StorageHealthCondition {
        1 status: string, 2 reason: string, 3 message: string nonempty, 4 accessMode: string,
        5 volumeMode: string, 6 lastTransitionTime: Time nonempty,
    }
    TokenRequest { 1 audience: string, 2 expirationSeconds: int }
    VolumeAttachment {
        1 metadata: ObjectMeta nonempty, 2 spec: VolumeAttachmentSpec,
        3 status: VolumeAttachmentStatus nonempty,
    }
    VolumeAttachmentSource { 1 persistentVolumeName: string, 2 inlineVolumeSpec: PersistentVolumeSpec }
    VolumeAttachmentSpec { 1 attacher: string, 2 source: VolumeAttachmentSource, 3 nodeName: string }
    VolumeAttachmentStatus {
        1 attached: bool, 2 attachmentMetadata: {string}, 3 attachError: VolumeError,
        4 detachError: VolumeError,
    }
    VolumeError { 1 time: Time nonempty, 2 message: string nonempty, 3 errorCode: int }
    VolumeNodeResources { 1 count: int }
}
