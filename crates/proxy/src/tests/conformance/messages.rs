//! Section `http2`, RFC 9113, 8: requests that are malformed, and must not go on.

use super::frame::{END_STREAM, PROTOCOL_ERROR, block, data, head, headers, literal, post, with};
use super::{Case, Expect, case};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = pseudo_fields();
    cases.extend(fields());
    cases.extend(bodies());
    cases.extend(smuggling());
    cases
}

/// A complete request with these fields only.
fn only(fields: &[(&str, &str)]) -> Vec<u8> {
    headers(1, END_STREAM, &block(fields))
}

fn refused(section: &'static str, name: &'static str, bytes: Vec<u8>) -> Case {
    case(section, name, bytes, Expect::Refused(1))
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const PATH: (&str, &str) = (":path", "/");
const AUTHORITY: (&str, &str) = (":authority", "shop");

fn pseudo_fields() -> Vec<Case> {
    let pseudo_trailer = headers(1, END_STREAM, &block(&[METHOD]));
    let section = "http2/8.3.1";
    vec![
        refused(
            "http2/8.3",
            "an unknown pseudo header",
            only(&[METHOD, SCHEME, PATH, AUTHORITY, (":test", "x")]),
        ),
        refused(
            "http2/8.3",
            "a pseudo header of responses",
            only(&[METHOD, SCHEME, PATH, AUTHORITY, (":status", "200")]),
        ),
        refused(
            "http2/8.3",
            "a pseudo header behind a field",
            only(&[METHOD, SCHEME, ("x-a", "b"), PATH, AUTHORITY]),
        ),
        case(
            "http2/8.3",
            "a pseudo header in trailers",
            [post(1), data(1, 0, b"x"), pseudo_trailer].concat(),
            Expect::Stream(1, &[PROTOCOL_ERROR]),
        ),
        refused(
            section,
            "an empty path",
            only(&[METHOD, SCHEME, (":path", ""), AUTHORITY]),
        ),
        refused(section, "no method", only(&[SCHEME, PATH, AUTHORITY])),
        refused(section, "no scheme", only(&[METHOD, PATH, AUTHORITY])),
        refused(section, "no path", only(&[METHOD, SCHEME, AUTHORITY])),
        refused(
            section,
            "two methods",
            only(&[METHOD, METHOD, SCHEME, PATH, AUTHORITY]),
        ),
        refused(
            section,
            "two schemes",
            only(&[METHOD, SCHEME, SCHEME, PATH, AUTHORITY]),
        ),
        refused(
            section,
            "two paths",
            only(&[METHOD, SCHEME, PATH, PATH, AUTHORITY]),
        ),
        refused(
            section,
            "two authorities",
            only(&[METHOD, SCHEME, PATH, AUTHORITY, (":authority", "admin")]),
        ),
        refused(section, "no authority and no host", only(&[METHOD, SCHEME, PATH])),
        case(
            section,
            "no authority, but host",
            only(&[METHOD, SCHEME, PATH, ("host", "shop")]),
            Expect::Answer(1),
        ),
        refused(
            section,
            "no authority, but two hosts",
            only(&[METHOD, SCHEME, PATH, ("host", "shop"), ("host", "admin")]),
        ),
        refused(
            section,
            "a path without slash",
            only(&[METHOD, SCHEME, (":path", "admin"), AUTHORITY]),
        ),
        // Well-formed, but not for a proxy's routes: Envoy too answers 404.
        refused(
            section,
            "an asterisk for OPTIONS",
            only(&[(":method", "OPTIONS"), SCHEME, (":path", "*"), AUTHORITY]),
        ),
        refused(
            section,
            "an asterisk for GET",
            only(&[METHOD, SCHEME, (":path", "*"), AUTHORITY]),
        ),
    ]
}

fn fields() -> Vec<Case> {
    let get = |fields: &[(&str, &str)]| headers(1, END_STREAM, &with("GET", fields));
    let upper_trailer = headers(1, END_STREAM, &block(&[("X-Sum", "1")]));
    vec![
        refused("http2/8.2.1", "a name in capitals", get(&[("X-TEST", "ok")])),
        refused("http2/8.2.1", "an empty name", get(&[("", "ok")])),
        refused("http2/8.2.1", "a name with a space", get(&[("x test", "ok")])),
        refused("http2/8.2.1", "a name with a colon", get(&[("x:test", "ok")])),
        case(
            "http2/8.2.1",
            "a name in capitals in trailers",
            [post(1), data(1, 0, b"x"), upper_trailer].concat(),
            Expect::Stream(1, &[PROTOCOL_ERROR]),
        ),
        refused(
            "http2/8.2.1",
            "a value with white space before it",
            get(&[("x-a", " b")]),
        ),
        refused(
            "http2/8.2.1",
            "a value with white space behind it",
            get(&[("x-a", "b\t")]),
        ),
        refused(
            "http2/8.2.2",
            "the field connection",
            get(&[("connection", "keep-alive")]),
        ),
        refused("http2/8.2.2", "the field keep-alive", get(&[("keep-alive", "5")])),
        refused(
            "http2/8.2.2",
            "the field proxy-connection",
            get(&[("proxy-connection", "close")]),
        ),
        refused(
            "http2/8.2.2",
            "the field transfer-encoding",
            get(&[("transfer-encoding", "chunked")]),
        ),
        refused("http2/8.2.2", "the field upgrade", get(&[("upgrade", "h2c")])),
        refused(
            "http2/8.2.2",
            "te that is not trailers",
            get(&[("te", "trailers, deflate")]),
        ),
        case(
            "http2/8.2.2",
            "te that is trailers",
            get(&[("te", "trailers")]),
            Expect::Answer(1),
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn bodies() -> Vec<Case> {
    let post = |length: &str| headers(1, 0, &with("POST", &[("content-length", length)]));
    let ended = |fields: &[(&str, &str)]| headers(1, END_STREAM, &with("POST", fields));
    let two = headers(
        1,
        0,
        &with("POST", &[("content-length", "4"), ("content-length", "5")]),
    );
    let headless = [
        super::frame::post(1),
        data(1, 0, b"x"),
        headers(1, 0, &block(&[("x-a", "b")])),
        data(1, END_STREAM, b"x"),
    ];
    let section = "http2/8.1.1";
    vec![
        case(
            section,
            "a length that one DATA frame keeps",
            [post("4"), data(1, END_STREAM, b"test")].concat(),
            Expect::Answer(1),
        ),
        case(
            section,
            "a length that several DATA frames keep",
            [post("4"), data(1, 0, b"te"), data(1, END_STREAM, b"st")].concat(),
            Expect::Answer(1),
        ),
        refused(
            section,
            "a length that one DATA frame does not reach",
            [post("5"), data(1, END_STREAM, b"test")].concat(),
        ),
        refused(
            section,
            "a length that one DATA frame passes",
            [post("1"), data(1, END_STREAM, b"test")].concat(),
        ),
        refused(
            section,
            "a length that several DATA frames do not reach",
            [post("9"), data(1, 0, b"te"), data(1, END_STREAM, b"st")].concat(),
        ),
        refused(
            section,
            "a length that several DATA frames pass",
            [post("3"), data(1, 0, b"te"), data(1, END_STREAM, b"st")].concat(),
        ),
        refused(
            section,
            "a length and no body at all",
            ended(&[("content-length", "5")]),
        ),
        case(
            section,
            "a length of zero and no body",
            ended(&[("content-length", "0")]),
            Expect::Answer(1),
        ),
        refused(
            section,
            "two lengths",
            [two, data(1, END_STREAM, b"test")].concat(),
        ),
        refused(
            section,
            "a length with a sign",
            [post("+4"), data(1, END_STREAM, b"test")].concat(),
        ),
        refused(
            section,
            "a length that is a list",
            [post("4, 4"), data(1, END_STREAM, b"test")].concat(),
        ),
        refused(
            section,
            "a length that no number holds",
            [post("18446744073709551620"), data(1, END_STREAM, b"test")].concat(),
        ),
        case(
            "http2/8.1",
            "a second head without the end of the stream",
            headless.concat(),
            Expect::Stream(1, &[PROTOCOL_ERROR]),
        ),
    ]
}

/// What would become another request, or another field, on an HTTP/1.1 connection behind the proxy.
fn smuggling() -> Vec<Case> {
    let bytes = |name: &[u8], value: &[u8]| {
        let mut block = head("GET");
        literal(name, value, &mut block);
        headers(1, END_STREAM, &block)
    };
    let many: Vec<_> = (0..101)
        .map(|number| (format!("x-{number}"), "y".to_owned()))
        .collect();
    let many: Vec<_> = many
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let section = "proxy";
    let path = |path: &str| only(&[METHOD, SCHEME, (":path", path), AUTHORITY]);
    let authority = |authority: &str| only(&[METHOD, SCHEME, PATH, (":authority", authority)]);
    vec![
        refused(section, "a line end in a value", bytes(b"x-a", b"b\r\nx-b: c")),
        refused(
            section,
            "a request in a value",
            bytes(b"x-a", b"b\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: shop\r\n\r\n"),
        ),
        refused(section, "a LF in a value", bytes(b"x-a", b"b\nc")),
        refused(section, "a CR in a value", bytes(b"x-a", b"b\rc")),
        refused(section, "a NUL in a value", bytes(b"x-a", b"b\0c")),
        refused(section, "a line end in a name", bytes(b"x-a: b\r\nx-b", b"c")),
        refused(
            section,
            "a line end in a path",
            path("/ HTTP/1.1\r\nx-a: b\r\n\r\n"),
        ),
        refused(section, "a space in a path", path("/a HTTP/1.1")),
        refused(section, "an escaped NUL in a path", path("/a%00")),
        refused(section, "a line end in an authority", authority("shop\r\nx-a: b")),
        refused(section, "a user in an authority", authority("user@shop")),
        refused(section, "a path in an authority", authority("shop/admin")),
        refused(
            section,
            "a space in a method",
            only(&[(":method", "GET /smuggled HTTP/1.1"), SCHEME, PATH, AUTHORITY]),
        ),
        refused(
            section,
            "a line end in a method",
            only(&[(":method", "GET\r\n"), SCHEME, PATH, AUTHORITY]),
        ),
        refused(
            section,
            "a hundred and one fields",
            headers(1, END_STREAM, &with("GET", &many)),
        ),
    ]
}
