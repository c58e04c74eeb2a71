//! Questions about rights: the messages of `authorization.k8s.io/v1`.

use super::messages;
use super::meta::{FieldSelectorRequirement, LabelSelectorRequirement, ObjectMeta};

messages! {
    package "io.k8s.api.authorization.v1";

    FieldSelectorAttributes { 1 rawSelector: string nonempty, 2 requirements: [FieldSelectorRequirement] }
    LabelSelectorAttributes { 1 rawSelector: string nonempty, 2 requirements: [LabelSelectorRequirement] }
    LocalSubjectAccessReview {
        1 metadata: ObjectMeta nonempty, 2 spec: SubjectAccessReviewSpec,
        3 status: SubjectAccessReviewStatus nonempty,
    }
    NonResourceAttributes { 1 path: string nonempty, 2 verb: string nonempty }
    NonResourceRule { 1 verbs: [string], 2 nonResourceURLs: [string] }
    ResourceAttributes {
        1 namespace: string nonempty, 2 verb: string nonempty, 3 group: string nonempty,
        4 version: string nonempty, 5 resource: string nonempty, 6 subresource: string nonempty,
        7 name: string nonempty, 8 fieldSelector: FieldSelectorAttributes,
        9 labelSelector: LabelSelectorAttributes,
    }
    ResourceRule {
        1 verbs: [string], 2 apiGroups: [string], 3 resources: [string], 4 resourceNames: [string],
    }
    SelfSubjectAccessReview {
        1 metadata: ObjectMeta nonempty, 2 spec: SelfSubjectAccessReviewSpec,
        3 status: SubjectAccessReviewStatus nonempty,
    }
    SelfSubjectAccessReviewSpec {
        1 resourceAttributes: ResourceAttributes, 2 nonResourceAttributes: NonResourceAttributes,
    }
    SelfSubjectRulesReview {
        1 metadata: ObjectMeta nonempty, 2 spec: SelfSubjectRulesReviewSpec,
        3 status: SubjectRulesReviewStatus nonempty,
    }
    SelfSubjectRulesReviewSpec { 1 namespace: string nonempty }
    SubjectAccessReview {
        1 metadata: ObjectMeta nonempty, 2 spec: SubjectAccessReviewSpec,
        3 status: SubjectAccessReviewStatus nonempty,
    }
    SubjectAccessReviewSpec {
        1 resourceAttributes: ResourceAttributes, 2 nonResourceAttributes: NonResourceAttributes,
        3 user: string nonempty, 4 groups: [string], 5 extra: {Strings}, 6 uid: string nonempty,
    }
    SubjectAccessReviewStatus {
        1 allowed: bool, 2 reason: string nonempty, 3 evaluationError: string nonempty,
        4 denied: bool nonempty,
    }
    SubjectRulesReviewStatus {
        1 resourceRules: [ResourceRule], 2 nonResourceRules: [NonResourceRule], 3 incomplete: bool,
        4 evaluationError: string nonempty,
    }
}
