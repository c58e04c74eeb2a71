//! Certificate signing requests: the messages of `certificates.k8s.io/v1`.

use super::messages;
use super::meta::ObjectMeta;

messages! {
    package "io.k8s.api.certificates.v1";

    CertificateSigningRequest {
        1 metadata: ObjectMeta nonempty, 2 spec: CertificateSigningRequestSpec,
        3 status: CertificateSigningRequestStatus nonempty,
    }
    CertificateSigningRequestCondition {
        1 type: string, 2 reason: string nonempty, 3 message: string nonempty,
        4 lastUpdateTime: Time nonempty, 5 lastTransitionTime: Time nonempty, 6 status: string,
    }
    CertificateSigningRequestSpec {
        1 request: bytes, 2 username: string nonempty, 3 uid: string nonempty, 4 groups: [string],
        5 usages: [string], 6 extra: {Strings}, 7 signerName: string, 8 expirationSeconds: int,
    }
    CertificateSigningRequestStatus {
        1 conditions: [CertificateSigningRequestCondition], 2 certificate: bytes,
    }
}
