//! `cargo xtask fuzz TARGET`: libFuzzer on stable Rust.
//!
//! The compiler's own coverage pass is reached with `-C passes`, so that neither nightly nor cargo-fuzz is needed. There
//! is no address sanitizer: what is found are panics, broken promises of a target, hangs and memory beyond the limit.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

const TARGETS: &[(&str, &str)] = &[
    ("h1_head", "heads of HTTP/1.1, requests and responses"),
    ("h1_body", "chunked bodies"),
    ("h2_frames", "HTTP/2 frames into the server"),
    ("hpack", "HTTP/2 field blocks"),
    ("path", "normalisation of paths"),
    ("sniff", "the first bytes of a connection"),
    ("jwt", "tokens of requests"),
    ("jwks", "key sets of issuers"),
    ("xds", "resources from a control plane"),
    ("bootstrap", "Envoy bootstrap files"),
    ("client_hello", "the first message of TLS"),
    ("csr", "requests for certificates, and what is signed for them"),
    ("pem", "keys, certificates and revocation lists as text"),
    (
        "policy",
        "who may do what: the compiled form of rules against their definition",
    ),
    ("yaml", "what users apply"),
];

/// What cargo-fuzz gives the compiler, without what needs nightly.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=4";
pub(crate) const HOST: &str = "x86_64-unknown-linux-gnu";

/// Builds the fuzzer and runs a target. Inputs that it finds stay in `fuzz/target/found`.
pub(crate) fn run(target: Option<&str>, minutes: u64) -> Result<()> {
    let Some(target) = target.filter(|target| *target != "list") else {
        TARGETS
            .iter()
            .for_each(|(name, about)| println!("{name:10} {about}"));
        return Ok(());
    };
    if !TARGETS.iter().any(|(name, _)| *name == target) {
        bail!("no fuzz target {target}; `cargo xtask fuzz list` prints them");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let mut build = Command::new("cargo");
    // `--target` keeps the flags away from build scripts.
    build
        .args(["build", "--target", HOST])
        .current_dir(&folder)
        .env("RUSTFLAGS", FLAGS);
    succeed(&mut build)?;
    let found = folder.join("target/found").join(target);
    std::fs::create_dir_all(&found).context("making a folder for what is found")?;
    let mut fuzz = Command::new(folder.join("target").join(HOST).join("debug/fuzz"));
    fuzz.env("FUZZ_TARGET", target)
        .arg(&found)
        .arg(folder.join("corpus").join(target))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .arg(format!("-max_total_time={}", minutes * 60))
        .args([
            "-timeout=10",
            "-rss_limit_mb=2048",
            "-max_len=16384",
            "-print_final_stats=1",
        ]);
    succeed(&mut fuzz)
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("starting {:?}", command.get_program()))?;
    if status.success() {
        Ok(())
    } else {
        bail!("{:?} ended with {status}", command.get_program())
    }
}
