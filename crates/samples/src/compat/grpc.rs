//! gRPC without generated code: messages are texts, framed as gRPC frames them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use tokio::sync::mpsc;

use super::body::{self, Body};
use super::command::Command;

/// A message with its frame.
pub(super) fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

/// The bytes of a body of gRPC-Web in text: pieces of base64, each with its padding.
pub(super) fn from_text(body: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for group in body.chunks(4) {
        bytes.extend(STANDARD.decode(group).ok()?);
    }
    Some(bytes)
}

/// The messages in a piece of body, as texts; an incomplete one stays.
pub(super) fn take(buffer: &mut BytesMut) -> Vec<String> {
    let mut messages = Vec::new();
    while buffer.len() >= 5 {
        let length = u32::from_be_bytes([buffer[1], buffer[2], buffer[3], buffer[4]]) as usize;
        if buffer.len() < 5 + length {
            break;
        }
        buffer.advance(5);
        messages.push(String::from_utf8_lossy(&buffer.split_to(length)).into_owned());
    }
    messages
}

/// Answers by the name of the method: `Unary` and `ClientStream` tell once at the end, `ServerStream` three times,
/// `Bidirectional` echoes each message as it comes. `told` is the first or only message. Others are answered when their
/// messages are there: proxies tell whether a head came before the end of the request.
pub(super) async fn answer(
    path: &str,
    told: String,
    mut body: Incoming,
    command: &Command,
) -> http::Response<Body> {
    let method = path.rsplit('/').next().unwrap_or_default().to_owned();
    let code = match command {
        Command::GrpcStatus(code) => *code,
        Command::Status(503) => 14,
        _ => 0,
    };
    let known = matches!(
        method.as_str(),
        "Unary" | "ClientStream" | "ServerStream" | "Bidirectional"
    );
    let code = if known { code } else { 12 };
    let delay = match command {
        Command::Delay(delay) => Some(*delay),
        _ => None,
    };
    let (send, receive) = mpsc::channel(4);
    let received = if method == "Bidirectional" {
        0
    } else {
        count(&mut body).await
    };
    tokio::task::spawn_local(async move {
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        if method == "Bidirectional" && code == 0 {
            echo(told, body, &send).await;
        } else if code == 0 {
            tell(&method, told, received, &send).await;
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", code.into());
        if code != 0 {
            trailers.insert("grpc-message", http::HeaderValue::from_static("as asked"));
        }
        let _ = send.send(Ok(Frame::trailers(trailers))).await;
    });
    let mut reply = head();
    *reply.body_mut() = body::of_pieces(receive);
    reply
}

/// An answer without messages, whose status is for the head to say.
pub(super) fn head() -> http::Response<Body> {
    let mut reply = http::Response::new(body::whole(""));
    reply
        .headers_mut()
        .insert("content-type", http::HeaderValue::from_static("application/grpc"));
    reply
}

/// Reads all messages.
async fn count(body: &mut Incoming) -> usize {
    let (mut buffer, mut received) = (BytesMut::new(), 0);
    while let Some(Ok(piece)) = body.frame().await {
        if let Ok(data) = piece.into_data() {
            buffer.extend_from_slice(&data);
        }
        received += take(&mut buffer).len();
    }
    received
}

/// An error of sending means that the caller has gone.
async fn echo(told: String, mut body: Incoming, send: &mpsc::Sender<body::Piece>) {
    if !say(send, &told).await {
        return;
    }
    let mut buffer = BytesMut::new();
    while let Some(Ok(piece)) = body.frame().await {
        if let Ok(data) = piece.into_data() {
            buffer.extend_from_slice(&data);
        }
        for message in take(&mut buffer) {
            if !say(send, &format!("echo {message}")).await {
                return;
            }
        }
    }
}

async fn tell(method: &str, told: String, received: usize, send: &mpsc::Sender<body::Piece>) {
    let texts = match method {
        "ClientStream" => vec![told, format!("received {received}")],
        "ServerStream" => vec![told, "second".into(), "third".into()],
        _ => vec![told],
    };
    for text in texts {
        if !say(send, &text).await {
            return;
        }
    }
}

async fn say(send: &mpsc::Sender<body::Piece>, text: &str) -> bool {
    send.send(Ok(Frame::data(frame(text.as_bytes())))).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_base64_follow_each_other() {
        assert_eq!(from_text(b"YQ==YmM=ZGVm").as_deref(), Some(&b"abcdef"[..]));
        assert_eq!(from_text(b"YQ="), None);
        assert_eq!(from_text(b"====").as_deref(), None);
    }

    #[test]
    fn messages_come_out_of_pieces_as_they_went_in() {
        let mut buffer = BytesMut::new();
        let whole = [frame(b"one"), frame(b""), frame(b"three")].concat();
        buffer.extend_from_slice(&whole[..9]);
        assert_eq!(take(&mut buffer), ["one"]);
        buffer.extend_from_slice(&whole[9..]);
        assert_eq!(take(&mut buffer), ["", "three"]);
        assert!(buffer.is_empty());
    }
}
