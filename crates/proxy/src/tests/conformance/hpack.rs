//! Section `hpack`, RFC 7541: blocks that cannot be decoded end the connection.

use super::frame::{COMPRESSION_ERROR, END_STREAM, head, headers, settings};
use super::{Case, Expect, case};

const WRONG: Expect = Expect::Connection(&[COMPRESSION_ERROR]);

pub(super) fn cases() -> Vec<Case> {
    let request = |rest: &[u8]| headers(1, END_STREAM, &[&head("GET")[..], rest].concat());
    let row =
        |section: &'static str, name: &'static str, rest: &[u8]| case(section, name, request(rest), WRONG);
    vec![
        row("hpack/2.3.3", "an index beyond both tables", b"\xc6"),
        row("hpack/2.3.3", "a name beyond both tables", b"\x7e\x01b"),
        row("hpack/2.3.3", "the largest index", b"\xff\xff\xff\xff\xff\x07"),
        row(
            "hpack/4.2",
            "an update of the table's size at the end",
            b"\x3f\xe1\x1f",
        ),
        row(
            "hpack/5.1",
            "an integer that never ends",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ),
        row("hpack/5.1", "an integer cut off", b"\xff\x80"),
        row(
            "hpack/5.2",
            "padding of Huffman's code longer than seven bits",
            b"\x00\x03x-a\x85\xf2\xb2\x4a\x84\xff",
        ),
        row(
            "hpack/5.2",
            "padding of Huffman's code with zeros",
            b"\x00\x03x-a\x81\x18",
        ),
        row(
            "hpack/5.2",
            "the end-of-string symbol in Huffman's code",
            b"\x00\x03x-a\x84\xff\xff\xff\xff",
        ),
        row("hpack/5.2", "a text longer than its block", b"\x00\x7f\x05x"),
        row("hpack/6.1", "index zero", b"\x80"),
        case(
            "hpack/6.3",
            "an update of the table's size above the limit",
            headers(1, END_STREAM, &[&b"\x3f\xe1\xff\x03"[..], &head("GET")].concat()),
            WRONG,
        ),
        case(
            "hpack/6.3",
            "an update of the table's size above what we asked for",
            [
                settings(&[(1, 0)]),
                headers(1, END_STREAM, &[&b"\x3f\xe2\x1f"[..], &head("GET")].concat()),
            ]
            .concat(),
            WRONG,
        ),
    ]
}
