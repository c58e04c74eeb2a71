//! Tells HTTP/1, HTTP/2 and everything else apart by the first bytes, as Envoy's HTTP inspector does.
//!
//! A client that says nothing may wait for its server to begin (MySQL, SMTP): after [`PATIENCE`] the connection is
//! taken for opaque.

use std::time::Duration;

use daemon::clock;

use crate::http::codec::h2::PREFACE;
use crate::transport::Transport;

/// How long a silent client is waited for.
const PATIENCE: Duration = Duration::from_millis(500);
/// More letters than these are no method.
const LONGEST_METHOD: usize = 32;
/// Bytes of a request line that must be enough to know one.
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

/// Reads ahead until the protocol is known, or the client is silent for too long.
pub(crate) async fn sniff(transport: &mut Transport) -> Protocol {
    let read = async {
        loop {
            if let Some(protocol) = classify(transport.read_ahead()) {
                return protocol;
            }
            if !matches!(transport.read_more().await, Ok(read) if read > 0) {
                return Protocol::Other;
            }
        }
    };
    clock::timeout(PATIENCE, read).await.unwrap_or(Protocol::Other)
}

/// What these first bytes begin; `None` when more of them are needed.
pub(crate) fn classify(bytes: &[u8]) -> Option<Protocol> {
    let compared = bytes.len().min(PREFACE.len());
    if bytes[..compared] == PREFACE[..compared] {
        return (compared == PREFACE.len()).then_some(Protocol::Http2);
    }
    // METHOD SP target SP HTTP/1.x
    let method = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_uppercase() || **byte == b'-')
        .count();
    match bytes.get(method) {
        None if method < LONGEST_METHOD => return None,
        Some(b' ') if (1..LONGEST_METHOD).contains(&method) => {}
        _ => return Some(Protocol::Other),
    }
    let rest = &bytes[method + 1..];
    let target = rest
        .iter()
        .take_while(|byte| **byte > b' ' && **byte != 0x7f)
        .count();
    let version = match rest.get(target) {
        None if bytes.len() < ENOUGH => return None,
        Some(b' ') if target > 0 && method + 1 + target < ENOUGH => &rest[target + 1..],
        _ => return Some(Protocol::Other),
    };
    let begins = |full: &[u8]| version.iter().zip(full).all(|(byte, wanted)| byte == wanted);
    match version.get(..8) {
        Some(b"HTTP/1.1") => Some(Protocol::Http11),
        Some(b"HTTP/1.0") => Some(Protocol::Http10),
        None if begins(b"HTTP/1.1") || begins(b"HTTP/1.0") => None,
        _ => Some(Protocol::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_protocol_as_soon_as_they_can() {
        type Row = (&'static [u8], Option<Protocol>);
        let table: [Row; 12] = [
            (b"", None),
            (b"GE", None),
            (b"GET /", None),
            (b"GET / HTTP/1", None),
            (b"GET / HTTP/1.1\r\n", Some(Protocol::Http11)),
            (b"M-SEARCH * HTTP/1.1\r\n", Some(Protocol::Http11)),
            (b"GET / HTTP/1.0\r\n", Some(Protocol::Http10)),
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
        assert_eq!(final_word(&method), Some(Protocol::Other));
        let target = [b"GET /", &[b'a'; ENOUGH][..], b" HTTP/1.1\r\n"].concat();
        assert_eq!(final_word(&target), Some(Protocol::Other));
    }
}
