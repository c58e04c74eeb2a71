//! The sans-IO core: every refusal, every framing, any chunking, any bytes.

use bytes::BytesMut;
use http::Method;
use proptest::prelude::*;

use super::{Body, BodyEvent, HeadParser, MAX_HEAD, Refusal};
use crate::http::codec::{Length, Request};

/// What a stream of requests says, and what is wrong with it.
#[derive(Debug, PartialEq)]
struct Seen {
    requests: Vec<String>,
    refused: Option<Refusal>,
}

/// Reads requests from pieces as a connection would.
fn read<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Seen {
    let (mut buffer, mut parser, mut body) = (BytesMut::new(), HeadParser::default(), Body::Done);
    let mut seen = Seen {
        requests: Vec::new(),
        refused: None,
    };
    for piece in pieces {
        buffer.extend_from_slice(piece);
        if let Err(refusal) = drain(&mut buffer, &mut parser, &mut body, &mut seen.requests) {
            seen.refused = Some(refusal);
            break;
        }
    }
    seen
}

fn drain(
    buffer: &mut BytesMut,
    parser: &mut HeadParser,
    body: &mut Body,
    requests: &mut Vec<String>,
) -> Result<(), Refusal> {
    loop {
        if body.is_done() {
            let Some(head) = parser.request(buffer)? else {
                return Ok(());
            };
            requests.push(summary(&head.message, head.keep_alive));
            *body = head.body;
            continue;
        }
        let text = requests.last_mut().expect("a body follows a head");
        match body.next(buffer)? {
            Some(BodyEvent::Data(data)) => text.push_str(&String::from_utf8_lossy(&data)),
            Some(BodyEvent::End) => {}
            None => return Ok(()),
        }
    }
}

fn summary(request: &Request, keep_alive: bool) -> String {
    let alive = if keep_alive { "" } else { " close" };
    format!(
        "{} {} {}{alive}:",
        request.method, request.authority, request.path
    )
}

fn refusal_of(text: &str) -> Option<Refusal> {
    read([text.as_bytes()]).refused
}

#[test]
fn what_two_readers_could_understand_differently_is_refused() {
    let table = [
        ("GET / HTTP/1.0\r\nhost: a\r\n\r\n", Refusal::Version),
        ("GET / HTTP/1.1\nhost: a\n\n", Refusal::BareLineFeed),
        ("GET / HTTP/1.1\r\nhost: a\nx: y\r\n\r\n", Refusal::BareLineFeed),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n",
            Refusal::FieldValue,
        ),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n",
            Refusal::FieldValue,
        ),
        ("GET / HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\n", Refusal::FieldName),
        ("GET / HTTP/1.1\r\nhost: a\r\n x: y\r\n\r\n", Refusal::FieldName),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n folded\r\n\r\n",
            Refusal::FieldName,
        ),
        ("GET / HTTP/1.1\r\nhost: a\r\n(x): y\r\n\r\n", Refusal::FieldName),
        ("GET / HTTP/1.1\r\nx: y\r\n\r\n", Refusal::HostMissing),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nHost: b\r\n\r\n",
            Refusal::HostRepeated,
        ),
        ("GET / HTTP/1.1\r\nhost: a b\r\n\r\n", Refusal::HostMalformed),
        ("GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", Refusal::HostMalformed),
        ("GET / HTTP/1.1\r\nhost: u@a\r\n\r\n", Refusal::HostMalformed),
        ("GET x HTTP/1.1\r\nhost: a\r\n\r\n", Refusal::Target),
        ("GET ftp://x/ HTTP/1.1\r\nhost: a\r\n\r\n", Refusal::Target),
        ("GET  / HTTP/1.1\r\nhost: a\r\n\r\n", Refusal::RequestLine),
        ("GET / HTTP/3.0\r\nhost: a\r\n\r\n", Refusal::Version),
        ("GET /\r\nhost: a\r\n\r\n", Refusal::Version),
        ("nonsense\r\n\r\n", Refusal::RequestLine),
        ("CONNECT a HTTP/1.1\r\nhost: a\r\n\r\n", Refusal::Target),
        ("G@T / HTTP/1.1\r\nhost: a\r\n\r\n", Refusal::RequestLine),
    ];
    for (text, expected) in table {
        assert_eq!(refusal_of(text), Some(expected), "{text:?}");
    }
}

