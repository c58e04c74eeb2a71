//! gRPC-Web: calls of browsers become gRPC, and answers go back in their form: trailers are the last frame of the body,
//! and all of it is base64 if the caller asks for text. Istio: service ports named `grpc-web`.
//!
//! Nothing is gathered but up to two bytes of base64, and what an upstream that speaks no gRPC says about itself.
//! Source: gRPC-Web's PROTOCOL-WEB.md, and what Envoy's filter does.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};

use super::codec::{Answer, CodecError, Fields, Frame, Length, Request, Response, h1::Refusal};
use super::reply::{grpc_code, is_grpc, percent_encode};

const PROTO: &[u8] = b"application/grpc-web+proto";
const TEXT_PROTO: &[u8] = b"application/grpc-web-text+proto";
/// Set in the first byte of a frame that holds trailers.
const TRAILERS: u8 = 0x80;
/// Most bytes of a message that is no gRPC, as Envoy keeps them.
const MESSAGE: usize = 16 * 1024;

/// The answer to one call.
#[derive(Debug, Default)]
pub(crate) struct GrpcWeb {
    text: bool,
    frames: Frames,
    /// Bytes that do not fill a group of base64 yet.
    held: BytesMut,
}

/// Turns a call of gRPC-Web into gRPC; `None` when it is none. A body of text needs the decoder.
pub(crate) fn begin(request: &mut Request) -> Option<(GrpcWeb, Option<Decoder>)> {
    let decoder = match request.fields.get("content-type")? {
        b"application/grpc-web" | PROTO => None,
        b"application/grpc-web-text" | TEXT_PROTO => Some(Decoder::default()),
        _ => return None,
    };
    let accepted = request.fields.get("accept").unwrap_or_default();
    let text = accepted == b"application/grpc-web-text" || accepted == TEXT_PROTO;
    if !matches!(request.length, Length::Empty) {
        request.length = Length::Streamed;
    }
    request.fields.set("content-type", b"application/grpc");
    request.fields.set("te", b"trailers");
    request.fields.set("grpc-accept-encoding", b"identity");
    let web = GrpcWeb {
        text,
        ..GrpcWeb::default()
    };
    Some((web, decoder))
}

impl GrpcWeb {
    /// Whether somebody answers who does not speak gRPC.
    pub(crate) fn is_foreign(response: &Response) -> bool {
        !response.length.is_empty() && !is_grpc(&response.fields)
    }

    /// Changes the head of an answer.
    pub(crate) fn head(&self, response: &mut Response) {
        response.fields.set("content-type", self.content_type());
        if !response.length.is_empty() {
            response.length = Length::Streamed;
        }
    }

    /// Puts what somebody says who does not speak gRPC into the head; the status stays.
    pub(crate) fn explain(&self, response: &mut Response, message: &[u8]) {
        let message = percent_encode(&String::from_utf8_lossy(message));
        response.fields.set("content-type", self.content_type());
        response.fields.set("grpc-message", message.as_bytes());
        response
            .fields
            .set("grpc-status", grpc_code(response.status).as_bytes());
        response.length = Length::Exact(0);
    }

    fn content_type(&self) -> &'static [u8] {
        if self.text { TEXT_PROTO } else { PROTO }
    }

    /// A piece of the answer's body. At the end of a message nothing is held back.
    pub(crate) fn data(&mut self, data: Bytes) -> Bytes {
        if !self.text {
            return data;
        }
        self.frames.pass(&data);
        self.held.extend_from_slice(&data);
        let whole = if self.frames.is_between() {
            self.held.len()
        } else {
            self.held.len() / 3 * 3
        };
        STANDARD.encode(self.held.split_to(whole)).into()
    }

    /// The trailers, as the last frame.
    pub(crate) fn trailers(&mut self, fields: &Fields) -> Bytes {
        let mut lines = Vec::new();
        for (name, value) in fields.iter() {
            lines.extend_from_slice(name.as_bytes());
            lines.push(b':');
            lines.extend_from_slice(value);
            lines.extend_from_slice(b"\r\n");
        }
        // Trailers are bounded as heads are.
        let length = u32::try_from(lines.len()).unwrap_or(u32::MAX);
        let mut frame = self.held.split().to_vec();
        frame.push(TRAILERS);
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&lines);
        if self.text {
            STANDARD.encode(frame).into()
        } else {
            frame.into()
        }
    }
}

