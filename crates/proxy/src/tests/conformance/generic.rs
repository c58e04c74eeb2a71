//! Section `generic`: what every server must be able to do, whatever the specification's details.

use super::frame::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PADDED, PRIORITIZED, RESET, block, data, frame,
    get, head, headers, ping, post, priority, reset, settings, window, with,
};
use super::{Case, Expect, after, case};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = frames();
    cases.extend(messages());
    cases.extend(encodings());
    cases
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn frames() -> Vec<Case> {
    let padded = [&[3][..], &head("GET"), &[0; 3]].concat();
    let weighted = [&[0, 0, 0, 0, 15][..], &head("GET")].concat();
    let both = [&[2, 0, 0, 0, 0, 15][..], &head("GET"), &[0; 2]].concat();
    let padded_data = [&[2][..], b"hello", &[0; 2]].concat();
    let (first, rest) = (head("GET"), block(&[("x-a", "b")]));
    vec![
        case(
            "generic/1",
            "a connection begins with the preface",
            get(1),
            Expect::Answer(1),
        ),
        case(
            "generic/2",
            "a stream may be idle, open, half closed, closed",
            [get(1), get(3)].concat(),
            Expect::Answer(3),
        ),
        case(
            "generic/2",
            "PRIORITY on an idle stream",
            [priority(1, 0), get(1)].concat(),
            Expect::Answer(1),
        ),
        case(
            "generic/2",
            "WINDOW_UPDATE on a half-closed stream",
            [get(1), window(1, 100)].concat(),
            Expect::Answer(1),
        ),
        case(
            "generic/2",
            "PRIORITY on a half-closed stream",
            [get(1), priority(1, 0)].concat(),
            Expect::Answer(1),
        ),
        case(
            "generic/2",
            "RST_STREAM on a half-closed stream",
            [get(1), reset(1, 8)].concat(),
            Expect::Nothing,
        ),
        after(
            "generic/2",
            "PRIORITY on a closed stream",
            get(1),
            priority(1, 0),
            Expect::Nothing,
        ),
        after(
            "generic/2",
            "WINDOW_UPDATE on a closed stream",
            get(1),
            window(1, 100),
            Expect::Nothing,
        ),
        after(
            "generic/2",
            "RST_STREAM on a closed stream",
            get(1),
            reset(1, 8),
            Expect::Nothing,
        ),
        case(
            "generic/3.1",
            "DATA",
            [post(1), data(1, END_STREAM, b"test")].concat(),
            Expect::Answer(1),
        ),
        case(
            "generic/3.1",
            "several DATA",
            [post(1), data(1, 0, b"te"), data(1, END_STREAM, b"st")].concat(),
            Expect::Answer(1),
        ),
        case(
            "generic/3.1",
            "DATA with padding",
            [post(1), data(1, PADDED | END_STREAM, &padded_data)].concat(),
            Expect::Answer(1),
        ),
        case(
            "generic/3.1",
            "empty DATA that ends the stream",
            [post(1), data(1, END_STREAM, b"")].concat(),
            Expect::Answer(1),
        ),
        case("generic/3.2", "HEADERS", get(1), Expect::Answer(1)),
        case(
            "generic/3.2",
            "HEADERS with padding",
            headers(1, PADDED | END_STREAM, &padded),
            Expect::Answer(1),
        ),
        case(
            "generic/3.2",
            "HEADERS with a priority",
            headers(1, PRIORITIZED | END_STREAM, &weighted),
            Expect::Answer(1),
        ),
        case(
            "generic/3.2",
            "HEADERS with padding and a priority",
            headers(1, PADDED | PRIORITIZED | END_STREAM, &both),
            Expect::Answer(1),
        ),
        case(
            "generic/3.3",
            "PRIORITY with a weight",
            [priority(1, 0), get(1)].concat(),
            Expect::Answer(1),
        ),
        case(
            "generic/3.3",
            "PRIORITY that depends on another stream",
            [priority(3, 1), get(3)].concat(),
            Expect::Answer(3),
        ),
        case(
            "generic/3.3",
            "PRIORITY that depends exclusively",
            [priority(3, 0x8000_0001), get(3)].concat(),
            Expect::Answer(3),
        ),
        case(
            "generic/3.3",
            "PRIORITY of a stream of the server",
            [priority(2, 0), get(1)].concat(),
            Expect::Answer(1),
        ),
        case(
            "generic/3.4",
            "RST_STREAM",
            [post(1), frame(RESET, 0, 1, &8_u32.to_be_bytes())].concat(),
            Expect::Nothing,
        ),
        case(
            "generic/3.5",
            "SETTINGS is acknowledged",
            settings(&[(3, 10)]),
            Expect::Settings,
        ),
        case(
            "generic/3.5",
            "all settings are acknowledged",
            settings(&[(1, 4096), (2, 0), (3, 9), (4, 65535), (5, 16384), (6, 9999)]),
            Expect::Settings,
        ),
        case(
            "generic/3.7",
            "PING is answered",
            ping(*b"h2spec\0\0"),
            Expect::Pong(*b"h2spec\0\0"),
        ),
        case(
            "generic/3.8",
            "GOAWAY without error",
            [frame(7, 0, 0, &[0; 8]), get(1)].concat(),
            Expect::Answer(1),
        ),
        case(
            "generic/3.9",
            "WINDOW_UPDATE of the connection",
            [window(0, 1), get(1)].concat(),
            Expect::Answer(1),
        ),
        case(
            "generic/3.9",
            "WINDOW_UPDATE of a stream",
            [post(1), window(1, 1), data(1, END_STREAM, b"x")].concat(),
            Expect::Answer(1),
        ),
        case(
            "generic/3.10",
            "CONTINUATION",
            [
                frame(HEADERS, END_STREAM, 1, &first),
                frame(CONTINUATION, END_HEADERS, 1, &rest),
            ]
            .concat(),
            Expect::Answer(1),
        ),
        case(
            "generic/3.10",
            "several CONTINUATION",
            [
                frame(HEADERS, END_STREAM, 1, &first[..5]),
                frame(CONTINUATION, 0, 1, &first[5..]),
                frame(CONTINUATION, 0, 1, b""),
                frame(CONTINUATION, END_HEADERS, 1, &rest),
            ]
            .concat(),
            Expect::Answer(1),
        ),
    ]
}

