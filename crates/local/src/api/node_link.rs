//! What the API server asks of the node: container logs, commands run in containers, programs to attach to, and
//! connections to pods.
//!
//! Requests travel over a bounded channel, so that the API server and the kubelet need not know each other.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::Status;

/// Clients at once that run commands, are attached or forward ports.
const SESSIONS: usize = 512;

/// Sends requests to the kubelet.
#[derive(Clone, Debug)]
pub struct NodeLink {
    requests: mpsc::Sender<NodeRequest>,
    sessions: Arc<Semaphore>,
}

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
    /// What a container runs already.
    Attach {
        of: ContainerRef,
        /// Whether the client wants to write.
        stdin: bool,
        reply: oneshot::Sender<Result<Exec, Status>>,
    },
    /// A connection to 127.0.0.1 as the pod's programs see it.
    Dial {
        namespace: String,
        pod: String,
        port: u16,
        reply: oneshot::Sender<Result<TcpStream, Status>>,
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

/// A program that a client talks to. Dropping it ends a command, and leaves what was attached to as it is.
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
        let (requests, receiver) = mpsc::channel(64);
        let sessions = Arc::new(Semaphore::new(SESSIONS));
        (Self { requests, sessions }, receiver)
    }

    /// A place for a client that stays; to be kept for as long as it does.
    pub(crate) fn admit(&self) -> Result<OwnedSemaphorePermit, Status> {
        self.sessions.clone().try_acquire_owned().map_err(|_| {
            let why = format!("{SESSIONS} clients run commands or forward ports already; try again later");
            Status::new(429, "TooManyRequests", why)
        })
    }

    pub async fn log(&self, of: ContainerRef, options: LogOptions) -> Result<mpsc::Receiver<Bytes>, Status> {
        self.ask(|reply| NodeRequest::Log { of, options, reply }).await
    }

    pub async fn exec(&self, of: ContainerRef, options: ExecOptions) -> Result<Exec, Status> {
        self.ask(|reply| NodeRequest::Exec { of, options, reply }).await
    }

    pub async fn attach(&self, of: ContainerRef, stdin: bool) -> Result<Exec, Status> {
        self.ask(|reply| NodeRequest::Attach { of, stdin, reply }).await
    }

    /// Connects to a port of a pod. The message of a failure is for the one who wanted that.
    pub async fn dial(&self, namespace: &str, pod: &str, port: u16) -> Result<TcpStream, Status> {
        let (namespace, pod) = (namespace.to_owned(), pod.to_owned());
        self.ask(|reply| NodeRequest::Dial {
            namespace,
            pod,
            port,
            reply,
        })
        .await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, Status>>) -> NodeRequest,
    ) -> Result<T, Status> {
        let (reply, answer) = oneshot::channel();
        let gone = || Status::internal("the node is not running");
        self.requests.send(request(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}
