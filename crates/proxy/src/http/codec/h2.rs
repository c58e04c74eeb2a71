//! HTTP/2 by the `h2` crate: heads to and from ours, frames with flow control.
//!
//! A received byte is given back to the peer's window only when the next frame is asked for, that is, after it
//! has been passed on. Limits: 1,000 streams, 60 KiB of fields, and the library's own on resets and floods.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Uri};

use super::h1::{MAX_HEAD, Refusal};
use super::{CodecError, Fields, Frame, Length, Request, Response, Version};
use crate::transport::Transport;

/// What an HTTP/2 client sends first.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const MAX_STREAMS: u32 = 1000;
const SEND_BUFFER: usize = 64 * 1024;

/// Opens the server's side of a connection.
pub(crate) async fn accept(
    transport: Transport,
) -> Result<h2::server::Connection<Transport, Bytes>, h2::Error> {
    h2::server::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(head_limit())
        .max_send_buffer_size(SEND_BUFFER)
        .handshake(transport)
        .await
}

/// Opens the client's side of a connection.
pub(crate) async fn connect(
    transport: Transport,
) -> Result<
    (
        h2::client::SendRequest<Bytes>,
        h2::client::Connection<Transport, Bytes>,
    ),
    h2::Error,
> {
    h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(head_limit())
        .max_send_buffer_size(SEND_BUFFER)
        .enable_push(false)
        .handshake(transport)
        .await
}

fn head_limit() -> u32 {
    u32::try_from(MAX_HEAD).expect("60 KiB fit")
}

/// The head of a received request, and its body.
pub(crate) fn request_from(request: http::Request<RecvStream>) -> Result<(Request, Receive), Refusal> {
    let (parts, body) = request.into_parts();
    let mut fields = Fields::from_map(&parts.headers);
    let host = fields.text("host").map(str::to_owned);
    fields.remove("host");
    let authority = parts
        .uri
        .authority()
        .map(|authority| authority.as_str().to_owned())
        .or(host);
    let path = match parts.uri.path_and_query() {
        Some(path) => path.as_str().to_owned(),
        None if parts.method == Method::CONNECT => String::new(),
        None => "/".to_owned(),
    };
    let length = length_of(&mut fields, body.is_end_stream())?;
    let request = Request {
        method: parts.method,
        path,
        authority: authority.ok_or(Refusal::HostMissing)?,
        scheme: if parts.uri.scheme_str() == Some("https") {
            "https"
        } else {
            "http"
        },
        fields,
        length,
        upgrade: None,
        version: Version::Http2,
    };
    Ok((request, Receive::new(body)))
}

/// A request to send; refused when path or authority cannot be said in HTTP/2.
pub(crate) fn request_to(request: &Request) -> Result<http::Request<()>, Refusal> {
    let path = PathAndQuery::try_from(request.path.as_str()).map_err(|_| Refusal::Target)?;
    let uri = Uri::builder()
        .scheme(request.scheme)
        .authority(request.authority.as_str())
        .path_and_query(path);
    let uri = uri.build().map_err(|_| Refusal::Target)?;
    let mut message = http::Request::new(());
    *message.method_mut() = request.method.clone();
    *message.uri_mut() = uri;
    *message.version_mut() = http::Version::HTTP_2;
    *message.headers_mut() = map_of(&request.fields, request.length);
    Ok(message)
}

fn response_from(response: &http::Response<()>, ended: bool) -> Result<Response, Refusal> {
    let mut fields = Fields::from_map(response.headers());
    let length = length_of(&mut fields, ended)?;
    Ok(Response {
        status: response.status().as_u16(),
        fields,
        length,
        upgrade: None,
    })
}

/// A response to send.
pub(crate) fn response_to(response: &Response) -> http::Response<()> {
    let mut message = http::Response::new(());
    // Heads are made by the codecs, which check the range, or by the proxy itself.
    *message.status_mut() =
        http::StatusCode::from_u16(response.status).unwrap_or(http::StatusCode::BAD_GATEWAY);
    *message.version_mut() = http::Version::HTTP_2;
    *message.headers_mut() = map_of(&response.fields, response.length);
    message
}

fn map_of(fields: &Fields, length: Length) -> HeaderMap {
    let mut map = fields.to_map();
    if let Length::Exact(length) = length {
        map.insert(http::header::CONTENT_LENGTH, length.into());
    }
    map
}

