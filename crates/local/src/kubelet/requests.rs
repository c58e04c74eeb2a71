//! What the API server asks of the node: logs, commands in containers, programs to attach to, connections to pods.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use daemon::clock;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;

use super::container::attach;
use super::exec;
use super::logs;
use super::node::{Node, PodName};
use super::pod::view::{ContainerView, PodNetwork, View};
use crate::api::Status;
use crate::api::node_link::{ContainerRef, Exec, ExecOptions, LogOptions, NodeRequest, NodeRequests};

/// For a program to take a connection.
const DIAL_LIMIT: Duration = Duration::from_secs(30);

/// Answers requests for as long as the API server asks.
pub(crate) async fn answer(node: Arc<Node>, mut requests: NodeRequests) {
    while let Some(request) = requests.recv().await {
        let node = node.clone();
        let tasks = node.tasks.clone();
        match request {
            NodeRequest::Log { of, options, reply } => {
                // Who asked may have gone.
                let _ = reply.send(log(node, of, options));
            }
            NodeRequest::Exec { of, options, reply } => tasks.spawn("exec start", async move {
                let _ = reply.send(run(&node, &of, &options).await);
            }),
            NodeRequest::Attach { of, stdin, reply } => tasks.spawn("attach start", async move {
                let _ = reply.send(attached(&node, &of, stdin).await);
            }),
            NodeRequest::Dial {
                namespace,
                pod,
                port,
                reply,
            } => tasks.spawn("pod connection", async move {
                let _ = reply.send(dial(&node, (namespace, pod), port).await);
            }),
        }
    }
}

fn find(node: &Node, of: &ContainerRef) -> Result<(View, ContainerView), Status> {
    let views = Node::lock(&node.views);
    let view = views
        .get(&(of.namespace.clone(), of.pod.clone()))
        .ok_or_else(|| waiting(of, "ContainerCreating"))?;
    let container = view.containers.get(&of.container).cloned().ok_or_else(|| {
        Status::bad_request(format!(
            "container {} is not valid for pod {}",
            of.container, of.pod
        ))
    })?;
    Ok((view.clone(), container))
}

fn waiting(of: &ContainerRef, reason: &str) -> Status {
    Status::bad_request(format!(
        "container \"{}\" in pod \"{}\" is waiting to start: {reason}",
        of.container, of.pod
    ))
}

fn log(
    node: Arc<Node>,
    of: ContainerRef,
    options: LogOptions,
) -> Result<mpsc::Receiver<bytes::Bytes>, Status> {
    let (view, container) = find(&node, &of)?;
    let run = match (container.run, options.previous) {
        (Some(run), false) => run,
        (Some(run), true) if run > 0 => run - 1,
        (_, true) => {
            let (container, pod) = (&of.container, &of.pod);
            return Err(Status::bad_request(format!(
                "previous terminated container \"{container}\" in pod \"{pod}\" not found"
            )));
        }
        (None, false) => return Err(waiting(&of, container.waiting.unwrap_or("ContainerCreating"))),
    };
    let path = logs::path(&view.logs, &of.container, run);
    let (to, from) = mpsc::channel(8);
    let tasks = node.tasks.clone();
    tasks.spawn("log", async move {
        let ended = || match find(&node, &of) {
            Ok((now, container)) => {
                now.uid != view.uid || container.run != Some(run) || container.target.is_none()
            }
            Err(_) => true,
        };
        if let Err(error) = logs::read::send(&path, &options, &to, ended).await {
            tracing::debug!(%error, log = %path.display(), "cannot read a log");
        }
    });
    Ok(from)
}

async fn run(node: &Node, of: &ContainerRef, options: &ExecOptions) -> Result<Exec, Status> {
    let (_, container) = find(node, of)?;
    let target = container.target.ok_or_else(|| {
        Status::internal(format!(
            "unable to upgrade connection: container not found (\"{}\")",
            of.container
        ))
    })?;
    exec::start(&target, options, &node.tasks)
        .await
        .map_err(|error| Status::internal(format!("{error:#}")))
}

async fn attached(node: &Node, of: &ContainerRef, stdin: bool) -> Result<Exec, Status> {
    let not_found = || {
        let ContainerRef {
            namespace,
            pod,
            container,
        } = of;
        Status::internal(format!(
            "container {container} not found in pod {pod}_{namespace}"
        ))
    };
    let (_, container) = find(node, of).map_err(|_| not_found())?;
    let to = container.attach.ok_or_else(not_found)?;
    attach::start(&to, stdin, &node.tasks)
        .await
        .map_err(|error| Status::internal(format!("cannot attach to container {}: {error}", of.container)))
}

async fn dial(node: &Node, pod: PodName, port: u16) -> Result<TcpStream, Status> {
    let view = Node::lock(&node.views).get(&pod).cloned();
    let network = view.as_ref().and_then(|view| view.network.clone());
    let (Some(view), Some(network)) = (view, network) else {
        return Err(Status::internal(format!(
            "pod not found (\"{}_{}\")",
            pod.1, pod.0
        )));
    };
    let connecting = async {
        let socket = match &network {
            PodNetwork::Own(sockets) => sockets.make().await?,
            PodNetwork::Node => TcpSocket::new_v4()?,
        };
        socket
            .connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            .await
    };
    let connected = clock::timeout(DIAL_LIMIT, connecting).await;
    connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
            io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
            _ => error.to_string(),
        };
        Status::internal(format!(
            "error forwarding port {port} to pod {}, uid {}: failed to connect to localhost:{port} inside the network of the pod, IPv4: dial tcp4 127.0.0.1:{port}: {why}",
            pod.1, view.uid
        ))
    })
}
