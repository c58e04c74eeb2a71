//! `GET|POST …/pods/NAME/portforward`: connections of a client's machine that go on inside a pod.
//!
//! kubectl speaks SPDY, inside WebSocket messages since 1.31; client libraries speak the older WebSocket protocol with a
//! channel per port. Each forwarded connection is a [`pump`]; a session reads only while its pumps take what it reads.
//! <https://kubernetes.io/docs/tasks/access-application-cluster/port-forward-access-application-cluster/>

mod channels;
mod pump;
mod streams;
mod tunnel;

#[cfg(test)]
mod tests;

use daemon::Tasks;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;

use self::pump::Pod;
use super::Status;
use super::node_link::NodeLink;
use super::pod_log::{self, Body};
use super::upgrade::{self, Spoken, Transport};

/// SPDY in messages.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const CHANNELS: &str = "v4.channel.k8s.io";
const SPOKEN: Spoken = Spoken {
    websocket: &[TUNNEL, CHANNELS],
    spdy: &["portforward.k8s.io"],
};

/// Each port has two channels, and their numbers are bytes.
const MOST_PORTS: usize = 127;

/// Answers `101 Switching Protocols`; a task of `tasks` serves the connection from then on.
pub(crate) fn forward(
    pod: &Value,
    parameters: &[(String, String)],
    mut request: Request<Incoming>,
    link: &NodeLink,
    tasks: &Tasks,
) -> Result<Response<Body>, Status> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pod_name = text(&pod["metadata"]["name"]);
    if !pod_log::scheduled(pod) {
        let why = format!("pod {pod_name} does not have a host assigned");
        return Err(Status::bad_request(why));
    }
    let ports = ports(parameters)?;
    let transport = Transport::negotiate(&request, SPOKEN)?;
    if ports.is_empty()
        && matches!(
            transport,
            Transport::WebSocket {
                protocol: CHANNELS,
                ..
            }
        )
    {
        return Err(Status::bad_request("query parameter \"ports\" is required"));
    }
    let permit = link.admit()?;
    let pod = Pod {
        link: link.clone(),
        namespace: text(&pod["metadata"]["namespace"]),
        name: pod_name,
    };
    let response = transport.switching();
    let handover = hyper::upgrade::on(&mut request);
    let owner = tasks.clone();
    tasks.spawn("port-forward client", async move {
        let _counted = permit;
        let Some(connection) = upgrade::bare(handover).await else {
            return;
        };
        match transport {
            Transport::WebSocket {
                protocol: CHANNELS, ..
            } => {
                channels::serve(connection, &ports, pod, owner).await;
            }
            Transport::WebSocket { .. } => tunnel::serve(connection, pod, owner).await,
            Transport::Spdy { .. } => streams::serve(TokioIo::new(connection), pod, owner).await,
        }
    });
    Ok(response)
}

/// The ports that the query names, each time or with commas.
fn ports(parameters: &[(String, String)]) -> Result<Vec<u16>, Status> {
    let named = parameters.iter().filter(|(name, _)| name == "ports");
    let ports: Vec<u16> = named
        .flat_map(|(_, value)| value.split(','))
        .filter(|port| !port.is_empty())
        .map(|port| {
            let number = port.parse().ok().filter(|number| *number > 0);
            number.ok_or_else(|| Status::bad_request(format!("invalid port \"{port}\"")))
        })
        .collect::<Result<_, _>>()?;
    if ports.len() > MOST_PORTS {
        return Err(Status::bad_request(format!(
            "at most {MOST_PORTS} ports can be forwarded"
        )));
    }
    Ok(ports)
}
