//! Tests: the ordinary ones, and suites that need more than Rust and gcc.
//!
//! A suite that can't run says what it needs and fails; it never passes silently.

use anyhow::{Result, bail};

use crate::command::{cargo, cargo_with, on_path};

/// A test target with `test = false`, run by name.
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    about: &'static str,
    pub(crate) package: &'static str,
    pub(crate) target: &'static str,
    /// The tests of the target that belong to it, by the beginnings of their names; empty for all.
    pub(crate) only: &'static str,
    needs: &'static [Need],
}

enum Need {
    /// And why an ordinary user's namespaces do not do.
    Root(&'static str),
    Program(&'static str),
    /// On `PATH`, or where that variable says.
    ProgramOrVariable(&'static str, &'static str),
    /// And what it says.
    Variable(&'static str, &'static str),
}

pub(crate) const SUITES: &[Suite] = &[
    Suite {
        name: "kernel",
        about: "nf_tables rules in a network namespace of the test's own",
        package: "netfilter",
        target: "kernel",
        only: "",
        needs: &[Need::Root(
            "because its threads enter network namespaces, and a process with threads makes no user namespace",
        )],
    },
    Suite {
        name: "cluster",
        about: "the real binary: up, apply, pods, exec, logs, mesh, down",
        package: "amime",
        target: "cluster",
        only: "",
        needs: &[Need::Program("unshare"), Need::Program("setpriv")],
    },
    Suite {
        name: "kubectl",
        about: "the article and everyday commands with every installed kubectl",
        package: "amime",
        target: "kubectl",
        only: "",
        needs: &[Need::Program("kubectl")],
    },
    Suite {
        name: "bookinfo",
        about: "Istio's walk through Bookinfo with kubectl, curl and a browser; every other sample",
        package: "amime",
        target: "bookinfo",
        only: "",
        needs: &[
            Need::Program("kubectl"),
            Need::Program("curl"),
            Need::ProgramOrVariable("chromium", "CHROMIUM"),
        ],
    },
    Suite {
        name: "envoy",
        about: "stock Envoy takes every golden from our discovery service",
        package: "tests",
        target: "envoy",
        only: "",
        needs: &[
            Need::Root("because its threads enter a network namespace for Envoy"),
            Need::ProgramOrVariable("envoy", "ENVOY"),
        ],
    },
    Suite {
        name: "bootstrap",
        about: "bootstrap files given to stock Envoy and to our proxy: same requests, same answers",
        package: "amime",
        target: "bootstrap",
        only: "",
        needs: &[
            Need::Root("because its threads enter a network namespace"),
            Need::ProgramOrVariable("envoy", "ENVOY"),
        ],
    },
    Suite {
        name: COMPAT,
        about: "a table of calls through our proxy and through stock Envoy: same resources, same outcomes",
        package: "amime",
        target: "compat",
        only: "every_call_of_the_table shares::",
        needs: &[
            Need::Root("because Envoy runs as a user of its own"),
            Need::ProgramOrVariable("envoy", "ENVOY"),
        ],
    },
    Suite {
        name: SUPPORT,
        about: "each field that the table covers, deleted: a call ends otherwise",
        package: "amime",
        target: "compat",
        only: "every_covered_field support::",
        needs: &[
            Need::Root("because Envoy runs as a user of its own"),
            Need::ProgramOrVariable("envoy", "ENVOY"),
        ],
    },
    Suite {
        name: POLICY,
        about: "decisions about requests through our proxy and through stock Envoy: random policies, tokens, edges",
        package: "amime",
        target: "compat",
        only: "every_decision policy:: tokens::",
        needs: &[
            Need::Root("because Envoy runs as a user of its own"),
            Need::ProgramOrVariable("envoy", "ENVOY"),
        ],
    },
    Suite {
        name: "proxyless",
        about: "Python's grpcio with xds:/// and no proxy, driven by the same controller",
        package: "amime",
        target: "proxyless",
        only: "",
        needs: &[
            Need::Program("python3"),
            Need::Variable(
                "PYTHONPATH",
                "the folder that `pip install --target` put grpcio into",
            ),
        ],
    },
];

/// The suites that take names of features after their own.
const COMPAT: &str = "compat";
const SUPPORT: &str = "support";
const POLICY: &str = "policy";

/// `cargo xtask test [NAME...] [--seed N]`.
pub(crate) fn test(names: &[String], seed: Option<u64>) -> Result<()> {
    let first = names.first().map(String::as_str);
    if seed.is_some() && first != Some(POLICY) {
        bail!("only suite {POLICY} has a seed");
    }
    if names.is_empty() {
        return cargo(&["test", "--workspace"]);
    }
    if let Some((name @ (COMPAT | SUPPORT | POLICY), features)) =
        names.split_first().map(|(name, rest)| (name.as_str(), rest))
        && !features.iter().any(|name| is_suite(name))
    {
        return of_table(name, features, seed);
    }
    for name in names {
        match SUITES.iter().find(|suite| suite.name == name) {
            Some(suite) => run(suite)?,
            None if name == "list" => list(),
            None => cargo(&["test", "--workspace", name])?,
        }
    }
    Ok(())
}

fn is_suite(name: &str) -> bool {
    SUITES.iter().any(|suite| suite.name == name)
}

/// The table of calls, or the files and cases of it whose names contain one of these words.
fn of_table(name: &str, features: &[String], seed: Option<u64>) -> Result<()> {
    let suite = SUITES.iter().find(|suite| suite.name == name);
    let seed = seed.unwrap_or(1).to_string();
    run_with(
        suite.expect("it is listed"),
        &[("AMIME_COMPAT", &features.join(",")), ("AMIME_SEED", &seed)],
    )
}

/// `cargo xtask h2spec`: the same tests as always, with what they print.
pub(crate) fn h2spec() -> Result<()> {
    cargo(&[
        "test",
        "-p",
        "proxy",
        "--lib",
        "conformance",
        "--",
        "--nocapture",
        "--test-threads=1",
    ])
}

fn list() {
    for suite in SUITES {
        let root = if suite.needs_root().is_some() {
            " (as root)"
        } else {
            ""
        };
        println!("{:10} {}{root}", suite.name, suite.about);
    }
}

fn run(suite: &Suite) -> Result<()> {
    run_with(suite, &[])
}

fn run_with(suite: &Suite, variables: &[(&str, &str)]) -> Result<()> {
    if let Some(why) = suite.needs_root().filter(|_| !is_root()) {
        bail!("suite {} needs root, {why}", suite.name);
    }
    suite.check_programs()?;
    let mut arguments = vec!["test", "-p", suite.package, "--test", suite.target, "--"];
    arguments.extend(suite.only.split(' ').filter(|word| !word.is_empty()));
    arguments.extend(["--test-threads=1", "--nocapture"]);
    cargo_with(&arguments, variables)
}

impl Suite {
    /// Why an ordinary user can't run it, if so.
    pub(crate) fn needs_root(&self) -> Option<&'static str> {
        self.needs.iter().find_map(|need| match need {
            Need::Root(why) => Some(*why),
            Need::Program(_) | Need::ProgramOrVariable(..) | Need::Variable(..) => None,
        })
    }

    /// Fails when a program is missing that it needs.
    pub(crate) fn check_programs(&self) -> Result<()> {
        for need in self.needs {
            match need {
                Need::Program(program) if !on_path(program) => {
                    bail!("suite {} needs {program} on PATH", self.name)
                }
                Need::ProgramOrVariable(program, variable)
                    if std::env::var_os(variable).is_none() && !on_path(program) =>
                {
                    bail!(
                        "suite {} needs {program} on PATH, or its path in {variable}",
                        self.name
                    )
                }
                Need::Variable(variable, what) if std::env::var_os(variable).is_none() => {
                    bail!("suite {} needs {variable}: {what}", self.name)
                }
                Need::Root(_) | Need::Program(_) | Need::ProgramOrVariable(..) | Need::Variable(..) => {}
            }
        }
        Ok(())
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// `cargo xtask bless [FEATURE]`: goldens are rewritten by the tests that compare them.
pub(crate) fn bless(feature: Option<&str>) -> Result<()> {
    let variables = [("AMIME_BLESS", "1"), ("AMIME_GOLDEN", feature.unwrap_or(""))];
    cargo_with(
        &[
            "test",
            "-p",
            "tests",
            "--test",
            "golden",
            "--test",
            "support",
            "--",
            "--nocapture",
        ],
        &variables,
    )
}
