//! Tells HTTP/1, HTTP/2 and everything else apart by the first bytes, as Envoy's HTTP inspector does.
//!
//! A client that says nothing may wait for its server to begin (MySQL, SMTP): after [`PATIENCE`] the connection is
//! taken for opaque. Only complete silence counts: once a byte is there, the decision is waited for, so that nobody
//! leaves HTTP, and the policies there, by being slow.

use std::time::Duration;

use daemon::clock;

use crate::http::codec::h2::PREFACE;
use crate::http::connection::HEAD;
use crate::transport::Transport;

/// How long a silent client is waited for.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);
/// Bytes that must be enough to know.
const ENOUGH: usize = 8 * 1024;

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http10,
    Http11,
    Http2,
    /// Not HTTP, or nobody asked.
    Other,
}

impl Protocol {
    /// Its name in [`snapshot::ChainMatch::application_protocols`].
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Protocol::Http10 => Some("http/1.0"),
            Protocol::Http11 => Some("http/1.1"),
            Protocol::Http2 => Some("h2c"),
            Protocol::Other => None,
        }
    }
}

/// Reads ahead until the protocol is known, or the client has been silent for too long. `None` for a client that begins
/// what may be HTTP, and does not go on.
pub(crate) async fn sniff(transport: &mut Transport) -> Option<Protocol> {
    if transport.read_ahead().is_empty() {
        let first = clock::timeout(PATIENCE, transport.read_more()).await;
        if !matches!(first, Ok(Ok(read)) if read > 0) {
            return Some(Protocol::Other);
        }
    }
    let decided = async {
        loop {
            if let Some(protocol) = classify(transport.read_ahead()) {
                return protocol;
            }
            if !matches!(transport.read_more().await, Ok(read) if read > 0) {
                return Protocol::Other;
            }
        }
    };
    clock::timeout(HEAD, decided).await.ok()
}

/// What these first bytes begin; `None` when more of them are needed.
pub(crate) fn classify(bytes: &[u8]) -> Option<Protocol> {
    let looked_at = &bytes[..bytes.len().min(ENOUGH)];
    let undecided = || match looked_at.len() < ENOUGH {
        true => None,
        // What began like a request may be one with a long path: whoever reads it as HTTP has bounds of its own.
        false if has_path(looked_at) => Some(Protocol::Http11),
        false => Some(Protocol::Other),
    };
    begun(looked_at).or_else(undecided)
}

/// Whether a server that takes many things for HTTP could take these first bytes for a request; `None` when more of them
/// are needed. Wider than [`classify`]: it guards streams that nobody reads as HTTP.
pub(crate) fn could_be_request(bytes: &[u8], ended: bool) -> Option<bool> {
    match classify(bytes) {
        Some(Protocol::Other) => {
            let undecided = bytes.len() >= ENOUGH && begun(&bytes[..ENOUGH]).is_none();
            Some(undecided || is_simple(bytes))
        }
        Some(_) => Some(true),
        None if ended => Some(is_simple(bytes)),
        None => None,
    }
}

/// METHOD SP target SP HTTP/1.x, or the preface of HTTP/2. Any token is a method: servers know others than we do.
fn begun(bytes: &[u8]) -> Option<Protocol> {
    let compared = bytes.len().min(PREFACE.len());
    if bytes[..compared] == PREFACE[..compared] {
        return (compared == PREFACE.len()).then_some(Protocol::Http2);
    }
    let line = first_line(bytes);
    let method = line.iter().take_while(|byte| is_token(**byte)).count();
    let rest = match line.get(method) {
        None => return None,
        Some(b' ') if method > 0 => &line[method + 1..],
        Some(_) => return Some(Protocol::Other),
    };
    let in_target = |byte: &&u8| **byte > b' ' && **byte != 0x7f;
    let target = rest.iter().take_while(in_target).count();
    let version = match rest.get(target) {
        None => return None,
        Some(b' ') if target > 0 => &rest[target + 1..],
        Some(_) => return Some(Protocol::Other),
    };
    let wanted = b"HTTP/1.";
    match version.get(wanted.len()) {
        _ if !version.iter().zip(wanted).all(|(byte, wanted)| byte == wanted) => Some(Protocol::Other),
        None => None,
        Some(b'0') => Some(Protocol::Http10),
        Some(_) => Some(Protocol::Http11),
    }
}

