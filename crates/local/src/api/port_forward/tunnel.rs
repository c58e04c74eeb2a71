//! SPDY in WebSocket messages: the bytes of the messages, one after the other, are the connection.
//!
//! <https://github.com/kubernetes/enhancements/tree/master/keps/sig-api-machinery/4006-transition-spdy-to-websockets>

use bytes::{Bytes, BytesMut};
use daemon::{Tasks, clock};
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::tungstenite::Message;

use super::super::upgrade::{self, FAREWELL, STUCK, Socket};
use super::pump::Pod;
use super::streams;

/// What is on its way between messages and frames, in each direction.
const PIPE: usize = 64 << 10;
/// Of one message to the client.
const PIECE: usize = 32 << 10;

/// Serves the connection until the client goes.
pub(super) async fn serve(connection: Upgraded, pod: Pod, tasks: Tasks) {
    let (ours, theirs) = tokio::io::duplex(PIPE);
    let socket = upgrade::messages(connection).await;
    tokio::join!(carry(socket, theirs), streams::serve(ours, pod, tasks));
}

async fn carry(socket: Socket, frames: DuplexStream) {
    let (mut sink, mut messages) = socket.split();
    let (mut reader, mut writer) = tokio::io::split(frames);
    let inward = async {
        while let Some(Ok(message)) = messages.next().await {
            match message {
                Message::Binary(bytes) if writer.write_all(&bytes).await.is_ok() => {}
                Message::Ping(_) | Message::Pong(_) => {}
                _ => break,
            }
        }
        // The conversation ends by itself, and then the other direction does.
        let _ = writer.shutdown().await;
        std::future::pending().await
    };
    let outward = async {
        let mut piece = BytesMut::with_capacity(PIECE);
        while let Ok(1..) = reader.read_buf(&mut piece).await {
            let bytes: Bytes = piece.split().freeze();
            let sent = clock::timeout(STUCK, sink.send(Message::Binary(bytes))).await;
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
            piece.reserve(PIECE);
        }
        let _ = clock::timeout(FAREWELL, sink.close()).await;
    };
    tokio::select! {
        () = inward => {}
        () = outward => {}
    }
}