fn messages() -> Vec<Case> {
    let trailers = headers(1, END_STREAM, &block(&[("x-sum", "1")]));
    let long = "x".repeat(10_000);
    vec![
        case("generic/4", "GET", get(1), Expect::Answer(1)),
        case(
            "generic/4",
            "HEAD",
            headers(1, END_STREAM, &head("HEAD")),
            Expect::Answer(1),
        ),
        case(
            "generic/4",
            "POST",
            [post(1), data(1, END_STREAM, b"body")].concat(),
            Expect::Answer(1),
        ),
        case(
            "generic/4",
            "POST with trailers",
            [post(1), data(1, 0, b"body"), trailers].concat(),
            Expect::Answer(1),
        ),
        case(
            "generic/4",
            "OPTIONS",
            headers(1, END_STREAM, &head("OPTIONS")),
            Expect::Answer(1),
        ),
        case(
            "generic/4",
            "a head of several kilobytes",
            headers(1, END_STREAM, &with("GET", &[("x-a", &long)])),
            Expect::Answer(1),
        ),
        case(
            "generic/4",
            "a method of its own",
            headers(1, END_STREAM, &head("BREW")),
            Expect::Answer(1),
        ),
        case(
            "generic/4",
            "an unknown frame between two",
            [frame(0x42, 0xff, 0, b"what"), get(1)].concat(),
            Expect::Answer(1),
        ),
        case(
            "generic/4",
            "an unknown frame within a message",
            [post(1), frame(0x42, 0, 1, b""), frame(DATA, END_STREAM, 1, b"x")].concat(),
            Expect::Answer(1),
        ),
    ]
}

/// `generic/5`: every representation of HPACK.
fn encodings() -> Vec<Case> {
    // :method GET, :scheme http, :path /, and :authority as each representation has it.
    let start = [0x82, 0x86, 0x84];
    let request = |rest: &[u8]| headers(1, END_STREAM, &[&start[..], rest].concat());
    let row = |name: &'static str, rest: &[u8]| case("generic/5", name, request(rest), Expect::Answer(1));
    vec![
        row("an indexed field of the static table", b"\x01\x04shop\x90"),
        row("a literal with indexing, name indexed", b"\x41\x04shop"),
        row(
            "a literal with indexing, name new",
            b"\x41\x04shop\x40\x03x-a\x01b",
        ),
        row("a literal without indexing, name indexed", b"\x01\x04shop"),
        row(
            "a literal without indexing, name new",
            b"\x01\x04shop\x00\x03x-a\x01b",
        ),
        row("a literal never indexed, name indexed", b"\x11\x04shop"),
        row(
            "a literal never indexed, name new",
            b"\x11\x04shop\x10\x03x-a\x01b",
        ),
        // RFC 7541, C.4.1: www.example.com
        row(
            "a value in Huffman's code",
            b"\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
        ),
        row(
            "an indexed field of the dynamic table",
            b"\x41\x04shop\x40\x03x-a\x01b\xbe",
        ),
        case(
            "generic/5",
            "an update of the table's size",
            headers(1, END_STREAM, &[&[0x20][..], &start, b"\x01\x04shop"].concat()),
            Expect::Answer(1),
        ),
        case(
            "generic/5",
            "two updates of the table's size",
            headers(
                1,
                END_STREAM,
                &[&[0x20, 0x3f, 0xe1, 0x1f][..], &start, b"\x01\x04shop"].concat(),
            ),
            Expect::Answer(1),
        ),
    ]
}
