//! The first process of a command in a container: joins it and becomes the command.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use anyhow::Context;

use super::Inside;
use crate::sys::{frame, namespaces, reexec};

/// Exit codes of shells: cannot execute, not found.
const CANNOT: u8 = 126;
const NOT_FOUND: u8 = 127;

/// The role `exec-init`. Its settings come over the socket that is its standard error; its standard input and output
/// are the command's own already.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let mut supervisor = UnixStream::from(std::io::stderr().as_fd().try_clone_to_owned()?);
    let inside: Inside = frame::read(&mut supervisor)?.context("no settings")?;
    let stderr = crate::sys::handover::receive(&supervisor)?;
    nix::unistd::dup2_stderr(stderr)?;
    let error = match join(&inside) {
        Ok(()) => inside.program.execute(),
        Err(error) => error,
    };
    reexec::complain("OCI runtime exec failed", &error);
    let not_found = error.to_string().contains("not found") || error.to_string().contains("no such file");
    Ok(ExitCode::from(if not_found { NOT_FOUND } else { CANNOT }))
}

fn join(inside: &Inside) -> anyhow::Result<()> {
    namespaces::die_with_parent()?;
    namespaces::join_container(inside.container).context("cannot join the container")?;
    if inside.terminal {
        nix::unistd::setsid()?;
        rustix::process::ioctl_tiocsctty(std::io::stdin()).context("cannot take the terminal")?;
    }
    Ok(())
}
