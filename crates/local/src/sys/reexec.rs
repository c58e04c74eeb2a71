//! Executing this binary again in an internal role.
//!
//! A role gets what it must know as one frame on its standard input, never as arguments: those are visible to
//! everybody, and environments of containers hold secrets.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// First argument of every internal role.
pub(crate) const MARKER: &str = "local-role";

/// This binary in `role`; works even when its file was replaced since it started.
pub(crate) fn command(role: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = std::env::args_os().next() {
        // For whoever looks at the list of processes.
        command.arg0(name);
    }
    command.args([MARKER, role]).env_clear();
    command
}

/// Says on standard error why a role ended; nobody else may be there to say it.
pub(crate) fn complain(role: &str, error: &anyhow::Error) {
    // The reader may be gone, and then nobody cares.
    let _ = writeln!(std::io::stderr(), "{role}: {error:#}");
}
