//! A container's root: the host's programs and libraries, nothing of the host's data, and no way to change either.
//!
//! A fresh tmpfs holds one overlay per top-level directory of the host, with changes kept in another tmpfs. Both
//! belong to the container's mount namespace and go with its last process. Home directories and the state directory
//! are left out; `/proc`, `/dev`, `/tmp` and `/run` are the container's own.
//!
//! Everything below the new root is mounted after `pivot`, so that symlinks such as `/var/run` lead where they lead
//! in the container and never into the host.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::layers::Layers;
use super::processes;
use crate::sys::mounts;

/// Where our binary lies in every container, under all its names; first on the PATH.
pub(crate) const PROGRAMS: &str = "/.node/bin";

/// The host's root while the new one is being built.
const OLD: &str = ".old";

/// Top-level directories that a container doesn't see, or has for itself.
const LEFT_OUT: [&str; 11] = [
    "boot",
    "dev",
    "home",
    "lost+found",
    "media",
    "mnt",
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
];

/// As other container runtimes do it.
const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
const UNCHANGEABLE: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Files in `/etc` that are the pod's own.
const ETC: [&str; 4] = ["resolv.conf", "hosts", "hostname", "nsswitch.conf"];

/// What a root is made of.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Root {
    /// An empty directory of the node, where the new root is built; each container sees only its own.
    pub(crate) scratch: PathBuf,
    /// Directories of the host that containers must not see.
    pub(crate) hidden: Vec<PathBuf>,
    /// What containers see of the host wherever it lies, unless something is there already: the image's program.
    pub(crate) exposed: Vec<Mount>,
    /// Our own binary.
    pub(crate) binary: PathBuf,
    /// Other names for it.
    pub(crate) commands: Vec<String>,
    /// Holds the pod's `resolv.conf`, `hosts`, `hostname` and `nsswitch.conf`.
    pub(crate) etc: PathBuf,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) read_only: bool,
}

/// A volume, or a part of one, in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mount {
    pub(crate) source: PathBuf,
    pub(crate) at: PathBuf,
    pub(crate) read_only: bool,
}

impl Root {
    /// Makes this the root of the calling process, which has a mount namespace of its own and is PID 1 of its
    /// PID namespace. The program will work in `workdir`.
    pub(crate) fn enter(&self, workdir: &Path) -> anyhow::Result<()> {
        mounts::keep_private().context("cannot make mounts private")?;
        let layers = self.build(workdir).context("cannot build the root")?;
        own_file_systems().context("cannot mount the container's own file systems")?;
        self.place_files().context("cannot place the pod's files")?;
        for mount in &self.mounts {
            place(mount).with_context(|| format!("cannot mount {}", mount.at.display()))?;
        }
        mounts::detach(Path::new("/").join(OLD).as_path()).context("cannot leave the host's root")?;
        fs::remove_dir(Path::new("/").join(OLD))?;
        restrict_proc()?;
        if self.read_only {
            let kept: Vec<_> = self.mounts.iter().map(|mount| mount.at.as_path()).collect();
            let own = ["/tmp", "/run"].map(PathBuf::from);
            for layer in layers
                .iter()
                .chain(&own)
                .filter(|layer| !kept.contains(&layer.as_path()))
            {
                mounts::read_only(layer)?;
            }
            mounts::read_only(Path::new("/"))?;
        }
        Ok(())
    }

