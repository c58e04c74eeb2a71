//! The state directory: who holds it, and what lies where.
//!
//! The lock is held by the launcher for as long as it lives, and by nobody else: no child inherits it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};

pub(super) struct Home(PathBuf);

/// The lock, as long as it is not dropped.
pub(super) struct Lock(#[allow(dead_code, reason = "open, hence locked")] File);

impl Home {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
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

    /// Whether a cluster may live here. What is made here is closed to others, and `delete` takes all of it:
    /// neither may happen to a directory that holds somebody's files.
    pub(super) fn is_free_or_ours(&self) -> std::io::Result<bool> {
        Ok(self.is_ours() || self.0.read_dir()?.next().is_none())
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
    fn a_directory_with_files_of_something_else_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path());
        assert!(home.is_free_or_ours().unwrap(), "an empty directory is free");
        std::fs::write(directory.path().join("notes.txt"), "mine").unwrap();
        assert!(!home.is_free_or_ours().unwrap());
        drop(home.lock().unwrap());
        assert!(home.is_free_or_ours().unwrap(), "a cluster has been here");
    }
}
