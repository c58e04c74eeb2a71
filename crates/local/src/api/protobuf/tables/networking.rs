//! Ingresses and network policies: the messages of `networking.k8s.io/v1`.

use super::core::TypedLocalObjectReference;
use super::messages;
use super::meta::{LabelSelector, ObjectMeta};

messages! {
    package "io.k8s.api.networking.v1";

    HTTPIngressPath { 1 path: string nonempty, 2 backend: IngressBackend, 3 pathType: string }
    HTTPIngressRuleValue { 1 paths: [HTTPIngressPath] }
    IPBlock { 1 cidr: string, 2 except: [string] }
    Ingress {
        1 metadata: ObjectMeta nonempty, 2 spec: IngressSpec nonempty, 3 status: IngressStatus nonempty,
    }
    IngressBackend { 3 resource: TypedLocalObjectReference, 4 service: IngressServiceBackend }
    IngressClass { 1 metadata: ObjectMeta nonempty, 2 spec: IngressClassSpec nonempty }
    IngressClassParametersReference {
        1 apiGroup: string, 2 kind: string, 3 name: string, 4 scope: string, 5 namespace: string,
    }
    IngressClassSpec { 1 controller: string nonempty, 2 parameters: IngressClassParametersReference }
    IngressLoadBalancerIngress {
        1 ip: string nonempty, 2 hostname: string nonempty, 4 ports: [IngressPortStatus],
    }
    IngressLoadBalancerStatus { 1 ingress: [IngressLoadBalancerIngress] }
    IngressPortStatus { 1 port: int, 2 protocol: string, 3 error: string }
    IngressRule { 1 host: string nonempty, 2 ingressRuleValue: IngressRuleValue inline }
    IngressRuleValue { 1 http: HTTPIngressRuleValue }
    IngressServiceBackend { 1 name: string, 2 port: ServiceBackendPort nonempty }
    IngressSpec {
        1 defaultBackend: IngressBackend, 2 tls: [IngressTLS], 3 rules: [IngressRule],
        4 ingressClassName: string,
    }
    IngressStatus { 1 loadBalancer: IngressLoadBalancerStatus nonempty }
    IngressTLS { 1 hosts: [string], 2 secretName: string nonempty }
    NetworkPolicy { 1 metadata: ObjectMeta nonempty, 2 spec: NetworkPolicySpec nonempty }
    NetworkPolicyEgressRule { 1 ports: [NetworkPolicyPort], 2 to: [NetworkPolicyPeer] }
    NetworkPolicyIngressRule { 1 ports: [NetworkPolicyPort], 2 from: [NetworkPolicyPeer] }
    NetworkPolicyPeer {
        1 podSelector: LabelSelector, 2 namespaceSelector: LabelSelector, 3 ipBlock: IPBlock,
    }
    NetworkPolicyPort { 1 protocol: string, 2 port: IntOrString, 3 endPort: int }
    NetworkPolicySpec {
        1 podSelector: LabelSelector, 2 ingress: [NetworkPolicyIngressRule],
        3 egress: [NetworkPolicyEgressRule], 4 policyTypes: [string],
    }
    ServiceBackendPort { 1 name: string nonempty, 2 number: int nonempty }
}
