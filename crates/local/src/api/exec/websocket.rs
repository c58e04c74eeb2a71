//! A command over WebSocket: every message begins with a byte that tells its channel.
//!
//! Subprotocols `v5.channel.k8s.io` (kubectl since 1.30) and `v4.channel.k8s.io` (other clients), which differ in that
//! only v5 can close standard input. <https://github.com/kubernetes/enhancements/tree/master/keps/sig-api-machinery/4006-transition-spdy-to-websockets>

use bytes::{BufMut, Bytes, BytesMut};
use daemon::clock;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::HeaderMap;
use http::header::{
    HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use super::super::Status;
use super::super::node_link::OutputStream;
use super::session::{Event, Input, Output, Session};
use super::{PING, STUCK, words};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
/// v5: the byte after it tells the channel that is closed.
const CLOSE: u8 = 255;

/// Of one message from the client; kubectl sends 32 KiB.
const LARGEST: usize = 1 << 20;
/// Of one message to the client.
const PIECE: usize = 64 << 10;
/// For the client's answer to our close frame.
const FAREWELL: std::time::Duration = std::time::Duration::from_secs(10);

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Which subprotocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V4,
    V5,
}

impl Version {
    fn name(self) -> &'static str {
        match self {
            Self::V4 => "v4.channel.k8s.io",
            Self::V5 => "v5.channel.k8s.io",
        }
    }
}

/// The subprotocol that the client likes best, and the proof that we speak WebSocket.
pub(super) fn negotiate(headers: &HeaderMap) -> Result<(Version, String), Status> {
    if words(headers, SEC_WEBSOCKET_VERSION) != ["13"] {
        return Err(Status::bad_request("websocket: the supported version is 13"));
    }
    let key = headers
        .get(SEC_WEBSOCKET_KEY)
        .ok_or_else(|| Status::bad_request("websocket: the header Sec-WebSocket-Key is missing"))?;
    let offered = words(headers, SEC_WEBSOCKET_PROTOCOL);
    let version = offered
        .iter()
        .find_map(|offer| {
            [Version::V5, Version::V4]
                .into_iter()
                .find(|known| known.name() == *offer)
        })
        .ok_or_else(|| {
            Status::bad_request(format!(
                "websocket: none of the subprotocols [{}] is one of [{} {}]",
                offered.join(" "),
                Version::V5.name(),
                Version::V4.name()
            ))
        })?;
    Ok((version, derive_accept_key(key.as_bytes())))
}

pub(super) fn answer(version: Version, accept: &str, headers: &mut HeaderMap) {
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(version.name()));
    let accept = HeaderValue::from_str(accept).expect("base64 may stand in a header");
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
}

/// Serves the connection until the command ends or the client goes.
pub(super) async fn serve(connection: Upgraded, session: Session, version: Version) {
    let limits = WebSocketConfig::default()
        .read_buffer_size(32 << 10)
        .write_buffer_size(0)
        .max_message_size(Some(LARGEST))
        .max_frame_size(Some(LARGEST));
    let io = TokioIo::new(connection);
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(limits)).await;
    let (mut sink, mut messages) = socket.split();
    let (input, mut output) = session.split();
    let sent = tokio::select! {
        sent = write(&mut sink, &mut output) => sent,
        () = read(&mut messages, input, version) => None,
    };
    // The command ends here, if it has not.
    drop(output);
    if sent.is_none() {
        return tracing::debug!("the client of a command has gone");
    }
    let farewell = async {
        let goodbye = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        // What the client had under way is read to the end, or it could miss the last output.
        if sink.send(Message::Close(Some(goodbye))).await.is_ok() {
            while let Some(Ok(_)) = messages.next().await {}
        }
    };
    if clock::timeout(FAREWELL, farewell).await.is_err() {
        tracing::debug!("the client of a command did not say goodbye");
    }
}

/// Ends when the client has gone or says nonsense.
async fn read(messages: &mut SplitStream<Socket>, mut input: Input, version: Version) {
    while let Some(Ok(message)) = messages.next().await {
        match message {
            // Some clients send text where it happens to be text.
            Message::Binary(_) | Message::Text(_) => {
                let bytes = message.into_data();
                match bytes.first() {
                    Some(&STDIN) => input.put(bytes.slice(1..)),
                    Some(&RESIZE) => input.resize(&bytes[1..]),
                    Some(&CLOSE) if version == Version::V5 && bytes.get(1) == Some(&STDIN) => input.end(),
                    _ => {}
                }
                if input.waits() {
                    input.pass().await;
                }
            }
            Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
}

/// Ends with the command's status, or with `None` when the client takes no more.
async fn write(sink: &mut SplitSink<Socket, Message>, output: &mut Output) -> Option<()> {
    loop {
        let event = tokio::select! {
            biased;
            event = output.next() => Some(event),
            () = clock::sleep(PING) => None,
        };
        match event {
            None => send(sink, Message::Ping(Bytes::new())).await?,
            Some(Event::Wrote(stream, bytes)) => {
                let channel = match stream {
                    OutputStream::Stdout => STDOUT,
                    OutputStream::Stderr => STDERR,
                };
                for piece in bytes.chunks(PIECE) {
                    send(sink, message(channel, piece)).await?;
                }
            }
            Some(Event::Ended(status)) => {
                return send(sink, message(STATUS, status.to_string().as_bytes())).await;
            }
        }
    }
}

fn message(channel: u8, content: &[u8]) -> Message {
    let mut bytes = BytesMut::with_capacity(1 + content.len());
    bytes.put_u8(channel);
    bytes.put_slice(content);
    Message::Binary(bytes.freeze())
}

async fn send(sink: &mut SplitSink<Socket, Message>, message: Message) -> Option<()> {
    clock::timeout(STUCK, sink.send(message)).await.ok()?.ok()
}
