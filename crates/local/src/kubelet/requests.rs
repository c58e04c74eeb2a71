//! What the API server asks of the node: logs, and commands in containers.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::exec;
use super::logs;
use super::node::Node;
use super::pod::view::{ContainerView, View};
use crate::api::Status;
use crate::api::node_link::{ContainerRef, Exec, ExecOptions, LogOptions, NodeRequest, NodeRequests};

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
