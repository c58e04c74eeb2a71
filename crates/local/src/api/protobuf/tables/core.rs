//! The core group, without pods and volumes: the messages of `v1`.

use super::messages;
use super::meta::{Condition, ObjectMeta};
use super::pod::PodTemplateSpec;

messages! {
    package "io.k8s.api.core.v1";

    AttachedVolume { 1 name: string, 2 devicePath: string }
    Binding { 1 metadata: ObjectMeta nonempty, 2 target: ObjectReference }
    ClientIPConfig { 1 timeoutSeconds: int }
    ConfigMap {
        1 metadata: ObjectMeta nonempty, 2 data: {string}, 3 binaryData: {bytes}, 4 immutable: bool,
    }
    ConfigMapNodeConfigSource {
        1 namespace: string, 2 name: string, 3 uid: string nonempty, 4 resourceVersion: string nonempty,
        5 kubeletConfigKey: string,
    }
    ContainerImage { 1 names: [string], 2 sizeBytes: int nonempty }
    DaemonEndpoint { 1 Port: int }
    EndpointAddress {
        1 ip: string, 2 targetRef: ObjectReference, 3 hostname: string nonempty, 4 nodeName: string,
    }
    EndpointPort {
        1 name: string nonempty, 2 port: int, 3 protocol: string nonempty, 4 appProtocol: string,
    }
    EndpointSubset {
        1 addresses: [EndpointAddress], 2 notReadyAddresses: [EndpointAddress], 3 ports: [EndpointPort],
    }
    Endpoints { 1 metadata: ObjectMeta nonempty, 2 subsets: [EndpointSubset] }
    Event {
        1 metadata: ObjectMeta, 2 involvedObject: ObjectReference, 3 reason: string nonempty,
        4 message: string nonempty, 5 source: EventSource nonempty, 6 firstTimestamp: Time nonempty,
        7 lastTimestamp: Time nonempty, 8 count: int nonempty, 9 type: string nonempty,
        10 eventTime: MicroTime nonempty, 11 series: EventSeries, 12 action: string nonempty,
        13 related: ObjectReference, 14 reportingComponent: string, 15 reportingInstance: string,
    }
    EventSeries { 1 count: int nonempty, 2 lastObservedTime: MicroTime nonempty }
    EventSource { 1 component: string nonempty, 2 host: string nonempty }
    KeyToPath { 1 key: string, 2 path: string, 3 mode: int, 4 user: int }
    LimitRange { 1 metadata: ObjectMeta nonempty, 2 spec: LimitRangeSpec nonempty }
    LimitRangeItem {
        1 type: string, 2 max: {Quantity}, 3 min: {Quantity}, 4 default: {Quantity},
        5 defaultRequest: {Quantity}, 6 maxLimitRequestRatio: {Quantity},
    }
    LimitRangeSpec { 1 limits: [LimitRangeItem] }
    LoadBalancerIngress {
        1 ip: string nonempty, 2 hostname: string nonempty, 3 ipMode: string, 4 ports: [PortStatus],
    }
    LoadBalancerStatus { 1 ingress: [LoadBalancerIngress] }
    LocalObjectReference { 1 name: string nonempty }
    Namespace {
        1 metadata: ObjectMeta nonempty, 2 spec: NamespaceSpec nonempty, 3 status: NamespaceStatus nonempty,
    }
    NamespaceCondition {
        1 type: string, 2 status: string, 4 lastTransitionTime: Time nonempty, 5 reason: string nonempty,
        6 message: string nonempty,
    }
    NamespaceSpec { 1 finalizers: [string] }
    NamespaceStatus { 1 phase: string nonempty, 2 conditions: [NamespaceCondition] }
    Node { 1 metadata: ObjectMeta nonempty, 2 spec: NodeSpec nonempty, 3 status: NodeStatus nonempty }
    NodeAddress { 1 type: string, 2 address: string }
    NodeCondition {
        1 type: string, 2 status: string, 3 lastHeartbeatTime: Time nonempty,
        4 lastTransitionTime: Time nonempty, 5 reason: string nonempty, 6 message: string nonempty,
    }
    NodeConfigSource { 2 configMap: ConfigMapNodeConfigSource }
    NodeConfigStatus {
        1 assigned: NodeConfigSource, 2 active: NodeConfigSource, 3 lastKnownGood: NodeConfigSource,
        4 error: string nonempty,
    }
    NodeDaemonEndpoints { 1 kubeletEndpoint: DaemonEndpoint nonempty }
    NodeFeatures { 1 supplementalGroupsPolicy: bool }
    NodePodPreemptionPolicy { 1 disableResizePreemption: [string] }
    NodeRuntimeHandler { 1 name: string, 2 features: NodeRuntimeHandlerFeatures }
    NodeRuntimeHandlerFeatures { 1 recursiveReadOnlyMounts: bool, 2 userNamespaces: bool }
    NodeSpec {
        1 podCIDR: string nonempty, 2 externalID: string nonempty, 3 providerID: string nonempty,
        4 unschedulable: bool nonempty, 5 taints: [Taint], 6 configSource: NodeConfigSource,
        7 podCIDRs: [string], 8 podPreemptionPolicy: NodePodPreemptionPolicy,
    }
    NodeStatus {
        1 capacity: {Quantity}, 2 allocatable: {Quantity}, 3 phase: string nonempty,
        4 conditions: [NodeCondition], 5 addresses: [NodeAddress],
        6 daemonEndpoints: NodeDaemonEndpoints nonempty, 7 nodeInfo: NodeSystemInfo nonempty,
        8 images: [ContainerImage], 9 volumesInUse: [string], 10 volumesAttached: [AttachedVolume],
        11 config: NodeConfigStatus, 12 runtimeHandlers: [NodeRuntimeHandler], 13 features: NodeFeatures,
        14 declaredFeatures: [string],
    }
    NodeSwapStatus { 1 capacity: int }
    NodeSystemInfo {
        1 machineID: string, 2 systemUUID: string, 3 bootID: string, 4 kernelVersion: string,
        5 osImage: string, 6 containerRuntimeVersion: string, 7 kubeletVersion: string,
        8 kubeProxyVersion: string, 9 operatingSystem: string, 10 architecture: string,
        11 swap: NodeSwapStatus, 12 runningInUserNamespace: bool,
    }
    ObjectReference {
        1 kind: string nonempty, 2 namespace: string nonempty, 3 name: string nonempty,
        4 uid: string nonempty, 5 apiVersion: string nonempty, 6 resourceVersion: string nonempty,
        7 fieldPath: string nonempty,
    }
    PodTemplate { 1 metadata: ObjectMeta nonempty, 2 template: PodTemplateSpec nonempty }
    PortStatus { 1 port: int, 2 protocol: string, 3 error: string }
    ReplicationController {
        1 metadata: ObjectMeta nonempty, 2 spec: ReplicationControllerSpec nonempty,
        3 status: ReplicationControllerStatus nonempty,
    }
    ReplicationControllerCondition {
        1 type: string, 2 status: string, 3 lastTransitionTime: Time nonempty, 4 reason: string nonempty,
        5 message: string nonempty,
    }
    ReplicationControllerSpec {
        1 replicas: int, 2 selector: {string}, 3 template: PodTemplateSpec, 4 minReadySeconds: int nonempty,
    }
    ReplicationControllerStatus {
        1 replicas: int, 2 fullyLabeledReplicas: int nonempty, 3 observedGeneration: int nonempty,
        4 readyReplicas: int nonempty, 5 availableReplicas: int nonempty,
        6 conditions: [ReplicationControllerCondition],
    }
    ResourceQuota {
        1 metadata: ObjectMeta nonempty, 2 spec: ResourceQuotaSpec nonempty,
        3 status: ResourceQuotaStatus nonempty,
    }
    ResourceQuotaSpec { 1 hard: {Quantity}, 2 scopes: [string], 3 scopeSelector: ScopeSelector }
    ResourceQuotaStatus { 1 hard: {Quantity}, 2 used: {Quantity} }
    ScopeSelector { 1 matchExpressions: [ScopedResourceSelectorRequirement] }
    ScopedResourceSelectorRequirement { 1 scopeName: string, 2 operator: string, 3 values: [string] }
    Secret {
        1 metadata: ObjectMeta nonempty, 2 data: {bytes}, 3 type: string nonempty, 4 stringData: {string},
        5 immutable: bool,
    }
    SecretReference { 1 name: string nonempty, 2 namespace: string nonempty }
    Service {
        1 metadata: ObjectMeta nonempty, 2 spec: ServiceSpec nonempty, 3 status: ServiceStatus nonempty,
    }
    ServiceAccount {
        1 metadata: ObjectMeta nonempty, 2 secrets: [ObjectReference],
        3 imagePullSecrets: [LocalObjectReference], 4 automountServiceAccountToken: bool,
    }
    ServicePort {
        1 name: string nonempty, 2 protocol: string nonempty, 3 port: int,
        4 targetPort: IntOrString nonempty, 5 nodePort: int nonempty, 6 appProtocol: string,
    }
    ServiceSpec {
        1 ports: [ServicePort], 2 selector: {string}, 3 clusterIP: string nonempty, 4 type: string nonempty,
        5 externalIPs: [string], 7 sessionAffinity: string nonempty, 8 loadBalancerIP: string nonempty,
        9 loadBalancerSourceRanges: [string], 10 externalName: string nonempty,
        11 externalTrafficPolicy: string nonempty, 12 healthCheckNodePort: int nonempty,
        13 publishNotReadyAddresses: bool nonempty, 14 sessionAffinityConfig: SessionAffinityConfig,
        17 ipFamilyPolicy: string, 18 clusterIPs: [string], 19 ipFamilies: [string],
        20 allocateLoadBalancerNodePorts: bool, 21 loadBalancerClass: string,
        22 internalTrafficPolicy: string, 23 trafficDistribution: string,
    }
    ServiceStatus { 1 loadBalancer: LoadBalancerStatus nonempty, 2 conditions: [Condition] }
    SessionAffinityConfig { 1 clientIP: ClientIPConfig }
    Taint { 1 key: string, 2 value: string nonempty, 3 effect: string, 4 timeAdded: Time }
    TopologySelectorLabelRequirement { 1 key: string, 2 values: [string] }
    TopologySelectorTerm { 1 matchLabelExpressions: [TopologySelectorLabelRequirement] }
    TypedLocalObjectReference { 1 apiGroup: string, 2 kind: string, 3 name: string }
}
