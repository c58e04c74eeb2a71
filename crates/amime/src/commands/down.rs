//! `amime down`: ends the local mesh; its state is kept unless told otherwise.

use std::process::ExitCode;

use anyhow::Context;

use crate::cli::Target;
use crate::connect;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Forget what was applied, too
    #[arg(long)]
    delete: bool,
}

pub(crate) fn run(target: &Target, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let home = connect::home(target)?;
    let ran = local::launch::stop(&home)?;
    match (ran, arguments.delete) {
        (true, false) => eprintln!("Ended. `amime up` goes on with what was applied; --delete forgets it."),
        (false, false) => eprintln!("No local mesh runs in {}", home.display()),
        (_, true) => {
            local::launch::delete(&home).with_context(|| home.display().to_string())?;
            eprintln!("Ended, and {} deleted.", home.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}
