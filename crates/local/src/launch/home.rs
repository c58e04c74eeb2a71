//! The state directory: who holds it, and what lies where.
//!
//! The lock is held by the launcher for as long as it lives, and by nobody else: no child inherits it.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};

use crate::nodes::Layout;

pub(super) struct Home(PathBuf);

/// What to do when a state directory can't be had.
const ELSEWHERE: &str = "give one of your own with --home DIR";

/// The lock, as long as it is not dropped.
pub(super) struct Lock(#[allow(dead_code, reason = "open, hence locked")] File);

impl Home {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The directory at `path`, made if it is not there: the caller's own, closed to others, and free for a cluster.
    ///
    /// # Errors
    /// In whose way it is, and what to give instead.
    pub(super) fn make(path: &Path) -> anyhow::Result<Self> {
        let make = || {
            DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            let path = path.canonicalize()?;
            let found = std::fs::metadata(&path)?;
            Ok::<_, std::io::Error>((path, found))
        };
        let (path, found) = make()
            .with_context(|| format!("cannot make the state directory {}; {ELSEWHERE}", path.display()))?;
        let (owner, caller) = (found.uid(), nix::unistd::geteuid().as_raw());
        if owner != caller {
            bail!(
                "the state directory {} belongs to user {owner}, and you are user {caller}; {ELSEWHERE}",
                path.display()
            );
        }
        let home = Self(path);
        if !home.is_free_or_ours()? {
            bail!(
                "{} holds files of something else; give an empty or a new directory as --home",
                home.0.display()
            );
        }
        // Keys and secrets lie here, whoever made the directory.
        std::fs::set_permissions(&home.0, Permissions::from_mode(0o700))
            .with_context(|| format!("cannot close {} to others", home.0.display()))?;
        Ok(home)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// An empty log for launcher and node.
    pub(super) fn start_log(&self) -> anyhow::Result<File> {
        File::create(self.node_log()).with_context(|| {
            format!(
                "cannot write in the state directory {}; {ELSEWHERE}",
                self.0.display()
            )
        })
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.0.join("kubeconfig")
    }

    /// Standard error of launcher and node.
    pub(super) fn node_log(&self) -> PathBuf {
        self.0.join("node.log")
    }

    fn lock_file(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// Whether a cluster has ever been here.
    pub(super) fn is_ours(&self) -> bool {
        self.lock_file().is_file()
    }

    /// Whether a cluster may live here. What is made here is closed to others, and `delete` takes all of it but the
    /// user's mappings of images: neither may happen to a directory that holds somebody's files.
    fn is_free_or_ours(&self) -> std::io::Result<bool> {
        if self.is_ours() {
            return Ok(true);
        }
        for entry in self.0.read_dir()? {
            if entry?.file_name() != super::MAPPINGS {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Deletes everything that a cluster made here, and the directory unless the user's mappings are in it.
    pub(super) fn delete(&self) -> std::io::Result<()> {
        let mappings = self.0.join(super::MAPPINGS);
        if !mappings.exists() {
            return std::fs::remove_dir_all(&self.0);
        }
        for entry in self.0.read_dir()? {
            let entry = entry?;
            if entry.path() == mappings {
                continue;
            }
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn port_file(&self) -> PathBuf {
        self.0.join("port")
    }

    /// Takes the directory.
    pub(super) fn lock(&self) -> anyhow::Result<Lock> {
        let path = self.lock_file();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!(
                "a cluster already runs in {} (pid {}); stop it with: amime down --home {}",
                self.0.display(),
                read_pid(&mut file).map_or_else(|| "unknown".to_owned(), |pid| pid.to_string()),
                self.0.display()
            );
        }
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(std::process::id().to_string().as_bytes())?;
        Ok(Lock(file))
    }

    /// The process that holds the directory.
    pub(super) fn holder(&self) -> Option<u32> {
        let mut file = File::open(self.lock_file()).ok()?;
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => None,
            Err(_) => read_pid(&mut file),
        }
    }

    /// Waits until nobody holds the directory; whether that happened.
    pub(super) fn wait_until_free(&self, limit: Duration) -> anyhow::Result<bool> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let free = async {
            while self.holder().is_some() {
                daemon::clock::sleep(Duration::from_millis(20)).await;
            }
        };
        Ok(runtime
            .block_on(async { daemon::clock::timeout(limit, free).await })
            .is_ok())
    }

    /// The port of the API server so far. Kubeconfigs name it, so it does not change by itself.
    pub(super) fn port(&self) -> Option<u16> {
        std::fs::read_to_string(self.port_file())
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    fn nodes_file(&self) -> PathBuf {
        self.0.join("nodes.json")
    }

    /// The simulated nodes so far.
    pub(super) fn nodes(&self) -> Layout {
        let text = std::fs::read(self.nodes_file()).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    pub(super) fn remember_nodes(&self, nodes: &Layout) -> anyhow::Result<()> {
        let text = serde_json::to_vec(nodes).context("cannot write down the nodes")?;
        std::fs::write(self.nodes_file(), text).context("cannot remember the nodes")
    }

    pub(super) fn remember_port(&self, port: u16) -> anyhow::Result<()> {
        std::fs::write(self.port_file(), port.to_string()).context("cannot remember the port")
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_held_once_and_free_again_afterwards() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path());
        assert_eq!(home.holder(), None);
        let lock = home.lock().unwrap();
        assert_eq!(home.holder(), Some(std::process::id()));
        let error = home.lock().err().unwrap().to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        drop(lock);
        assert_eq!(home.holder(), None);
        assert!(home.lock().is_ok());
    }

    #[test]
    fn a_state_directory_is_closed_to_others_whoever_made_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new");
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let home = Home::make(&path).unwrap();
        assert_eq!(mode(), 0o700);
        drop(home.lock().unwrap());
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        Home::make(&path).unwrap();
        assert_eq!(mode(), 0o700);
    }

    #[test]
    fn a_directory_that_cannot_be_ours_is_named_with_what_to_do() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = format!("{:#}", Home::make(&file.path().join("below")).err().unwrap());
        assert!(error.contains("--home DIR") && error.contains("below"), "{error}");
        let other = Path::new("/proc/1");
        if std::fs::metadata(other).unwrap().uid() != nix::unistd::geteuid().as_raw() {
            let error = Home::make(other).err().unwrap().to_string();
            assert!(error.contains("belongs to user"), "{error}");
        }
    }

    #[test]
    fn a_directory_with_files_of_something_else_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path());
        assert!(home.is_free_or_ours().unwrap(), "an empty directory is free");
        std::fs::write(directory.path().join(super::super::MAPPINGS), "").unwrap();
        assert!(home.is_free_or_ours().unwrap(), "mappings may be there first");
        std::fs::write(directory.path().join("notes.txt"), "mine").unwrap();
        let error = Home::make(directory.path()).err().unwrap().to_string();
        assert!(error.contains("files of something else"), "{error}");
        drop(home.lock().unwrap());
        assert!(home.is_free_or_ours().unwrap(), "a cluster has been here");
    }

    #[test]
    fn the_user_s_mappings_outlive_the_state() {
        let directory = tempfile::tempdir().unwrap();
        let mappings = directory.path().join(super::super::MAPPINGS);
        std::fs::write(&mappings, "a: b").unwrap();
        std::fs::write(directory.path().join("store"), "").unwrap();
        std::fs::create_dir_all(directory.path().join("pods/x")).unwrap();
        let home = Home::new(directory.path());
        home.delete().unwrap();
        assert_eq!(directory.path().read_dir().unwrap().count(), 1);
        std::fs::remove_file(&mappings).unwrap();
        home.delete().unwrap();
        assert!(!directory.path().exists());
    }
}
