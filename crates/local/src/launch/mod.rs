//! Starting and stopping the cluster: launcher, PID 1, node.
//!
//! ```text
//! amime up ── launcher ── init ── node ── pod ─┬─ container ── container-init = the program
//!  (host)      (host)    (PID 1)        (pause)└─ …
//! ```
//!
//! The launcher stays in the host's network, holds the lock of the state directory and makes every host
//! socket. `init` is PID 1 of the node's namespaces and does nothing but reap, so that the node waits for its own
//! children only. When the launcher dies, the kernel kills `init`, and with it everything inside; when `init` or
//! the node dies, the launcher ends. Mounts, links and routes live in the node's namespaces and go with them.
//!
//! An ordinary user's launcher first makes a user namespace and is root from there on down, over nothing of the host's.

mod control;
mod home;
pub(crate) mod init;
pub(crate) mod launcher;
pub(crate) mod node;

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

pub use crate::sys::namespaces::{Users, users};

use crate::kubelet::images::Layers;
use crate::nodes::Layout;
use crate::sys::{frame, namespaces, reexec};
use home::Home;

/// The file of the state directory in which users map images to programs of their own.
pub const MAPPINGS: &str = "images.yaml";

/// What a cluster is started with.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Settings {
    /// The state directory; made if missing.
    pub home: PathBuf,
    /// Which program stands in for which image.
    pub images: Layers,
    /// Whether the cluster outlives the caller. If not, it ends when [`Cluster`] is dropped or its process ends.
    pub detach: bool,
    /// The simulated nodes; by default as many as there were before, or one.
    pub nodes: Option<Layout>,
    /// Port of the API server on 127.0.0.1; by default the one it had before, or else a free one.
    pub port: Option<u16>,
}

/// A cluster that was started by this process.
#[derive(Debug)]
pub struct Cluster {
    /// For kubectl and for ourselves.
    pub kubeconfig: PathBuf,
    /// The API server on the host's loopback.
    pub address: SocketAddr,
    /// The launcher's process.
    pub pid: u32,
    launcher: Child,
    detached: bool,
}

/// What the launcher says on its standard output, once.
#[derive(Serialize, Deserialize)]
enum Outcome {
    Ready {
        kubeconfig: PathBuf,
        address: SocketAddr,
    },
    Failed(String),
}

/// Starts a cluster; its API server answers when this returns. Blocks for as long as that takes.
///
/// # Errors
/// One line with what to do: a cluster already runs here, the port is taken, no permission for namespaces.
pub fn launch(settings: &Settings) -> anyhow::Result<Cluster> {
    let mut settings = settings.clone();
    let home = Home::make(&settings.home)?;
    settings.home = home.path().to_owned();
    let log = home.start_log()?;
    let mut launcher = reexec::command("launcher")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .context("cannot execute this program again")?;
    let input = launcher.stdin.as_mut().expect("it was piped");
    frame::write(input, &settings).context("the launcher ended at once")?;
    let mut output = launcher.stdout.take().expect("it was piped");
    let outcome = frame::read(&mut output).ok().flatten();
    match outcome {
        Some(Outcome::Ready { kubeconfig, address }) => {
            let pid = launcher.id();
            Ok(Cluster {
                kubeconfig,
                address,
                pid,
                launcher,
                detached: settings.detach,
            })
        }
        Some(Outcome::Failed(why)) => {
            let _ = launcher.wait();
            bail!(why)
        }
        None => {
            let _ = launcher.wait();
            bail!(
                "the cluster ended while it started: {}",
                last_words(&home.node_log())
            )
        }
    }
}

/// Makes a state directory ready for a cluster: there, the caller's own, closed to others, with nobody's files in it.
///
/// # Errors
/// One line with what to do.
pub fn claim(home: &Path) -> anyhow::Result<()> {
    Home::make(home).map(drop)
}

/// The last line of a log that says anything.
fn last_words(log: &Path) -> String {
    let mut text = String::new();
    let _ = File::open(log).map(|file| file.take(1 << 20).read_to_string(&mut text));
    text.lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or("it left no message")
        .to_owned()
}

impl Cluster {
    /// Waits until the cluster ends, whoever ends it. Blocks.
    ///
    /// # Errors
    /// When it did not end by being told to.
    pub fn wait(&mut self) -> anyhow::Result<()> {
        let status = self.launcher_end()?;
        if !status.success() {
            bail!("the cluster ended unexpectedly");
        }
        Ok(())
    }

    /// Ends the cluster: pods get SIGTERM and their grace, then everything goes. Blocks.
    ///
    /// # Errors
    /// When it did not end by being told to.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.hang_up();
        if self.detached {
            // It does not listen to our end of the pipe.
            let pid = rustix::process::Pid::from_child(&self.launcher);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        }
        self.wait()
    }

    fn hang_up(&mut self) {
        drop(self.launcher.stdin.take());
    }

    fn launcher_end(&mut self) -> std::io::Result<std::process::ExitStatus> {
        // `Child::wait` would close the pipe first, and that means: stop.
        let lifeline = self.launcher.stdin.take();
        let status = self.launcher.wait();
        drop(lifeline);
        status
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.detached {
            self.hang_up();
            let _ = self.launcher.wait();
        }
    }
}

/// The cluster of a state directory, if one runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The launcher's process.
    pub pid: u32,
    pub kubeconfig: PathBuf,
    /// Which users its containers can be.
    pub users: Users,
}

/// Whether a cluster runs in `home`.
pub fn running(home: &Path) -> Option<Found> {
    let home = Home::new(home);
    let pid = home.holder()?;
    Some(Found {
        pid,
        kubeconfig: home.kubeconfig(),
        users: namespaces::users_of(&pid.to_string()),
    })
}

/// Longest time that [`stop`] waits: the grace that pods get at most, and some.
const STOP_LIMIT: Duration = Duration::from_secs(45);

/// Ends the cluster of `home` gracefully and waits until it is gone; the state is kept. Whether one ran. Blocks.
///
/// # Errors
/// When it may not be signalled, or does not end.
pub fn stop(home: &Path) -> anyhow::Result<bool> {
    let home = Home::new(home);
    let Some(pid) = home.holder() else {
        return Ok(false);
    };
    let target = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .context("bad pid in the lock")?;
    rustix::process::kill_process(target, rustix::process::Signal::TERM)
        .with_context(|| format!("cannot stop the cluster (pid {pid})"))?;
    if home.wait_until_free(STOP_LIMIT)? {
        Ok(true)
    } else {
        bail!(
            "the cluster (pid {pid}) has not ended after {} s; see {}",
            STOP_LIMIT.as_secs(),
            home.node_log().display()
        )
    }
}

/// Deletes the state of `home`, except [`MAPPINGS`], which the user wrote. Blocks.
///
/// # Errors
/// When a cluster runs there, or the directory is not a state directory of ours.
pub fn delete(home: &Path) -> anyhow::Result<()> {
    if running(home).is_some() {
        bail!("a cluster runs in {}", home.display());
    }
    if !home.exists() {
        return Ok(());
    }
    if !Home::new(home).is_ours() {
        bail!("{} is not a state directory: nothing was deleted", home.display());
    }
    Home::new(home)
        .delete()
        .with_context(|| format!("cannot delete {}", home.display()))
}
