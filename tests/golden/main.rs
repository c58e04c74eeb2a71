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
use std::sync::Arc;

use resources::{Key, Kind, yaml};
use similar::TextDiff;
use snapshot::{Origin, Snapshot};
use tests::text_of;
use translate::explain::Denied;
use translate::{Mesh, MeshSettings, Node, Scope, analyze, explain};

use calls::{Calls, outcome_text, security_text};

const WITHOUT_MUTUAL_TLS: &str = "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: DISABLE}}
";

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
    if !calls.mutual_tls {
        found.extend(yaml::read(WITHOUT_MUTUAL_TLS).resources);
    }
    let settings =
        MeshSettings::read(&calls.mesh).unwrap_or_else(|error| panic!("{name}/calls.yaml: mesh: {error}"));
    let mesh = Mesh::of(found).with_settings(Arc::new(settings));
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
    let input = std::fs::read_to_string(case.join("input.yaml")).unwrap_or_default();
    failures += &check_denials(&name, &snapshot, &calls, &input);
    failures += &check_questions(&name, &snapshot, &calls, &input);
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
        if call.security.is_some() && call.security.as_deref() != security_text(&outcome) {
            writeln!(
                failures,
                "{case}: {}\n  is secured as {:?}",
                call.call,
                security_text(&outcome)
            )
            .unwrap();
        }
    }
    failures
}

/// Who refuses a call is told by object and line.
fn check_denials(case: &str, snapshot: &Snapshot, calls: &Calls, input: &str) -> Failures {
    let mut failures = String::new();
    for call in calls.calls.iter().filter(|call| call.denied_by.is_some()) {
        let outcome = explain(snapshot, &call.to_call()).expect("a sidecar listens in both directions");
        let denied = outcome.denied.as_ref().map(|denied| denial_text(denied, input));
        if denied != call.denied_by {
            writeln!(failures, "{case}: {}\n  was denied by {denied:?}", call.call).unwrap();
        }
    }
    failures
}

/// Who else decides about a call, and because of which line.
fn check_questions(case: &str, snapshot: &Snapshot, calls: &Calls, input: &str) -> Failures {
    let mut failures = String::new();
    for call in &calls.calls {
        let outcome = explain(snapshot, &call.to_call()).expect("a sidecar listens in both directions");
        let asked = outcome.asked.iter().map(|asked| {
            let origin = asked.origin.as_ref();
            let origin = origin.map_or_else(|| "everything".into(), |origin| origin_text(origin, input));
            format!("{} for {origin}", asked.cluster)
        });
        let asked: Vec<_> = asked.collect();
        if asked != call.asks {
            writeln!(failures, "{case}: {}\n  asks {asked:?}", call.call).unwrap();
        }
    }
    failures
}

fn denial_text(denied: &Denied, input: &str) -> String {
    let origin = denied.origin.as_ref();
    origin.map_or_else(|| "none".into(), |origin| origin_text(origin, input))
}

fn origin_text(origin: &Origin, input: &str) -> String {
    let steps: Vec<_> = origin.resource.split('/').collect();
    let [.., namespace, _, name] = steps[..] else {
        panic!("{origin:?}")
    };
    let key = Key::new(Kind::AuthorizationPolicy, namespace, name);
    let line = yaml::line_of(input, &key, &origin.field).unwrap_or_default();
    format!("{namespace}/{name}:{line}")
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
