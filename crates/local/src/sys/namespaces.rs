//! Making and entering namespaces, and the few attributes of a process that go with it.
//!
//! **Ordinary users.** Today all of this needs root. Without it, [`own_node`] will first make a user namespace
//! (and [`own_children`] the PID namespace inside it); nothing else here changes, because
//! everything else happens inside the node's namespaces, where that user has all capabilities.

use std::fs::File;
use std::io;
use std::path::Path;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;

/// The launcher's children will live in a PID namespace of their own, the first as its PID 1.
/// From here on the calling process can't make threads.
pub(crate) fn own_children() -> io::Result<()> {
    Ok(unshare(CloneFlags::CLONE_NEWPID)?)
}

/// Mounts and network of the node, apart from the host's.
pub(crate) fn own_node() -> io::Result<()> {
    Ok(unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)?)
}

/// What the containers of a pod share.
pub(crate) fn own_pod() -> io::Result<()> {
    let flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC;
    Ok(unshare(flags)?)
}

/// What each container has for itself, beside its PID namespace.
pub(crate) fn own_mounts() -> io::Result<()> {
    Ok(unshare(CloneFlags::CLONE_NEWNS)?)
}

/// Joins the namespaces that the containers of process `pid`'s pod share.
pub(crate) fn join_pod(pid: u32) -> io::Result<()> {
    join(pid, &["net", "uts", "ipc"])
}

/// Children of this process will be in the PID namespace of process `pid`.
pub(crate) fn join_children(pid: u32) -> io::Result<()> {
    join(pid, &["pid"])
}

/// Joins everything of the container whose first process is `pid`.
pub(crate) fn join_container(pid: u32) -> io::Result<()> {
    join(pid, &["net", "uts", "ipc", "mnt"])
}

fn join(pid: u32, kinds: &[&str]) -> io::Result<()> {
    let directory = Path::new("/proc").join(pid.to_string()).join("ns");
    // All are opened first: after joining a mount namespace the paths mean something else.
    let open = |kind: &&str| File::open(directory.join(kind));
    let files = kinds.iter().map(open).collect::<io::Result<Vec<_>>>()?;
    for file in files {
        setns(file, CloneFlags::empty())?;
    }
    Ok(())
}

/// The kernel kills this process when its parent ends.
/// Only for children of processes with one thread: the signal is tied to the thread that made the child.
pub(crate) fn die_with_parent() -> io::Result<()> {
    Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?)
}
