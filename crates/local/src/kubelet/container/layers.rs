//! The host's top-level directories in a container's root: each with a writable layer above it, so that directories can
//! be made for volumes and nothing reaches the host.
//!
//! Where the kernel refuses that for a directory (an ordinary user's overlay may have no mount below it, as `/etc` has
//! inside other engines' containers; some hosts have no overlays for ordinary users at all), it is put together from
//! what is in it, each entry read-only, as far down as something is to be made.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::{Path, PathBuf};

use crate::sys::mounts;

/// The directories of a container's root that come from the host.
pub(super) struct Layers {
    /// Holds what is written.
    upper: PathBuf,
    /// Where something will be made that the host may not have, without symlinks.
    wanted: Vec<PathBuf>,
    /// Where something is mounted on the host.
    mounted: Vec<PathBuf>,
}

impl Layers {
    /// Keeps what is written in `upper`, an empty directory. `wanted` are paths that will be made.
    pub(super) fn new<'a>(upper: PathBuf, wanted: impl IntoIterator<Item = &'a Path>) -> io::Result<Self> {
        Ok(Self {
            upper,
            wanted: wanted.into_iter().map(real).collect(),
            mounted: mount_points(&fs::read_to_string("/proc/self/mountinfo")?),
        })
    }

    /// Shows a directory of the host at `at`, which does not exist yet. Whether that is a mount of its own.
    pub(super) fn show(&self, host: &Path, at: &Path) -> io::Result<bool> {
        like(host, at)?;
        if self.overlay(host, at).is_ok() {
            return Ok(true);
        }
        let below = |path: &PathBuf| path != host && path.starts_with(host);
        if self.wanted.iter().chain(&self.mounted).any(below) {
            self.assemble(host, at)?;
            return Ok(false);
        }
        mounts::bind(host, at)?;
        mounts::read_only_throughout(at)?;
        Ok(true)
    }

    fn overlay(&self, host: &Path, at: &Path) -> io::Result<()> {
        let own = self.upper.join(host.strip_prefix("/").unwrap_or(host));
        let (upper, work) = (own.join(".upper"), own.join(".work"));
        fs::create_dir_all(&work)?;
        like(host, &upper)?;
        for path in &self.wanted {
            open_up(host, &upper, path)?;
        }
        mounts::overlay(host, &upper, &work, at)
    }

    /// The directory, entry by entry. What is neither file, directory nor symlink is left out.
    fn assemble(&self, host: &Path, at: &Path) -> io::Result<()> {
        for entry in fs::read_dir(host)? {
            let entry = entry?;
            let (from, to) = (entry.path(), at.join(entry.file_name()));
            let kind = entry.file_type()?;
            if kind.is_symlink() {
                symlink(fs::read_link(&from)?, &to)?;
            } else if kind.is_dir() {
                self.show(&from, &to)?;
            } else if kind.is_file() {
                File::create(&to)?;
                mounts::bind(&from, &to)?;
                mounts::read_only(&to)?;
            }
        }
        Ok(())
    }
}

/// Makes the directories in the layer that lead to `path`, as far as the host has them. Those of the host belong to its
/// root, which in a user namespace is nobody: there the container's root may add to what the layer has, and only to that.
fn open_up(host: &Path, upper: &Path, path: &Path) -> io::Result<()> {
    let Ok(below) = path.strip_prefix(host) else {
        return Ok(());
    };
    let (mut host, mut upper) = (host.to_owned(), upper.to_owned());
    for name in below {
        host.push(name);
        upper.push(name);
        if !host.is_dir() {
            break;
        }
        if !upper.exists() {
            like(&host, &upper)?;
        }
    }
    Ok(())
}

/// Makes a directory that looks like another.
fn like(model: &Path, at: &Path) -> io::Result<()> {
    let found = fs::metadata(model)?;
    fs::create_dir(at)?;
    // Where there is but one user, everything is that one's.
    let _ = chown(at, Some(found.uid()), Some(found.gid()));
    fs::set_permissions(at, found.permissions())
}

/// The path without symlinks, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let existing = path
        .ancestors()
        .find_map(|above| Some((above, above.canonicalize().ok()?)));
    let Some((above, real)) = existing else {
        return path.to_owned();
    };
    // Joining nothing would add a slash.
    match path.strip_prefix(above) {
        Ok(rest) if rest != Path::new("") => real.join(rest),
        Ok(_) | Err(_) => real,
    }
}

/// The fifth field of each line, where a blank is `\040`.
fn mount_points(mountinfo: &str) -> Vec<PathBuf> {
    let point = |line: &str| Some(PathBuf::from(line.split(' ').nth(4)?.replace("\\040", " ")));
    mountinfo.lines().filter_map(point).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_layer_has_the_way_to_what_will_be_made_and_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let (host, upper) = (directory.path().join("host"), directory.path().join("upper"));
        fs::create_dir_all(host.join("lib/app")).unwrap();
        fs::set_permissions(host.join("lib"), fs::Permissions::from_mode(0o711)).unwrap();
        fs::write(host.join("file"), "").unwrap();
        fs::create_dir(&upper).unwrap();
        for path in ["lib/istio/data", "file/below", "lib/app"] {
            open_up(&host, &upper, &host.join(path)).unwrap();
        }
        open_up(&host, &upper, Path::new("/elsewhere")).unwrap();
        let mode = fs::metadata(upper.join("lib")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o711, "it looks like the host's");
        assert!(upper.join("lib/app").is_dir());
        assert!(!upper.join("lib/istio").exists() && !upper.join("file").exists());
    }

    #[test]
    fn a_path_is_followed_through_symlinks_as_far_as_it_exists() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().canonicalize().unwrap();
        fs::create_dir(base.join("usr")).unwrap();
        symlink("usr", base.join("bin")).unwrap();
        assert_eq!(real(&base.join("bin/new/file")), base.join("usr/new/file"));
        assert_eq!(real(&base.join("bin")), base.join("usr"));
    }

    #[test]
    fn mount_points_are_read_as_the_kernel_writes_them() {
        let text = "22 27 0:21 / /proc rw,relatime - proc proc rw\n28 27 0:25 / /mnt/a\\040b ro shared:1 - tmpfs t ro\n";
        assert_eq!(mount_points(text), [Path::new("/proc"), Path::new("/mnt/a b")]);
    }
}
