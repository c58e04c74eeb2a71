//! Enough of curl for loops of requests: several URLs, URL ranges, and the options that tutorials use.
//!
//! Exit codes and messages are curl's own (curl(1)). Requests to one host share a connection, as curl's do.

mod options;
mod transfer;
mod url;

use std::process::ExitCode;

use options::{Options, Parsed};

pub(crate) fn run(arguments: Vec<String>) -> anyhow::Result<ExitCode> {
    let options = match options::parse(&arguments) {
        Ok(Parsed::Run(options)) => options,
        Ok(Parsed::Print(text)) => {
            println!("{text}");
            return Ok(ExitCode::SUCCESS);
        }
        Err(failure) => return Ok(report(&failure, false)),
    };
    crate::block_on(async { Ok(all(&options).await) })
}

/// Why a transfer failed: curl's exit code and its message.
#[derive(Debug, PartialEq)]
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

fn report(failure: &Failure, silent: bool) -> ExitCode {
    if !silent {
        eprintln!("curl: ({}) {}", failure.code, failure.message);
    }
    ExitCode::from(failure.code)
}

/// Every URL in turn; the exit code is that of the last one, as curl's.
async fn all(options: &Options) -> ExitCode {
    let mut connections = transfer::Connections::default();
    let mut outcome = ExitCode::SUCCESS;
    let mut pace = options.pace.map(|pace| {
        let mut ticks = tokio::time::interval(pace);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks
    });
    for pattern in &options.urls {
        let urls = match url::expand(pattern, options.globbing) {
            Ok(urls) => urls,
            Err(failure) => {
                outcome = report(&failure, options.quiet());
                continue;
            }
        };
        for url in urls {
            if let Some(ticks) = &mut pace {
                ticks.tick().await;
            }
            outcome = match connections.transfer(options, &url).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(failure) => report(&failure, options.quiet()),
            };
        }
    }
    outcome
}