#[test]
fn a_body_whose_end_two_readers_could_see_differently_is_refused() {
    let table = [
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            Refusal::LengthConflict,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n",
            Refusal::ContentLengthRepeated,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1, 1\r\n\r\n",
            Refusal::ContentLength,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\n",
            Refusal::ContentLength,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x1\r\n\r\n",
            Refusal::ContentLength,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length:\r\n\r\n",
            Refusal::ContentLength,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n",
            Refusal::ContentLength,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n",
            Refusal::TransferEncoding,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            Refusal::TransferEncoding,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n",
            Refusal::TransferEncoding,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n",
            Refusal::TransferEncoding,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            Refusal::TransferEncoding,
        ),
    ];
    for (text, expected) in table {
        assert_eq!(refusal_of(text), Some(expected), "{text:?}");
    }
}

#[test]
fn chunks_that_are_not_as_the_standard_has_them_are_refused() {
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let long = format!("1;{}\r\n", "x".repeat(300));
    let many = "1;x=yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\na\r\n".repeat(80);
    let table = [
        ("x\r\n", Refusal::ChunkSize),
        ("\r\n", Refusal::ChunkSize),
        ("-1\r\n", Refusal::ChunkSize),
        ("0x1\r\n", Refusal::ChunkSize),
        ("1 \r\na\r\n", Refusal::ChunkSize),
        ("1\na\r\n", Refusal::ChunkSize),
        ("1;\u{1}\r\na\r\n", Refusal::ChunkSize),
        ("11111111111111111\r\n", Refusal::ChunkSize),
        ("1\r\nab\r\n", Refusal::ChunkEnd),
        ("1\r\na\n", Refusal::ChunkEnd),
        (&long, Refusal::ChunkExtensions),
        (&many, Refusal::ChunkExtensions),
        ("0\r\nx y: z\r\n\r\n", Refusal::Trailers),
        ("0\r\nx: a\nb: c\r\n\r\n", Refusal::BareLineFeed),
    ];
    for (body, expected) in table {
        assert_eq!(refusal_of(&format!("{head}{body}")), Some(expected), "{body:?}");
    }
}