    /// The new root with the host's directories in it, entered. Which directories are mounts.
    fn build(&self, workdir: &Path) -> anyhow::Result<Vec<PathBuf>> {
        mounts::tmpfs(&self.scratch, "size=1g,mode=0755").context("no scratch")?;
        let (root, upper) = (self.scratch.join("root"), self.scratch.join("layers"));
        fs::create_dir(&root)?;
        fs::create_dir(&upper)?;
        let made = self
            .mounts
            .iter()
            .chain(&self.exposed)
            .map(|mount| mount.at.as_path());
        let links = self
            .commands
            .iter()
            .map(Path::new)
            .filter(|link| link.is_absolute());
        let etc = ETC.map(|name| Path::new("/etc").join(name));
        let layers = Layers::new(
            upper,
            made.chain(links)
                .chain(etc.iter().map(PathBuf::as_path))
                .chain([workdir]),
        )?;
        mounts::tmpfs(&root, "size=64m,mode=0755").context("no new root")?;
        let mut shown = Vec::new();
        for entry in fs::read_dir("/")? {
            let entry = entry?;
            let (name, path) = (entry.file_name(), entry.path());
            if LEFT_OUT.iter().any(|left_out| name == *left_out) {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_symlink() {
                symlink(fs::read_link(&path)?, root.join(&name))?;
            } else if kind.is_dir() {
                let is_mount = layers
                    .show(&path, &root.join(&name))
                    .with_context(|| format!("cannot show {}", path.display()))?;
                shown.extend(is_mount.then_some(path));
            }
        }
        fs::create_dir(root.join(OLD))?;
        mounts::pivot(&root, OLD).context("cannot change the root")?;
        for hidden in self.hidden.iter().filter(|path| path.is_dir()) {
            mounts::tmpfs(hidden, "size=4k,mode=0000,ro")
                .with_context(|| format!("cannot hide {}", hidden.display()))?;
        }
        Ok(shown)
    }

    fn place_files(&self) -> anyhow::Result<()> {
        for name in ETC {
            let at = Path::new("/etc").join(name);
            // It may be a symlink to somewhere that does not exist here.
            let _ = fs::remove_file(&at);
            place(&Mount {
                source: self.etc.join(name),
                at,
                read_only: false,
            })?;
        }
        let directory = Path::new(PROGRAMS);
        fs::create_dir_all(directory)?;
        let name = self.binary.file_name().context("the binary has a name")?;
        place(&Mount {
            source: self.binary.clone(),
            at: directory.join(name),
            read_only: true,
        })?;
        for command in self.commands.iter().filter(|command| name != command.as_str()) {
            symlink(name, directory.join(command))?;
        }
        for mount in self.exposed.iter().filter(|mount| !mount.at.exists()) {
            place(mount).with_context(|| format!("cannot show {}", mount.at.display()))?;
        }
        Ok(())
    }
}

fn own_file_systems() -> anyhow::Result<()> {
    for directory in ["/proc", "/sys", "/dev", "/tmp", "/run", "/root", "/home"] {
        fs::create_dir(directory)?;
    }
    mounts::proc(Path::new("/proc")).context("/proc")?;
    processes::bound();
    // Without it programs get along.
    let _ = mounts::sysfs(Path::new("/sys"));
    mounts::tmpfs(Path::new("/tmp"), "size=1g,mode=1777").context("/tmp")?;
    mounts::tmpfs(Path::new("/run"), "size=64m,mode=0755").context("/run")?;
    fs::set_permissions("/root", fs::Permissions::from_mode(0o700))?;
    mounts::tmpfs(Path::new("/dev"), "size=64k,mode=0755").context("/dev")?;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let device = Path::new("/dev").join(name);
        File::create(&device)?;
        mounts::bind(&in_old(&device), &device).with_context(|| format!("/dev/{name}"))?;
    }
    for (name, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, Path::new("/dev").join(name))?;
    }
    fs::create_dir("/dev/pts")?;
    mounts::terminals(Path::new("/dev/pts")).context("/dev/pts")?;
    fs::create_dir("/dev/shm")?;
    mounts::tmpfs(Path::new("/dev/shm"), "size=64m,mode=1777").context("/dev/shm")
}

/// Kernel parameters and what they reveal are not for containers.
fn restrict_proc() -> anyhow::Result<()> {
    for path in MASKED.map(Path::new).into_iter().filter(|path| path.exists()) {
        if path.is_dir() {
            mounts::tmpfs(path, "size=4k,mode=0555,ro")
        } else {
            mounts::bind(Path::new("/dev/null"), path)
        }
        .with_context(|| format!("cannot mask {}", path.display()))?;
    }
    for path in UNCHANGEABLE
        .map(Path::new)
        .into_iter()
        .filter(|path| path.exists())
    {
        mounts::bind(path, path)
            .and_then(|()| mounts::read_only(path))
            .with_context(|| format!("cannot protect {}", path.display()))?;
    }
    Ok(())
}

/// Where a path of the host is until the old root is detached.
fn in_old(path: &Path) -> PathBuf {
    Path::new("/")
        .join(OLD)
        .join(path.strip_prefix("/").unwrap_or(path))
}

fn place(mount: &Mount) -> anyhow::Result<()> {
    let source = in_old(&mount.source);
    let kind = fs::metadata(&source).with_context(|| format!("{} does not exist", mount.source.display()))?;
    if !mount.at.is_absolute() {
        bail!("the path is not absolute");
    }
    if kind.is_dir() {
        fs::create_dir_all(&mount.at)?;
    } else if !mount.at.exists() {
        fs::create_dir_all(mount.at.parent().unwrap_or(Path::new("/")))?;
        File::create(&mount.at)?;
    }
    mounts::bind(&source, &mount.at)?;
    if mount.read_only {
        mounts::read_only_throughout(&mount.at)?;
    }
    Ok(())
}
