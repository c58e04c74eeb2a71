//! What becomes of whole policies; the structure of a rule is seen in the goldens.

use resources::{Level, Resource, yaml};
use serde_json::{Value, json};

use super::*;
use crate::{Mesh, MeshSettings, Node};

/// The scope of a pod of `shop`.
fn scope(policies: &str, settings: Value) -> Arc<Scope> {
    let read = yaml::read(policies);
    let errors = read
        .problems
        .iter()
        .filter(|problem| problem.level() == Level::Error);
    assert_eq!(errors.count(), 0, "{:?}", read.problems);
    let Value::Object(settings) = settings else {
        panic!("an object")
    };
    scope_in(read.resources, MeshSettings::read(&settings).unwrap())
}

/// The same, whatever admission would have said: there are clusters without our webhook.
fn scope_of_any(policies: &str) -> Arc<Scope> {
    scope_in(yaml::read(policies).resources, MeshSettings::default())
}

fn scope_in(resources: Vec<Resource>, settings: MeshSettings) -> Arc<Scope> {
    let node = Node {
        namespace: "shop".into(),
        pod_name: "web".into(),
        ..Node::default()
    };
    Scope::of(&Mesh::of(resources).with_settings(Arc::new(settings)), &node)
}

fn policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {spec}\n"
    )
}

/// The same policy, tried out.
fn tried(policy: &str) -> String {
    policy.replace(
        "namespace: shop}",
        "namespace: shop, annotations: {istio.io/dry-run: \"true\"}}",
    )
}

fn names(rules: Option<&Rules>) -> Vec<&str> {
    let rules = rules.into_iter().flat_map(|rules| rules.policies.keys());
    rules.map(String::as_str).collect()
}

#[test]
fn actions_have_a_filter_each_and_audits_come_first() {
    let policies = [
        policy("c", "{rules: [{}]}"),
        policy("b", "{action: DENY, rules: [{}, {}]}"),
        policy("a", "{action: AUDIT, rules: [{}]}"),
    ]
    .concat();
    let filters = filters(&scope(&policies, json!({})), Of::Requests);
    let actions: Vec<_> = filters
        .iter()
        .map(|filter| filter.rules.as_ref().unwrap().action)
        .collect();
    assert_eq!(actions, [RuleAction::Log, RuleAction::Deny, RuleAction::Allow]);
    let denies = names(filters[1].rules.as_ref());
    assert_eq!(
        denies,
        ["ns[shop]-policy[b]-rule[0]", "ns[shop]-policy[b]-rule[1]"]
    );
}

#[test]
fn what_is_only_tried_out_leaves_no_rules_in_force() {
    let tried = tried(&policy("a", "{action: DENY, rules: [{}]}"));
    let filters = filters(&scope(&tried, json!({})), Of::Connections);
    let [filter] = filters.as_slice() else {
        panic!("{filters:?}")
    };
    assert_eq!(filter.rules, None);
    assert_eq!(filter.shadow_prefix, "istio_dry_run_deny_");
    assert_eq!(filter.stat_prefix, "tcp.");
}

#[test]
fn identities_of_aliases_count_as_the_meshs_own() {
    let policies = policy(
        "a",
        "{rules: [{from: [{source: {principals: [cluster.local/ns/a/sa/b]}}]}]}",
    );
    let settings = json!({"trustDomain": "new", "trustDomainAliases": ["old", "new"]});
    let filters = filters(&scope(&policies, settings), Of::Requests);
    let written = format!("{:?}", filters[0].rules);
    assert!(written.contains("spiffe://new/ns/a/sa/b") && written.contains("spiffe://old/ns/a/sa/b"));
    assert!(!written.contains("cluster.local"));
}

#[test]
fn somebody_else_is_asked_by_the_name_of_the_rule() {
    let ask = "{action: CUSTOM, provider: {name: opa}, rules: [{to: [{operation: {paths: [/a]}}]}]}";
    let scope = scope(&policy("a", ask), json!({}));
    let mut asked = custom(&scope, Of::Requests);
    let one = asked.remove(0);
    assert_eq!((one.provider.as_str(), asked.len()), ("opa", 0));
    let filter = one.clone().asked();
    assert_eq!(filter.rules, None);
    assert_eq!(
        names(filter.shadow.as_ref()),
        ["istio-ext-authz-opa-ns[shop]-policy[a]-rule[0]"]
    );
    assert_eq!(filter.shadow_prefix, SHADOW_CUSTOM);
    let refused = one.refused();
    let name = "istio-ext-authz-opa-ns[shop]-policy[a]-rule[0]-deny-due-to-bad-CUSTOM-action";
    assert_eq!(names(refused.rules.as_ref()), [name]);
    let rule = RuleReference::parse(name).unwrap();
    assert_eq!(
        (rule.namespace.as_str(), rule.policy.as_str(), rule.rule),
        ("shop", "a", 0)
    );
    // Nobody is known yet.
    assert_eq!(custom_for_requests(&scope).len(), 1);
}

