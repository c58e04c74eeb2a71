//! PID 1 of the node's namespaces: makes them, starts the node, reaps orphans, and ends with the node.
//!
//! That it does nothing else is the point: orphans of the whole cluster come to this process, so the node waits for
//! its own children only, and no reaper takes an exit status away from somebody who waits for it.

use std::process::ExitCode;

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, wait};

use crate::sys::{mounts, namespaces, reexec};

/// The role `init`.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    namespaces::die_with_parent()?;
    namespaces::own_node()?;
    mounts::keep_private().context("cannot make mounts private")?;
    mounts::proc("/proc".as_ref()).context(
        "cannot mount /proc, perhaps because a container engine around this cluster covers parts of it; \
         try: docker run --security-opt systempaths=unconfined",
    )?;
    let node = reexec::command("node").spawn().context("cannot start the node")?;
    let node = i32::try_from(node.id()).context("a pid fits")?;
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, code)) if pid.as_raw() == node => {
                return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
            }
            Ok(WaitStatus::Signaled(pid, ..)) if pid.as_raw() == node => return Ok(ExitCode::FAILURE),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for the node"),
        }
    }
}
