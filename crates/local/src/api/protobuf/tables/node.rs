//! Runtime classes: the messages of `node.k8s.io/v1`.

use super::messages;
use super::meta::ObjectMeta;
use super::pod::Toleration;

messages! {
    package "io.k8s.api.node.v1";

    Overhead { 1 podFixed: {Quantity} }
    RuntimeClass {
        1 metadata: ObjectMeta nonempty, 2 handler: string, 3 overhead: Overhead, 4 scheduling: Scheduling,
    }
    Scheduling { 1 nodeSelector: {string}, 2 tolerations: [Toleration] }
}
