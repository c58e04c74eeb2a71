//! From bytes to a head: request line or status line, fields, and what they say about the body.
//!
//! `httparse` finds the pieces; the rules it leaves open are kept here. Its leniency about line ends is closed
//! before it is called: the scan for the end of the head refuses every LF without CR.

use bytes::{Buf, BytesMut};
use http::Method;
use httparse::{EMPTY_HEADER, Header};

use super::{Body, MAX_FIELDS, MAX_HEAD, Refusal};
use crate::http::codec::fields::members;
use crate::http::codec::{Fields, Length, Request, Response, Version, has_body};

/// The methods that Envoy serves. `get` is none: whoever allows or denies `GET` shall not be walked around.
const METHODS: &[&str] = &[
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "CONNECT",
    "OPTIONS",
    "TRACE",
    "PATCH",
    "ACL",
    "BIND",
    "CHECKOUT",
    "COPY",
    "LINK",
    "LOCK",
    "M-SEARCH",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MOVE",
    "NOTIFY",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "REBIND",
    "REPORT",
    "SEARCH",
    "SOURCE",
    "SUBSCRIBE",
    "UNBIND",
    "UNLINK",
    "UNLOCK",
    "UNSUBSCRIBE",
];
/// Most fields that `connection` may name (Envoy).
const MAX_NAMED: usize = 10;

/// A head with what the connection must know.
#[derive(Debug)]
pub(crate) struct Head<T> {
    pub(crate) message: T,
    /// How the body is delimited.
    pub(crate) body: Body,
    /// Whether another message may follow on this connection.
    pub(crate) keep_alive: bool,
}

/// Finds heads at the front of a buffer that grows. Remembers how far it looked, so that a head that arrives
/// byte by byte costs linear time.
#[derive(Debug, Default)]
pub(crate) struct HeadParser {
    scanned: usize,
}

impl HeadParser {
    /// The next request at the front of `buffer`; `None` until more has arrived.
    pub(crate) fn request(&mut self, buffer: &mut BytesMut) -> Result<Option<Head<Request>>, Refusal> {
        // RFC 9112, 2.2: empty lines before a request are forgiven.
        if self.scanned == 0 {
            while buffer.starts_with(b"\r\n") {
                buffer.advance(2);
            }
            if buffer[..] == b"\r"[..] {
                return Ok(None);
            }
        }
        let Some(end) = self.find_end(buffer)? else {
            return Ok(None);
        };
        let head = parse_request(&buffer[..end])?;
        buffer.advance(end);
        *self = Self::default();
        Ok(Some(head))
    }

    /// The next response at the front of `buffer`, to a request with that method.
    pub(crate) fn response(
        &mut self,
        buffer: &mut BytesMut,
        method: &Method,
    ) -> Result<Option<Head<Response>>, Refusal> {
        let Some(end) = self.find_end(buffer)? else {
            return Ok(None);
        };
        let head = parse_response(&buffer[..end], method)?;
        buffer.advance(end);
        *self = Self::default();
        Ok(Some(head))
    }

    /// Just past the empty line that ends the head.
    fn find_end(&mut self, buffer: &[u8]) -> Result<Option<usize>, Refusal> {
        for position in self.scanned..buffer.len() {
            if buffer[position] != b'\n' {
                continue;
            }
            if position == 0 || buffer[position - 1] != b'\r' {
                return Err(Refusal::BareLineFeed);
            }
            if buffer[..position].ends_with(b"\r\n\r") {
                let end = position + 1;
                return if end > MAX_HEAD {
                    Err(Refusal::HeadTooLarge)
                } else {
                    Ok(Some(end))
                };
            }
        }
        self.scanned = buffer.len();
        if self.scanned > MAX_HEAD {
            Err(Refusal::HeadTooLarge)
        } else {
            Ok(None)
        }
    }
}

fn parse_request(bytes: &[u8]) -> Result<Head<Request>, Refusal> {
    let mut space = [EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut space);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(Refusal::RequestLine),
        Err(httparse::Error::Version) if is_another_version(bytes) => return Err(Refusal::Version),
        Err(_) if has_no_version(bytes) => return Err(Refusal::Version),
        Err(error) => return Err(refusal(error, Refusal::RequestLine)),
    }
    if parsed.version == Some(0) {
        return Err(Refusal::Version);
    }
    let method = parsed
        .method
        .filter(|method| METHODS.contains(method))
        .and_then(|method| Method::from_bytes(method.as_bytes()).ok());
    let method = method.ok_or(Refusal::Method)?;
    let hop = Hop::read(parsed.headers)?;
    let (path, authority) = target(&method, parsed.path.unwrap_or_default(), parsed.headers)?;
    let body = match hop.framing {
        Framing::Absent => Body::Done,
        Framing::Exact(length) => Body::exact(length),
        Framing::Chunked => Body::chunked(),
    };
    let length = match hop.framing {
        Framing::Absent => Length::Empty,
        Framing::Exact(length) => Length::Exact(length),
        Framing::Chunked => Length::Streamed,
    };
    let fields = hop.end_to_end(parsed.headers, bytes.len(), false);
    let message = Request {
        method,
        path,
        authority,
        scheme: "http",
        fields,
        length,
        upgrade: hop.upgrade.clone(),
        version: Version::Http1,
    };
    Ok(Head {
        message,
        body,
        keep_alive: !hop.close,
    })
}