/// Reads a body to its end and keeps its beginning.
pub(crate) async fn collect(answer: &mut Answer<'_>) -> Result<Vec<u8>, CodecError> {
    let mut kept = Vec::new();
    while let Some(frame) = answer.frame().await? {
        if let Frame::Data(data) = frame {
            kept.extend_from_slice(&data[..data.len().min(MESSAGE - kept.len())]);
        }
    }
    Ok(kept)
}

/// Follows gRPC's frames: a flag, four bytes of length, the message.
#[derive(Debug, Default)]
struct Frames {
    head: [u8; 5],
    head_bytes: usize,
    left: usize,
}

impl Frames {
    fn pass(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.left > 0 {
                let passed = self.left.min(data.len());
                self.left -= passed;
                data.advance(passed);
                continue;
            }
            self.head[self.head_bytes] = data.get_u8();
            self.head_bytes += 1;
            if self.head_bytes == self.head.len() {
                let [_, length @ ..] = self.head;
                self.left = u32::from_be_bytes(length) as usize;
                self.head_bytes = 0;
            }
        }
    }

    fn is_between(&self) -> bool {
        self.left == 0 && self.head_bytes == 0
    }
}

/// Decodes a request's body of base64, in groups of four characters.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    held: BytesMut,
}

impl Decoder {
    /// A piece of the body.
    pub(crate) fn data(&mut self, data: &[u8]) -> Result<Bytes, CodecError> {
        self.held.extend_from_slice(data);
        let whole = self.held.len() / 4 * 4;
        let text = self.held.split_to(whole);
        let mut decoded = Vec::with_capacity(whole / 4 * 3);
        // Each message may be padded, so padding may be anywhere.
        let mut rest = &text[..];
        while !rest.is_empty() {
            let padding = rest.iter().position(|byte| *byte == b'=');
            let end = padding.map_or(rest.len(), |position| position / 4 * 4 + 4);
            STANDARD
                .decode_vec(&rest[..end], &mut decoded)
                .map_err(|_| Refusal::Base64)?;
            rest.advance(end);
        }
        Ok(decoded.into())
    }

    /// The end of the body.
    pub(crate) fn end(&self) -> Result<(), CodecError> {
        if self.held.is_empty() {
            Ok(())
        } else {
            Err(Refusal::Base64Length.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_with_each_message_and_holds_nothing_back() {
        let message = b"\0\0\0\0\x04abcd";
        for cut in 0..message.len() {
            let mut web = GrpcWeb {
                text: true,
                ..GrpcWeb::default()
            };
            let first = web.data(Bytes::copy_from_slice(&message[..cut]));
            let second = web.data(Bytes::copy_from_slice(&message[cut..]));
            assert!(web.held.is_empty());
            let text = [first, second].concat();
            assert_eq!(text, STANDARD.encode(message).as_bytes(), "{cut}");
        }
    }

    #[test]
    fn trailers_are_the_last_frame() {
        let mut fields = Fields::default();
        fields.push("grpc-status", b"0");
        let mut web = GrpcWeb::default();
        assert_eq!(&web.trailers(&fields)[..], b"\x80\0\0\0\x0fgrpc-status:0\r\n");
        web.text = true;
        assert_eq!(
            STANDARD.decode(web.trailers(&fields)).unwrap(),
            b"\x80\0\0\0\x0fgrpc-status:0\r\n"
        );
    }

    #[test]
    fn base64_is_decoded_however_it_is_cut_and_what_is_none_is_refused() {
        let text = b"AAAAAANhYmM=AAAAAAFh";
        for cut in 0..text.len() {
            let mut decoder = Decoder::default();
            let first = decoder.data(&text[..cut]).unwrap();
            let second = decoder.data(&text[cut..]).unwrap();
            assert!(decoder.end().is_ok());
            assert_eq!([first, second].concat(), b"\0\0\0\0\x03abc\0\0\0\0\x01a");
        }
        assert!(Decoder::default().data(b"AA%%").is_err());
        let mut short = Decoder::default();
        assert!(short.data(b"AAA").is_ok() && short.end().is_err());
    }
}
