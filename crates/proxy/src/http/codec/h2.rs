//! HTTP/2 by the `h2` crate: heads to and from ours, frames with flow control.
//!
//! A received byte is given back to the peer's window only when the next frame is asked for, that is, after it
//! has been passed on. Limits: 1,000 streams, 60 KiB of fields, and the library's own on resets and floods.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use daemon::clock::{self, Instant};
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Uri};
use tokio::io::{AsyncRead, AsyncWrite};

use super::h1::{self, MAX_FIELDS, MAX_HEAD, MAX_INFORMATIONAL, Refusal};
use super::{CodecError, Fields, Frame, Length, Request, Response, Version};
use crate::transport::{SILENCE, Transport};

/// What an HTTP/2 client sends first.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const MAX_STREAMS: u32 = 1000;
/// What small DATA frames may add up to while nobody has read them: 256 bytes less its own for each, so that about
/// 16,000 may wait on a connection.
const SMALL_FRAMES: usize = 4 * 1024 * 1024;
/// Streams that we reset and whose late frames are known as such for a second; those of others are answered one by one.
const REMEMBERED: usize = 1000;
/// Late frames that are answered, in the life of a connection.
const ANSWERED: usize = 4096;
/// A connection on which so many messages were not read to their end makes room for a new one. Frames that come for a
/// stream after its end are charged to [`SMALL_FRAMES`] or to [`ANSWERED`] for ever (h2 0.4.20), and when one of them is
/// used up, the library breaks the connection off with all that is under way.
pub(crate) const MAX_UNFINISHED: u32 = 1024;
const SEND_BUFFER: usize = 64 * 1024;
/// A stream that the client resets within this time was opened for nothing (Envoy's
/// `premature_reset_min_stream_lifetime_seconds`).
const EARLY: Duration = Duration::from_secs(1);
/// Once a connection had so many streams, no more than half may have been reset early (Envoy's
/// `premature_reset_total_stream_count`; CVE-2023-44487).
const RESETS_JUDGED: u32 = 500;

/// Opens the server's side of a connection, for so many streams at a time if that is less than our own limit.
pub(crate) async fn accept<T: AsyncRead + AsyncWrite + Unpin>(
    transport: T,
    streams: Option<u32>,
) -> Result<h2::server::Connection<T, Bytes>, h2::Error> {
    h2::server::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(streams.map_or(MAX_STREAMS, |most| most.min(MAX_STREAMS)))
        .max_header_list_size(head_limit())
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(SMALL_FRAMES)
        .max_concurrent_reset_streams(REMEMBERED)
        .max_local_error_reset_streams(Some(ANSWERED))
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
        .data_frame_budget(SMALL_FRAMES)
        .max_concurrent_reset_streams(REMEMBERED)
        .max_local_error_reset_streams(Some(ANSWERED))
        .enable_push(false)
        .handshake(transport)
        .await
}

fn head_limit() -> u32 {
    u32::try_from(MAX_HEAD).expect("60 KiB fit")
}

/// The streams of one connection that were opened, those that the client reset early, and those whose requests were not
/// read to their end.
#[derive(Debug, Default)]
pub(crate) struct Resets {
    opened: Cell<u32>,
    early: Cell<u32>,
    unfinished: Cell<u32>,
}

impl Resets {
    /// Whether the connection is there for nothing but resets. Asked once per new stream.
    pub(crate) fn another_is_too_many(&self) -> bool {
        let opened = self.opened.get().saturating_add(1);
        self.opened.set(opened);
        self.early.get() > opened.max(RESETS_JUDGED) / 2
    }

    /// Whether it is time for another connection.
    pub(crate) fn is_worn_out(&self) -> bool {
        self.unfinished.get() >= MAX_UNFINISHED
    }

    /// The client reset a stream that was begun then.
    pub(crate) fn reset(&self, begun: Instant) {
        if clock::now() - begun < EARLY {
            self.early.set(self.early.get().saturating_add(1));
        }
    }
}

