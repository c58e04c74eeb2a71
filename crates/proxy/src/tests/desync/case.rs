//! One case of the corpus: its file format, the notation of its bytes, and the words for what a client saw.
//!
//! `send` and `upstream` are blocks of lines; every line ends with CRLF on the wire. `\n`, `\r`, `\0`, `\t`,
//! `\s` (a space), `\\` and `\xHH` are single bytes, `\` at the end of a line takes its CRLF away, and `\{N:text}` is
//! the text N times, with `#` as its number.

use serde::Deserialize;

use super::dialect::{self, Response};

/// One case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    /// What the client sends.
    pub(super) send: String,
    /// Whether the client then ends its side.
    #[serde(default)]
    pub(super) ends: bool,
    /// Statuses, `cut` after one whose body is not complete, and at last `close` or `keep`.
    answer: String,
    /// `METHOD target body` of every complete request at the backend.
    #[serde(default)]
    pub(super) reaches: Vec<String>,
    /// `METHOD target` of a request that the backend may have begun to get, and has not got completely.
    #[serde(default)]
    pub(super) partly: Option<String>,
    /// Texts among the bytes at the backend.
    #[serde(default)]
    pub(super) present: Vec<String>,
    /// Texts that are not among the bytes at the backend.
    #[serde(default)]
    pub(super) absent: Vec<String>,
    /// Bodies of the answers, when the backend does not simply say which request it got.
    #[serde(default)]
    pub(super) bodies: Option<Vec<String>>,
    /// What the backend answers to the first request.
    #[serde(default)]
    pub(super) upstream: Option<String>,
    /// Whether the backend closes after its answer to the first request.
    #[serde(default)]
    pub(super) hangs_up: bool,
    /// What stock Envoy does, where it is something else.
    #[serde(default)]
    #[allow(dead_code, reason = "for readers")]
    envoy: Option<String>,
}

/// What becomes of the connection after the last answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Close,
    Keep,
}

impl Case {
    /// What the client has to see, in one form.
    pub(super) fn answer(&self) -> String {
        self.answer.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    pub(super) fn then(&self) -> Result<Then, String> {
        match self.answer.split_whitespace().last() {
            Some("close") => Ok(Then::Close),
            Some("keep") => Ok(Then::Keep),
            _ => Err("`answer` ends with `close` or `keep`".to_owned()),
        }
    }
}

/// The cases of a file.
pub(super) fn parse(name: &str, text: &str) -> Vec<Case> {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The bytes that a block of lines stands for.
pub(super) fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for line in text.lines() {
        let (line, end) = match line.strip_suffix('\\') {
            Some(line) if !line.ends_with('\\') => (line, &b""[..]),
            _ => (line, &b"\r\n"[..]),
        };
        unescape(line, &mut out);
        out.extend_from_slice(end);
    }
    out
}

fn unescape(line: &str, out: &mut Vec<u8>) {
    let mut rest = line;
    while let Some(position) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..position]);
        let (escape, after) = rest[position + 1..].split_at(1);
        rest = after;
        match escape {
            "n" => out.push(b'\n'),
            "r" => out.push(b'\r'),
            "t" => out.push(b'\t'),
            "0" => out.push(0),
            "s" => out.push(b' '),
            "\\" => out.push(b'\\'),
            "x" => {
                out.push(u8::from_str_radix(&rest[..2], 16).expect("two digits"));
                rest = &rest[2..];
            }
            "{" => {
                let (repeated, after) = rest.split_once('}').expect("a closing brace");
                let (count, text) = repeated.split_once(':').expect("a number and a text");
                for number in 0..count.parse::<u32>().expect("a number") {
                    unescape(&text.replace('#', &number.to_string()), out);
                }
                rest = after;
            }
            other => panic!("no escape: \\{other}"),
        }
    }
    out.extend_from_slice(rest.as_bytes());
}

/// What came to the client, in the words of [`Case::answer`]. With `keeps`, the last answer belongs to the request
/// behind the case.
pub(super) fn describe(received: &[u8], case: &Case, keeps: bool) -> String {
    let sent = String::from_utf8_lossy(&bytes(&case.send)).into_owned();
    let mut responses = match dialect::responses(received, sent.starts_with("HEAD ")) {
        Ok(responses) => responses,
        Err(why) => return why,
    };
    let mut then = "close".to_owned();
    if keeps {
        then = match responses.pop() {
            Some(Response {
                status: 200,
                body,
                complete: true,
            }) if body == "GET /after" => "keep".to_owned(),
            other => format!("(the request after it: {other:?})"),
        };
    }
    let good = responses
        .iter()
        .filter(|response| response.status == 200 && !sent.starts_with("HEAD "));
    let bodies: Vec<_> = good.map(|response| response.body.clone()).collect();
    let expected = case.bodies.as_ref().unwrap_or(&case.reaches);
    if bodies
        .iter()
        .zip(expected)
        .any(|(body, expected)| body != expected)
        || bodies.len() > expected.len()
    {
        return format!("(bodies {bodies:?})");
    }
    let words = responses.iter().map(|response| {
        let cut = if response.complete { "" } else { " cut" };
        format!("{}{cut}", response.status)
    });
    words.chain([then]).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_notation_says_every_byte() {
    assert_eq!(
        bytes("a\\n\\r\\0\\x80\\s\\\\\nb\\\nc\\{2:#,}\n"),
        b"a\n\r\0\x80 \\\r\nbc0,1,\r\n"
    );
}
