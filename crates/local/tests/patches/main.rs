//! Ten thousand generated cases: server-side apply and the three kinds of patches against models that are written
//! from the specifications (KEP-555, RFC 7386, RFC 6902, the documented strategic merge) in another style than the
//! code: flat sets of places instead of trees, everything recomputed from the whole history.
//!
//! A failure shrinks and names its seed; `AMIME_SEED=…` repeats it.

#![allow(clippy::print_stdout, reason = "the number of cases is part of the outcome")]
#![allow(
    clippy::unwrap_used,
    reason = "the models' own texts and objects are well formed"
)]

mod json;
mod merge;
mod ownership;
mod strategic;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

/// How many cases each kind of write gets.
const OWNERSHIP: u32 = 4_000;
const MERGE: u32 = 2_500;
const JSON: u32 = 2_000;
const STRATEGIC: u32 = 2_000;

#[test]
fn server_side_apply_and_plain_writes_leave_the_owners_that_history_says() {
    check(OWNERSHIP, &ownership::history(), |history| {
        ownership::agrees(history)
    });
}

#[test]
fn a_merge_patch_does_what_rfc_7386_says() {
    check(MERGE, &merge::case(), merge::agrees);
}

#[test]
fn a_json_patch_does_what_rfc_6902_says() {
    check(JSON, &json::case(), json::agrees);
}

#[test]
fn a_strategic_merge_patch_does_to_lists_what_it_would_do_to_maps() {
    check(STRATEGIC, &strategic::case(), strategic::agrees);
}

fn seed() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test that is repeated by hand has no settings"
    )]
    let given = std::env::var("AMIME_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    given.unwrap_or_else(rand::random)
}

fn check<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(&S::Value) -> Result<(), TestCaseError>) {
    let seed = seed();
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let outcome = TestRunner::new_with_rng(config, random).run(strategy, |value| test(&value));
    if let Err(error) = outcome {
        panic!("seed {seed}: {error}");
    }
    println!("{cases} cases agree with the model (seed {seed})");
}
