//! What CI runs first.

use anyhow::Result;

use crate::command::{cargo, on_path};
use crate::{r#gen, tidy};

pub(crate) fn run() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    tidy::run()?;
    r#gen::run(true)?;
    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    if on_path("cargo-deny") {
        cargo(&["deny", "--offline", "check", "bans", "licenses", "sources"])?;
    } else {
        eprintln!("cargo-deny is not installed: licences, bans and sources were not checked");
    }
    Ok(())
}
