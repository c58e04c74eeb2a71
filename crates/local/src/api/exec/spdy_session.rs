//! A command over SPDY/3.1: kubectl before 1.30, and newer ones that were told or forced to do without WebSocket.
//!
//! The client opens one stream per channel and tells with the header `streamtype` which; the last thing it gets is a
//! `Status` on the error stream (remote command protocol v4). One task owns all: it reads only while there is room for
//! what it reads, and takes output only while there is room to send.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use daemon::clock::{self, Instant};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::node_link::OutputStream;
use super::super::spdy::{self, Broken, Decoder, Encoder, Frame, Headers};
use super::super::upgrade::{PING, STUCK};
use super::session::{Event, Input, Output, Session, Wanted};

/// For the client to open its streams.
const OPENING: Duration = Duration::from_secs(30);
/// For the client to take the end and close the connection. Closing ourselves could cost it the last output.
const CLOSING: Duration = Duration::from_secs(60);
/// What may wait to be written before we stop to read and to take output.
const OUTBOX: usize = 64 << 10;
/// Read at once, and sent in one frame.
const PIECE: usize = 16 << 10;
/// A terminal's size is much shorter.
const LONGEST_SIZE: usize = 1 << 10;

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Error,
    Stdin,
    Stdout,
    Stderr,
    Resize,
}

impl Role {
    fn of(headers: &Headers) -> Option<Self> {
        let (_, value) = headers.iter().find(|(name, _)| name == "streamtype")?;
        Some(match &**value {
            "error" => Self::Error,
            "stdin" => Self::Stdin,
            "stdout" => Self::Stdout,
            "stderr" => Self::Stderr,
            "resize" => Self::Resize,
            _ => return None,
        })
    }

    fn wanted(wanted: &Wanted) -> Vec<Self> {
        let roles = [
            (true, Self::Error),
            (wanted.stdin, Self::Stdin),
            (wanted.stdout, Self::Stdout),
            (wanted.stderr, Self::Stderr),
            (wanted.tty, Self::Resize),
        ];
        roles
            .into_iter()
            .filter(|(wanted, _)| *wanted)
            .map(|(_, role)| role)
            .collect()
    }
}

struct Stream {
    id: u32,
    role: Role,
    /// What we may still send.
    window: i64,
}

/// Where the connection stands. Without IO: frames in, bytes out.
struct Conversation {
    decoder: Decoder,
    encoder: Encoder,
    inbox: BytesMut,
    outbox: BytesMut,
    streams: Vec<Stream>,
    /// Roles whose streams have not been opened.
    missing: Vec<Role>,
    last_stream: u32,
    initial_window: i64,
    /// The clients of Kubernetes know no windows: they never open them. So windows bind us only from the moment that
    /// a client shows that it knows them; others are held off by TCP alone, as in Kubernetes.
    has_windows: bool,
    input: Input,
    /// What the client may send again once its input has been passed on.
    owed: Option<(u32, u32)>,
    /// A size that has come in part.
    size: Vec<u8>,
    /// Output that has not been sent in whole.
    held: Option<(Role, Bytes)>,
}

/// Serves the connection until the command ends or the client goes.
pub(super) async fn serve(connection: Upgraded, session: Session) {
    let (input, output) = session.split();
    let conversation = Conversation::new(input, Role::wanted(output.wanted()));
    if let Err(why) = converse(connection, conversation, output).await {
        tracing::debug!(why = &*why, "the connection of a command ended early");
    }
}

