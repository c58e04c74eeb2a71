//! `GET|POST …/pods/NAME/exec`: a command in a container, for a client that asks to leave HTTP for WebSocket or SPDY.

use daemon::Tasks;
use http::{Request, Response};
use hyper::body::Incoming;
use serde_json::Value;

use super::Status;
use super::node_link::NodeLink;
use super::pod_log::Body;

/// Starts the command and answers `101 Switching Protocols`; a task of `tasks` serves the connection from then on.
#[expect(clippy::unused_async, reason = "the body is about to come")]
pub(crate) async fn exec(
    pod: &Value,
    parameters: &[(String, String)],
    request: Request<Incoming>,
    link: &NodeLink,
    tasks: &Tasks,
) -> Result<Response<Body>, Status> {
    let _ = (pod, parameters, request, link, tasks);
    Err(Status::new(501, "NotImplemented", "exec is about to come"))
}
