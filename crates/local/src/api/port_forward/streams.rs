//! Port-forwarding over SPDY/3.1: per connection the client opens a stream for data and one for an error text, with the
//! headers `streamtype`, `port` and `requestid`.
//!
//! One task owns the connection: it reads only while what it has read goes on its way, and takes from the pod only
//! while there is room to send.

use std::collections::HashMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use daemon::Tasks;
use daemon::clock::{self, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::super::spdy::{self, Broken, Decoder, Encoder, Frame, Headers};
use super::super::upgrade::{PING, STUCK};
use super::pump::{Event, Pod, Pump, What};

/// Connections at once in one session.
const MOST: usize = 256;
/// A stream whose partner does not come.
const PARTNER: Duration = Duration::from_secs(30);
/// What may wait to be written before we stop to read and to take from pods.
const OUTBOX: usize = 64 << 10;
/// Read at once.
const PIECE: usize = 16 << 10;

/// A connection of the client, by its request id.
#[derive(Debug)]
struct Forwarded {
    port: u16,
    begun: Instant,
    data: Option<u32>,
    error: Option<u32>,
    /// Once both streams are there.
    pump: Option<Pump>,
    /// What we may still send on the data stream.
    window: i64,
    /// From the pod, not yet sent.
    held: Bytes,
    /// The pod sends no more, or nothing at all happens any more: to be said once nothing is held.
    ends: bool,
    over: bool,
}

/// From the client, to be delivered before anything else is read.
struct Undelivered {
    to: mpsc::Sender<Bytes>,
    bytes: Bytes,
    stream: u32,
}

struct Conversation {
    pod: Pod,
    tasks: Tasks,
    events: mpsc::Sender<Event<u32>>,
    decoder: Decoder,
    encoder: Encoder,
    inbox: BytesMut,
    outbox: BytesMut,
    /// By request id.
    forwarded: HashMap<String, Forwarded>,
    last_stream: u32,
    initial_window: i64,
    /// The clients of Kubernetes know no windows; see the sessions of commands.
    has_windows: bool,
    undelivered: Option<Undelivered>,
}

/// Serves the connection until the client goes.
pub(super) async fn serve(connection: impl AsyncRead + AsyncWrite, pod: Pod, tasks: Tasks) {
    let (sender, events) = mpsc::channel(16);
    let conversation = Conversation {
        pod,
        tasks,
        events: sender,
        decoder: Decoder::default(),
        encoder: Encoder::default(),
        inbox: BytesMut::new(),
        outbox: BytesMut::new(),
        forwarded: HashMap::new(),
        last_stream: 0,
        initial_window: spdy::INITIAL_WINDOW,
        has_windows: false,
        undelivered: None,
    };
    if let Err(why) = converse(connection, conversation, events).await {
        tracing::debug!(why = &*why, "port-forwarding ended early");
    }
}

async fn converse(
    connection: impl AsyncRead + AsyncWrite,
    mut this: Conversation,
    mut events: mpsc::Receiver<Event<u32>>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (reader, writer) = tokio::io::split(connection);
    tokio::pin!(reader, writer);
    let mut wrote = clock::now();
    loop {
        this.advance()?;
        let (reads, takes, writes) = (
            this.may_read(),
            this.outbox.len() < OUTBOX,
            !this.outbox.is_empty(),
        );
        this.inbox.reserve(PIECE);
        tokio::select! {
            read = reader.read_buf(&mut this.inbox), if reads => if read? == 0 {
                return Ok(());
            },
            written = writer.write_buf(&mut this.outbox), if writes => {
                written?;
                wrote = clock::now();
                if this.outbox.is_empty() {
                    writer.flush().await?;
                }
            }
            () = deliver(&this.undelivered), if this.undelivered.is_some() => this.delivered(),
            Some(event) = events.recv(), if takes => this.hear(event),
            () = clock::sleep_until(wrote + if writes { STUCK } else { PING }) => {
                if writes {
                    return Err("the client takes nothing".into());
                }
                this.forget_lonely(clock::now());
                // Written, it tells whether the client is still there.
                this.write(&Frame::Ping(2));
            }
        }
    }
}

/// Hands over what waits. May be dropped and called again: nothing is taken before there is room.
async fn deliver(undelivered: &Option<Undelivered>) {
    if let Some(Undelivered { to, bytes, .. }) = undelivered
        && let Ok(room) = to.reserve().await
    {
        room.send(bytes.clone());
    }
}

impl Conversation {
    fn may_read(&self) -> bool {
        self.undelivered.is_none() && self.outbox.len() < OUTBOX
    }

    /// Does what can be done without waiting.
    fn advance(&mut self) -> Result<(), Broken> {
        while self.may_read() {
            let Some(frame) = self.decoder.next(&mut self.inbox)? else {
                break;
            };
            self.act(frame);
        }
        Ok(())
    }

    fn act(&mut self, frame: Frame) {
        match frame {
            Frame::SynStream { stream, fin, headers } => self.open(stream, fin, &headers),
            Frame::Data { stream, fin, bytes } => self.take(stream, fin, bytes),
            // The client wants no more of this connection.
            Frame::Reset { stream, .. } => self
                .forwarded
                .retain(|_, one| one.data != Some(stream) && one.error != Some(stream)),
            Frame::Settings {
                initial_window: Some(window),
            } => {
                self.has_windows = true;
                let window = i64::from(window);
                for one in self.forwarded.values_mut() {
                    one.window += window - self.initial_window;
                }
                self.initial_window = window;
                self.send_all();
            }
            Frame::WindowUpdate { stream, more } => {
                self.has_windows = true;
                if let Some(id) = self.find(stream) {
                    let one = self.forwarded.get_mut(&id).expect("it was found");
                    one.window = (one.window + i64::from(more)).min(i64::from(i32::MAX));
                    self.send(&id);
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
        if !self.enter(stream, headers) {
            return self.write(&reset(spdy::REFUSED_STREAM));
        }
        self.write(&Frame::SynReply {
            stream,
            fin: false,
            headers: Headers::new(),
        });
        let id = self.find(stream).unwrap_or_default();
        let Some(one) = self.forwarded.get_mut(&id) else {
            return;
        };
        if let (Some(data), Some(_), None) = (one.data, one.error, &one.pump) {
            one.pump = Some(Pump::start(&self.pod, one.port, data, &self.events, &self.tasks));
        }
        if fin {
            self.take(stream, true, Bytes::new());
        }
    }

    /// Notes what a stream is for; whether it may be.
    fn enter(&mut self, stream: u32, headers: &Headers) -> bool {
        let header = |name: &str| {
            headers
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| &**value)
        };
        let port = header("port")
            .and_then(|port| port.parse().ok())
            .filter(|port| *port > 0);
        let (Some(kind), Some(port), Some(id)) = (header("streamtype"), port, header("requestid")) else {
            return false;
        };
        if !matches!(kind, "data" | "error")
            || self.forwarded.len() >= MOST && !self.forwarded.contains_key(id)
        {
            return false;
        }
        let window = self.initial_window;
        let one = self.forwarded.entry(id.to_owned()).or_insert_with(|| Forwarded {
            port,
            begun: clock::now(),
            data: None,
            error: None,
            pump: None,
            window,
            held: Bytes::new(),
            ends: false,
            over: false,
        });
        let place = if kind == "data" {
            &mut one.data
        } else {
            &mut one.error
        };
        place.is_none() && place.replace(stream).is_none()
    }

    /// Data from the client. A client sends none before the other stream is there, or it is lost.
    fn take(&mut self, stream: u32, fin: bool, bytes: Bytes) {
        let Some(id) = self.find(stream) else { return };
        let one = self.forwarded.get_mut(&id).expect("it was found");
        let Some(pump) = one.pump.as_mut().filter(|_| one.data == Some(stream)) else {
            return;
        };
        let to = if fin {
            pump.to_pod.take()
        } else {
            pump.to_pod.clone()
        };
        if let Some(to) = to
            && !bytes.is_empty()
        {
            self.undelivered = Some(Undelivered { to, bytes, stream });
        }
    }

    fn delivered(&mut self) {
        if let Some(Undelivered { bytes, stream, .. }) = self.undelivered.take() {
            let more = u32::try_from(bytes.len()).unwrap_or_default();
            self.write(&Frame::WindowUpdate { stream, more });
        }
    }

    /// News of the connection whose data stream is `event.number`.
    fn hear(&mut self, event: Event<u32>) {
        let Some(id) = self.find(event.number) else { return };
        let one = self.forwarded.get_mut(&id).expect("it was found");
        match event.what {
            What::Data(bytes) => one.held = bytes,
            What::End => one.ends = true,
            What::Over => one.over = true,
            What::Failed(why) => {
                (one.ends, one.over) = (true, true);
                if let Some(stream) = one.error {
                    let (fin, bytes) = (false, Bytes::from(why));
                    self.write(&Frame::Data { stream, fin, bytes });
                }
            }
        }
        self.send(&id);
    }

    /// Sends what the window lets, and what follows when everything has been sent.
    fn send(&mut self, id: &str) {
        let Some(one) = self.forwarded.get_mut(id) else {
            return;
        };
        let (Some(data), Some(error)) = (one.data, one.error) else {
            return;
        };
        let mut frames = Vec::new();
        if !one.held.is_empty() {
            let window = match self.has_windows {
                true => usize::try_from(one.window).unwrap_or_default(),
                false => one.held.len(),
            };
            let bytes = one.held.split_to(one.held.len().min(window));
            one.window -= i64::try_from(bytes.len()).unwrap_or_default();
            if one.held.is_empty()
                && let Some(pump) = &one.pump
            {
                pump.sent();
            }
            if !bytes.is_empty() {
                frames.push(Frame::Data {
                    stream: data,
                    fin: false,
                    bytes,
                });
            }
        }
        if one.held.is_empty() {
            let end = |stream| Frame::Data {
                stream,
                fin: true,
                bytes: Bytes::new(),
            };
            if std::mem::take(&mut one.ends) {
                frames.push(end(data));
            }
            if one.over {
                frames.push(end(error));
                self.forwarded.remove(id);
            }
        }
        for frame in &frames {
            self.write(frame);
        }
    }

    fn send_all(&mut self) {
        let ids: Vec<String> = self.forwarded.keys().cloned().collect();
        for id in ids {
            self.send(&id);
        }
    }

    /// Refuses streams whose partner has not come.
    fn forget_lonely(&mut self, now: Instant) {
        let mut lonely = Vec::new();
        self.forwarded.retain(|_, one| {
            let stays = one.pump.is_some() || now < one.begun + PARTNER;
            if !stays {
                lonely.extend(one.data.into_iter().chain(one.error));
            }
            stays
        });
        for stream in lonely {
            let why = spdy::REFUSED_STREAM;
            self.write(&Frame::Reset { stream, why });
        }
    }

    /// The connection that a stream belongs to.
    fn find(&self, stream: u32) -> Option<String> {
        let mut all = self.forwarded.iter();
        let found = all.find(|(_, one)| one.data == Some(stream) || one.error == Some(stream));
        found.map(|(id, _)| id.clone())
    }

    fn write(&mut self, frame: &Frame) {
        self.encoder.write(frame, &mut self.outbox);
    }
}
