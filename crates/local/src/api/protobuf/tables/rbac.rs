//! Roles and their bindings: the messages of `rbac.authorization.k8s.io/v1`.

use super::messages;
use super::meta::{LabelSelector, ObjectMeta};

messages! {
    package "io.k8s.api.rbac.v1";

    AggregationRule { 1 clusterRoleSelectors: [LabelSelector] }
    ClusterRole {
        1 metadata: ObjectMeta nonempty, 2 rules: [PolicyRule], 3 aggregationRule: AggregationRule,
    }
    ClusterRoleBinding { 1 metadata: ObjectMeta nonempty, 2 subjects: [Subject], 3 roleRef: RoleRef }
    PolicyRule {
        1 verbs: [string], 2 apiGroups: [string], 3 resources: [string], 4 resourceNames: [string],
        5 nonResourceURLs: [string],
    }
    Role { 1 metadata: ObjectMeta nonempty, 2 rules: [PolicyRule] }
    RoleBinding { 1 metadata: ObjectMeta nonempty, 2 subjects: [Subject], 3 roleRef: RoleRef }
    RoleRef { 1 apiGroup: string, 2 kind: string, 3 name: string }
    Subject { 1 kind: string, 2 apiGroup: string nonempty, 3 name: string, 4 namespace: string nonempty }
}
