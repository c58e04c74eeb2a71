//! Leaving HTTP: what a client that asks for WebSocket or SPDY gets, before anything is said in it.
//!
//! What can be refused is refused here, while the connection still speaks HTTP.

use std::time::Duration;

use daemon::clock;
use http::header::{
    CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Empty, Full};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::Status;
use super::pod_log::Body;

const SPDY: &str = "SPDY/3.1";
const SPDY_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// From our `101` to the bare connection.
const UPGRADED: Duration = Duration::from_secs(10);
/// A client that takes nothing for so long is gone. Long, as somebody may be reading the output page by page.
pub(super) const STUCK: Duration = Duration::from_secs(600);
/// How often a silent connection is tried, so that a client that vanished does not leave its command behind.
pub(super) const PING: Duration = Duration::from_secs(30);
/// For a client's answer to our close frame.
pub(super) const FAREWELL: Duration = Duration::from_secs(10);

/// Of one message from the client; kubectl sends 32 KiB.
const LARGEST: usize = 1 << 20;

/// A connection with messages.
pub(super) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// What the connection becomes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Transport {
    WebSocket {
        protocol: &'static str,
        /// The answer to the client's key.
        accept: String,
    },
    Spdy {
        protocol: &'static str,
    },
}

/// The subprotocols that a resource speaks, by transport.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spoken {
    pub(super) websocket: &'static [&'static str],
    pub(super) spdy: &'static [&'static str],
}

impl Transport {
    pub(super) fn negotiate<B>(request: &Request<B>, spoken: Spoken) -> Result<Self, Status> {
        let headers = request.headers();
        let upgrade = words(headers, UPGRADE);
        let asks_for = |protocol: &str| upgrade.iter().any(|word| word.eq_ignore_ascii_case(protocol));
        let may_switch = request.version() == Version::HTTP_11
            && words(headers, CONNECTION)
                .iter()
                .any(|word| word.eq_ignore_ascii_case("upgrade"));
        if may_switch && asks_for("websocket") && request.method() == Method::GET {
            websocket(headers, spoken.websocket)
        } else if may_switch && asks_for(SPDY) && matches!(*request.method(), Method::GET | Method::POST) {
            spdy(headers, spoken.spdy)
        } else {
            Err(Status::bad_request("Upgrade request required"))
        }
    }

    pub(super) fn switching(&self) -> Response<Body> {
        let mut response = Response::new(Empty::new().boxed_unsync());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        match self {
            Self::WebSocket { protocol, accept } => {
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
                let accept = HeaderValue::from_str(accept).expect("base64 may stand in a header");
                headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
            }
            Self::Spdy { protocol } => {
                headers.insert(UPGRADE, HeaderValue::from_static(SPDY));
                headers.insert(SPDY_PROTOCOL, HeaderValue::from_static(protocol));
            }
        }
        response
    }
}

/// The subprotocol that the client likes best, and the proof that we speak WebSocket.
fn websocket(headers: &HeaderMap, spoken: &'static [&'static str]) -> Result<Transport, Status> {
    if words(headers, SEC_WEBSOCKET_VERSION) != ["13"] {
        return Err(Status::bad_request("websocket: the supported version is 13"));
    }
    let key = headers
        .get(SEC_WEBSOCKET_KEY)
        .ok_or_else(|| Status::bad_request("websocket: the header Sec-WebSocket-Key is missing"))?;
    let offered = words(headers, SEC_WEBSOCKET_PROTOCOL);
    let protocol = chosen(&offered, spoken).ok_or_else(|| {
        Status::bad_request(format!(
            "websocket: none of the subprotocols [{}] is one of [{}]",
            offered.join(" "),
            spoken.join(" ")
        ))
    })?;
    let accept = derive_accept_key(key.as_bytes());
    Ok(Transport::WebSocket { protocol, accept })
}

fn spdy(headers: &HeaderMap, spoken: &'static [&'static str]) -> Result<Transport, Status> {
    let offered = words(headers, SPDY_PROTOCOL);
    let protocol = chosen(&offered, spoken).ok_or_else(|| {
        let why = format!(
            "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
            offered.join(" "),
            spoken.join(" ")
        );
        Status::new(403, "Forbidden", why)
    })?;
    Ok(Transport::Spdy { protocol })
}

/// The first offer that we speak.
fn chosen(offered: &[&str], spoken: &'static [&'static str]) -> Option<&'static str> {
    offered
        .iter()
        .find_map(|offer| spoken.iter().find(|known| *known == offer).copied())
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

/// The bare connection, once the client has our answer.
pub(super) async fn bare(upgrade: OnUpgrade) -> Option<Upgraded> {
    match clock::timeout(UPGRADED, upgrade).await {
        Ok(Ok(connection)) => return Some(connection),
        Ok(Err(error)) => tracing::debug!(%error, "a client left before its connection was handed over"),
        Err(_) => tracing::debug!("a connection was not handed over in time"),
    }
    None
}

/// Messages on a bare connection.
pub(super) async fn messages(connection: Upgraded) -> Socket {
    let limits = WebSocketConfig::default()
        .read_buffer_size(32 << 10)
        .write_buffer_size(0)
        .max_message_size(Some(LARGEST))
        .max_frame_size(Some(LARGEST));
    WebSocketStream::from_raw_socket(TokioIo::new(connection), Role::Server, Some(limits)).await
}

/// What a node says goes out as bare text, as in Kubernetes: kubectl puts "unable to upgrade connection" before it.
pub(super) fn refused_by_node(status: &Status) -> Response<Body> {
    let prefix = "unable to upgrade connection: ";
    let why = status.message.strip_prefix(prefix).unwrap_or(&status.message);
    let mut response = Response::new(Full::from(why.to_owned()).boxed_unsync());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
