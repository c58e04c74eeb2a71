//! Tests: the ordinary ones, and suites that need more than Rust and gcc.
//!
//! A suite that can't run says what it needs and fails; it never passes silently.

use anyhow::{Result, bail};

use crate::command::{cargo, cargo_with, on_path};

/// A test target with `test = false`, run by name.
struct Suite {
    name: &'static str,
    about: &'static str,
    package: &'static str,
    target: &'static str,
    needs: &'static [Need],
}

enum Need {
    Root,
    Program(&'static str),
    /// On `PATH`, or where that variable says.
    ProgramOrVariable(&'static str, &'static str),
}

const SUITES: &[Suite] = &[
    Suite {
        name: "kernel",
        about: "nf_tables rules in a network namespace of the test's own",
        package: "netfilter",
        target: "kernel",
        needs: &[Need::Root],
    },
    Suite {
        name: "cluster",
        about: "the real binary: up, apply, pods, exec, logs, mesh, down",
        package: "amime",
        target: "cluster",
        needs: &[Need::Root],
    },
    Suite {
        name: "kubectl",
        about: "the article and everyday commands with every installed kubectl",
        package: "amime",
        target: "kubectl",
        needs: &[Need::Root, Need::Program("kubectl")],
    },
    Suite {
        name: "envoy",
        about: "stock Envoy takes every golden from our discovery service",
        package: "tests",
        target: "envoy",
        needs: &[Need::Root, Need::ProgramOrVariable("envoy", "ENVOY")],
    },
];

/// `cargo xtask test [NAME]`.
pub(crate) fn test(name: Option<&str>) -> Result<()> {
    match name {
        None => cargo(&["test", "--workspace"]),
        Some("list") => {
            SUITES
                .iter()
                .for_each(|suite| println!("{:10} {}", suite.name, suite.about));
            Ok(())
        }
        Some(name) => match SUITES.iter().find(|suite| suite.name == name) {
            Some(suite) => run(suite),
            None => cargo(&["test", "--workspace", name]),
        },
    }
}

fn run(suite: &Suite) -> Result<()> {
    for need in suite.needs {
        match need {
            Need::Root if !is_root() => bail!("suite {} needs root", suite.name),
            Need::Program(program) if !on_path(program) => {
                bail!("suite {} needs {program} on PATH", suite.name)
            }
            Need::ProgramOrVariable(program, variable)
                if std::env::var_os(variable).is_none() && !on_path(program) =>
            {
                bail!(
                    "suite {} needs {program} on PATH, or its path in {variable}",
                    suite.name
                )
            }
            Need::Root | Need::Program(_) | Need::ProgramOrVariable(..) => {}
        }
    }
    cargo(&[
        "test",
        "-p",
        suite.package,
        "--test",
        suite.target,
        "--",
        "--test-threads=1",
        "--nocapture",
    ])
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// `cargo xtask bless [FEATURE]`: goldens are rewritten by the tests that compare them.
pub(crate) fn bless(feature: Option<&str>) -> Result<()> {
    let variables = [("AMIME_BLESS", "1"), ("AMIME_GOLDEN", feature.unwrap_or(""))];
    cargo_with(
        &["test", "-p", "tests", "--test", "golden", "--", "--nocapture"],
        &variables,
    )
}
