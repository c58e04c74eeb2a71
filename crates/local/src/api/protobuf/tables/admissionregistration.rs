//! Webhooks and admission policies: the messages of `admissionregistration.k8s.io/v1`.

use super::messages;
use super::meta::{Condition, LabelSelector, ObjectMeta};

messages! {
    package "io.k8s.api.admissionregistration.v1";

    AuditAnnotation { 1 key: string, 2 valueExpression: string }
    ExpressionWarning { 2 fieldRef: string, 3 warning: string }
    MatchCondition { 1 name: string, 2 expression: string }
    MatchResources {
        1 namespaceSelector: LabelSelector, 2 objectSelector: LabelSelector,
        3 resourceRules: [NamedRuleWithOperations], 4 excludeResourceRules: [NamedRuleWithOperations],
        7 matchPolicy: string,
    }
    MutatingWebhook {
        1 name: string, 2 clientConfig: WebhookClientConfig, 3 rules: [RuleWithOperations],
        4 failurePolicy: string, 5 namespaceSelector: LabelSelector, 6 sideEffects: string,
        7 timeoutSeconds: int, 8 admissionReviewVersions: [string], 9 matchPolicy: string,
        10 reinvocationPolicy: string, 11 objectSelector: LabelSelector,
        12 matchConditions: [MatchCondition],
    }
    MutatingWebhookConfiguration { 1 metadata: ObjectMeta nonempty, 2 webhooks: [MutatingWebhook] }
    NamedRuleWithOperations { 1 resourceNames: [string], 2 ruleWithOperations: RuleWithOperations inline }
    ParamKind { 1 apiVersion: string nonempty, 2 kind: string nonempty }
    ParamRef {
        1 name: string nonempty, 2 namespace: string nonempty, 3 selector: LabelSelector,
        4 parameterNotFoundAction: string,
    }
    Rule { 1 apiGroups: [string], 2 apiVersions: [string], 3 resources: [string], 4 scope: string }
    RuleWithOperations { 1 operations: [string], 2 rule: Rule inline }
    ServiceReference { 1 namespace: string, 2 name: string, 3 path: string, 4 port: int }
    TypeChecking { 1 expressionWarnings: [ExpressionWarning] }
    ValidatingAdmissionPolicy {
        1 metadata: ObjectMeta nonempty, 2 spec: ValidatingAdmissionPolicySpec nonempty,
        3 status: ValidatingAdmissionPolicyStatus nonempty,
    }
    ValidatingAdmissionPolicyBinding {
        1 metadata: ObjectMeta nonempty, 2 spec: ValidatingAdmissionPolicyBindingSpec nonempty,
    }
    ValidatingAdmissionPolicyBindingSpec {
        1 policyName: string nonempty, 2 paramRef: ParamRef, 3 matchResources: MatchResources,
        4 validationActions: [string],
    }
    ValidatingAdmissionPolicySpec {
        1 paramKind: ParamKind, 2 matchConstraints: MatchResources, 3 validations: [Validation],
        4 failurePolicy: string, 5 auditAnnotations: [AuditAnnotation], 6 matchConditions: [MatchCondition],
        7 variables: [Variable],
    }
    ValidatingAdmissionPolicyStatus {
        1 observedGeneration: int nonempty, 2 typeChecking: TypeChecking, 3 conditions: [Condition],
    }
    ValidatingWebhook {
        1 name: string, 2 clientConfig: WebhookClientConfig, 3 rules: [RuleWithOperations],
        4 failurePolicy: string, 5 namespaceSelector: LabelSelector, 6 sideEffects: string,
        7 timeoutSeconds: int, 8 admissionReviewVersions: [string], 9 matchPolicy: string,
        10 objectSelector: LabelSelector, 11 matchConditions: [MatchCondition],
    }
    ValidatingWebhookConfiguration { 1 metadata: ObjectMeta nonempty, 2 webhooks: [ValidatingWebhook] }
    Validation {
        1 expression: string, 2 message: string nonempty, 3 reason: string,
        4 messageExpression: string nonempty,
    }
    Variable { 1 name: string, 2 expression: string }
    WebhookClientConfig { 1 service: ServiceReference, 2 caBundle: bytes, 3 url: string }
}
