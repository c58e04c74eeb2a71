//! Questions about tokens and users: the messages of `authentication.k8s.io/v1`.

use super::messages;
use super::meta::ObjectMeta;

messages! {
    package "io.k8s.api.authentication.v1";

    BoundObjectReference {
        1 kind: string nonempty, 2 apiVersion: string nonempty, 3 name: string nonempty,
        4 uid: string nonempty,
    }
    SelfSubjectReview { 1 metadata: ObjectMeta nonempty, 2 status: SelfSubjectReviewStatus nonempty }
    SelfSubjectReviewStatus { 1 userInfo: UserInfo nonempty }
    TokenRequest {
        1 metadata: ObjectMeta nonempty, 2 spec: TokenRequestSpec, 3 status: TokenRequestStatus nonempty,
    }
    TokenRequestSpec {
        1 audiences: [string], 3 boundObjectRef: BoundObjectReference, 4 expirationSeconds: int,
        5 attestations: {Strings},
    }
    TokenRequestStatus { 1 token: string, 2 expirationTimestamp: Time }
    TokenReview {
        1 metadata: ObjectMeta nonempty, 2 spec: TokenReviewSpec, 3 status: TokenReviewStatus nonempty,
    }
    TokenReviewSpec { 1 token: string nonempty, 2 audiences: [string] }
    TokenReviewStatus {
        1 authenticated: bool nonempty, 2 user: UserInfo nonempty, 3 error: string nonempty,
        4 audiences: [string],
    }
    UserInfo { 1 username: string nonempty, 2 uid: string nonempty, 3 groups: [string], 4 extra: {Strings} }
}