fn parse_response(bytes: &[u8], method: &Method) -> Result<Head<Response>, Refusal> {
    let mut space = [EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut space);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(Refusal::StatusLine),
        Err(error) => return Err(refusal(error, Refusal::StatusLine)),
    }
    let status = parsed
        .code
        .filter(|code| (100..1000).contains(code))
        .ok_or(Refusal::StatusLine)?;
    let hop = Hop::read(parsed.headers)?;
    let http10 = parsed.version == Some(0);
    let bodiless = !has_body(method, status);
    let (body, length) = match hop.framing {
        // RFC 9110, 8.6: here a length can only be a lie.
        Framing::Chunked | Framing::Exact(1..) if matches!(status, 100..200 | 204) => {
            return Err(Refusal::BodyForbidden);
        }
        _ if status == 101 => (Body::Opaque, Length::Streamed),
        _ if bodiless => (Body::Done, Length::Empty),
        // RFC 9112, 6.1: a chunked HTTP/1.0 response comes from something that does not know what it says.
        Framing::Chunked if http10 => return Err(Refusal::TransferEncoding),
        Framing::Chunked => (Body::chunked(), Length::Streamed),
        Framing::Exact(length) => (Body::exact(length), Length::Exact(length)),
        Framing::Absent => (Body::UntilClose, Length::Streamed),
    };
    // To HEAD and with 304, content-length tells what a GET would have brought.
    let keep_length = bodiless && (*method == Method::HEAD || status == 304);
    let keep_alive =
        if http10 { hop.keep_alive } else { !hop.close } && !matches!(body, Body::UntilClose | Body::Opaque);
    let fields = hop.end_to_end(parsed.headers, bytes.len(), keep_length);
    Ok(Head {
        message: Response {
            status,
            fields,
            length,
            upgrade: hop.upgrade.clone(),
        },
        body,
        keep_alive,
    })
}

