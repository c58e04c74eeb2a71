//! `GET|POST …/pods/NAME/exec` and `…/attach`: a command in a container, or what the container runs already, for a
//! client that asks to leave HTTP for WebSocket or SPDY.
//!
//! What can be refused is refused before the command starts, and the command starts before the connection changes
//! hands, so that a failure is still an ordinary answer. Kubernetes' words where the user sees them.

mod session;
mod spdy_session;
mod websocket;

#[cfg(test)]
mod tests;

use daemon::Tasks;
use http::{Request, Response};
use hyper::body::Incoming;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use self::session::{Session, Wanted};
use super::Status;
use super::node_link::{ContainerRef, Exec, ExecOptions, NodeLink};
use super::pod_log::{self, Body};
use super::upgrade::{self, Spoken, Transport};

const SPOKEN: Spoken = Spoken {
    websocket: &[websocket::V5, websocket::V4],
    // The only version: every client since Kubernetes 1.4 offers it.
    spdy: &["v4.channel.k8s.io"],
};

/// Starts the command and answers `101 Switching Protocols`; a task of `tasks` serves the connection from then on.
pub(crate) async fn exec(
    pod: &Value,
    parameters: &[(String, String)],
    request: Request<Incoming>,
    link: &NodeLink,
    tasks: &Tasks,
) -> Result<Response<Body>, Status> {
    let wanted = Wanted::of_command(parameters)?;
    let of = container(pod, parameters)?;
    let transport = Transport::negotiate(&request, SPOKEN)?;
    let permit = link.admit()?;
    let options = ExecOptions {
        command: wanted.command.clone(),
        stdin: wanted.stdin,
        tty: wanted.tty,
    };
    let started = link.exec(of, options).await;
    converse(started, (wanted, permit), transport, request, tasks)
}

/// Attaches the client to what the container runs; like [`exec`] in everything else.
pub(crate) async fn attach(
    pod: &Value,
    parameters: &[(String, String)],
    request: Request<Incoming>,
    link: &NodeLink,
    tasks: &Tasks,
) -> Result<Response<Body>, Status> {
    let wanted = Wanted::of(parameters)?;
    let of = container(pod, parameters)?;
    let transport = Transport::negotiate(&request, SPOKEN)?;
    let permit = link.admit()?;
    let attached = link.attach(of, wanted.stdin).await;
    converse(attached, (wanted, permit), transport, request, tasks)
}

fn container(pod: &Value, parameters: &[(String, String)]) -> Result<ContainerRef, Status> {
    let of = pod_log::container(pod, pod_log::first(parameters, "container"))?;
    if !pod_log::scheduled(pod) {
        let why = format!("pod {} does not have a host assigned", of.pod);
        return Err(Status::bad_request(why));
    }
    Ok(of)
}

fn converse(
    started: Result<Exec, Status>,
    (wanted, permit): (Wanted, OwnedSemaphorePermit),
    transport: Transport,
    mut request: Request<Incoming>,
    tasks: &Tasks,
) -> Result<Response<Body>, Status> {
    let session = match started {
        Ok(exec) => Session { exec, wanted },
        Err(status) if status.code == 500 => return Ok(upgrade::refused_by_node(&status)),
        Err(status) => return Err(status),
    };
    let response = transport.switching();
    let handover = hyper::upgrade::on(&mut request);
    tasks.spawn("exec client", async move {
        let _counted = permit;
        let Some(connection) = upgrade::bare(handover).await else {
            return;
        };
        match transport {
            Transport::WebSocket { protocol, .. } => websocket::serve(connection, session, protocol).await,
            Transport::Spdy { .. } => spdy_session::serve(connection, session).await,
        }
    });
    Ok(response)
}
