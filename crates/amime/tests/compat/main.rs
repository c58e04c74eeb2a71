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
mod policy;
mod run;
mod shares;
mod support;
mod table;
mod tokens;
mod twin;
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
    let differences = differences::of_suite(false);
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

/// `cargo xtask test policy`.
#[test]
fn every_decision_is_the_one_that_envoy_makes() {
    let wanted = std::env::var("AMIME_COMPAT").unwrap_or_default();
    let seed = std::env::var("AMIME_SEED").map_or(1, |seed| seed.parse().expect("a seed is a number"));
    let jobs = policy::jobs(seed, &wanted);
    assert!(!jobs.is_empty(), "nothing is called {wanted:?}");
    let differences = differences::of_suite(true);
    let begun = Instant::now();
    let parts = worlds::share_prepared(&jobs, policy::prepare, async |world, job| {
        policy::run(world, job, &differences).await
    });
    let whole = policy::Whole::of(parts, &differences, begun.elapsed());
    println!("{whole}\nseed {seed}");
    assert!(whole.report.passed(wanted.is_empty()), "see above");
    assert!(
        !wanted.is_empty() || whole.is_worth_it(),
        "too few decisions, or too many alike"
    );
}
