//! What the API server asks of the node: container logs and commands run in containers.
//!
//! Requests travel over a bounded channel, so that the API server and the kubelet need not know each other.

use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::Status;

/// Sends requests to the kubelet.
#[derive(Clone, Debug)]
pub struct NodeLink(mpsc::Sender<NodeRequest>);

/// The kubelet's end.
pub type NodeRequests = mpsc::Receiver<NodeRequest>;

/// Which container is meant.
#[derive(Clone, Debug)]
pub struct ContainerRef {
    pub namespace: String,
    pub pod: String,
    /// Never empty: the API server has applied the default.
    pub container: String,
}

/// One request to the kubelet.
#[derive(Debug)]
pub enum NodeRequest {
    /// Lines of a container's log; the reply's channel closes at the end of the log (or when the client left).
    Log {
        of: ContainerRef,
        options: LogOptions,
        reply: oneshot::Sender<Result<mpsc::Receiver<Bytes>, Status>>,
    },
    /// A command in a container.
    Exec {
        of: ContainerRef,
        options: ExecOptions,
        reply: oneshot::Sender<Result<Exec, Status>>,
    },
}

/// Query parameters of `pods/log`.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    pub follow: bool,
    pub previous: bool,
    pub timestamps: bool,
    pub tail_lines: Option<usize>,
    pub since: Option<SystemTime>,
    pub limit_bytes: Option<usize>,
}

/// Query parameters of `pods/exec`.
#[derive(Clone, Debug, Default)]
pub struct ExecOptions {
    pub command: Vec<String>,
    pub stdin: bool,
    pub tty: bool,
}

/// A command that runs in a container. Dropping it ends the command.
#[derive(Debug)]
pub struct Exec {
    /// Closing it closes the command's standard input.
    pub stdin: Option<mpsc::Sender<Bytes>>,
    /// What the command writes; closed when both streams are.
    pub output: mpsc::Receiver<(OutputStream, Bytes)>,
    /// Columns and rows of the terminal.
    pub resize: mpsc::Sender<(u16, u16)>,
    /// Exit code; 128 + signal when a signal ended it.
    pub exit: oneshot::Receiver<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputStream {
    Stdout,
    Stderr,
}

impl NodeLink {
    /// A link and the kubelet's end of it.
    pub fn new() -> (Self, NodeRequests) {
        let (sender, receiver) = mpsc::channel(64);
        (Self(sender), receiver)
    }

    pub async fn log(&self, of: ContainerRef, options: LogOptions) -> Result<mpsc::Receiver<Bytes>, Status> {
        self.ask(|reply| NodeRequest::Log { of, options, reply }).await
    }

    pub async fn exec(&self, of: ContainerRef, options: ExecOptions) -> Result<Exec, Status> {
        self.ask(|reply| NodeRequest::Exec { of, options, reply }).await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, Status>>) -> NodeRequest,
    ) -> Result<T, Status> {
        let (reply, answer) = oneshot::channel();
        let gone = || Status::internal("the node is not running");
        self.0.send(request(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}
