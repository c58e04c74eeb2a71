//! Measurements. Each prints its figures; none of them is a test.

use anyhow::{Result, bail};

use crate::command::cargo;

/// A measurement and what it measures. Each is a target of package `amime` with the same name.
const SCENARIOS: &[(&str, &str)] = &[
    (
        "handshakes",
        "TLS handshakes with client certificates, full and resumed, against Envoy (ENVOY says where it is)",
    ),
    (
        "policies",
        "CPU time that 1,000 authorization policies add to a request, against Envoy (as root; ENVOY says where it is)",
    ),
    (
        "propagation",
        "from the write of a VirtualService until 20 sidecars route by it: median and p99",
    ),
    (
        "up",
        "the local cluster: time to ready, memory when idle, 50 pods with sidecars, writes and watches",
    ),
];

pub(crate) fn run(scenario: Option<&str>) -> Result<()> {
    match scenario {
        None | Some("list") => {
            SCENARIOS
                .iter()
                .for_each(|(name, about)| println!("{name:12} {about}"));
            Ok(())
        }
        Some(name) if SCENARIOS.iter().any(|(known, _)| *known == name) => {
            cargo(&["bench", "--profile", "release", "-p", "amime", "--bench", name])
        }
        Some(name) => bail!("no measurement is called {name}; `cargo xtask bench list` prints them"),
    }
}