/// Servers skip empty lines before a request (RFC 9112, 2.2).
fn first_line(bytes: &[u8]) -> &[u8] {
    let empty = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    &bytes[empty.count()..]
}

/// Whether a method and the beginning of a path are there.
fn has_path(bytes: &[u8]) -> bool {
    let line = first_line(bytes);
    let method = line.iter().take_while(|byte| is_token(**byte)).count();
    method > 0 && line[method..].starts_with(b" /")
}

/// HTTP/0.9 has no version, and some still serve it.
fn is_simple(bytes: &[u8]) -> bool {
    first_line(bytes).starts_with(b"GET /")
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_protocol_as_soon_as_they_can() {
        type Row = (&'static [u8], Option<Protocol>);
        let table: [Row; 19] = [
            (b"", None),
            (b"GE", None),
            (b"GET /", None),
            (b"GET / HTTP/1", None),
            (b"GET / HTTP/1.1\r\n", Some(Protocol::Http11)),
            (b"M-SEARCH * HTTP/1.1\r\n", Some(Protocol::Http11)),
            (b"GET / HTTP/1.0\r\n", Some(Protocol::Http10)),
            (b"GET / HTTP/1.9\r\n", Some(Protocol::Http11)),
            (b"get / HTTP/1.1\r\n", Some(Protocol::Http11)),
            (b"\r\n", None),
            (b"\r\n\r\nGET / HTTP/1.1\r\n", Some(Protocol::Http11)),
            (b"GET / HTTP/2.0\r\n", Some(Protocol::Other)),
            (b"GET / FTP", Some(Protocol::Other)),
            (b"hello\n", Some(Protocol::Other)),
            (b"GET /\r\n", Some(Protocol::Other)),
            (b"PRI * HTTP/2.0\r\n", None),
            (PREFACE, Some(Protocol::Http2)),
            (b"\x16\x03\x01", Some(Protocol::Other)),
            (b"EHLO there\r\n", Some(Protocol::Other)),
        ];
        for (bytes, expected) in table {
            assert_eq!(classify(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_longer_prefix_never_changes_what_was_known() {
        let final_word = |line: &[u8]| {
            let mut known = None;
            for length in 0..line.len() {
                let now = classify(&line[..length]);
                assert!(known.is_none() || now == known, "at {length} bytes");
                known = now;
            }
            known
        };
        let line = b"DELETE /a/b?c=d HTTP/1.1\r\nhost: x\r\n\r\n";
        assert_eq!(final_word(line), Some(Protocol::Http11));
        let method = [&[b'Z'; 64][..], b" / HTTP/1.1\r\n"].concat();
        assert_eq!(final_word(&method), Some(Protocol::Http11));
        let target = [b"GET /", &[b'a'; ENOUGH][..], b" HTTP/1.1\r\n"].concat();
        assert_eq!(
            final_word(&target),
            Some(Protocol::Http11),
            "its head may be too long"
        );
        assert_eq!(final_word(&[b'a'; ENOUGH + 2]), Some(Protocol::Other));
    }

    #[test]
    fn what_anybody_could_take_for_a_request_is_told_from_other_protocols() {
        let long = [b'a'; ENOUGH];
        type Row<'a> = (&'a [u8], bool, Option<bool>);
        let table: [Row<'_>; 13] = [
            (b"GET /admin HT", false, None),
            (b"GET /admin HTTP/1.1", false, Some(true)),
            (b"\r\nget /admin HTTP/1.1", false, Some(true)),
            (PREFACE, false, Some(true)),
            (b"GET /admin\r\n", false, Some(true)),
            (b"GET /admin", true, Some(true)),
            (&long, false, Some(true)),
            (b"GET key\r\n", false, Some(false)),
            (b"*2\r\n$3\r\nGET\r\n", false, Some(false)),
            (b"\x16\x03\x01", false, Some(false)),
            (b"EHLO there\r\n", false, Some(false)),
            (b"hello", true, Some(false)),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", false, Some(false)),
        ];
        for (bytes, ended, expected) in table {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
            assert_eq!(could_be_request(bytes, ended), expected, "{shown:?}");
        }
    }
}
