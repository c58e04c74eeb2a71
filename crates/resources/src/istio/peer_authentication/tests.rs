//! What the validation of a PeerAuthentication says, and where.

use super::Mode;
use crate::{Resource, yaml};

fn problems(spec: &str) -> Vec<String> {
    let text = format!(
        "apiVersion: security.istio.io/v1beta1\nkind: PeerAuthentication\nmetadata: {{name: a, namespace: shop}}\nspec: {spec}"
    );
    let read = yaml::read(&text);
    read.problems
        .iter()
        .map(|problem| format!("{}: {}", problem.field, problem.message))
        .collect()
}

#[test]
fn every_field_of_the_reference_is_known() {
    let found = problems(
        "{selector: {matchLabels: {app: b}}, mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: DISABLE}, 8081: {}}}",
    );
    assert_eq!(found, Vec::<String>::new());
    assert_eq!(problems("{}"), Vec::<String>::new());
}

#[test]
fn ports_need_a_selector_and_must_be_ports() {
    let without = "spec.portLevelMtls: mesh/namespace peer authentication cannot have port level mTLS";
    assert_eq!(problems("{portLevelMtls: {8080: {mode: DISABLE}}}"), [without]);
    assert_eq!(
        problems("{selector: {matchLabels: {a: b}}, portLevelMtls: {}}"),
        ["spec.portLevelMtls: port level mTLS, if defined, must have at least one element"]
    );
    assert_eq!(
        problems("{selector: {matchLabels: {a: b}}, portLevelMtls: {0: {}, 65536: {}, x: {}}}"),
        ["0", "65536", "x"]
            .map(|port| format!("spec.portLevelMtls[{port:?}]: port must be in range 1..65535"))
    );
}

#[test]
fn selectors_name_labels_whole() {
    assert_eq!(
        problems("{selector: {matchLabels: {}}}"),
        ["spec.selector: workload selector specified without labels"]
    );
    assert_eq!(
        problems("{selector: {matchLabels: {app: 'a*', '': b}}}"),
        [
            "spec.selector.matchLabels: empty key is not supported in selector: \"=b\"",
            "spec.selector.matchLabels: wildcard is not supported in selector: \"app=a*\"",
        ]
    );
}

#[test]
fn a_mode_that_nobody_knows_is_refused() {
    let found = problems("{mtls: {mode: MAYBE}}");
    assert!(
        found[0].starts_with("spec.mtls.mode: unknown variant `MAYBE`"),
        "{found:?}"
    );
}

#[test]
fn a_port_may_leave_its_mode_to_the_workload() {
    let text = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a, namespace: shop}\n\
        spec: {selector: {matchLabels: {a: b}}, portLevelMtls: {80: {mode: STRICT}, 90: {mode: UNSET}}}";
    let read = yaml::read(text);
    let [Resource::PeerAuthentication(object)] = &read.resources[..] else {
        panic!("{:?}", read.problems)
    };
    let ports: Vec<_> = object.spec.ports().collect();
    assert_eq!(ports, [(80, Mode::Strict), (90, Mode::Unset)]);
    assert_eq!(object.spec.mode(), None);
}