async fn converse(
    connection: Upgraded,
    mut this: Conversation,
    output: Output,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (mut reader, mut writer) = tokio::io::split(TokioIo::new(connection));
    // Gone once the command has ended.
    let mut output = Some(output);
    let mut ends = Some(clock::now() + OPENING);
    let mut wrote = clock::now();
    loop {
        this.advance()?;
        if output.is_some() && this.missing.is_empty() {
            ends = None;
        }
        let (reads, takes, writes) = (this.may_read(), this.may_take(), !this.outbox.is_empty());
        this.inbox.reserve(PIECE);
        tokio::select! {
            read = reader.read_buf(&mut this.inbox), if reads => match read? {
                0 if output.is_none() => return Ok(()),
                0 => return Err("the client has gone".into()),
                _ => {}
            },
            written = writer.write_buf(&mut this.outbox), if writes => {
                written?;
                wrote = clock::now();
                if this.outbox.is_empty() {
                    writer.flush().await?;
                }
            }
            () = this.input.pass(), if this.input.waits() => {}
            event = next(&mut output), if takes && output.is_some() => match event {
                Event::Wrote(OutputStream::Stdout, bytes) => this.held = Some((Role::Stdout, bytes)),
                Event::Wrote(OutputStream::Stderr, bytes) => this.held = Some((Role::Stderr, bytes)),
                Event::Ended(status) => {
                    output = None;
                    this.finish(&status);
                    ends = Some(clock::now() + CLOSING);
                }
            },
            () = clock::sleep_until(wake(ends, wrote, writes)) => {
                if ends.is_some_and(|ends| clock::now() >= ends) {
                    return Err("the client took too long".into());
                }
                if writes {
                    return Err("the client takes nothing".into());
                }
                // Written, it tells whether the client is still there.
                this.write(&Frame::Ping(2));
            }
        }
    }
}

/// When to look up if nothing happens.
fn wake(ends: Option<Instant>, wrote: Instant, writes: bool) -> Instant {
    let patience = wrote + if writes { STUCK } else { PING };
    ends.map_or(patience, |ends| ends.min(patience))
}

async fn next(output: &mut Option<Output>) -> Event {
    match output {
        Some(output) => output.next().await,
        None => std::future::pending().await,
    }
}

impl Conversation {
    fn new(input: Input, missing: Vec<Role>) -> Self {
        Self {
            decoder: Decoder::default(),
            encoder: Encoder::default(),
            inbox: BytesMut::new(),
            outbox: BytesMut::new(),
            streams: Vec::new(),
            missing,
            last_stream: 0,
            initial_window: spdy::INITIAL_WINDOW,
            has_windows: false,
            input,
            owed: None,
            size: Vec::new(),
            held: None,
        }
    }

    fn may_read(&self) -> bool {
        !self.input.waits() && self.outbox.len() < OUTBOX
    }

    fn may_take(&self) -> bool {
        self.missing.is_empty() && self.held.is_none() && self.outbox.len() < OUTBOX
    }

    /// Does what can be done without waiting.
    fn advance(&mut self) -> Result<(), Broken> {
        loop {
            if !self.input.waits()
                && let Some((stream, more)) = self.owed.take()
            {
                self.write(&Frame::WindowUpdate { stream, more });
            }
            if !self.may_read() {
                break;
            }
            let Some(frame) = self.decoder.next(&mut self.inbox)? else {
                break;
            };
            self.act(frame);
        }
        self.send();
        Ok(())
    }

    fn act(&mut self, frame: Frame) {
        match frame {
            Frame::SynStream { stream, fin, headers } => self.open(stream, fin, &headers),
            Frame::Data { stream, fin, bytes } => self.take(stream, fin, bytes),
            Frame::Reset { stream, .. } => {
                if self.role(stream) == Some(Role::Stdin) {
                    self.input.end();
                }
                self.streams.retain(|open| open.id != stream);
            }
            Frame::Settings {
                initial_window: Some(window),
            } => {
                self.has_windows = true;
                let window = i64::from(window);
                for stream in &mut self.streams {
                    stream.window += window - self.initial_window;
                }
                self.initial_window = window;
            }
            Frame::WindowUpdate { stream, more } => {
                self.has_windows = true;
                if let Some(open) = self.streams.iter_mut().find(|open| open.id == stream) {
                    open.window = (open.window + i64::from(more)).min(i64::from(i32::MAX));
                }
            }
            // Even numbers answer our own.
            Frame::Ping(id) if id % 2 == 1 => self.write(&Frame::Ping(id)),
            Frame::Ping(_)
            | Frame::GoAway { .. }
            | Frame::SynReply { .. }
            | Frame::Headers { .. }
            | Frame::Settings { initial_window: None } => {}
        }
    }

