//! Soaks: long runs with faults thrown in, with the binary that people run: an unoptimised one does not keep up with
//! what they ask for on two cores. Each ends at the first thing that is wrong; none of them is in CI.

use anyhow::{Result, bail};

use crate::command::cargo;

/// A soak and what it shows. Each is a test target of package `amime` with the same name.
const SOAKS: &[(&str, &str)] = &[
    (
        "churn",
        "10,000 configuration changes in 5 minutes under 500 requests/s: none fails, none is misrouted",
    ),
    (
        "crash",
        "kill -9 of launcher or node in 1,000 writes, 20 times: no acknowledged write is lost",
    ),
    (
        "migration",
        "PERMISSIVE to STRICT and back, 5 times under 200 requests/s: none of an injected client fails",
    ),
    (
        "rollout",
        "30 rolling restarts of a backend that ends at once, under 500 requests/s: none fails",
    ),
    (
        "rotation",
        "certificates every 10 s and a new root, under 200 requests/s and 50 gRPC streams: none fails or breaks",
    ),
];

/// `cargo xtask soak [NAME]`.
pub(crate) fn run(name: Option<&str>) -> Result<()> {
    match name {
        None | Some("list") => {
            SOAKS
                .iter()
                .for_each(|(name, about)| println!("{name:12} {about}"));
            Ok(())
        }
        Some(name) if SOAKS.iter().any(|(known, _)| *known == name) => {
            cargo(&["test", "--release", "-p", "amime", "--test", name])
        }
        Some(name) => bail!("no soak is called {name}; `cargo xtask soak list` prints them"),
    }
}
