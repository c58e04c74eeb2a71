//! The matrix of fields: every field of VirtualService, DestinationRule and RateLimit, from the schema that the API server
//! enforces, and whether it is supported (a case of the table of calls says so and names it) or reported when it is
//! used. `docs/reference/support.md` must be what comes out; `cargo xtask bless support` rewrites it.
//!
//! That a case really depends on the field is shown by `cargo xtask test support`, which deletes it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test: it fails by panic and shows what it blessed"
)]

mod fields;
mod reported;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tests::text_of;

use fields::Field;
use reported::Told;

/// What this needs of a case; the suite `compat` reads the rest.
#[derive(Deserialize)]
struct Case {
    name: String,
    #[serde(default)]
    covers: Vec<String>,
}

const HEAD: &str = "# Which fields are supported

Every field of VirtualService, DestinationRule and RateLimit, as the schemas have them. *Supported* names a case of
`tests/compat/table`: its calls end as they do through Envoy, and `cargo xtask test support` shows that one of them
ends differently once the field is deleted. *Reported*: whoever uses the field is told that it has no effect, or
another one. *Refused*: by Istio too. Traffic policies of subsets and of ports have the fields of the policy above them.

This page is generated: `cargo xtask bless support`.
";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Names of cases by the fields that they cover.
fn covered() -> BTreeMap<String, Vec<String>> {
    let mut covered: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut files: Vec<_> = std::fs::read_dir(root().join("tests/compat/table"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    for file in files {
        let feature = file.file_stem().unwrap().to_string_lossy().into_owned();
        let cases: Vec<Case> = serde_saphyr::from_str(&text_of(&file))
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for case in cases {
            for field in case.covers {
                let place = format!("{feature}: {}", case.name);
                covered.entry(fields::shared(&field)).or_default().push(place);
            }
        }
    }
    covered
}

#[test]
fn the_page_of_supported_fields_is_what_schema_and_table_say() {
    let (all, covered) = (fields::all(), covered());
    let known: BTreeSet<&str> = all.iter().map(|field| field.path.as_str()).collect();
    let strange: Vec<&String> = covered
        .keys()
        .filter(|field| !known.iter().any(|path| path == field || begins(path, field)))
        .collect();
    assert!(
        strange.is_empty(),
        "the table covers fields that do not exist: {strange:?}"
    );
    let page = page(&all, &covered);
    let path = root().join("docs/reference/support.md");
    if std::env::var_os("AMIME_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &page).unwrap();
        println!("blessed {}", path.display());
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/reference/support.md is stale: `cargo xtask bless support` rewrites it\n{}",
        similar::TextDiff::from_lines(&written, &page).unified_diff()
    );
}

fn begins(path: &str, field: &str) -> bool {
    path.strip_prefix(field)
        .is_some_and(|rest| rest.starts_with(['.', '[']))
}

fn page(all: &[Field], covered: &BTreeMap<String, Vec<String>>) -> String {
    let mut rows = String::new();
    let (mut supported, mut reported, mut refused, mut unshown) = (0, 0, 0, 0);
    let mut kind = "";
    for field in all {
        let (of, path) = field.path.split_once('.').unwrap();
        if of != kind {
            kind = of;
            write!(
                rows,
                "\n## {kind}\n\n| Field | | Case, or what is told |\n| --- | --- | --- |\n"
            )
            .unwrap();
        }
        let (count, state, why) = match (covered.get(&field.path), reported::told(field)) {
            (Some(cases), _) => (&mut supported, "supported", cases[0].clone()),
            (None, Some(Told::Reported(message))) => (&mut reported, "reported", message),
            (None, Some(Told::Refused(message))) => (&mut refused, "refused", message),
            (None, None) => (&mut unshown, "not shown", String::new()),
        };
        *count += 1;
        writeln!(rows, "| `{path}` | {state} | {why} |").unwrap();
    }
    format!(
        "{HEAD}\n{} fields: {supported} supported, {reported} reported, {refused} refused, {unshown} that no case shows.\n{rows}",
        all.len()
    )
}
