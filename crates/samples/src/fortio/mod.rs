//! Stands in for fortio, as far as Istio's tutorials go: `server`, `load` and `curl`.
//!
//! What it prints has fortio's form, because people and scripts read it; the names of flags are fortio's too.

mod connection;
mod histogram;
mod load;
mod options;
mod report;
mod serve;

use std::process::ExitCode;

use options::Options;

const USAGE: &str = "Φορτίο for tutorials
usage: fortio server [-http-port 8080] [-tcp-port 8078] [-redirect-port 8081]
       fortio load [-c 4] [-qps 8] [-n N] [-t 5s] [-H 'Name: value'] [-timeout 3s] [-p 50,75,90,99,99.9]
                   [-payload TEXT] [-X METHOD] [-keepalive=false] [-quiet] [-loglevel LEVEL] URL
       fortio curl [-H 'Name: value'] [-quiet] URL";

pub(crate) fn run(arguments: Vec<String>) -> anyhow::Result<ExitCode> {
    let Some((command, rest)) = arguments.split_first() else {
        return wrong("missing command");
    };
    match command.as_str() {
        "server" => with_options(rest, serve::run),
        "load" => with_options(rest, |options| {
            if options.once {
                load::once(options)
            } else {
                load::run(options)
            }
        }),
        "curl" => with_options(rest, load::once),
        "version" => {
            println!("1.60.3-amime");
            Ok(ExitCode::SUCCESS)
        }
        "help" | "-h" | "--help" => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        other => wrong(&format!("{other:?} is no command of this stand-in")),
    }
}

fn with_options(
    arguments: &[String],
    run: impl FnOnce(&Options) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    match options::parse(arguments) {
        Ok(options) => run(&options),
        Err(why) => wrong(&why),
    }
}

fn wrong(why: &str) -> anyhow::Result<ExitCode> {
    eprintln!("{why}\n{USAGE}");
    Ok(ExitCode::FAILURE)
}