    fn open(&mut self, stream: u32, fin: bool, headers: &Headers) {
        let reset = |why| Frame::Reset { stream, why };
        if stream.is_multiple_of(2) || stream <= self.last_stream {
            return self.write(&reset(spdy::PROTOCOL_ERROR));
        }
        self.last_stream = stream;
        let found =
            Role::of(headers).and_then(|role| self.missing.iter().position(|missing| *missing == role));
        let Some(found) = found else {
            return self.write(&reset(spdy::REFUSED_STREAM));
        };
        let role = self.missing.swap_remove(found);
        let window = self.initial_window;
        self.streams.push(Stream {
            id: stream,
            role,
            window,
        });
        self.write(&Frame::SynReply {
            stream,
            fin: false,
            headers: Headers::new(),
        });
        if fin && role == Role::Stdin {
            self.input.end();
        }
    }

    /// Data from the client.
    fn take(&mut self, stream: u32, fin: bool, bytes: Bytes) {
        let more = u32::try_from(bytes.len()).unwrap_or_default();
        let role = self.role(stream);
        match role {
            Some(Role::Stdin) => self.input.put(bytes),
            Some(Role::Resize) => self.resize(&bytes),
            // What the client says about a stream that has been closed, or that is ours alone.
            _ => {}
        }
        if more > 0 && !fin && role.is_some() {
            self.owed = Some((stream, more));
        }
        if fin && role == Some(Role::Stdin) {
            self.input.end();
        }
    }

    /// Sizes come one after the other, as JSON objects without brackets inside.
    fn resize(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.size.push(*byte);
            if *byte == b'}' {
                self.input.resize(&self.size);
                self.size.clear();
            } else if self.size.len() > LONGEST_SIZE {
                self.size.clear();
            }
        }
    }

    /// Writes as much of the output at hand as the window and the outbox let.
    fn send(&mut self) {
        while let Some((role, bytes)) = &mut self.held {
            let Some(open) = self.streams.iter_mut().find(|open| open.role == *role) else {
                // A stream that the client has reset takes nothing any more.
                self.held = None;
                return;
            };
            let window = if self.has_windows {
                usize::try_from(open.window).unwrap_or_default()
            } else {
                PIECE
            };
            if window == 0 || self.outbox.len() >= OUTBOX {
                return;
            }
            let piece = bytes.split_to(bytes.len().min(PIECE).min(window));
            open.window -= i64::try_from(piece.len()).unwrap_or_default();
            let stream = open.id;
            if bytes.is_empty() {
                self.held = None;
            }
            self.write(&Frame::Data {
                stream,
                fin: false,
                bytes: piece,
            });
        }
    }

    /// The end of all streams: what became of the command, and that nothing else follows.
    fn finish(&mut self, status: &Value) {
        self.input.discard();
        let ends: Vec<_> = self.streams.iter().map(|open| (open.id, open.role)).collect();
        for (stream, role) in ends {
            let bytes = if role == Role::Error {
                Bytes::from(status.to_string())
            } else {
                Bytes::new()
            };
            let fin = true;
            self.write(&Frame::Data { stream, fin, bytes });
        }
        let last = self.last_stream;
        self.write(&Frame::GoAway { last });
    }

    fn role(&self, stream: u32) -> Option<Role> {
        let open = self.streams.iter().find(|open| open.id == stream)?;
        Some(open.role)
    }

    fn write(&mut self, frame: &Frame) {
        self.encoder.write(frame, &mut self.outbox);
    }
}
