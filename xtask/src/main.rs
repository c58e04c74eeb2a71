//! All automation of the project, in Rust: `cargo xtask COMMAND`. Nothing to install, the same on every machine.

mod as_user;
mod bench;
mod check;
mod command;
mod fuzz;
mod r#gen;
mod soak;
mod suites;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Automation of the Amime project",
    disable_version_flag = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Formatting, clippy, tidy, and cargo-deny where it is installed
    Check,
    /// Crate edges, sizes, opening comments, names, lock file; prints the shape of the project
    Tidy,
    /// All tests that need nothing but Rust and gcc, or suites that need more
    Test {
        /// Suites (`list` prints them); anything else filters the ordinary tests by name
        names: Vec<String>,
        /// Build as who you are, run as an ordinary user: `unit`, `demo`, suites, or all that need no root
        #[arg(long)]
        as_user: bool,
        /// What suite policy makes its random policies and requests from [default: 1]
        #[arg(long, conflicts_with = "as_user")]
        seed: Option<u64>,
    },
    /// Rewrites golden files and shows what changed
    Bless {
        /// Only cases whose path contains this
        feature: Option<String>,
    },
    /// Makes the committed descriptions of Envoy's messages from the package envoy-types
    Gen {
        /// Only compares what is committed
        #[arg(long)]
        check: bool,
    },
    /// Long runs with faults thrown in: crash, churn, rollout, migration, rotation
    Soak {
        /// Which one (`list` prints them)
        name: Option<String>,
    },
    /// HTTP/2 conformance in the sections of h2spec, with counts
    H2spec,
    /// Throws mutated bytes at what reads bytes from outside, with libFuzzer (needs g++)
    Fuzz {
        /// Which target (`list` prints them)
        target: Option<String>,
        /// How long
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
        minutes: u64,
    },
    /// Measurements that are claims: propagation, up, policies, handshakes
    Bench {
        /// Which one (`list` prints them)
        scenario: Option<String>,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Check => check::run(),
        Command::Tidy => tidy::run(),
        Command::Test {
            names, as_user: true, ..
        } => as_user::test(&names),
        Command::Test { names, seed, .. } => suites::test(&names, seed),
        Command::Bless { feature } => suites::bless(feature.as_deref()),
        Command::Gen { check } => r#gen::run(check),
        Command::Soak { name } => soak::run(name.as_deref()),
        Command::Fuzz { target, minutes } => fuzz::run(target.as_deref(), minutes),
        Command::H2spec => suites::h2spec(),
        Command::Bench { scenario } => bench::run(scenario.as_deref()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
