//! Leases: the messages of `coordination.k8s.io/v1`.

use super::messages;
use super::meta::ObjectMeta;

messages! {
    package "io.k8s.api.coordination.v1";

    Lease { 1 metadata: ObjectMeta nonempty, 2 spec: LeaseSpec nonempty }
    LeaseSpec {
        1 holderIdentity: string, 2 leaseDurationSeconds: int, 3 acquireTime: MicroTime,
        4 renewTime: MicroTime, 5 leaseTransitions: int, 6 strategy: string, 7 preferredHolder: string,
    }
}
