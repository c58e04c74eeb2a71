//! HTTP/2 conformance, in the sections of h2spec: bytes to the proxy's server side, and what has to come back.
//!
//! A client of raw frames speaks to the real proxy, each case over a connection of its own. A case that fails and is
//! not in [`DEVIATIONS`] fails the test, and so does a deviation that no longer deviates. `cargo xtask h2spec` prints counts. Sources: RFC 9113, RFC 7541.

mod client;
mod frame;
mod generic;
mod hostile;
mod hpack;
mod http2;
mod messages;
mod upstream;

use self::client::Peer;
use super::world::{Backend, World, all_to, ok};

/// What a case wants to see.
#[derive(Clone, Debug)]
enum Expect {
    /// GOAWAY with one of these errors, or the end of the connection.
    Connection(&'static [u32]),
    /// RST_STREAM with one of these errors, or what [`Expect::Connection`] takes.
    Stream(u32, &'static [u32]),
    /// A status of 4xx or a reset of the stream, and no request at the backend.
    Refused(u32),
    /// The response head of that stream, with status 200.
    Answer(u32),
    /// DATA frames of that stream of at most that size, the first of exactly it.
    Data(u32, usize),
    /// The acknowledgement of our SETTINGS.
    Settings,
    /// The answer to a PING with these bytes.
    Pong([u8; 8]),
    /// The connection goes on: it answers a request.
    Nothing,
}

/// A step of a case.
#[derive(Clone, Debug)]
enum Step {
    Send(Vec<u8>),
    /// Waits for the end of that stream.
    Ended(u32),
}

struct Case {
    section: &'static str,
    name: &'static str,
    /// Instead of the preface and SETTINGS.
    raw: bool,
    steps: Vec<Step>,
    expect: Expect,
}

fn case(section: &'static str, name: &'static str, bytes: Vec<u8>, expect: Expect) -> Case {
    Case {
        section,
        name,
        raw: false,
        steps: vec![Step::Send(bytes)],
        expect,
    }
}

/// Sends, waits for the end of stream 1, sends more.
fn after(section: &'static str, name: &'static str, first: Vec<u8>, then: Vec<u8>, expect: Expect) -> Case {
    let steps = vec![Step::Send(first), Step::Ended(1), Step::Send(then)];
    Case {
        section,
        name,
        raw: false,
        steps,
        expect,
    }
}

/// Begins with these bytes, and not with the preface.
fn raw(section: &'static str, name: &'static str, bytes: Vec<u8>, expect: Expect) -> Case {
    Case {
        raw: true,
        ..case(section, name, bytes, expect)
    }
}

/// Where the connection ends as it must, with PROTOCOL_ERROR instead of the exact error: the HTTP/2 library has one
/// error for all that it cannot read. The peer is as much at fault, and as much disconnected.
const OTHER_ERROR: &[&str] = &[
    "a field block that cannot be decoded",
    "PRIORITY of another size",
    "RST_STREAM of another size",
    "PING of another size",
    "SETTINGS that acknowledge and say something",
    "SETTINGS of another size",
    "INITIAL_WINDOW_SIZE above the largest",
    "WINDOW_UPDATE of another size",
    "INITIAL_WINDOW_SIZE above the largest, with a stream open",
    "an index beyond both tables",
    "a name beyond both tables",
    "the largest index",
    "an update of the table's size at the end",
    "an integer that never ends",
    "an integer cut off",
    "padding of Huffman's code with zeros",
    "the end-of-string symbol in Huffman's code",
    "a text longer than its block",
    "index zero",
    "an update of the table's size above the limit",
    "an update of the table's size above what we asked for",
];

/// Where the HTTP/2 library accepts what it should refuse, and why that can be left so.
const DEVIATIONS: &[(&str, &str)] = &[
    (
        "a preface followed by something else than SETTINGS",
        "frames before SETTINGS are answered as they would be behind them; nothing depends on the order",
    ),
    (
        "padding of Huffman's code longer than seven bits",
        "the text is the same; whoever sends it wastes its own bytes",
    ),
    (
        "a pseudo header in trailers",
        "it is dropped, and reaches no route and no backend",
    ),
];

/// Runs one case, each over a connection of its own.
async fn outcome(case: &Case, world: &World, backend: &Backend) -> Result<(), String> {
    let before = backend.requests();
    let expect = match (&case.expect, OTHER_ERROR.contains(&case.name)) {
        (Expect::Connection(_) | Expect::Stream(..), true) => &Expect::Connection(&[frame::PROTOCOL_ERROR]),
        (expect, _) => expect,
    };
    let mut peer = Peer::connect(world, case.raw).await;
    peer.run(&case.steps, expect).await?;
    if matches!(expect, Expect::Refused(_)) && backend.requests() != before {
        return Err("the backend got the request".to_owned());
    }
    Ok(())
}

async fn run(section: &str, cases: Vec<Case>) {
    let backend = Backend::start(|_| ok("hello")).await;
    let world = World::start(all_to(&[backend.address])).await;
    let (mut passed, mut other, mut deviating, mut wrong) = (0, 0, 0, Vec::new());
    for case in &cases {
        let deviates = DEVIATIONS.iter().any(|(name, _)| *name == case.name);
        match (outcome(case, &world, &backend).await, deviates) {
            (Ok(()), false) if OTHER_ERROR.contains(&case.name) => other += 1,
            (Ok(()), false) => passed += 1,
            (Err(_), true) => deviating += 1,
            (Ok(()), true) => wrong.push(format!("{}: deviates no longer: {}", case.section, case.name)),
            (Err(why), false) => wrong.push(format!("{}: {}: {why}", case.section, case.name)),
        }
    }
    println!(
        "{section}: {} cases: {passed} passed, {other} passed with another error code, {deviating} deviate as \
         documented, {} failed",
        cases.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[tokio::test]
async fn generic_section() {
    run("generic", generic::cases()).await;
}

#[tokio::test]
async fn http2_section_on_connections_and_frames() {
    run("http2, frames", http2::cases()).await;
}

#[tokio::test]
async fn http2_section_on_messages() {
    run("http2, messages", messages::cases()).await;
}

#[tokio::test]
async fn hpack_section() {
    run("hpack", hpack::cases()).await;
}

#[test]
fn every_name_is_unique_and_every_deviation_is_a_case() {
    let cases = [
        generic::cases(),
        http2::cases(),
        messages::cases(),
        hpack::cases(),
    ];
    let cases: Vec<_> = cases.iter().flatten().map(|case| case.name).collect();
    let unique: std::collections::HashSet<_> = cases.iter().collect();
    assert_eq!(unique.len(), cases.len());
    assert!(
        DEVIATIONS
            .iter()
            .all(|(name, why)| cases.contains(name) && !why.is_empty())
    );
    assert!(OTHER_ERROR.iter().all(|name| cases.contains(name)));
}
