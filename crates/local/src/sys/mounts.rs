//! Mounts, by the names of what they are for.
#![allow(unsafe_code, reason = "no crate of ours has mount_setattr")]

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
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

/// Makes one mount read-only, without devices and set-uid programs.
pub(crate) fn read_only(at: &Path) -> io::Result<()> {
    restrict(at, 0)
}

/// The same for a mount and all that is mounted below it.
pub(crate) fn read_only_throughout(at: &Path) -> io::Result<()> {
    restrict(at, libc::AT_RECURSIVE)
}

/// Adds to what is forbidden there; an ordinary user may not take a restriction of the host away, as a remount would
/// (mount_setattr(2), Linux 5.12).
fn restrict(at: &Path, how: libc::c_int) -> io::Result<()> {
    let path = CString::new(at.as_os_str().as_bytes())?;
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the path ends with a zero and the attributes are a `mount_attr` of the size we give; both outlive the
    // call, which only reads them.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            how,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(answer)?;
    Ok(())
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