#[test]
fn to_try_out_who_would_be_asked_asks_nobody_and_refuses_nothing() {
    let ask = |name: &str, provider: &str| {
        let spec = format!("{{action: CUSTOM, provider: {{name: {provider}}}, rules: [{{}}]}}");
        policy(name, &spec)
    };
    let alone = scope(&tried(&ask("a", "opa")), json!({}));
    for of in [Of::Requests, Of::Connections] {
        assert_eq!(custom(&alone, of), []);
    }
    assert_eq!(custom_for_requests(&alone), []);
    assert_eq!(custom_for_connections(&alone), []);
    // Nor does it take part in what others decide.
    let beside = [
        ask("b", "opa"),
        tried(&ask("a", "opa")),
        tried(&ask("c", "other")),
    ]
    .concat();
    let asked = custom(&scope(&beside, json!({})), Of::Requests);
    let [one] = asked.as_slice() else {
        panic!("{asked:?}")
    };
    assert_eq!(
        names(Some(&one.rules)),
        ["istio-ext-authz-opa-ns[shop]-policy[b]-rule[0]"]
    );
}

#[test]
fn a_condition_on_what_nobody_knows_is_left_out_unless_the_rule_allows() {
    let with = |action: &str, more: &str| {
        let when = "when: [{key: request.time, values: [noon]}, {key: destination.port, values: ['80']}]";
        let spec = format!("{{action: {action}, {more}rules: [{{{when}}}]}}");
        let scope = scope_of_any(&policy("a", &spec));
        match action {
            "CUSTOM" => custom(&scope, Of::Requests).remove(0).rules,
            _ => filters(&scope, Of::Requests).remove(0).rules.unwrap(),
        }
    };
    for (action, more) in [("DENY", ""), ("CUSTOM", "provider: {name: opa}, "), ("AUDIT", "")] {
        let rules = with(action, more);
        let written: Vec<_> = rules.policies.values().collect();
        let [policy] = written.as_slice() else {
            panic!("{action}: {rules:?}")
        };
        // What is left of it still counts.
        assert!(format!("{policy:?}").contains("Port(80)"), "{action}: {policy:?}");
    }
    assert_eq!(with("ALLOW", "").policies.len(), 0, "nobody is let in");
}

#[test]
fn a_template_that_no_proxy_can_read_is_left_out_as_well() {
    let with = |action: &str, path: &str| {
        let to = format!("to: [{{operation: {{paths: ['{path}'], ports: ['80']}}}}]");
        let spec = format!("{{action: {action}, rules: [{{{to}}}]}}");
        let scope = scope_of_any(&policy("a", &spec));
        filters(&scope, Of::Requests).remove(0).rules.unwrap().policies
    };
    assert!(format!("{:?}", with("DENY", "/api/{*}/items")).contains("PathTemplate"));
    for path in ["api/{*}/items", "{**}", "/a*b/{*}"] {
        let denied = format!("{:?}", with("DENY", path));
        assert!(
            !denied.contains("PathTemplate") && denied.contains("Port(80)"),
            "{denied}"
        );
        assert_eq!(with("ALLOW", path).len(), 0, "nobody is let in");
        let beside = format!("/admin\", \"{path}");
        let denied = format!("{:?}", with("DENY", &beside));
        assert!(
            !denied.contains("admin") && denied.contains("Port(80)"),
            "{denied}"
        );
    }
}

#[test]
fn a_change_of_a_policy_is_a_change_of_the_scope_and_one_for_others_is_not() {
    let with = |policies: &str| scope(policies, json!({})).hash();
    let nothing = with("");
    assert_ne!(with(&policy("a", "{}")), nothing);
    let for_others = policy("a", "{selector: {matchLabels: {app: other}}}");
    assert_eq!(with(&for_others), nothing);
}