/// Whether a request line ends with a version that is well-formed, and not ours.
fn is_another_version(bytes: &[u8]) -> bool {
    let mut words = first_line(bytes).skip(2);
    matches!(
        (words.next(), words.next()),
        (
            Some([b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9']),
            None
        )
    )
}

/// Whether a request line ends with its path, as in HTTP/0.9.
fn has_no_version(bytes: &[u8]) -> bool {
    let mut words = first_line(bytes);
    matches!(
        (words.next(), words.next(), words.next()),
        (Some([_, ..]), Some([b'/', ..]), None)
    )
}

/// The words of the request line.
fn first_line(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let bytes = bytes.trim_ascii_start();
    let end = bytes.windows(2).position(|pair| pair == b"\r\n");
    bytes[..end.unwrap_or(bytes.len())].split(|byte| *byte == b' ')
}

/// What the fields of one hop say.
#[derive(Default)]
struct Hop<'b> {
    framing: Framing,
    close: bool,
    keep_alive: bool,
    upgrade: Option<String>,
    trailers: bool,
    /// Further fields that `connection` names.
    named: Vec<&'b [u8]>,
}

#[derive(Clone, Copy, Default)]
enum Framing {
    #[default]
    Absent,
    Exact(u64),
    Chunked,
}

impl<'b> Hop<'b> {
    fn read(headers: &[Header<'b>]) -> Result<Self, Refusal> {
        let mut hop = Self::default();
        let (mut length, mut coding, mut upgrade) = (None, None, None);
        for header in headers {
            match header.name {
                name if name.eq_ignore_ascii_case("content-length") => {
                    let repeated = length.replace(content_length(header.value)?);
                    if repeated.is_some() {
                        return Err(Refusal::ContentLengthRepeated);
                    }
                }
                name if name.eq_ignore_ascii_case("transfer-encoding") => {
                    // A second one makes a list, and no list is known.
                    coding = Some(coding.map_or(header.value, |_| b""));
                }
                name if name.eq_ignore_ascii_case("connection") => hop.read_connection(header.value),
                // As Envoy: what old clients say to proxies.
                name if name.eq_ignore_ascii_case("proxy-connection") => {
                    hop.close |= members(header.value).any(|member| member.eq_ignore_ascii_case(b"close"));
                }
                name if name.eq_ignore_ascii_case("upgrade") => upgrade = Some(header.value),
                name if name.eq_ignore_ascii_case("te") => {
                    hop.trailers |=
                        members(header.value).any(|member| member.eq_ignore_ascii_case(b"trailers"));
                }
                _ => {}
            }
        }
        hop.framing = match (length, coding) {
            (Some(_), Some(_)) => return Err(Refusal::LengthConflict),
            // Nothing but this one word: `, chunked` counts on two servers that read it in two ways.
            (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => Framing::Chunked,
            (None, Some(_)) => return Err(Refusal::TransferEncoding),
            (Some(length), None) => Framing::Exact(length),
            (None, None) => Framing::Absent,
        };
        if hop.named.len() > MAX_NAMED || hop.named.iter().any(|name| is_kept(name)) {
            return Err(Refusal::Connection);
        }
        let asked = hop.named.iter().any(|name| name.eq_ignore_ascii_case(b"upgrade"));
        hop.upgrade = upgrade.filter(|_| asked).and_then(without_h2c);
        Ok(hop)
    }

    fn read_connection(&mut self, value: &'b [u8]) {
        for member in members(value) {
            if member.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if member.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else {
                self.named.push(member);
            }
        }
    }

    /// The fields that are meant for the next hop too.
    fn end_to_end(&self, headers: &[Header<'_>], bytes: usize, keep_length: bool) -> Fields {
        let mut fields = Fields::with_capacity(bytes);
        for header in headers {
            let drop = match header.name.len() {
                2 => header.name.eq_ignore_ascii_case("te"),
                4 => header.name.eq_ignore_ascii_case("host"),
                7 => header.name.eq_ignore_ascii_case("upgrade"),
                10 => {
                    header.name.eq_ignore_ascii_case("connection")
                        || header.name.eq_ignore_ascii_case("keep-alive")
                }
                14 => {
                    header.name.eq_ignore_ascii_case("content-length") && !keep_length
                        || header.name.eq_ignore_ascii_case("http2-settings")
                }
                16 => header.name.eq_ignore_ascii_case("proxy-connection"),
                17 => header.name.eq_ignore_ascii_case("transfer-encoding"),
                _ => false,
            };
            let named = || {
                self.named
                    .iter()
                    .any(|name| name.eq_ignore_ascii_case(header.name.as_bytes()))
            };
            if !drop && !named() {
                fields.push(header.name, header.value);
            }
        }
        if self.trailers {
            fields.push("te", b"trailers");
        }
        fields
    }
}

/// Path and authority: from the target when it is absolute, else from `host`.
fn target(method: &Method, target: &str, headers: &[Header<'_>]) -> Result<(String, String), Refusal> {
    let mut hosts = headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("host"));
    let host = hosts.next().ok_or(Refusal::HostMissing)?;
    if hosts.next().is_some() {
        return Err(Refusal::HostRepeated);
    }
    let host = std::str::from_utf8(host.value).map_err(|_| Refusal::HostMalformed)?;
    check_authority(host)?;
    if !target.is_ascii() {
        return Err(Refusal::Target);
    }
    if *method == Method::CONNECT {
        check_authority(target)?;
        // RFC 9110, 9.3.6: it has a port, and no default.
        let port = target.rsplit_once(':').map_or("", |(_, port)| port);
        if port.parse::<u16>().is_err() {
            return Err(Refusal::Target);
        }
        return Ok((String::new(), target.to_owned()));
    }
    if target.starts_with('/') || (target == "*" && *method == Method::OPTIONS) {
        return Ok((target.to_owned(), host.to_owned()));
    }
    let rest = strip_scheme(target).ok_or(Refusal::Target)?;
    let split = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(split);
    if authority.is_empty() {
        return Err(Refusal::Target);
    }
    check_authority(authority)?;
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    Ok((path, authority.to_owned()))
}

fn strip_scheme(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    (scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")).then_some(rest)
}

/// Whether a host may be written so: no user, no path, no space, no list.
pub(crate) fn check_authority(text: &str) -> Result<(), Refusal> {
    let allowed =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'?' | b'#' | b'@' | b'\\' | b',');
    if text.bytes().all(allowed) {
        Ok(())
    } else {
        Err(Refusal::HostMalformed)
    }
}

/// The number in a `content-length`: digits only.
pub(crate) fn content_length(value: &[u8]) -> Result<u64, Refusal> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(value)
        .ok()
        .filter(|_| digits)
        .and_then(|text| text.parse().ok());
    // Two lengths may also come in one field (`5, 5`); neither is a number.
    number.ok_or(Refusal::ContentLength)
}

/// Fields that no client may take from the next hop by naming them in `connection` (Envoy refuses these).
fn is_kept(name: &[u8]) -> bool {
    let kept: [&[u8]; 4] = [
        b"host",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
    ];
    name.starts_with(b":") || kept.iter().any(|kept| name.eq_ignore_ascii_case(kept))
}

/// The protocols asked for. An upgrade to h2c is ignored, as RFC 9113 wants it (3.1).
fn without_h2c(value: &[u8]) -> Option<String> {
    let others = members(value).filter(|protocol| !protocol.eq_ignore_ascii_case(b"h2c"));
    let others: Vec<_> = others.map(String::from_utf8_lossy).collect();
    (!others.is_empty()).then(|| others.join(", "))
}

fn refusal(error: httparse::Error, line: Refusal) -> Refusal {
    match error {
        httparse::Error::HeaderName => Refusal::FieldName,
        httparse::Error::HeaderValue | httparse::Error::NewLine => Refusal::FieldValue,
        httparse::Error::TooManyHeaders => Refusal::TooManyFields,
        httparse::Error::Status | httparse::Error::Token | httparse::Error::Version => line,
    }
}
