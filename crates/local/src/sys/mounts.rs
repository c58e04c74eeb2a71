//! Mounts, by the names of what they are for.

use std::io;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

const NONE: Option<&str> = None;

/// Nothing that is mounted from here on is seen outside this mount namespace.
pub(crate) fn keep_private() -> io::Result<()> {
    Ok(mount(
        NONE,
        "/",
        NONE,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        NONE,
    )?)
}

/// A file system in memory. No device files and no set-uid programs in it.
pub(crate) fn tmpfs(at: &Path, options: &str) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    Ok(mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some(options))?)
}

/// The process information of the PID namespace of the caller.
pub(crate) fn proc(at: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mount(Some("proc"), at, Some("proc"), flags, NONE)?)
}

/// `/sys` of the caller's network namespace, read-only.
pub(crate) fn sysfs(at: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY;
    Ok(mount(Some("sysfs"), at, Some("sysfs"), flags, NONE)?)
}

/// Terminals of its own.
pub(crate) fn terminals(at: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    Ok(mount(
        Some("devpts"),
        at,
        Some("devpts"),
        flags,
        Some("newinstance,ptmxmode=0666,mode=0620"),
    )?)
}

/// `lower` as it is, with changes going to `upper`.
pub(crate) fn overlay(lower: &Path, upper: &Path, work: &Path, at: &Path) -> io::Result<()> {
    // Paths with these characters can't be said in the mount options; the caller falls back to a bind.
    let special = |path: &Path| path.to_string_lossy().contains([',', ':', '\\', '\u{fffd}']);
    if [lower, upper, work].into_iter().any(special) {
        return Err(io::Error::other("a character that overlay options cannot hold"));
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={},userxattr",
        lower.display(),
        upper.display(),
        work.display()
    );
    Ok(mount(
        Some("overlay"),
        at,
        Some("overlay"),
        MsFlags::MS_NODEV,
        Some(options.as_str()),
    )?)
}

/// Shows `from` at `at` as well, with everything that is mounted below it.
pub(crate) fn bind(from: &Path, at: &Path) -> io::Result<()> {
    Ok(mount(
        Some(from),
        at,
        NONE,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        NONE,
    )?)
}

/// Makes one mount read-only; `nodev` and `nosuid` come with it, because a bind may not drop them.
pub(crate) fn read_only(at: &Path) -> io::Result<()> {
    let flags =
        MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
    Ok(mount(NONE, at, NONE, flags, NONE)?)
}

/// Makes `new_root` (a mount point) the root; the old one is at `old` (a directory in it) until it is detached.
pub(crate) fn pivot(new_root: &Path, old: &str) -> io::Result<()> {
    nix::unistd::pivot_root(new_root, &new_root.join(old))?;
    std::env::set_current_dir("/")
}

/// Takes a mount away, whoever still uses it.
pub(crate) fn detach(at: &Path) -> io::Result<()> {
    Ok(umount2(at, MntFlags::MNT_DETACH)?)
}
