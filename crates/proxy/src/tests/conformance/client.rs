//! A client of frames: writes what it is told, reads frame by frame, and never takes back what it has seen.

use std::time::Duration;

use daemon::clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::world::{PATIENCE, World};
use super::frame::{
    ACK, DATA, END_STREAM, GO_AWAY, HEADERS, PING, RESET, SETTINGS, frame, get, ping, settings,
};
use super::{Expect, Step};
use crate::http::codec::h2::PREFACE;

/// How long an error may still come after the answer to a PING behind it.
const GRACE: Duration = Duration::from_millis(300);
const MARK: [u8; 8] = *b"the mark";

/// A received frame.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

/// One end of an HTTP/2 connection.
pub(super) struct Peer {
    pub(super) stream: TcpStream,
    read: Vec<u8>,
    /// What has come since the last step.
    seen: Vec<Frame>,
}

impl Peer {
    pub(super) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            read: Vec::new(),
            seen: Vec::new(),
        }
    }

    pub(super) async fn connect(world: &World, raw: bool) -> Self {
        let stream = TcpStream::connect(world.running.addresses["outbound"])
            .await
            .unwrap();
        let mut peer = Self::new(stream);
        if !raw {
            peer.send(PREFACE).await;
            peer.send(&settings(&[])).await;
            let first = peer.frame().await.expect("SETTINGS of the server");
            assert_eq!((first.kind, first.flags), (SETTINGS, 0));
            peer.send(&frame(SETTINGS, ACK, 0, &[])).await;
        }
        peer
    }

    /// Errors are those of a connection that the proxy has given up: what it said before is read.
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next frame; `None` at the end of the connection.
    pub(super) async fn frame(&mut self) -> Option<Frame> {
        while self.read.len() < 9 || self.read.len() < 9 + self.length() {
            match self.stream.read_buf(&mut self.read).await {
                Ok(more) if more > 0 => {}
                _ => return None,
            }
        }
        let all: Vec<u8> = self.read.drain(..9 + self.length()).collect();
        let stream = u32::from_be_bytes(all[5..9].try_into().unwrap());
        Some(Frame {
            kind: all[3],
            flags: all[4],
            stream,
            payload: all[9..].to_vec(),
        })
    }

    fn length(&self) -> usize {
        usize::from(self.read[0]) << 16 | usize::from(self.read[1]) << 8 | usize::from(self.read[2])
    }

    /// Goes through the steps and says what is not as expected.
    pub(super) async fn run(&mut self, steps: &[Step], expect: &Expect) -> Result<(), String> {
        for step in steps {
            match step {
                Step::Send(bytes) => self.send(bytes).await,
                Step::Ended(stream) => self.ended(*stream).await?,
            }
        }
        match expect {
            Expect::Nothing => {
                let request = get(101);
                self.send(&request).await;
            }
            Expect::Connection(_) | Expect::Stream(..) => {
                let mark = ping(MARK);
                self.send(&mark).await;
            }
            _ => {}
        }
        match clock::timeout(PATIENCE, self.wait(expect)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("nothing of that in time, but {:?}", self.seen)),
        }
    }

    async fn ended(&mut self, stream: u32) -> Result<(), String> {
        loop {
            let frame = clock::timeout(PATIENCE, self.frame())
                .await
                .map_err(|_| "no answer in time".to_owned())?;
            let frame = frame.ok_or_else(|| "closed before an answer".to_owned())?;
            let ends = frame.kind == RESET || (frame.kind <= HEADERS && frame.flags & END_STREAM != 0);
            if frame.stream == stream && ends {
                return Ok(());
            }
        }
    }

    async fn wait(&mut self, expect: &Expect) -> Result<(), String> {
        let mut marked = false;
        loop {
            let next = self.frame();
            let next = match marked {
                false => next.await,
                true => match clock::timeout(GRACE, next).await {
                    Ok(next) => next,
                    Err(_) => return Err(format!("no error, but {:?}", self.seen)),
                },
            };
            let Some(frame) = next else {
                return match expect {
                    Expect::Connection(_) | Expect::Stream(..) | Expect::Refused(_) => Ok(()),
                    _ => Err(format!("closed after {:?}", self.seen)),
                };
            };
            if let Some(outcome) = judge(&frame, expect) {
                return outcome;
            }
            marked |= frame.kind == PING && frame.flags & ACK != 0 && frame.payload == MARK;
            self.seen.push(frame);
        }
    }
}

/// What a frame says about an expectation; `None` when nothing.
fn judge(frame: &Frame, expect: &Expect) -> Option<Result<(), String>> {
    let error = |at: usize| u32::from_be_bytes(frame.payload[at..at + 4].try_into().unwrap());
    let among = |found: u32, wanted: &[u32]| match wanted.contains(&found) {
        true => Ok(()),
        false => Err(format!("error {found}, wanted one of {wanted:?}")),
    };
    match (frame.kind, expect) {
        (GO_AWAY, Expect::Connection(wanted) | Expect::Stream(_, wanted)) => Some(among(error(4), wanted)),
        (GO_AWAY, Expect::Refused(_)) => Some(Ok(())),
        (GO_AWAY, _) => Some(Err(format!("GOAWAY with error {}", error(4)))),
        (RESET, Expect::Stream(stream, wanted)) if frame.stream == *stream => Some(among(error(0), wanted)),
        (RESET, Expect::Refused(stream)) if frame.stream == *stream => Some(Ok(())),
        (RESET, Expect::Answer(stream) | Expect::Data(stream, _)) if frame.stream == *stream => {
            Some(Err(format!("the stream is reset with error {}", error(0))))
        }
        (HEADERS, Expect::Answer(stream)) if frame.stream == *stream => Some(status(frame, "200")),
        (HEADERS, Expect::Nothing) if frame.stream == 101 => Some(status(frame, "200")),
        (HEADERS, Expect::Refused(stream)) if frame.stream == *stream => Some(status(frame, "4")),
        (DATA, Expect::Data(stream, size)) if frame.stream == *stream => {
            Some(match frame.payload.len() == *size {
                true => Ok(()),
                false => Err(format!("DATA of {} bytes", frame.payload.len())),
            })
        }
        (SETTINGS, Expect::Settings) if frame.flags & ACK != 0 => Some(Ok(())),
        (PING, Expect::Pong(bytes)) if frame.flags & ACK != 0 => Some(match frame.payload == bytes {
            true => Ok(()),
            false => Err("another PING".to_owned()),
        }),
        _ => None,
    }
}

/// Whether a response head begins with that status.
fn status(head: &Frame, wanted: &str) -> Result<(), String> {
    // Table size updates come first; then the static entries 8, 12 and 13, or the name of 8 with a value.
    let mut bytes = head.payload.iter().skip_while(|byte| *byte >> 5 == 1).copied();
    let found = match bytes.next() {
        Some(0x88) => "200",
        Some(0x8c) => "400",
        Some(0x8d) => "404",
        // `4..` in Huffman's code begins with 011010, and 5 with 011011.
        Some(0x48) if bytes.nth(1).is_some_and(|byte| byte >> 2 == 0b0001_1010) => "4xx",
        _ => "another status",
    };
    match found.starts_with(wanted) {
        true => Ok(()),
        false => Err(format!("answered with {found}")),
    }
}
