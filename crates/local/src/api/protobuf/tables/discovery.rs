//! Endpoint slices: the messages of `discovery.k8s.io/v1`.

use super::core::ObjectReference;
use super::messages;
use super::meta::ObjectMeta;

messages! {
    package "io.k8s.api.discovery.v1";

    Endpoint {
        1 addresses: [string], 2 conditions: EndpointConditions nonempty, 3 hostname: string,
        4 targetRef: ObjectReference, 5 deprecatedTopology: {string}, 6 nodeName: string, 7 zone: string,
        8 hints: EndpointHints,
    }
    EndpointConditions { 1 ready: bool, 2 serving: bool, 3 terminating: bool }
    EndpointHints { 1 forZones: [ForZone], 2 forNodes: [ForNode] }
    EndpointPort { 1 name: string, 2 protocol: string, 3 port: int, 4 appProtocol: string }
    EndpointSlice {
        1 metadata: ObjectMeta nonempty, 2 endpoints: [Endpoint], 3 ports: [EndpointPort],
        4 addressType: string,
    }
    ForNode { 1 name: string }
    ForZone { 1 name: string }
}
