//! Stock Envoy as the oracle: one controller, two client pods that are equal but for their sidecar (Amime's proxy and
//! Envoy), one table of calls in `tests/compat/table`, and every outcome compared.
//!
//! Needs root and Envoy 1.40, on `PATH` or where `ENVOY` says. Run with `cargo xtask test compat [FEATURE...]`; the
//! form of the table is described in `tests/compat/README.md`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test: it fails by panic, prints its figures, and has no runtime of the product's"
)]

mod api;
mod callers;
mod certificates;
mod compare;
mod differences;
#[path = "../harness/mod.rs"]
mod harness;
mod logs;
mod outcome;
mod run;
mod shares;
mod support;
mod table;
mod world;
mod worlds;

use std::path::{Path, PathBuf};
use std::time::Instant;

/// The folder of the table, the world and what goes with them.
fn place() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/compat")
}

#[test]
fn every_call_of_the_table_ends_as_it_does_through_envoy() {
    let wanted = std::env::var("AMIME_COMPAT").unwrap_or_default();
    let features = table::read(&wanted);
    let differences = differences::read();
    let begun = Instant::now();
    let parts = worlds::share(&features, async |world, feature| {
        run::feature(world, feature, &differences).await
    });
    let report = run::Report::together(parts, &differences, begun.elapsed());
    println!("{report}");
    assert!(report.passed(wanted.is_empty()), "see above");
}

/// `cargo xtask test support`: what `docs/reference/support.md` claims.
#[test]
fn every_covered_field_matters() {
    let features = table::read(&std::env::var("AMIME_COMPAT").unwrap_or_default());
    let begun = Instant::now();
    let parts = worlds::share(&features, async |world, feature| {
        support::feature(world, feature).await
    });
    let fields: usize = parts.iter().map(|(fields, _)| fields).sum();
    let failures: usize = parts.iter().map(|(_, failures)| failures).sum();
    let took = begun.elapsed().as_secs();
    println!("support: {fields} fields deleted from their cases in {took} s, {failures} failures");
    assert!(fields > 0 && failures == 0, "see above");
}
