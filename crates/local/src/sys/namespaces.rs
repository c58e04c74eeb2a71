//! Making and entering namespaces, and the few attributes of a process that go with it.
//!
//! **Ordinary users.** Who is not root makes a user namespace first ([`own_cluster`]): in it, and over all that is
//! made inside it, that user has every capability, and is the only user there is ([`Users::One`]). Nothing else here
//! changes.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use caps::{CapSet, Capability};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;
use nix::unistd::{getegid, geteuid};

use super::refusal::{Refusal, explain};

/// Which users there are for the containers of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Users {
    /// All: containers are who they ask to be.
    Any,
    /// The one who started the cluster, who is root inside: every container is that one.
    One,
}

/// What we need of root. Containers of other engines often have uid 0 without these.
const POWERS: [Capability; 10] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_KILL,
    Capability::CAP_NET_ADMIN,
    Capability::CAP_SETGID,
    Capability::CAP_SETPCAP,
    Capability::CAP_SETUID,
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_SYS_CHROOT,
];

/// Fewer ids than this in the map of a user namespace are no choice of users.
const ENOUGH_IDS: u64 = 1 << 16;

/// Which users a cluster has that this process starts; the same when asked inside the cluster.
pub fn users() -> Users {
    if is_root() { users_of("self") } else { Users::One }
}

/// Which users the user namespace of a process has.
pub(crate) fn users_of(process: &str) -> Users {
    // Without /proc nothing of ours works; which answer it gets does not matter.
    let map = fs::read_to_string(format!("/proc/{process}/uid_map")).unwrap_or_default();
    if ids(&map) >= ENOUGH_IDS {
        Users::Any
    } else {
        Users::One
    }
}

/// How many ids a map has: lines of first id inside, first id outside, length.
fn ids(map: &str) -> u64 {
    let length = |line: &str| line.split_whitespace().nth(2)?.parse::<u64>().ok();
    map.lines().filter_map(length).sum()
}

fn is_root() -> bool {
    POWERS
        .iter()
        .all(|power| caps::has_cap(None, CapSet::Effective, *power).unwrap_or(false))
}

/// The launcher's children will live in a PID namespace of their own, the first as its PID 1; without root also in a
/// user namespace, and the launcher with them. It stays in the host's network.
/// For a process with one thread; it can't make more afterwards.
pub(crate) fn own_cluster() -> Result<(), Refusal> {
    let user = || if is_root() { Ok(()) } else { own_user() };
    user()
        .and_then(|()| own_children())
        .map_err(|error| explain(&error))
}

/// A user namespace in which the caller is root, and nobody else exists.
fn own_user() -> io::Result<()> {
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER)?;
    // Without this the kernel takes no map of groups: whom a group keeps out could leave the group.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}

/// Children of the calling process will live in a PID namespace of their own, the first as its PID 1.
/// From here on the calling process can't make threads.
pub(crate) fn own_children() -> io::Result<()> {
    Ok(unshare(CloneFlags::CLONE_NEWPID)?)
}

/// Mounts and network of the node, apart from the host's.
pub(crate) fn own_node() -> Result<(), Refusal> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).map_err(|error| explain(&error.into()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mapped_id_is_no_choice_of_users() {
        assert_eq!(ids("         0      65534          1\n"), 1);
        assert_eq!(ids("0 1000 1\n1 100000 65536\n"), 65_537);
        assert_eq!(ids("         0          0 4294967295\n"), 4_294_967_295);
        assert_eq!(ids(""), 0);
    }
}