/// What the head says about the body's length. With an ended stream, `content-length` may tell of a body that a
/// GET would have had (HEAD, 304) and stays a field.
fn length_of(fields: &mut Fields, ended: bool) -> Result<Length, Refusal> {
    let stated = match fields.text("content-length") {
        None if !fields.contains("content-length") => None,
        text => Some(
            text.and_then(|text| text.parse::<u64>().ok())
                .ok_or(Refusal::ContentLength)?,
        ),
    };
    Ok(match (stated, ended) {
        (None, true) => Length::Empty,
        (None, false) => Length::Streamed,
        (Some(0), true) => {
            fields.remove("content-length");
            Length::Exact(0)
        }
        (Some(_), true) => Length::Empty,
        (Some(length), false) => {
            fields.remove("content-length");
            Length::Exact(length)
        }
    })
}

/// The receiving side of a stream.
#[derive(Debug)]
pub(crate) struct Receive {
    stream: RecvStream,
    /// Bytes handed out and not yet given back to the window.
    owed: usize,
    data_ended: bool,
    ended: bool,
}

impl Receive {
    fn new(stream: RecvStream) -> Self {
        let ended = stream.is_end_stream();
        Self {
            stream,
            owed: 0,
            data_ended: ended,
            ended,
        }
    }

    /// The next frame; `None` at the end.
    pub(crate) async fn frame(&mut self) -> Result<Option<Frame>, CodecError> {
        if self.owed > 0 {
            let owed = std::mem::take(&mut self.owed);
            self.stream.flow_control().release_capacity(owed)?;
        }
        while !self.data_ended {
            match self.stream.data().await {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    self.owed = data.len();
                    return Ok(Some(Frame::Data(data)));
                }
                Some(Err(error)) => return Err(error.into()),
                None => self.data_ended = true,
            }
        }
        if self.ended {
            return Ok(None);
        }
        let trailers = self.stream.trailers().await?;
        self.ended = true;
        Ok(trailers.map(|map| Frame::Trailers(Fields::from_map(&map))))
    }
}

/// The sending side of a stream.
#[derive(Debug)]
pub(crate) struct Send {
    stream: SendStream<Bytes>,
}

impl Send {
    pub(crate) fn new(stream: SendStream<Bytes>) -> Self {
        Self { stream }
    }

    /// Sends data, as the peer's window allows.
    pub(crate) async fn data(&mut self, mut data: Bytes) -> Result<(), CodecError> {
        while !data.is_empty() {
            self.stream.reserve_capacity(data.len());
            let mut capacity = self.stream.capacity();
            if capacity == 0 {
                capacity = match poll_fn(|task| self.stream.poll_capacity(task)).await {
                    Some(capacity) => capacity?,
                    None => return Err(CodecError::Truncated),
                };
            }
            let piece = data.split_to(capacity.min(data.len()));
            // The last byte of a stated length does not end the stream: trailers may follow.
            self.stream.send_data(piece, false)?;
        }
        Ok(())
    }

    /// Ends the stream.
    pub(crate) fn end(&mut self, trailers: Option<&Fields>) -> Result<(), CodecError> {
        match trailers {
            Some(fields) => self.stream.send_trailers(fields.to_map())?,
            None => self.stream.send_data(Bytes::new(), true)?,
        }
        Ok(())
    }

    /// Gives the stream up: the peer must not take what it has for the whole.
    pub(crate) fn reset(&mut self) {
        self.stream.send_reset(h2::Reason::INTERNAL_ERROR);
    }
}

/// The answer to a request that was sent.
#[derive(Debug)]
pub(crate) struct Answer {
    response: Option<ResponseFuture>,
    body: Option<Receive>,
}

impl Answer {
    pub(crate) fn new(response: ResponseFuture) -> Self {
        Self {
            response: Some(response),
            body: None,
        }
    }

    /// The next head: informational ones first, then the response.
    pub(crate) async fn head(&mut self) -> Result<Response, CodecError> {
        let Some(future) = &mut self.response else {
            return Err(CodecError::Closed);
        };
        let arrived = poll_fn(|task| {
            if let Poll::Ready(Some(informational)) = future.poll_informational(task) {
                return Poll::Ready(informational.map(|response| (response, None)));
            }
            Pin::new(&mut *future).poll(task).map_ok(|response| {
                let (parts, body) = response.into_parts();
                (http::Response::from_parts(parts, ()), Some(body))
            })
        });
        let (response, body) = arrived.await?;
        let Some(body) = body else {
            return Ok(response_from(&response, true)?);
        };
        self.response = None;
        let head = response_from(&response, body.is_end_stream())?;
        self.body = Some(Receive::new(body));
        Ok(head)
    }

    /// The next frame; `None` at the end.
    pub(crate) async fn frame(&mut self) -> Result<Option<Frame>, CodecError> {
        match &mut self.body {
            Some(body) => body.frame().await,
            None => Ok(None),
        }
    }
}