/// The head of a received request, and its body.
pub(crate) fn request_from(
    request: http::Request<RecvStream>,
    resets: &Rc<Resets>,
) -> Result<(Request, Receive), Refusal> {
    let (parts, body) = request.into_parts();
    let mut fields = checked(&parts.headers)?;
    let host = one_host(&fields)?;
    fields.remove("host");
    let authority = parts
        .uri
        .authority()
        .map(|authority| authority.as_str().to_owned())
        .or(host)
        .ok_or(Refusal::HostMissing)?;
    h1::check_authority(&authority)?;
    let path = match parts.uri.path_and_query() {
        Some(path) => path.as_str().to_owned(),
        None if parts.method == Method::CONNECT => String::new(),
        None => "/".to_owned(),
    };
    let asterisk = path == "*" && parts.method == Method::OPTIONS;
    if !path.is_ascii() || !(path.starts_with('/') || asterisk || parts.method == Method::CONNECT) {
        return Err(Refusal::Target);
    }
    join_cookies(&mut fields);
    let length = length_of(&mut fields, body.is_end_stream(), false)?;
    let request = Request {
        method: parts.method,
        path,
        authority,
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
    let mut receive = Receive::new(body);
    receive.resets = Some((resets.clone(), clock::now()));
    Ok((request, receive))
}

/// The fields of a received head. RFC 9113, 8.2.1: a value has no white space around it.
fn checked(map: &HeaderMap) -> Result<Fields, Refusal> {
    if map.len() > MAX_FIELDS {
        return Err(Refusal::TooManyFields);
    }
    if map
        .values()
        .any(|value| value.as_bytes().trim_ascii().len() != value.len())
    {
        return Err(Refusal::FieldValue);
    }
    Ok(Fields::from_map(map))
}

fn one_host(fields: &Fields) -> Result<Option<String>, Refusal> {
    let mut hosts = fields.all("host");
    let host = hosts.next().map(<[u8]>::to_owned);
    if hosts.next().is_some() {
        return Err(Refusal::HostRepeated);
    }
    host.map(|host| String::from_utf8(host).map_err(|_| Refusal::HostMalformed))
        .transpose()
}

/// RFC 9113, 8.2.3: what HTTP/2 may split, HTTP/1.1 has in one field.
fn join_cookies(fields: &mut Fields) {
    if fields.all("cookie").count() > 1 {
        let joined = fields.all("cookie").collect::<Vec<_>>().join(&b"; "[..]);
        fields.set("cookie", &joined);
    }
}

/// A request to send; refused when path or authority cannot be said in HTTP/2.
pub(crate) fn request_to(request: &Request) -> Result<http::Request<()>, Refusal> {
    let uri = if request.method == Method::CONNECT {
        // RFC 9113, 8.5: neither scheme nor path.
        Uri::try_from(request.authority.as_str()).map_err(|_| Refusal::Target)?
    } else {
        let path = PathAndQuery::try_from(request.path.as_str()).map_err(|_| Refusal::Target)?;
        let uri = Uri::builder()
            .scheme(request.scheme)
            .authority(request.authority.as_str())
            .path_and_query(path);
        uri.build().map_err(|_| Refusal::Target)?
    };
    let mut message = http::Request::new(());
    *message.method_mut() = request.method.clone();
    *message.uri_mut() = uri;
    *message.version_mut() = http::Version::HTTP_2;
    *message.headers_mut() = map_of(&request.fields, request.length);
    Ok(message)
}

fn response_from(response: &http::Response<()>, ended: bool) -> Result<Response, Refusal> {
    // RFC 9113, 8.6: HTTP/2 has no 101.
    if response.status() == http::StatusCode::SWITCHING_PROTOCOLS {
        return Err(Refusal::SwitchUnasked);
    }
    let mut fields = checked(response.headers())?;
    let length = length_of(&mut fields, ended, true)?;
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
/// GET would have had (`of_response`: HEAD, 304) and stays a field; in a request it would promise bytes that never come.
fn length_of(fields: &mut Fields, ended: bool, of_response: bool) -> Result<Length, Refusal> {
    let mut lengths = fields.all("content-length");
    let stated = lengths.next().map(h1::content_length).transpose()?;
    if lengths.next().is_some() {
        return Err(Refusal::ContentLengthRepeated);
    }
    drop(lengths);
    if ended && !of_response && stated.is_some_and(|length| length > 0) {
        return Err(Refusal::ContentLength);
    }
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
    /// Where a reset by the client is counted, and when the stream began.
    resets: Option<(Rc<Resets>, Instant)>,
}

impl Drop for Receive {
    fn drop(&mut self) {
        if let Some((resets, _)) = &self.resets
            && !self.ended
        {
            resets.unfinished.set(resets.unfinished.get().saturating_add(1));
        }
    }
}

impl Receive {
    fn new(stream: RecvStream) -> Self {
        let ended = stream.is_end_stream();
        Self {
            stream,
            owed: 0,
            data_ended: ended,
            ended,
            resets: None,
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
                Some(Err(error)) => {
                    if let (true, Some((resets, begun))) = (error.is_remote(), self.resets.take()) {
                        resets.reset(begun);
                    }
                    return Err(error.into());
                }
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

/// The sending side of a stream. It holds its latest piece back until it is known whether that is the last one, or
/// [`Send::flush`]: the end of the stream then travels with it, and not in a frame of its own. That is how most senders
/// say it and how Envoy passes it on, and some receivers count data that is not the last against its sender when nobody
/// reads it (h2 0.4.20: 2,105 small messages, and the connection ends).
#[derive(Debug)]
pub(crate) struct Send {
    stream: SendStream<Bytes>,
    held: Bytes,
}

impl Send {
    pub(crate) fn new(stream: SendStream<Bytes>) -> Self {
        Self {
            stream,
            held: Bytes::new(),
        }
    }

    /// Takes data; what was held back is sent, as the peer's window allows.
    pub(crate) async fn data(&mut self, data: Bytes) -> Result<(), CodecError> {
        if !data.is_empty() {
            self.flush().await?;
            self.held = data;
        }
        Ok(())
    }

    /// Sends what was held back, because nothing more is there yet.
    pub(crate) async fn flush(&mut self) -> Result<(), CodecError> {
        self.send_held(false).await
    }

    /// Ends the stream.
    pub(crate) async fn end(&mut self, trailers: Option<&Fields>) -> Result<(), CodecError> {
        match trailers {
            Some(fields) => {
                self.flush().await?;
                self.stream.send_trailers(fields.to_map())?;
            }
            None if self.held.is_empty() => self.stream.send_data(Bytes::new(), true)?,
            None => self.send_held(true).await?,
        }
        Ok(())
    }

    /// May be dropped and called again: what is not sent is still held.
    async fn send_held(&mut self, last: bool) -> Result<(), CodecError> {
        while !self.held.is_empty() {
            let capacity = self.capacity(self.held.len()).await?;
            let piece = self.held.split_to(capacity.min(self.held.len()));
            self.stream.send_data(piece, last && self.held.is_empty())?;
        }
        Ok(())
    }

    /// How much the peer's window allows to send now, once that is anything.
    async fn capacity(&mut self, wanted: usize) -> Result<usize, CodecError> {
        self.stream.reserve_capacity(wanted);
        let capacity = self.stream.capacity();
        if capacity > 0 {
            return Ok(capacity);
        }
        let window = poll_fn(|task| self.stream.poll_capacity(task));
        match clock::timeout(SILENCE, window).await {
            Ok(Some(capacity)) => Ok(capacity?),
            Ok(None) => Err(CodecError::Truncated),
            Err(_) => Err(CodecError::Silent),
        }
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
    informational: u32,
}

impl Answer {
    pub(crate) fn new(response: ResponseFuture) -> Self {
        Self {
            response: Some(response),
            body: None,
            informational: 0,
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
            self.informational += 1;
            if self.informational > MAX_INFORMATIONAL {
                return Err(Refusal::InformationalFlood.into());
            }
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
