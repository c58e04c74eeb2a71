//! Reading files as people write them: good, broken, hostile.

use std::path::Path;

use super::*;
use crate::Kind;

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop}\n";

#[test]
fn the_files_of_the_article_read_without_problems() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/article");
    let mut kinds = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let read = read(&std::fs::read_to_string(&path).unwrap());
        assert_eq!(read.problems, [], "{}", path.display());
        kinds.extend(read.resources.iter().map(Resource::kind));
    }
    kinds.sort();
    let expected = [
        Kind::Namespace,
        Kind::Service,
        Kind::VirtualService,
        Kind::VirtualService,
        Kind::VirtualService,
        Kind::DestinationRule,
        Kind::DestinationRule,
        Kind::DestinationRule,
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn a_broken_document_between_two_good_ones_costs_only_itself() {
    let text = format!("{SERVICE}---\nkind: [\nb: }}\n--- # next\n{SERVICE}");
    let read = read(&text);
    assert_eq!(read.resources.len(), 2);
    assert_eq!(read.problems.len(), 1);
    assert_eq!(read.problems[0].code, Code::UnreadableDocument);
    assert!(
        read.problems[0].line.is_some_and(|line| (5..=7).contains(&line)),
        "{:?}",
        read.problems
    );
}

#[test]
fn problems_carry_the_line_of_their_field() {
    let text = format!(
        "# comment\n{SERVICE}---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: b\nspec:\n  hosts:\n  - b\n  http:\n  - route:\n    - destination:\n        host: b\n      weight: -1\n    tyop: 1\n"
    );
    let lines: Vec<_> = read(&text)
        .problems
        .iter()
        .map(|problem| (problem.code, problem.line))
        .collect();
    assert_eq!(
        lines,
        [
            (Code::UnknownField, Some(18)),
            (Code::SchemaValidationError, Some(17))
        ]
    );
}

#[test]
fn lists_are_taken_apart_and_other_kinds_are_noted() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Node, metadata: {name: one}}\n- {apiVersion: apps/v1, kind: Deployment, metadata: {name: d}}\n";
    let read = read(text);
    assert_eq!(read.resources[0].key().to_string(), "Node one");
    assert_eq!(read.others, ["apps/v1/Deployment d"]);
    assert_eq!(read.problems, []);
}

#[test]
fn a_document_that_is_no_object_is_a_problem() {
    for text in ["just text", "- a\n- b\n", "kind: \n", "apiVersion: v1\n"] {
        assert_eq!(read(text).problems.len(), 1, "{text}");
    }
    assert_eq!(read("# nothing\n---\n---\n"), Read::default());
}

#[test]
fn an_alias_bomb_is_a_problem_and_not_a_way_to_fill_memory() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        text += &format!("a{level}: &a{level} [{}]\n", vec![alias; 9].join(", "));
    }
    let read = read(&text);
    assert_eq!(read.problems[0].code, Code::UnreadableDocument);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(super::read(&deep).problems[0].code, Code::UnreadableDocument);
}

#[test]
fn null_lists_are_empty_lists() {
    let slice = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s, labels: null}\nendpoints: null\nports: null\n";
    assert_eq!(read(slice).problems, []);
    let virtual_service = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: b}\nspec:\n  hosts: [b]\n  gateways:\n  http:\n  - match:\n    route: [{destination: {host: b}}]\n";
    assert_eq!(read(virtual_service).problems, []);
}

#[test]
fn objects_of_any_kind_come_with_their_lines() {
    let text = "kind: A\n---\n: broken: [\n---\nkind: List\nitems:\n- kind: B\n- kind: C\n";
    let read = objects(text);
    let found: Vec<_> = read
        .objects
        .iter()
        .map(|(line, object)| (*line, object["kind"].as_str().unwrap()))
        .collect();
    assert_eq!(found, [(1, "A"), (7, "B"), (8, "C")]);
    assert_eq!(read.problems.len(), 1);
    assert_eq!(read.problems[0].line, Some(3));
}

#[test]
fn every_input_of_the_corpus_is_still_harmless() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/yaml");
    let inputs: Vec<_> = std::fs::read_dir(folder).expect("a corpus").flatten().collect();
    assert!(!inputs.is_empty());
    for input in inputs {
        if let Ok(text) = String::from_utf8(std::fs::read(input.path()).expect("a file")) {
            super::read(&text);
            super::objects(&text);
        }
    }
}
