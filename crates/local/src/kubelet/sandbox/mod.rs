//! A pod's sandbox: the namespaces that its containers share (network, host name, IPC), held by one idle process.
//! Each container has a PID namespace and a root of its own, as is Kubernetes' default.

pub(crate) mod inside;

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use daemon::clock;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};

use super::network;
use crate::sys::{frame, reexec};

const LIMIT: Duration = Duration::from_secs(20);

/// What the sandbox of a pod is made of.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Sandboxed {
    pub(crate) hostname: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) sysctls: Vec<(String, String)>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Progress {
    /// The namespaces are there.
    Made,
    /// The network works.
    Ready,
    Failed(String),
}

/// A sandbox that stands. Dropping it takes it away, with link and route.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) pid: u32,
    process: Child,
    hold: ChildStdin,
}

impl Sandbox {
    pub(crate) async fn make(pod: &Sandboxed) -> anyhow::Result<Self> {
        clock::timeout(LIMIT, Self::make_unhurried(pod))
            .await
            .map_err(|_| anyhow::anyhow!("the pod's namespaces are not ready after {} s", LIMIT.as_secs()))?
    }

    async fn make_unhurried(pod: &Sandboxed) -> anyhow::Result<Self> {
        let mut command = Command::from(reexec::command("pod"));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut process = command.spawn().context("cannot start the pod's process")?;
        let pid = process.id().context("it has just started")?;
        let mut hold = process.stdin.take().context("it was piped")?;
        let mut output = process.stdout.take().context("it was piped")?;
        hold.write_all(&frame::encode(pod)?).await?;
        expect(frame::receive(&mut output).await)?;
        network::connect_pod(pod.address, pid).context("cannot connect the pod")?;
        hold.write_all(b"g").await?;
        expect(frame::receive(&mut output).await)?;
        Ok(Self { pid, process, hold })
    }

    /// Takes it away and waits for that.
    pub(crate) async fn remove(mut self) {
        drop(self.hold);
        if clock::timeout(Duration::from_secs(5), self.process.wait())
            .await
            .is_err()
        {
            let _ = self.process.kill().await;
        }
    }
}

fn expect(progress: Option<Progress>) -> anyhow::Result<()> {
    match progress {
        Some(Progress::Made | Progress::Ready) => Ok(()),
        Some(Progress::Failed(why)) => bail!(why),
        None => bail!("the pod's process ended"),
    }
}
