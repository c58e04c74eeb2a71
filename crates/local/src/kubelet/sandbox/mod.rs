//! A pod's sandbox: the namespaces that its containers share (network, host name, IPC), held by one idle process.
//! Each container has a PID namespace and a root of its own, as is Kubernetes' default.

pub(crate) mod inside;

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use daemon::clock;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::{TcpSocket, UnixStream};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use super::network;
use crate::sys::{frame, handover, reexec};

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
    /// The pod's process ends with it.
    hold: SocketSource,
}

/// Sockets that belong to a pod's network, whoever uses them.
#[derive(Clone, Debug)]
pub(crate) struct SocketSource(Arc<Mutex<Option<UnixStream>>>);

impl SocketSource {
    /// A TCP socket that sees what the pod's programs see.
    pub(crate) async fn make(&self) -> io::Result<TcpSocket> {
        let mut hold = self.0.lock().await;
        let making = async {
            let hold = hold.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            hold.write_all(b"s").await?;
            hold.async_io(Interest::READABLE, || handover::receive(&*hold))
                .await
        };
        let made = clock::timeout(LIMIT, making).await.map_err(io::Error::other);
        if made.is_err() {
            // Its answer would be taken for the next one's.
            *hold = None;
        }
        let socket = std::net::TcpStream::from(made??);
        socket.set_nonblocking(true)?;
        Ok(TcpSocket::from_std_stream(socket))
    }
}

impl Sandbox {
    pub(crate) async fn make(pod: &Sandboxed) -> anyhow::Result<Self> {
        clock::timeout(LIMIT, Self::make_unhurried(pod))
            .await
            .map_err(|_| anyhow::anyhow!("the pod's namespaces are not ready after {} s", LIMIT.as_secs()))?
    }

    async fn make_unhurried(pod: &Sandboxed) -> anyhow::Result<Self> {
        let (mut hold, theirs) = UnixStream::pair()?;
        let theirs = theirs.into_std()?;
        theirs.set_nonblocking(false)?;
        let mut command = Command::from(reexec::command("pod"));
        command
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut process = command.spawn().context("cannot start the pod's process")?;
        // It holds the other end of the socket.
        drop(command);
        let pid = process.id().context("it has just started")?;
        let mut output = process.stdout.take().context("it was piped")?;
        hold.write_all(&frame::encode(pod)?).await?;
        expect(frame::receive(&mut output).await)?;
        network::connect_pod(pod.address, pid).context("cannot connect the pod")?;
        hold.write_all(b"g").await?;
        expect(frame::receive(&mut output).await)?;
        let hold = SocketSource(Arc::new(Mutex::new(Some(hold))));
        Ok(Self { pid, process, hold })
    }

    /// For connections that begin in the pod.
    pub(crate) fn sockets(&self) -> SocketSource {
        self.hold.clone()
    }

    /// Takes it away and waits for that.
    pub(crate) async fn remove(mut self) {
        drop(self.hold.0.lock().await.take());
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
