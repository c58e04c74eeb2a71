//! What CI runs first.

use anyhow::Result;

use crate::command::{cargo, on_path};
use crate::fuzz::HOST;
use crate::{r#gen, tidy};

pub(crate) fn run() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    tidy::run()?;
    r#gen::run(true)?;
    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    // The fuzzer is a workspace of its own, which nothing else here reads.
    let fuzz = ["--manifest-path", "fuzz/Cargo.toml", "--target", HOST];
    cargo(&[&["fetch", "--locked"], &fuzz[..]].concat())?;
    if on_path("cargo-deny") {
        cargo(&["deny", "--offline", "check", "bans", "licenses", "sources"])?;
    } else {
        eprintln!("cargo-deny is not installed: licences, bans and sources were not checked");
    }
    Ok(())
}
