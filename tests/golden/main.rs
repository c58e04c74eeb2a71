//! Goldens: what users write → what a proxy is told, what becomes of calls, and what users are told.
//!
//! Each case is a folder `<feature>/<case>` with
//! - `input.yaml`: the resources of the case (optional when `calls.yaml` names other files);
//! - `calls.yaml`: which proxy asks, which other files belong to the mesh, and calls with what is expected of them:
//!   the intent, written by hand and never rewritten;
//! - `snapshot.yaml`: all that the proxy is told;
//! - `messages.txt`: all that users are told; absent when that is nothing.
//!
//! `AMIME_BLESS=1 cargo test -p tests --test golden` rewrites the last two; read the difference as the review.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test: it fails by panic and shows what it blessed"
)]

mod calls;

use std::fmt::Write as _;
use std::path::Path;

use resources::yaml;
use similar::TextDiff;
use snapshot::Snapshot;
use tests::text_of;
use translate::{Mesh, Node, Scope, analyze, explain};

use calls::{Calls, outcome_text};

/// A failed expectation, or a difference, as text.
type Failures = String;

#[test]
fn every_case_gives_what_was_blessed() {
    let root = tests::goldens();
    let bless = std::env::var_os("AMIME_BLESS").is_some_and(|value| value == "1");
    let failures: Failures = tests::cases()
        .iter()
        .map(|case| run(&root, case, bless))
        .collect();
    assert!(
        failures.is_empty(),
        "{failures}\nAMIME_BLESS=1 accepts snapshots and messages (not calls)"
    );
}

fn run(root: &Path, case: &Path, bless: bool) -> Failures {
    let name = case.strip_prefix(root).unwrap().display().to_string();
    let calls: Calls = serde_saphyr::from_str(&text_of(&case.join("calls.yaml")))
        .unwrap_or_else(|error| panic!("{name}/calls.yaml: {error}"));
    let repository = root.join("../..");
    let own = case.join("input.yaml");
    let files = calls
        .with
        .iter()
        .map(|file| repository.join(file))
        .chain(own.exists().then_some(own));
    let mut messages = String::new();
    let mut found = Vec::new();
    for file in files {
        let read = yaml::read(&text_of(&file));
        read.problems
            .iter()
            .for_each(|problem| writeln!(messages, "{problem}").unwrap());
        found.extend(read.resources);
    }
    let mesh = Mesh::of(found);
    analyze(&mesh)
        .iter()
        .for_each(|problem| writeln!(messages, "{problem}").unwrap());
    let (namespace, pod_name) = calls.from.split_once('/').expect("`from` is namespace/pod");
    let node = Node {
        namespace: namespace.into(),
        pod_name: pod_name.into(),
        ..Node::default()
    };
    let snapshot = translate::snapshot(&Scope::of(&mesh, &node));
    let written = serde_saphyr::to_string(&snapshot).unwrap();
    let read_back: Snapshot =
        serde_saphyr::from_str(&written).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(
        read_back == snapshot,
        "{name}: the snapshot changes when it is written and read"
    );

    let mut failures = check_calls(&name, &snapshot, &calls);
    failures += &compare(&name, &case.join("snapshot.yaml"), &written, bless);
    failures += &compare(&name, &case.join("messages.txt"), &messages, bless);
    failures
}

fn check_calls(case: &str, snapshot: &Snapshot, calls: &Calls) -> Failures {
    let mut failures = String::new();
    for call in &calls.calls {
        let outcome = explain(snapshot, &call.to_call()).expect("a sidecar listens in both directions");
        let text = outcome_text(&outcome);
        if text != call.expect {
            writeln!(
                failures,
                "{case}: {}\n  expected {}\n  but got  {text}",
                call.call, call.expect
            )
            .unwrap();
        }
        if call
            .route
            .as_ref()
            .is_some_and(|route| Some(route) != outcome.route.as_ref())
        {
            writeln!(
                failures,
                "{case}: {}\n  took route {:?}",
                call.call, outcome.route
            )
            .unwrap();
        }
        let limits: Vec<_> = outcome.limits.iter().map(|counted| &counted.limit).collect();
        if call
            .limits
            .as_ref()
            .is_some_and(|expected| !expected.iter().eq(limits.iter().copied()))
        {
            writeln!(failures, "{case}: {}\n  counts for {limits:?}", call.call).unwrap();
        }
        if call
            .listener
            .as_ref()
            .is_some_and(|listener| *listener != outcome.listener)
        {
            writeln!(
                failures,
                "{case}: {}\n  came by listener {}",
                call.call, outcome.listener
            )
            .unwrap();
        }
    }
    failures
}

/// An empty text is an absent file.
fn compare(case: &str, path: &Path, text: &str, bless: bool) -> Failures {
    let blessed = std::fs::read_to_string(path).unwrap_or_default();
    if blessed == text {
        return String::new();
    }
    let file = path.file_name().unwrap_or_default().display();
    let difference = TextDiff::from_lines(&blessed, text)
        .unified_diff()
        .context_radius(3)
        .to_string();
    if !bless {
        return format!("{case}/{file} differs:\n{difference}\n");
    }
    println!("{case}/{file}:\n{difference}");
    let written = if text.is_empty() {
        std::fs::remove_file(path)
    } else {
        std::fs::write(path, text)
    };
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    String::new()
}
