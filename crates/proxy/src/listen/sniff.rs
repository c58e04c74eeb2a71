//! What a client speaks, told by its first bytes, for chains that match on it.
//!
//! A client that waits for the server to speak first is never held up for longer than [`PATIENCE`]; what has been
//! read stays in front of the connection. Only the request line is judged: refusing bad HTTP is the codec's part.

use std::time::Duration;

use crate::transport::Transport;

/// How long the first bytes may take; then it is not HTTP. Long for a client that has something to say, short for
/// one that waits for the server's greeting.
pub(crate) const PATIENCE: Duration = Duration::from_millis(100);

/// A request line longer than this is not looked at to its end.
const MOST: usize = 8 * 1024;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The longest method in the registry has 17 letters.
const LONGEST_METHOD: usize = 20;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detected {
    /// Nobody looked: no chain needs to know.
    NotAsked,
    /// Anything but HTTP, or nothing in time.
    Other,
    Http10,
    Http11,
    /// HTTP/2 with prior knowledge.
    Http2,
}

impl Detected {
    /// The name by which chains ask for it.
    pub(crate) fn application_protocol(self) -> Option<&'static str> {
        match self {
            Detected::NotAsked | Detected::Other => None,
            Detected::Http10 => Some("http/1.0"),
            Detected::Http11 => Some("http/1.1"),
            Detected::Http2 => Some("h2c"),
        }
    }
}

/// Reads ahead until it is clear what the client speaks, for at most `patience`.
pub(crate) async fn detect(transport: &mut Transport, patience: Duration) -> Detected {
    daemon::clock::timeout(patience, read(transport)).await.unwrap_or(Detected::Other)
}

async fn read(transport: &mut Transport) -> Detected {
    loop {
        if let Some(detected) = judge(transport.read_ahead()) {
            return detected;
        }
        match transport.read_more().await {
            Ok(0) | Err(_) => return Detected::Other,
            Ok(_) => {}
        }
    }
}

/// The verdict on the first bytes; `None` asks for more.
fn judge(bytes: &[u8]) -> Option<Detected> {
    // Empty lines before a request are allowed (RFC 9112, 2.2).
    let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let bytes = &bytes[blank..];
    let shared = bytes.len().min(PREFACE.len());
    if blank == 0 && shared > 0 && bytes[..shared] == PREFACE[..shared] {
        return (shared == PREFACE.len()).then_some(Detected::Http2);
    }
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        let plausible = blank + bytes.len() <= MOST && could_be_a_request_line(bytes);
        return if plausible { None } else { Some(Detected::Other) };
    };
    let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    Some(match line.iter().rposition(|byte| *byte == b' ') {
        Some(space) if could_be_a_request_line(&line[..space]) => match &line[space + 1..] {
            b"HTTP/1.1" => Detected::Http11,
            b"HTTP/1.0" => Detected::Http10,
            _ => Detected::Other,
        },
        _ => Detected::Other,
    })
}

/// Whether this is the beginning of `METHOD target`.
fn could_be_a_request_line(bytes: &[u8]) -> bool {
    let method = bytes.iter().take_while(|byte| is_token(**byte)).count();
    match bytes.get(method) {
        None => method <= LONGEST_METHOD,
        Some(b' ') => (1..=LONGEST_METHOD).contains(&method) && bytes[method..].iter().all(|byte| *byte >= b' '),
        Some(_) => false,
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_first_bytes_decide_as_soon_as_they_can() {
        for (bytes, verdict) in [
            (&b""[..], None),
            (b"GE", None),
            (b"GET /a HT", None),
            (b"GET /a HTTP/1.1\r\n", Some(Detected::Http11)),
            (b"\r\nGET / HTTP/1.1\r\n", Some(Detected::Http11)),
            (b"GET / HTTP/1.0\n", Some(Detected::Http10)),
            (b"CONNECT a:1 HTTP/1.1\r\n", Some(Detected::Http11)),
            (b"PRI * HTTP/2.0\r\n", None),
            (PREFACE, Some(Detected::Http2)),
            (b"PRI * HTTP/2.0\r\n\r\nXX", Some(Detected::Other)),
            (b"GET / HTTP/9.9\r\n", Some(Detected::Other)),
            (b"EHLO mail.example\r\n", Some(Detected::Other)),
            (b"\x16\x03\x01\x02\x00", Some(Detected::Other)),
            (b"GET\r\n", Some(Detected::Other)),
            (b"AVERYLONGWORDTHATISNOMETHOD", Some(Detected::Other)),
            (b"*1\r\n$4\r\nPING\r\n", Some(Detected::Other)),
        ] {
            assert_eq!(judge(bytes), verdict, "{:?}", String::from_utf8_lossy(bytes));
        }
        let long = [b"GET /".as_slice(), &[b'a'; MOST]].concat();
        assert_eq!(judge(&long), Some(Detected::Other));
    }

    async fn pair() -> (TcpStream, Transport) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        (client, Transport::new(stream, peer))
    }

    #[tokio::test]
    async fn what_was_looked_at_is_still_there_to_be_read() {
        let (mut client, mut transport) = pair().await;
        let write = async {
            client.write_all(b"GET / HT").await.unwrap();
            tokio::task::yield_now().await;
            client.write_all(b"TP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
            client.shutdown().await.unwrap();
        };
        let (detected, ()) = tokio::join!(detect(&mut transport, Duration::from_secs(5)), write);
        assert_eq!(detected, Detected::Http11);
        let mut all = String::new();
        transport.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    }

    #[tokio::test]
    async fn a_client_that_waits_for_a_greeting_is_not_held_up() {
        let (_client, mut transport) = pair().await;
        let detected = daemon::clock::timeout(Duration::from_secs(20), detect(&mut transport, PATIENCE)).await;
        assert_eq!(detected, Ok(Detected::Other));
    }

    #[tokio::test]
    async fn a_client_that_leaves_is_not_http() {
        let (client, mut transport) = pair().await;
        drop(client);
        assert_eq!(detect(&mut transport, Duration::from_secs(5)).await, Detected::Other);
    }
}
