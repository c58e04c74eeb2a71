//! A command over WebSocket: every message begins with a byte that tells its channel.
//!
//! Subprotocols `v5.channel.k8s.io` (kubectl since 1.30) and `v4.channel.k8s.io` (other clients), which differ in that
//! only v5 can close standard input. <https://github.com/kubernetes/enhancements/tree/master/keps/sig-api-machinery/4006-transition-spdy-to-websockets>

use bytes::{BufMut, Bytes, BytesMut};
use daemon::clock;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::super::node_link::OutputStream;
use super::super::upgrade::{self, FAREWELL, PING, STUCK, Socket};
use super::session::{Event, Input, Output, Session};

pub(super) const V4: &str = "v4.channel.k8s.io";
pub(super) const V5: &str = "v5.channel.k8s.io";

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
/// v5: the byte after it tells the channel that is closed.
const CLOSE: u8 = 255;

/// Of one message to the client.
const PIECE: usize = 64 << 10;
/// Serves the connection until the command ends or the client goes.
pub(super) async fn serve(connection: Upgraded, session: Session, protocol: &str) {
    let (mut sink, mut messages) = upgrade::messages(connection).await.split();
    let (input, mut output) = session.split();
    let sent = tokio::select! {
        sent = write(&mut sink, &mut output) => sent,
        () = read(&mut messages, input, protocol == V5) => None,
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
async fn read(messages: &mut SplitStream<Socket>, mut input: Input, may_close: bool) {
    while let Some(Ok(message)) = messages.next().await {
        match message {
            // Some clients send text where it happens to be text.
            Message::Binary(_) | Message::Text(_) => {
                let bytes = message.into_data();
                match bytes.first() {
                    Some(&STDIN) => input.put(bytes.slice(1..)),
                    Some(&RESIZE) => input.resize(&bytes[1..]),
                    Some(&CLOSE) if may_close && bytes.get(1) == Some(&STDIN) => input.end(),
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
