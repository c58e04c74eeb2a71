//! Pods, and the templates that workloads make them from: the messages of `v1`.

use super::core::LocalObjectReference;
use super::messages;
use super::meta::{LabelSelector, ObjectMeta};
use super::volumes::{Volume, VolumeHealthCondition};

messages! {
    package "io.k8s.api.core.v1";

    Affinity {
        1 nodeAffinity: NodeAffinity, 2 podAffinity: PodAffinity, 3 podAntiAffinity: PodAntiAffinity,
    }
    AppArmorProfile { 1 type: string, 2 localhostProfile: string }
    Capabilities { 1 add: [string], 2 drop: [string] }
    ConfigMapEnvSource { 1 localObjectReference: LocalObjectReference inline, 2 optional: bool }
    ConfigMapKeySelector {
        1 localObjectReference: LocalObjectReference inline, 2 key: string, 3 optional: bool,
    }
    Container {
        1 name: string, 2 image: string nonempty, 3 command: [string], 4 args: [string],
        5 workingDir: string nonempty, 6 ports: [ContainerPort], 7 env: [EnvVar],
        8 resources: ResourceRequirements nonempty, 9 volumeMounts: [VolumeMount], 10 livenessProbe: Probe,
        11 readinessProbe: Probe, 12 lifecycle: Lifecycle, 13 terminationMessagePath: string nonempty,
        14 imagePullPolicy: string nonempty, 15 securityContext: SecurityContext, 16 stdin: bool nonempty,
        17 stdinOnce: bool nonempty, 18 tty: bool nonempty, 19 envFrom: [EnvFromSource],
        20 terminationMessagePolicy: string nonempty, 21 volumeDevices: [VolumeDevice],
        22 startupProbe: Probe, 23 resizePolicy: [ContainerResizePolicy], 24 restartPolicy: string,
        25 restartPolicyRules: [ContainerRestartRule],
    }
    ContainerExtendedResourceRequest {
        1 containerName: string, 2 resourceName: string, 3 requestName: string,
    }
    ContainerPort {
        1 name: string nonempty, 2 hostPort: int nonempty, 3 containerPort: int,
        4 protocol: string nonempty, 5 hostIP: string nonempty,
    }
    ContainerResizePolicy { 1 resourceName: string, 2 restartPolicy: string }
    ContainerRestartRule { 1 action: string nonempty, 2 exitCodes: ContainerRestartRuleOnExitCodes }
    ContainerRestartRuleOnExitCodes { 1 operator: string nonempty, 2 values: [int] }
    ContainerState {
        1 waiting: ContainerStateWaiting, 2 running: ContainerStateRunning,
        3 terminated: ContainerStateTerminated,
    }
    ContainerStateRunning { 1 startedAt: Time nonempty }
    ContainerStateTerminated {
        1 exitCode: int, 2 signal: int nonempty, 3 reason: string nonempty, 4 message: string nonempty,
        5 startedAt: Time nonempty, 6 finishedAt: Time nonempty, 7 containerID: string nonempty,
    }
    ContainerStateWaiting { 1 reason: string nonempty, 2 message: string nonempty }
    ContainerStatus {
        1 name: string, 2 state: ContainerState nonempty, 3 lastState: ContainerState nonempty,
        4 ready: bool, 5 restartCount: int, 6 image: string, 7 imageID: string,
        8 containerID: string nonempty, 9 started: bool, 10 allocatedResources: {Quantity},
        11 resources: ResourceRequirements, 12 volumeMounts: [VolumeMountStatus], 13 user: ContainerUser,
        14 allocatedResourcesStatus: [ResourceStatus], 15 stopSignal: string,
    }
    ContainerUser { 1 linux: LinuxContainerUser }
    EnvFromSource {
        1 prefix: string nonempty, 2 configMapRef: ConfigMapEnvSource, 3 secretRef: SecretEnvSource,
    }
    EnvVar { 1 name: string, 2 value: string nonempty, 3 valueFrom: EnvVarSource }
    EnvVarSource {
        1 fieldRef: ObjectFieldSelector, 2 resourceFieldRef: ResourceFieldSelector,
        3 configMapKeyRef: ConfigMapKeySelector, 4 secretKeyRef: SecretKeySelector,
        5 fileKeyRef: FileKeySelector,
    }
    EphemeralContainer {
        1 ephemeralContainerCommon: EphemeralContainerCommon inline, 2 targetContainerName: string nonempty,
    }
    EphemeralContainerCommon {
        1 name: string, 2 image: string nonempty, 3 command: [string], 4 args: [string],
        5 workingDir: string nonempty, 6 ports: [ContainerPort], 7 env: [EnvVar],
        8 resources: ResourceRequirements nonempty, 9 volumeMounts: [VolumeMount], 10 livenessProbe: Probe,
        11 readinessProbe: Probe, 12 lifecycle: Lifecycle, 13 terminationMessagePath: string nonempty,
        14 imagePullPolicy: string nonempty, 15 securityContext: SecurityContext, 16 stdin: bool nonempty,
        17 stdinOnce: bool nonempty, 18 tty: bool nonempty, 19 envFrom: [EnvFromSource],
        20 terminationMessagePolicy: string nonempty, 21 volumeDevices: [VolumeDevice],
        22 startupProbe: Probe, 23 resizePolicy: [ContainerResizePolicy], 24 restartPolicy: string,
        25 restartPolicyRules: [ContainerRestartRule],
    }
    EvictionResponder { 1 name: string, 2 priority: int }
    ExecAction { 1 command: [string] }
    FileKeySelector { 1 volumeName: string, 2 path: string, 3 key: string, 4 optional: bool }
    GRPCAction { 1 port: int, 2 service: string, 3 mode: string }
    HTTPGetAction {
        1 path: string nonempty, 2 port: IntOrString, 3 host: string nonempty, 4 scheme: string nonempty,
        5 httpHeaders: [HTTPHeader], 6 protocol: string,
    }
    HTTPHeader { 1 name: string, 2 value: string }
    HostAlias { 1 ip: string, 2 hostnames: [string] }
    HostIP { 1 ip: string }
    ImageVolumeStatus { 1 imageRef: string nonempty }
    Lifecycle { 1 postStart: LifecycleHandler, 2 preStop: LifecycleHandler, 3 stopSignal: string }
    LifecycleHandler {
        1 exec: ExecAction, 2 httpGet: HTTPGetAction, 3 tcpSocket: TCPSocketAction, 4 sleep: SleepAction,
    }
    LinuxContainerUser { 1 uid: int, 2 gid: int, 3 supplementalGroups: [int] }
    NodeAffinity {
        1 requiredDuringSchedulingIgnoredDuringExecution: NodeSelector,
        2 preferredDuringSchedulingIgnoredDuringExecution: [PreferredSchedulingTerm],
    }
    NodeAllocatableMappedResources { 1 name: string, 2 quantity: Quantity }
    NodeAllocatableOverheadResources { 1 name: string, 2 perPod: Quantity, 3 perContainer: Quantity }
    NodeAllocatableResourceClaimStatus {
        1 resourceClaimName: string, 2 containers: [string], 4 mapping: [NodeAllocatableMappedResources],
        5 overhead: [NodeAllocatableOverheadResources],
    }
    NodeSelector { 1 nodeSelectorTerms: [NodeSelectorTerm] }
    NodeSelectorRequirement { 1 key: string, 2 operator: string, 3 values: [string] }
    NodeSelectorTerm {
        1 matchExpressions: [NodeSelectorRequirement], 2 matchFields: [NodeSelectorRequirement],
    }
    ObjectFieldSelector { 1 apiVersion: string nonempty, 2 fieldPath: string }
    Pod { 1 metadata: ObjectMeta nonempty, 2 spec: PodSpec nonempty, 3 status: PodStatus nonempty }
    PodAffinity {
        1 requiredDuringSchedulingIgnoredDuringExecution: [PodAffinityTerm],
        2 preferredDuringSchedulingIgnoredDuringExecution: [WeightedPodAffinityTerm],
    }
    PodAffinityTerm {
        1 labelSelector: LabelSelector, 2 namespaces: [string], 3 topologyKey: string,
        4 namespaceSelector: LabelSelector, 5 matchLabelKeys: [string], 6 mismatchLabelKeys: [string],
    }
    PodAntiAffinity {
        1 requiredDuringSchedulingIgnoredDuringExecution: [PodAffinityTerm],
        2 preferredDuringSchedulingIgnoredDuringExecution: [WeightedPodAffinityTerm],
    }
    PodCondition {
        1 type: string, 2 status: string, 3 lastProbeTime: Time nonempty,
        4 lastTransitionTime: Time nonempty, 5 reason: string nonempty, 6 message: string nonempty,
        7 observedGeneration: int nonempty,
    }
    PodDNSConfig { 1 nameservers: [string], 2 searches: [string], 3 options: [PodDNSConfigOption] }
    PodDNSConfigOption { 1 name: string nonempty, 2 value: string }
    PodExtendedResourceClaimStatus {
        1 requestMappings: [ContainerExtendedResourceRequest], 2 resourceClaimName: string,
    }
    PodIP { 1 ip: string }
    PodOS { 1 name: string }
    PodReadinessGate { 1 conditionType: string }
    PodResourceClaim { 1 name: string, 3 resourceClaimName: string, 4 resourceClaimTemplateName: string }
    PodResourceClaimStatus { 1 name: string, 2 resourceClaimName: string }
    PodSchedulingGate { 1 name: string }
    PodSchedulingGroup { 1 podGroupName: string }
    PodSecurityContext {
        1 seLinuxOptions: SELinuxOptions, 2 runAsUser: int, 3 runAsNonRoot: bool,
        4 supplementalGroups: [int], 5 fsGroup: int, 6 runAsGroup: int, 7 sysctls: [Sysctl],
        8 windowsOptions: WindowsSecurityContextOptions, 9 fsGroupChangePolicy: string,
        10 seccompProfile: SeccompProfile, 11 appArmorProfile: AppArmorProfile,
        12 supplementalGroupsPolicy: string, 13 seLinuxChangePolicy: string,
    }
    PodSpec {
        1 volumes: [Volume], 2 containers: [Container], 3 restartPolicy: string nonempty,
        4 terminationGracePeriodSeconds: int, 5 activeDeadlineSeconds: int, 6 dnsPolicy: string nonempty,
        7 nodeSelector: {string}, 8 serviceAccountName: string nonempty, 9 serviceAccount: string nonempty,
        10 nodeName: string nonempty, 11 hostNetwork: bool nonempty, 12 hostPID: bool nonempty,
        13 hostIPC: bool nonempty, 14 securityContext: PodSecurityContext,
        15 imagePullSecrets: [LocalObjectReference], 16 hostname: string nonempty,
        17 subdomain: string nonempty, 18 affinity: Affinity, 19 schedulerName: string nonempty,
        20 initContainers: [Container], 21 automountServiceAccountToken: bool, 22 tolerations: [Toleration],
        23 hostAliases: [HostAlias], 24 priorityClassName: string nonempty, 25 priority: int,
        26 dnsConfig: PodDNSConfig, 27 shareProcessNamespace: bool, 28 readinessGates: [PodReadinessGate],
        29 runtimeClassName: string, 30 enableServiceLinks: bool, 31 preemptionPolicy: string,
        32 overhead: {Quantity}, 33 topologySpreadConstraints: [TopologySpreadConstraint],
        34 ephemeralContainers: [EphemeralContainer], 35 setHostnameAsFQDN: bool, 36 os: PodOS,
        37 hostUsers: bool, 38 schedulingGates: [PodSchedulingGate], 39 resourceClaims: [PodResourceClaim],
        40 resources: ResourceRequirements, 41 hostnameOverride: string,
        43 schedulingGroup: PodSchedulingGroup, 44 evictionResponders: [EvictionResponder],
    }
    PodStatus {
        1 phase: string nonempty, 2 conditions: [PodCondition], 3 message: string nonempty,
        4 reason: string nonempty, 5 hostIP: string nonempty, 6 podIP: string nonempty, 7 startTime: Time,
        8 containerStatuses: [ContainerStatus], 9 qosClass: string nonempty,
        10 initContainerStatuses: [ContainerStatus], 11 nominatedNodeName: string nonempty,
        12 podIPs: [PodIP], 13 ephemeralContainerStatuses: [ContainerStatus], 14 resize: string nonempty,
        15 resourceClaimStatuses: [PodResourceClaimStatus], 16 hostIPs: [HostIP],
        17 observedGeneration: int nonempty, 18 extendedResourceClaimStatus: PodExtendedResourceClaimStatus,
        19 allocatedResources: {Quantity}, 20 resources: ResourceRequirements,
        21 nodeAllocatableResourceClaimStatuses: [NodeAllocatableResourceClaimStatus],
        22 volumeHealth: [PodVolumeHealth],
    }
    PodTemplateSpec { 1 metadata: ObjectMeta nonempty, 2 spec: PodSpec nonempty }
    PodVolumeHealth {
        1 name: string, 2 healthConditions: [VolumeHealthCondition], 3 lastTransitionTime: Time nonempty,
    }
    PreferredSchedulingTerm { 1 weight: int, 2 preference: NodeSelectorTerm }
    Probe {
        1 handler: ProbeHandler inline, 2 initialDelaySeconds: int nonempty, 3 timeoutSeconds: int nonempty,
        4 periodSeconds: int nonempty, 5 successThreshold: int nonempty, 6 failureThreshold: int nonempty,
        7 terminationGracePeriodSeconds: int,
    }
    ProbeHandler {
        1 exec: ExecAction, 2 httpGet: HTTPGetAction, 3 tcpSocket: TCPSocketAction, 4 grpc: GRPCAction,
    }
    ResourceClaim { 1 name: string, 2 request: string nonempty }
    ResourceFieldSelector {
        1 containerName: string nonempty, 2 resource: string, 3 divisor: Quantity nonempty,
    }
    ResourceHealth { 1 resourceID: string, 2 health: string nonempty, 6 message: string }
    ResourceRequirements { 1 limits: {Quantity}, 2 requests: {Quantity}, 3 claims: [ResourceClaim] }
    ResourceStatus { 1 name: string, 2 resources: [ResourceHealth] }
    SELinuxOptions {
        1 user: string nonempty, 2 role: string nonempty, 3 type: string nonempty, 4 level: string nonempty,
    }
    SeccompProfile { 1 type: string, 2 localhostProfile: string }
    SecretEnvSource { 1 localObjectReference: LocalObjectReference inline, 2 optional: bool }
    SecretKeySelector {
        1 localObjectReference: LocalObjectReference inline, 2 key: string, 3 optional: bool,
    }
    SecurityContext {
        1 capabilities: Capabilities, 2 privileged: bool, 3 seLinuxOptions: SELinuxOptions,
        4 runAsUser: int, 5 runAsNonRoot: bool, 6 readOnlyRootFilesystem: bool,
        7 allowPrivilegeEscalation: bool, 8 runAsGroup: int, 9 procMount: string,
        10 windowsOptions: WindowsSecurityContextOptions, 11 seccompProfile: SeccompProfile,
        12 appArmorProfile: AppArmorProfile,
    }
    SleepAction { 1 seconds: int }
    Sysctl { 1 name: string, 2 value: string }
    TCPSocketAction { 1 port: IntOrString, 2 host: string nonempty }
    Toleration {
        1 key: string nonempty, 2 operator: string nonempty, 3 value: string nonempty,
        4 effect: string nonempty, 5 tolerationSeconds: int,
    }
    TopologySpreadConstraint {
        1 maxSkew: int, 2 topologyKey: string, 3 whenUnsatisfiable: string, 4 labelSelector: LabelSelector,
        5 minDomains: int, 6 nodeAffinityPolicy: string, 7 nodeTaintsPolicy: string,
        8 matchLabelKeys: [string],
    }
    VolumeDevice { 1 name: string, 2 devicePath: string }
    VolumeMount {
        1 name: string, 2 readOnly: bool nonempty, 3 mountPath: string, 4 subPath: string nonempty,
        5 mountPropagation: string, 6 subPathExpr: string nonempty, 7 recursiveReadOnly: string,
        8 bindMountOptions: [string],
    }
    VolumeMountStatus {
        1 name: string, 2 mountPath: string, 3 readOnly: bool nonempty, 4 recursiveReadOnly: string,
        5 volumeStatus: VolumeStatus,
    }
    VolumeStatus { 1 image: ImageVolumeStatus }
    WeightedPodAffinityTerm { 1 weight: int, 2 podAffinityTerm: PodAffinityTerm }
    WindowsSecurityContextOptions {
        1 gmsaCredentialSpecName: string, 2 gmsaCredentialSpec: string, 3 runAsUserName: string,
        4 hostProcess: bool,
    }
}
