//! Volumes of pods, persistent volumes and claims: the messages of `v1`.

use super::core::{
    KeyToPath, LocalObjectReference, ObjectReference, SecretReference, TypedLocalObjectReference,
};
use super::messages;
use super::meta::{LabelSelector, ObjectMeta};
use super::pod::{NodeSelector, ObjectFieldSelector, ResourceFieldSelector};

messages! {
    package "io.k8s.api.core.v1";

    AWSElasticBlockStoreVolumeSource {
        1 volumeID: string, 2 fsType: string nonempty, 3 partition: int nonempty, 4 readOnly: bool nonempty,
    }
    AzureDiskVolumeSource {
        1 diskName: string, 2 diskURI: string, 3 cachingMode: string, 4 fsType: string, 5 readOnly: bool,
        6 kind: string,
    }
    AzureFilePersistentVolumeSource {
        1 secretName: string, 2 shareName: string, 3 readOnly: bool nonempty, 4 secretNamespace: string,
    }
    AzureFileVolumeSource { 1 secretName: string, 2 shareName: string, 3 readOnly: bool nonempty }
    CSIPersistentVolumeSource {
        1 driver: string, 2 volumeHandle: string, 3 readOnly: bool nonempty, 4 fsType: string nonempty,
        5 volumeAttributes: {string}, 6 controllerPublishSecretRef: SecretReference,
        7 nodeStageSecretRef: SecretReference, 8 nodePublishSecretRef: SecretReference,
        9 controllerExpandSecretRef: SecretReference, 10 nodeExpandSecretRef: SecretReference,
    }
    CSIVolumeSource {
        1 driver: string, 2 readOnly: bool, 3 fsType: string, 4 volumeAttributes: {string},
        5 nodePublishSecretRef: LocalObjectReference,
    }
    CephFSPersistentVolumeSource {
        1 monitors: [string], 2 path: string nonempty, 3 user: string nonempty,
        4 secretFile: string nonempty, 5 secretRef: SecretReference, 6 readOnly: bool nonempty,
    }
    CephFSVolumeSource {
        1 monitors: [string], 2 path: string nonempty, 3 user: string nonempty,
        4 secretFile: string nonempty, 5 secretRef: LocalObjectReference, 6 readOnly: bool nonempty,
    }
    CinderPersistentVolumeSource {
        1 volumeID: string, 2 fsType: string nonempty, 3 readOnly: bool nonempty,
        4 secretRef: SecretReference,
    }
    CinderVolumeSource {
        1 volumeID: string, 2 fsType: string nonempty, 3 readOnly: bool nonempty,
        4 secretRef: LocalObjectReference,
    }
    ClusterTrustBundleProjection {
        1 name: string, 2 signerName: string, 3 labelSelector: LabelSelector, 4 path: string,
        5 optional: bool, 6 user: int,
    }
    ConfigMapProjection {
        1 localObjectReference: LocalObjectReference inline, 2 items: [KeyToPath], 4 optional: bool,
    }
    ConfigMapVolumeSource {
        1 localObjectReference: LocalObjectReference inline, 2 items: [KeyToPath], 3 defaultMode: int,
        4 optional: bool, 5 defaultUser: int,
    }
    DownwardAPIProjection { 1 items: [DownwardAPIVolumeFile] }
    DownwardAPIVolumeFile {
        1 path: string, 2 fieldRef: ObjectFieldSelector, 3 resourceFieldRef: ResourceFieldSelector,
        4 mode: int, 5 user: int,
    }
    DownwardAPIVolumeSource { 1 items: [DownwardAPIVolumeFile], 2 defaultMode: int, 3 defaultUser: int }
    EmptyDirVolumeSource { 1 medium: string nonempty, 2 sizeLimit: Quantity, 3 mode: int }
    EphemeralVolumeSource { 1 volumeClaimTemplate: PersistentVolumeClaimTemplate }
    FCVolumeSource {
        1 targetWWNs: [string], 2 lun: int, 3 fsType: string nonempty, 4 readOnly: bool nonempty,
        5 wwids: [string],
    }
    FlexPersistentVolumeSource {
        1 driver: string, 2 fsType: string nonempty, 3 secretRef: SecretReference,
        4 readOnly: bool nonempty, 5 options: {string},
    }
    FlexVolumeSource {
        1 driver: string, 2 fsType: string nonempty, 3 secretRef: LocalObjectReference,
        4 readOnly: bool nonempty, 5 options: {string},
    }
    FlockerVolumeSource { 1 datasetName: string nonempty, 2 datasetUUID: string nonempty }
    GCEPersistentDiskVolumeSource {
        1 pdName: string, 2 fsType: string nonempty, 3 partition: int nonempty, 4 readOnly: bool nonempty,
    }
    GitRepoVolumeSource { 1 repository: string, 2 revision: string nonempty, 3 directory: string nonempty }
    GlusterfsPersistentVolumeSource {
        1 endpoints: string, 2 path: string, 3 readOnly: bool nonempty, 4 endpointsNamespace: string,
    }
    GlusterfsVolumeSource { 1 endpoints: string, 2 path: string, 3 readOnly: bool nonempty }
    HostPathVolumeSource { 1 path: string, 2 type: string }
    ISCSIPersistentVolumeSource {
        1 targetPortal: string, 2 iqn: string, 3 lun: int, 4 iscsiInterface: string nonempty,
        5 fsType: string nonempty, 6 readOnly: bool nonempty, 7 portals: [string],
        8 chapAuthDiscovery: bool nonempty, 10 secretRef: SecretReference,
        11 chapAuthSession: bool nonempty, 12 initiatorName: string,
    }
    ISCSIVolumeSource {
        1 targetPortal: string, 2 iqn: string, 3 lun: int, 4 iscsiInterface: string nonempty,
        5 fsType: string nonempty, 6 readOnly: bool nonempty, 7 portals: [string],
        8 chapAuthDiscovery: bool nonempty, 10 secretRef: LocalObjectReference,
        11 chapAuthSession: bool nonempty, 12 initiatorName: string,
    }
    ImageVolumeSource { 1 reference: string nonempty, 2 pullPolicy: string nonempty }
    LocalVolumeSource { 1 path: string, 2 fsType: string }
    ModifyVolumeStatus { 1 targetVolumeAttributesClassName: string nonempty, 2 status: string }
    NFSVolumeSource { 1 server: string, 2 path: string, 3 readOnly: bool nonempty }
    PersistentVolume {
        1 metadata: ObjectMeta nonempty, 2 spec: PersistentVolumeSpec nonempty,
        3 status: PersistentVolumeStatus nonempty,
    }
    PersistentVolumeClaim {
        1 metadata: ObjectMeta nonempty, 2 spec: PersistentVolumeClaimSpec nonempty,
        3 status: PersistentVolumeClaimStatus nonempty,
    }
    PersistentVolumeClaimCondition {
        1 type: string, 2 status: string, 3 lastProbeTime: Time nonempty,
        4 lastTransitionTime: Time nonempty, 5 reason: string nonempty, 6 message: string nonempty,
    }
    PersistentVolumeClaimSpec {
        1 accessModes: [string], 2 resources: VolumeResourceRequirements nonempty,
        3 volumeName: string nonempty, 4 selector: LabelSelector, 5 storageClassName: string,
        6 volumeMode: string, 7 dataSource: TypedLocalObjectReference,
        8 dataSourceRef: TypedObjectReference, 9 volumeAttributesClassName: string,
    }
    PersistentVolumeClaimStatus {
        1 phase: string nonempty, 2 accessModes: [string], 3 capacity: {Quantity},
        4 conditions: [PersistentVolumeClaimCondition], 5 allocatedResources: {Quantity},
        7 allocatedResourceStatuses: {string}, 8 currentVolumeAttributesClassName: string,
        9 modifyVolumeStatus: ModifyVolumeStatus, 10 healthStatus: VolumeHealthStatus,
    }
    PersistentVolumeClaimTemplate { 1 metadata: ObjectMeta nonempty, 2 spec: PersistentVolumeClaimSpec }
    PersistentVolumeClaimVolumeSource { 1 claimName: string, 2 readOnly: bool nonempty }
    PersistentVolumeSource {
        1 gcePersistentDisk: GCEPersistentDiskVolumeSource,
        2 awsElasticBlockStore: AWSElasticBlockStoreVolumeSource, 3 hostPath: HostPathVolumeSource,
        4 glusterfs: GlusterfsPersistentVolumeSource, 5 nfs: NFSVolumeSource,
        6 rbd: RBDPersistentVolumeSource, 7 iscsi: ISCSIPersistentVolumeSource,
        8 cinder: CinderPersistentVolumeSource, 9 cephfs: CephFSPersistentVolumeSource,
        10 fc: FCVolumeSource, 11 flocker: FlockerVolumeSource, 12 flexVolume: FlexPersistentVolumeSource,
        13 azureFile: AzureFilePersistentVolumeSource, 14 vsphereVolume: VsphereVirtualDiskVolumeSource,
        15 quobyte: QuobyteVolumeSource, 16 azureDisk: AzureDiskVolumeSource,
        17 photonPersistentDisk: PhotonPersistentDiskVolumeSource, 18 portworxVolume: PortworxVolumeSource,
        19 scaleIO: ScaleIOPersistentVolumeSource, 20 local: LocalVolumeSource,
        21 storageos: StorageOSPersistentVolumeSource, 22 csi: CSIPersistentVolumeSource,
    }
    PersistentVolumeSpec {
        1 capacity: {Quantity}, 2 persistentVolumeSource: PersistentVolumeSource inline,
        3 accessModes: [string], 4 claimRef: ObjectReference,
        5 persistentVolumeReclaimPolicy: string nonempty, 6 storageClassName: string nonempty,
        7 mountOptions: [string], 8 volumeMode: string, 9 nodeAffinity: VolumeNodeAffinity,
        10 volumeAttributesClassName: string,
    }
    PersistentVolumeStatus {
        1 phase: string nonempty, 2 message: string nonempty, 3 reason: string nonempty,
        4 lastPhaseTransitionTime: Time,
    }
    PhotonPersistentDiskVolumeSource { 1 pdID: string, 2 fsType: string nonempty }
    PodCertificateProjection {
        1 signerName: string nonempty, 2 keyType: string nonempty, 3 maxExpirationSeconds: int,
        4 credentialBundlePath: string nonempty, 5 keyPath: string nonempty,
        6 certificateChainPath: string nonempty, 7 userAnnotations: {string}, 8 user: int,
    }
    PortworxVolumeSource { 1 volumeID: string, 2 fsType: string nonempty, 3 readOnly: bool nonempty }
    ProjectedVolumeSource { 1 sources: [VolumeProjection], 2 defaultMode: int, 3 defaultUser: int }
    QuobyteVolumeSource {
        1 registry: string, 2 volume: string, 3 readOnly: bool nonempty, 4 user: string nonempty,
        5 group: string nonempty, 6 tenant: string nonempty,
    }
    RBDPersistentVolumeSource {
        1 monitors: [string], 2 image: string, 3 fsType: string nonempty, 4 pool: string nonempty,
        5 user: string nonempty, 6 keyring: string nonempty, 7 secretRef: SecretReference,
        8 readOnly: bool nonempty,
    }
    RBDVolumeSource {
        1 monitors: [string], 2 image: string, 3 fsType: string nonempty, 4 pool: string nonempty,
        5 user: string nonempty, 6 keyring: string nonempty, 7 secretRef: LocalObjectReference,
        8 readOnly: bool nonempty,
    }
    ScaleIOPersistentVolumeSource {
        1 gateway: string, 2 system: string, 3 secretRef: SecretReference, 4 sslEnabled: bool nonempty,
        5 protectionDomain: string nonempty, 6 storagePool: string nonempty, 7 storageMode: string nonempty,
        8 volumeName: string nonempty, 9 fsType: string nonempty, 10 readOnly: bool nonempty,
    }
    ScaleIOVolumeSource {
        1 gateway: string, 2 system: string, 3 secretRef: LocalObjectReference, 4 sslEnabled: bool nonempty,
        5 protectionDomain: string nonempty, 6 storagePool: string nonempty, 7 storageMode: string nonempty,
        8 volumeName: string nonempty, 9 fsType: string nonempty, 10 readOnly: bool nonempty,
    }
    SecretProjection {
        1 localObjectReference: LocalObjectReference inline, 2 items: [KeyToPath], 4 optional: bool,
    }
    SecretVolumeSource {
        1 secretName: string nonempty, 2 items: [KeyToPath], 3 defaultMode: int, 4 optional: bool,
        5 defaultUser: int,
    }
    ServiceAccountTokenProjection {
        1 audience: string nonempty, 2 expirationSeconds: int, 3 path: string, 4 user: int,
    }
    StorageOSPersistentVolumeSource {
        1 volumeName: string nonempty, 2 volumeNamespace: string nonempty, 3 fsType: string nonempty,
        4 readOnly: bool nonempty, 5 secretRef: ObjectReference,
    }
    StorageOSVolumeSource {
        1 volumeName: string nonempty, 2 volumeNamespace: string nonempty, 3 fsType: string nonempty,
        4 readOnly: bool nonempty, 5 secretRef: LocalObjectReference,
    }
    TypedObjectReference { 1 apiGroup: string, 2 kind: string, 3 name: string, 4 namespace: string }
    Volume { 1 name: string, 2 volumeSource: VolumeSource inline }
    VolumeHealthCondition { 1 status: string, 2 reason: string, 3 message: string nonempty }
    VolumeHealthStatus { 1 healthConditions: [VolumeHealthCondition], 2 lastTransitionTime: Time nonempty }
    VolumeNodeAffinity { 1 required: NodeSelector }
    VolumeProjection {
        1 secret: SecretProjection, 2 downwardAPI: DownwardAPIProjection, 3 configMap: ConfigMapProjection,
        4 serviceAccountToken: ServiceAccountTokenProjection,
        5 clusterTrustBundle: ClusterTrustBundleProjection, 6 podCertificate: PodCertificateProjection,
    }
    VolumeResourceRequirements { 1 limits: {Quantity}, 2 requests: {Quantity} }
    VolumeSource {
        1 hostPath: HostPathVolumeSource, 2 emptyDir: EmptyDirVolumeSource,
        3 gcePersistentDisk: GCEPersistentDiskVolumeSource,
        4 awsElasticBlockStore: AWSElasticBlockStoreVolumeSource, 5 gitRepo: GitRepoVolumeSource,
        6 secret: SecretVolumeSource, 7 nfs: NFSVolumeSource, 8 iscsi: ISCSIVolumeSource,
        9 glusterfs: GlusterfsVolumeSource, 10 persistentVolumeClaim: PersistentVolumeClaimVolumeSource,
        11 rbd: RBDVolumeSource, 12 flexVolume: FlexVolumeSource, 13 cinder: CinderVolumeSource,
        14 cephfs: CephFSVolumeSource, 15 flocker: FlockerVolumeSource,
        16 downwardAPI: DownwardAPIVolumeSource, 17 fc: FCVolumeSource, 18 azureFile: AzureFileVolumeSource,
        19 configMap: ConfigMapVolumeSource, 20 vsphereVolume: VsphereVirtualDiskVolumeSource,
        21 quobyte: QuobyteVolumeSource, 22 azureDisk: AzureDiskVolumeSource,
        23 photonPersistentDisk: PhotonPersistentDiskVolumeSource, 24 portworxVolume: PortworxVolumeSource,
        25 scaleIO: ScaleIOVolumeSource, 26 projected: ProjectedVolumeSource,
        27 storageos: StorageOSVolumeSource, 28 csi: CSIVolumeSource, 29 ephemeral: EphemeralVolumeSource,
        30 image: ImageVolumeSource,
    }
    VsphereVirtualDiskVolumeSource {
        1 volumePath: string, 2 fsType: string nonempty, 3 storagePolicyName: string nonempty,
        4 storagePolicyID: string nonempty,
    }
}
