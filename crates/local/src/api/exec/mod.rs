//! `GET|POST …/pods/NAME/exec`: a command in a container, for a client that asks to leave HTTP for WebSocket or SPDY.
//!
//! What can be refused is refused before the command starts, and the command starts before the connection changes
//! hands, so that a failure is still an ordinary answer. Kubernetes' words where the user sees them.

mod session;
mod spdy_session;
mod websocket;

#[cfg(test)]
mod tests;

use std::time::Duration;

use daemon::{Tasks, clock};
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, UPGRADE};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use serde_json::Value;

use self::session::{Session, Wanted};
use super::Status;
use super::node_link::{ExecOptions, NodeLink};
use super::pod_log::{self, Body};

/// From our `101` to the bare connection.
const UPGRADED: Duration = Duration::from_secs(10);
/// A client that takes nothing for so long is gone. Long, as somebody may be reading the output page by page.
const STUCK: Duration = Duration::from_secs(600);
/// How often a silent connection is tried, so that a client that vanished does not leave its command behind.
const PING: Duration = Duration::from_secs(30);

/// What the connection becomes.
#[derive(Debug, PartialEq, Eq)]
enum Transport {
    WebSocket {
        version: websocket::Version,
        /// The answer to the client's key.
        accept: String,
    },
    Spdy,
}

/// Starts the command and answers `101 Switching Protocols`; a task of `tasks` serves the connection from then on.
pub(crate) async fn exec(
    pod: &Value,
    parameters: &[(String, String)],
    mut request: Request<Incoming>,
    link: &NodeLink,
    tasks: &Tasks,
) -> Result<Response<Body>, Status> {
    let wanted = Wanted::of(parameters)?;
    let of = pod_log::container(pod, pod_log::first(parameters, "container"))?;
    if !pod_log::scheduled(pod) {
        let why = format!("pod {} does not have a host assigned", of.pod);
        return Err(Status::bad_request(why));
    }
    let transport = Transport::negotiate(&request)?;
    let response = transport.switching();
    let options = ExecOptions {
        command: wanted.command.clone(),
        stdin: wanted.stdin,
        tty: wanted.tty,
    };
    let session = match link.exec(of, options).await {
        Ok(exec) => Session { exec, wanted },
        Err(status) if status.code == 500 => return Ok(cannot_start(&status)),
        Err(status) => return Err(status),
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tasks.spawn("exec client", async move {
        match clock::timeout(UPGRADED, upgrade).await {
            Ok(Ok(connection)) => match transport {
                Transport::WebSocket { version, .. } => websocket::serve(connection, session, version).await,
                Transport::Spdy => spdy_session::serve(connection, session).await,
            },
            Ok(Err(error)) => tracing::debug!(%error, "the client of a command left before it began"),
            Err(_) => tracing::debug!("the connection of a command was not handed over in time"),
        }
    });
    Ok(response)
}

/// What a node says goes out as bare text, as in Kubernetes: kubectl puts "unable to upgrade connection" before it.
fn cannot_start(status: &Status) -> Response<Body> {
    let prefix = "unable to upgrade connection: ";
    let why = status.message.strip_prefix(prefix).unwrap_or(&status.message);
    let mut response = Response::new(Full::from(why.to_owned()).boxed_unsync());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

impl Transport {
    fn negotiate<B>(request: &Request<B>) -> Result<Self, Status> {
        let headers = request.headers();
        let upgrade = words(headers, UPGRADE);
        let asks_for = |protocol: &str| upgrade.iter().any(|word| word.eq_ignore_ascii_case(protocol));
        let may_switch = request.version() == Version::HTTP_11
            && words(headers, CONNECTION)
                .iter()
                .any(|word| word.eq_ignore_ascii_case("upgrade"));
        if may_switch && asks_for("websocket") && request.method() == Method::GET {
            let (version, accept) = websocket::negotiate(headers)?;
            Ok(Self::WebSocket { version, accept })
        } else if may_switch
            && asks_for(spdy_session::UPGRADE_TO)
            && matches!(*request.method(), Method::GET | Method::POST)
        {
            spdy_session::negotiate(headers)?;
            Ok(Self::Spdy)
        } else {
            Err(Status::bad_request("Upgrade request required"))
        }
    }

    fn switching(&self) -> Response<Body> {
        let mut response = Response::new(Empty::new().boxed_unsync());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        match self {
            Self::WebSocket { version, accept } => websocket::answer(*version, accept, headers),
            Self::Spdy => spdy_session::answer(headers),
        }
        response
    }
}

/// The elements of a header that is a list, however many lines it has.
fn words(headers: &HeaderMap, name: impl Into<HeaderName>) -> Vec<&str> {
    let lines = headers.get_all(name.into()).into_iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .collect()
}