#[test]
fn a_head_beyond_its_bounds_is_refused_before_it_ends() {
    let line = format!("x: {}\r\n", "y".repeat(1000));
    let head = format!(
        "GET / HTTP/1.1\r\nhost: a\r\n{}",
        line.repeat(MAX_HEAD / line.len() + 1)
    );
    assert_eq!(refusal_of(&head), Some(Refusal::HeadTooLarge));
    assert_eq!(Refusal::HeadTooLarge.status(), 431);
    let fields = "x: y\r\n".repeat(100);
    assert_eq!(
        refusal_of(&format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n")),
        Some(Refusal::TooManyFields)
    );
}

/// Every framing, two of them on one connection behind each other, and what they mean.
const STREAM: &str = "\r\nGET /a HTTP/1.1\r\nHost: One:80\r\n\r\n\
    POST /b HTTP/1.1\r\nhost: b\r\ncontent-length: 5\r\n\r\nhello\
    POST /c HTTP/1.1\r\nhost: c\r\ntransfer-encoding: Chunked\r\n\r\n\
    5;name=\"value\"\r\nhello\r\n6\r\n world\r\n0\r\nx-sum: 1\r\ncontent-length: 9\r\n\r\n\
    GET http://abs/d?e HTTP/1.1\r\nhost: other\r\n\r\n\
    OPTIONS * HTTP/1.1\r\nhost: e\r\nconnection: close\r\n\r\n\
    GET /f HTTP/1.1\r\nhost: f\r\nproxy-connection: close\r\n\r\n";

fn expected() -> Seen {
    let requests = [
        "GET One:80 /a:",
        "POST b /b:hello",
        "POST c /c:hello world",
        "GET abs /d?e:",
        "OPTIONS e * close:",
        "GET f /f close:",
    ];
    Seen {
        requests: requests.map(str::to_owned).to_vec(),
        refused: None,
    }
}

#[test]
fn pipelined_requests_of_every_framing_are_read_in_order() {
    assert_eq!(read([STREAM.as_bytes()]), expected());
    assert_eq!(read(STREAM.as_bytes().chunks(1)), expected());
}

#[test]
fn fields_of_one_hop_do_not_reach_the_next() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Secret, Upgrade\r\nX-Secret: 1\r\nKeep-Alive: 5\r\n\
        Proxy-Connection: x\r\nUpgrade: websocket\r\nTE: trailers, gzip\r\nAccept: */*\r\n\r\n";
    let head = HeadParser::default().request(&mut text.into()).unwrap().unwrap();
    let names: Vec<_> = head
        .message
        .fields
        .iter()
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(names, ["accept", "te"]);
    assert_eq!(head.message.fields.text("te"), Some("trailers"));
    assert_eq!(head.message.upgrade.as_deref(), Some("websocket"));
}

#[test]
fn a_response_ends_where_status_method_and_fields_say() {
    let table = [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n",
            Method::GET,
            Length::Exact(3),
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            Method::GET,
            Length::Streamed,
            true,
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", Method::GET, Length::Streamed, false),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n",
            Method::HEAD,
            Length::Empty,
            true,
        ),
        (
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 3\r\n\r\n",
            Method::GET,
            Length::Empty,
            true,
        ),
        (
            "HTTP/1.1 204 No Content\r\n\r\n",
            Method::GET,
            Length::Empty,
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            Method::GET,
            Length::Exact(0),
            false,
        ),
        (
            "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n",
            Method::GET,
            Length::Exact(1),
            false,
        ),
        (
            "HTTP/1.0 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\n",
            Method::GET,
            Length::Exact(1),
            true,
        ),
        (
            "HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
            Method::GET,
            Length::Streamed,
            false,
        ),
    ];
    for (text, method, length, keep_alive) in table {
        let head = HeadParser::default()
            .response(&mut text.into(), &method)
            .unwrap()
            .unwrap();
        assert_eq!(
            (head.message.length, head.keep_alive),
            (length, keep_alive),
            "{text:?}"
        );
    }
    let head = HeadParser::default().response(
        &mut "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n".into(),
        &Method::HEAD,
    );
    let head = head.unwrap().unwrap().message;
    assert_eq!(
        head.fields.text("content-length"),
        Some("3"),
        "what a GET would have brought"
    );
}

#[test]
fn a_response_that_is_ambiguous_is_refused_too() {
    for (text, expected) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            Refusal::LengthConflict,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            Refusal::ContentLengthRepeated,
        ),
        ("HTTP/1.1 2000 OK\r\n\r\n", Refusal::StatusLine),
        (
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            Refusal::TransferEncoding,
        ),
        ("hello\r\n\r\n", Refusal::StatusLine),
    ] {
        let refused = HeadParser::default()
            .response(&mut text.into(), &Method::GET)
            .unwrap_err();
        assert_eq!(refused, expected, "{text:?}");
    }
}

proptest! {
    #[test]
    fn how_bytes_arrive_does_not_change_what_they_say(cuts in prop::collection::vec(0..STREAM.len(), 0..20)) {
        let mut cuts = cuts;
        cuts.sort_unstable();
        cuts.push(STREAM.len());
        let pieces = cuts.iter().scan(0, |start, end| {
            let piece = &STREAM.as_bytes()[*start..*end];
            *start = *end;
            Some(piece)
        });
        prop_assert_eq!(read(pieces), expected());
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read([bytes.as_slice()]);
        let _ = HeadParser::default().response(&mut bytes.as_slice().into(), &Method::GET);
    }

    #[test]
    fn no_change_of_a_good_request_makes_the_reader_panic(
        changes in prop::collection::vec((0..STREAM.len(), any::<u8>()), 1..6)
    ) {
        let mut bytes = STREAM.as_bytes().to_vec();
        for (position, byte) in changes {
            bytes[position] = byte;
        }
        let once = read([bytes.as_slice()]);
        let bytewise = read(bytes.chunks(1));
        prop_assert_eq!(once.refused, bytewise.refused);
    }
}
