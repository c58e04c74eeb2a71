//! Section `http2`, RFC 9113, 3 to 7: the preface, frames, streams, and what each kind of frame must not be.

use super::frame::{
    COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR,
    GO_AWAY, HEADERS, PADDED, PING, PRIORITIZED, PRIORITY, PROTOCOL_ERROR, PUSH, RESET, SETTINGS,
    STREAM_CLOSED, WINDOW, data, frame, get, head, headers, ping, post, priority, reset, settings, sized,
    window,
};
use super::{Case, Expect, Step, after, case, raw};
use crate::http::codec::h2::PREFACE;

const PROTOCOL: Expect = Expect::Connection(&[PROTOCOL_ERROR]);
const SIZE: Expect = Expect::Connection(&[FRAME_SIZE_ERROR]);
const CLOSED: Expect = Expect::Stream(1, &[STREAM_CLOSED, PROTOCOL_ERROR]);

pub(super) fn cases() -> Vec<Case> {
    [
        start(),
        sizes(),
        compression(),
        states(),
        identifiers(),
        dependencies(),
        data_and_heads(),
        small(),
        settings_and_windows(),
        others(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn start() -> Vec<Case> {
    vec![
        case(
            "http2/3.4",
            "a preface, then SETTINGS",
            settings(&[]),
            Expect::Settings,
        ),
        raw(
            "http2/3.4",
            "an invalid preface",
            b"INVALID PREFACE\r\n\r\n".to_vec(),
            PROTOCOL,
        ),
        raw(
            "http2/3.4",
            "the preface of another version",
            b"PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n".to_vec(),
            PROTOCOL,
        ),
        raw(
            "http2/3.4",
            "a preface followed by something else than SETTINGS",
            [PREFACE, &ping([0; 8])].concat(),
            PROTOCOL,
        ),
    ]
}

fn sizes() -> Vec<Case> {
    let large = vec![0; 16_385];
    vec![
        case(
            "http2/4.1",
            "a frame of an unknown kind is ignored",
            frame(0xff, 0, 0, &[0; 8]),
            Expect::Nothing,
        ),
        case(
            "http2/4.1",
            "undefined flags are ignored",
            [frame(PING, 0xfe, 0, &[0; 8]), get(1)].concat(),
            Expect::Answer(1),
        ),
        case(
            "http2/4.1",
            "the reserved bit is ignored",
            [frame(PING, 0, 0x8000_0000, &[7; 8])].concat(),
            Expect::Pong([7; 8]),
        ),
        case(
            "http2/4.2",
            "DATA of the largest size",
            [post(1), data(1, END_STREAM, &large[..16_384])].concat(),
            Expect::Answer(1),
        ),
        case(
            "http2/4.2",
            "DATA larger than allowed",
            [post(1), data(1, END_STREAM, &large)].concat(),
            Expect::Stream(1, &[FRAME_SIZE_ERROR]),
        ),
        case(
            "http2/4.2",
            "HEADERS larger than allowed",
            frame(HEADERS, END_STREAM | END_HEADERS, 1, &large),
            SIZE,
        ),
        case(
            "http2/4.2",
            "SETTINGS larger than allowed",
            frame(SETTINGS, 0, 0, &vec![0; 16_386]),
            SIZE,
        ),
    ]
}

fn compression() -> Vec<Case> {
    let (first, whole) = (frame(HEADERS, END_STREAM, 1, &head("GET")), head("GET"));
    vec![
        case(
            "http2/4.3",
            "a field block that cannot be decoded",
            headers(1, END_STREAM, &[0x40]),
            Expect::Connection(&[COMPRESSION_ERROR]),
        ),
        case(
            "http2/4.3",
            "PRIORITY within a field block",
            [
                first.clone(),
                priority(1, 0),
                frame(CONTINUATION, END_HEADERS, 1, &[]),
            ]
            .concat(),
            PROTOCOL,
        ),
        case(
            "http2/4.3",
            "HEADERS of another stream within a field block",
            [first.clone(), headers(3, END_STREAM, &whole)].concat(),
            PROTOCOL,
        ),
        case(
            "http2/4.3",
            "an unknown frame within a field block",
            [
                first,
                frame(0x42, 0, 1, &[]),
                frame(CONTINUATION, END_HEADERS, 1, &[]),
            ]
            .concat(),
            PROTOCOL,
        ),
    ]
}

fn states() -> Vec<Case> {
    let ended = [post(1), data(1, END_STREAM, b"x")].concat();
    let continued = |bytes: &[u8]| [frame(CONTINUATION, END_HEADERS, 1, bytes)].concat();
    let half = "http2/5.1";
    vec![
        case("http2/5.1", "idle: DATA", data(1, END_STREAM, b"x"), PROTOCOL),
        case("http2/5.1", "idle: RST_STREAM", reset(1, 8), PROTOCOL),
        case("http2/5.1", "idle: WINDOW_UPDATE", window(1, 100), PROTOCOL),
        case(
            "http2/5.1",
            "idle: CONTINUATION",
            continued(&head("GET")),
            PROTOCOL,
        ),
        case(
            half,
            "half closed: DATA",
            [get(1), data(1, END_STREAM, b"x")].concat(),
            CLOSED,
        ),
        case(half, "half closed: HEADERS", [get(1), get(1)].concat(), CLOSED),
        case(
            half,
            "half closed: CONTINUATION",
            [get(1), continued(&head("GET"))].concat(),
            CLOSED,
        ),
        case(
            half,
            "half closed after DATA: DATA",
            [ended.clone(), data(1, END_STREAM, b"x")].concat(),
            CLOSED,
        ),
        case(
            "http2/5.1",
            "closed by RST_STREAM: DATA",
            [post(1), reset(1, 8), data(1, END_STREAM, b"x")].concat(),
            CLOSED,
        ),
        case(
            "http2/5.1",
            "closed by RST_STREAM: HEADERS",
            [post(1), reset(1, 8), get(1)].concat(),
            CLOSED,
        ),
        case(
            "http2/5.1",
            "closed by RST_STREAM: CONTINUATION",
            [post(1), reset(1, 8), continued(&[])].concat(),
            CLOSED,
        ),
        after(
            "http2/5.1",
            "closed: DATA",
            get(1),
            data(1, END_STREAM, b"x"),
            CLOSED,
        ),
        after("http2/5.1", "closed: HEADERS", get(1), get(1), CLOSED),
        after(
            "http2/5.1",
            "closed: CONTINUATION",
            get(1),
            continued(&[]),
            CLOSED,
        ),
    ]
}

fn identifiers() -> Vec<Case> {
    let many = (0..1200).flat_map(|number| post(2 * number + 1)).collect();
    vec![
        case("http2/5.1.1", "an even stream", get(2), PROTOCOL),
        case(
            "http2/5.1.1",
            "a stream smaller than another",
            [get(5), get(3)].concat(),
            Expect::Connection(&[PROTOCOL_ERROR, STREAM_CLOSED]),
        ),
        case("http2/5.1.1", "HEADERS on stream 0", get(0), PROTOCOL),
        case(
            "http2/5.1.2",
            "more streams than allowed",
            many,
            Expect::Stream(2001, &[PROTOCOL_ERROR, super::frame::REFUSED_STREAM]),
        ),
    ]
}

fn dependencies() -> Vec<Case> {
    let itself = [&1_u32.to_be_bytes()[..], &[15], &head("GET")].concat();
    vec![
        case(
            "http2/5.3.1",
            "HEADERS of a stream that depends on itself",
            headers(1, PRIORITIZED | END_STREAM, &itself),
            Expect::Stream(1, &[PROTOCOL_ERROR]),
        ),
        case(
            "http2/5.3.1",
            "PRIORITY of a stream that depends on itself",
            priority(1, 1),
            Expect::Stream(1, &[PROTOCOL_ERROR]),
        ),
        case(
            "http2/5.4.1",
            "GOAWAY or the end after an error of the connection",
            frame(PING, 0, 3, &[0; 8]),
            PROTOCOL,
        ),
        case(
            "http2/5.5",
            "an unknown kind of frame",
            frame(0x16, 0, 0, &[0; 4]),
            Expect::Nothing,
        ),
        case(
            "http2/5.5",
            "an unknown setting",
            [settings(&[(0xff, 1)]), get(1)].concat(),
            Expect::Answer(1),
        ),
    ]
}

fn data_and_heads() -> Vec<Case> {
    vec![
        case(
            "http2/6.1",
            "DATA on stream 0",
            data(0, END_STREAM, b"x"),
            PROTOCOL,
        ),
        case(
            "http2/6.1",
            "DATA on a stream that is not open",
            [get(1), data(1, END_STREAM, b"x")].concat(),
            CLOSED,
        ),
        case(
            "http2/6.1",
            "DATA with more padding than it has",
            [post(1), data(1, PADDED | END_STREAM, &[9, b'x'])].concat(),
            PROTOCOL,
        ),
        case(
            "http2/6.1",
            "DATA with padding and nothing else",
            [post(1), sized(0, DATA, PADDED, 1, &[])].concat(),
            Expect::Connection(&[PROTOCOL_ERROR, FRAME_SIZE_ERROR]),
        ),
        case(
            "http2/6.2",
            "HEADERS without END_HEADERS, then PRIORITY",
            [frame(HEADERS, END_STREAM, 1, &head("GET")), priority(1, 0)].concat(),
            PROTOCOL,
        ),
        case(
            "http2/6.2",
            "HEADERS without END_HEADERS, then another stream",
            [frame(HEADERS, END_STREAM, 1, &head("GET")), get(3)].concat(),
            PROTOCOL,
        ),
        case(
            "http2/6.2",
            "HEADERS on stream 0 again",
            headers(0, END_STREAM, &head("GET")),
            PROTOCOL,
        ),
        case(
            "http2/6.2",
            "HEADERS with more padding than they have",
            headers(1, PADDED | END_STREAM, &[200, 0x82]),
            PROTOCOL,
        ),
        case(
            "http2/6.2",
            "HEADERS with a priority and no room for it",
            headers(1, PRIORITIZED | END_STREAM, &[0, 0]),
            Expect::Connection(&[PROTOCOL_ERROR, FRAME_SIZE_ERROR]),
        ),
    ]
}

fn small() -> Vec<Case> {
    vec![
        case("http2/6.3", "PRIORITY on stream 0", priority(0, 1), PROTOCOL),
        case(
            "http2/6.3",
            "PRIORITY of another size",
            frame(PRIORITY, 0, 1, &[0; 4]),
            Expect::Stream(1, &[FRAME_SIZE_ERROR]),
        ),
        case("http2/6.4", "RST_STREAM on stream 0", reset(0, 8), PROTOCOL),
        case("http2/6.4", "RST_STREAM on an idle stream", reset(7, 8), PROTOCOL),
        case(
            "http2/6.4",
            "RST_STREAM of another size",
            [post(1), frame(RESET, 0, 1, &[0; 3])].concat(),
            SIZE,
        ),
        case(
            "http2/6.7",
            "PING is acknowledged",
            ping(*b"12345678"),
            Expect::Pong(*b"12345678"),
        ),
        case(
            "http2/6.7",
            "an acknowledgement of a PING is not answered",
            [frame(PING, 1, 0, &[1; 8]), ping([2; 8])].concat(),
            Expect::Pong([2; 8]),
        ),
        case(
            "http2/6.7",
            "PING on a stream",
            frame(PING, 0, 1, &[0; 8]),
            PROTOCOL,
        ),
        case(
            "http2/6.7",
            "PING of another size",
            frame(PING, 0, 0, &[0; 6]),
            SIZE,
        ),
        case(
            "http2/6.8",
            "GOAWAY on a stream",
            frame(GO_AWAY, 0, 1, &[0; 8]),
            PROTOCOL,
        ),
        case(
            "http2/6.8",
            "GOAWAY of another size",
            frame(GO_AWAY, 0, 0, &[0; 7]),
            Expect::Connection(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]),
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn settings_and_windows() -> Vec<Case> {
    let small = settings(&[(4, 1)]);
    let growing = vec![
        Step::Send([settings(&[(4, 0)]), get(1)].concat()),
        Step::Send(settings(&[(4, 3)])),
    ];
    let negative = vec![
        Step::Send([settings(&[(4, 3)]), get(1)].concat()),
        Step::Send([settings(&[(4, 2)]), window(1, 1)].concat()),
    ];
    let flow = Expect::Connection(&[FLOW_CONTROL_ERROR]);
    vec![
        case(
            "http2/6.5",
            "SETTINGS that acknowledge and say something",
            frame(SETTINGS, 1, 0, &[0; 6]),
            SIZE,
        ),
        case(
            "http2/6.5",
            "SETTINGS on a stream",
            frame(SETTINGS, 0, 1, &[]),
            PROTOCOL,
        ),
        case(
            "http2/6.5",
            "SETTINGS of another size",
            frame(SETTINGS, 0, 0, &[0; 3]),
            SIZE,
        ),
        case("http2/6.5.2", "ENABLE_PUSH of 2", settings(&[(2, 2)]), PROTOCOL),
        case(
            "http2/6.5.2",
            "INITIAL_WINDOW_SIZE above the largest",
            settings(&[(4, 0x8000_0000)]),
            flow.clone(),
        ),
        case(
            "http2/6.5.2",
            "MAX_FRAME_SIZE below the smallest",
            settings(&[(5, 16_383)]),
            PROTOCOL,
        ),
        case(
            "http2/6.5.2",
            "MAX_FRAME_SIZE above the largest",
            settings(&[(5, 16_777_216)]),
            PROTOCOL,
        ),
        case(
            "http2/6.5.2",
            "an unknown setting is ignored",
            settings(&[(0xfff0, 9)]),
            Expect::Settings,
        ),
        case(
            "http2/6.5.3",
            "the last of two values counts",
            [settings(&[(4, 100), (4, 1)]), get(1)].concat(),
            Expect::Data(1, 1),
        ),
        case(
            "http2/6.5.3",
            "SETTINGS are acknowledged at once",
            settings(&[(4, 100)]),
            Expect::Settings,
        ),
        case(
            "http2/6.9",
            "WINDOW_UPDATE by 0 of the connection",
            window(0, 0),
            PROTOCOL,
        ),
        case(
            "http2/6.9",
            "WINDOW_UPDATE by 0 of a stream",
            [post(1), window(1, 0)].concat(),
            Expect::Stream(1, &[PROTOCOL_ERROR]),
        ),
        case(
            "http2/6.9",
            "WINDOW_UPDATE of another size",
            frame(WINDOW, 0, 0, &[0; 3]),
            SIZE,
        ),
        case(
            "http2/6.9.1",
            "DATA stays within the window",
            [small.clone(), get(1)].concat(),
            Expect::Data(1, 1),
        ),
        case(
            "http2/6.9.1",
            "the window of the connection above the largest",
            [window(0, 0x7fff_ffff), window(0, 0x7fff_ffff)].concat(),
            flow.clone(),
        ),
        case(
            "http2/6.9.1",
            "the window of a stream above the largest",
            [post(1), window(1, 0x7fff_ffff), window(1, 0x7fff_ffff)].concat(),
            Expect::Stream(1, &[FLOW_CONTROL_ERROR]),
        ),
        Case {
            section: "http2/6.9.2",
            name: "a window that grows by SETTINGS",
            raw: false,
            steps: growing,
            expect: Expect::Data(1, 3),
        },
        Case {
            section: "http2/6.9.2",
            name: "a window that shrinks by SETTINGS",
            raw: false,
            steps: negative,
            expect: Expect::Data(1, 3),
        },
        case(
            "http2/6.9.2",
            "INITIAL_WINDOW_SIZE above the largest, with a stream open",
            [post(1), settings(&[(4, 0xffff_ffff)])].concat(),
            flow,
        ),
    ]
}

fn others() -> Vec<Case> {
    let first = frame(HEADERS, END_STREAM, 1, &head("GET"));
    let rest = frame(CONTINUATION, END_HEADERS, 1, &[]);
    vec![
        case(
            "http2/6.6",
            "PUSH_PROMISE of a client",
            frame(
                PUSH,
                END_HEADERS,
                1,
                &[&2_u32.to_be_bytes()[..], &head("GET")].concat(),
            ),
            PROTOCOL,
        ),
        case(
            "http2/6.10",
            "several CONTINUATION frames",
            [first.clone(), frame(CONTINUATION, 0, 1, &[]), rest.clone()].concat(),
            Expect::Answer(1),
        ),
        case(
            "http2/6.10",
            "CONTINUATION, then another kind",
            [
                first.clone(),
                frame(CONTINUATION, 0, 1, &[]),
                data(1, END_STREAM, b"x"),
            ]
            .concat(),
            PROTOCOL,
        ),
        case(
            "http2/6.10",
            "CONTINUATION on stream 0",
            [first.clone(), frame(CONTINUATION, END_HEADERS, 0, &[])].concat(),
            PROTOCOL,
        ),
        case(
            "http2/6.10",
            "CONTINUATION of another stream",
            [first, frame(CONTINUATION, END_HEADERS, 3, &[])].concat(),
            PROTOCOL,
        ),
        case(
            "http2/6.10",
            "CONTINUATION after END_HEADERS",
            [get(1), rest.clone()].concat(),
            PROTOCOL,
        ),
        case(
            "http2/6.10",
            "CONTINUATION after CONTINUATION with END_HEADERS",
            [
                frame(HEADERS, END_STREAM, 1, &head("GET")),
                rest.clone(),
                rest.clone(),
            ]
            .concat(),
            PROTOCOL,
        ),
        case(
            "http2/6.10",
            "CONTINUATION after DATA",
            [post(1), data(1, 0, b"x"), rest].concat(),
            PROTOCOL,
        ),
        case(
            "http2/7",
            "GOAWAY with an unknown error",
            [frame(GO_AWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0xff]), ping([3; 8])].concat(),
            Expect::Pong([3; 8]),
        ),
        case(
            "http2/7",
            "RST_STREAM with an unknown error",
            [post(1), reset(1, 0xff)].concat(),
            Expect::Nothing,
        ),
    ]
}
