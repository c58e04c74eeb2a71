//! A container: a supervisor process of the node, and the container's program as PID 1 of its own PID namespace.
//!
//! The supervisor waits for the program, writes its log and serves whoever is attached to it, so neither a crash nor a
//! flood of output reaches the node.

pub(crate) mod attach;
mod audience;
pub(crate) mod credentials;
pub(crate) mod inside;
mod layers;
mod processes;
pub(crate) mod root;
pub(crate) mod supervise;

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use daemon::clock;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStdout, Command};

use crate::sys::{frame, handover, reexec};
use inside::Inside;

const START_LIMIT: Duration = Duration::from_secs(30);

/// What the supervisor is told first.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Supervised {
    pub(crate) log: PathBuf,
    /// Standard input ends with the first client that had it.
    pub(crate) stdin_once: bool,
    pub(crate) inside: Inside,
}

/// What the supervisor is told later.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// A signal for the program.
    Signal(i32),
    /// A client attaches itself; the next byte brings its socket.
    Attach { stdin: bool },
}

/// What the supervisor tells.
#[derive(Debug, Serialize, Deserialize)]
enum Progress {
    /// The program runs, with this pid in the node's PID namespace.
    Started(u32),
    Failed(String),
    Exited(Exit),
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exit {
    /// 128 + signal if a signal ended it.
    pub(crate) code: i32,
    pub(crate) signal: Option<i32>,
}

/// A container that runs.
#[derive(Debug)]
pub(crate) struct Container {
    /// Its first process, in the node's PID namespace.
    pub(crate) pid: u32,
    orders: UnixStream,
    end: End,
}

/// The end of a container, to be waited for.
#[derive(Debug)]
pub(crate) struct End {
    supervisor: Child,
    progress: ChildStdout,
}

/// Sends signals, and clients, to a container.
#[derive(Debug)]
pub(crate) struct Signals(UnixStream);

impl Container {
    /// Starts a container; its program runs when this returns.
    pub(crate) async fn start(supervised: &Supervised) -> anyhow::Result<Self> {
        clock::timeout(START_LIMIT, Self::start_unhurried(supervised))
            .await
            .map_err(|_| anyhow::anyhow!("not started after {} s", START_LIMIT.as_secs()))?
    }

    async fn start_unhurried(supervised: &Supervised) -> anyhow::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = Command::from(reexec::command("container"));
        command
            .stdin(Stdio::from(blocking(theirs)?))
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut supervisor = command.spawn().context("cannot start the supervisor")?;
        // It holds the other end of the socket.
        drop(command);
        let mut orders = ours;
        let mut progress = supervisor.stdout.take().context("it was piped")?;
        orders.write_all(&frame::encode(supervised)?).await?;
        match frame::receive(&mut progress).await {
            Some(Progress::Started(pid)) => Ok(Self {
                pid,
                orders,
                end: End { supervisor, progress },
            }),
            Some(Progress::Failed(why)) => bail!(why),
            Some(Progress::Exited(_)) | None => bail!("the supervisor ended"),
        }
    }

    /// Its two ends, for two owners.
    pub(crate) fn split(self) -> (Signals, End) {
        (Signals(self.orders), self.end)
    }
}

/// A socket as another process wants it.
fn blocking(socket: UnixStream) -> std::io::Result<OwnedFd> {
    let socket = socket.into_std()?;
    socket.set_nonblocking(false)?;
    Ok(socket.into())
}

impl Signals {
    /// Sends a signal to the program; one that has ended does not mind.
    pub(crate) async fn send(&mut self, signal: i32) {
        if let Ok(order) = frame::encode(&Order::Signal(signal)) {
            let _ = self.0.write_all(&order).await;
        }
    }

    /// Hands the socket of a client over: [`attach`] says what is spoken on it.
    async fn attach(&mut self, client: impl AsFd, stdin: bool) -> std::io::Result<()> {
        self.0
            .write_all(&frame::encode(&Order::Attach { stdin })?)
            .await?;
        self.0
            .async_io(Interest::WRITABLE, || handover::send(&self.0, &client))
            .await
    }
}

impl End {
    /// Waits for the end of the program. A supervisor that was killed took the program with it.
    pub(crate) async fn wait(mut self) -> Exit {
        let exit = match frame::receive(&mut self.progress).await {
            Some(Progress::Exited(exit)) => exit,
            _ => Exit {
                code: 137,
                signal: Some(9),
            },
        };
        let _ = self.supervisor.wait().await;
        exit
    }
}
