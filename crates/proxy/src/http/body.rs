//! The body of a request on its way up, and as much of it as another try may need.
//!
//! Frames are kept, shared and not copied, until the response begins or too many bytes have passed; from then on the
//! request cannot be tried again. Where Envoy keeps as much as its connection's buffer, a route without retries keeps
//! less, and all requests of a worker together have a bound.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use daemon::clock::{self, Instant};
use futures_util::poll;

use crate::http::bounds::{Bounds, SHARE};
use crate::http::codec::{CodecError, Frame, Sink, Source};
use crate::http::grpc_web::Decoder;
use crate::http::mirror::Feed;
use crate::http::timeout::Patience;
use crate::upstream::circuit_breaker::Permit;

/// Most bytes kept of one body: on a route that retries (Envoy's `per_connection_buffer_limit_bytes`), and on one that
/// does not, for requests that nobody processed.
const KEEP: usize = 1 << 20;
const KEEP_WITHOUT_RETRIES: usize = 64 * 1024;

/// What a frame takes beside its bytes, about.
const FRAME: usize = 64;

/// The body of one request.
#[derive(Debug)]
pub(crate) struct RequestBody<'c> {
    source: Source<'c>,
    kept: Vec<Frame>,
    kept_bytes: usize,
    position: usize,
    ended: bool,
    /// When that was.
    completed: Option<Instant>,
    /// Bytes received from the client.
    pub(crate) received: u64,
    /// Who gets a copy of every frame.
    copies: Vec<Feed>,
    bounds: &'c Bounds,
    /// Tells how long the proxy itself is waited for.
    pub(crate) patience: Rc<Patience>,
    /// All of the body so far was there when it was asked for: who waited for something, waited for us.
    prompt: bool,
    /// For a body of text that was binary once.
    decoder: Option<Decoder>,
}

/// What is shared between the one who sends the body up and the one who decides about another try.
#[derive(Debug)]
pub(crate) struct Replay {
    /// Frames are kept.
    keeping: Cell<bool>,
    /// A frame has passed that was not kept.
    lost: Cell<bool>,
    most: usize,
    /// The right to the retry that is under way, if one is.
    pub(crate) permit: RefCell<Option<Permit>>,
    /// When the whole request was there.
    pub(crate) received: Cell<Option<Instant>>,
    /// When it was sent upstream to its end.
    pub(crate) forwarded: Cell<Option<Instant>>,
}

impl Replay {
    /// `received` is when the request was complete, if it is.
    pub(crate) fn new(retries: bool, received: Option<Instant>) -> Self {
        Self {
            keeping: Cell::new(true),
            lost: Cell::new(false),
            most: if retries { KEEP } else { KEEP_WITHOUT_RETRIES },
            permit: RefCell::default(),
            received: Cell::new(received),
            forwarded: Cell::new(None),
        }
    }

    /// No other try will follow.
    pub(crate) fn stop(&self) {
        self.keeping.set(false);
    }

    /// Whether the body can be sent from its beginning again.
    pub(crate) fn is_possible(&self) -> bool {
        !self.lost.get()
    }
}

/// What was read of a body before the request goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// All of it.
    Whole,
    /// As much as was asked for.
    Part,
    /// More than was asked for, or than one request may have.
    TooLong,
    /// Other requests have taken all room there is.
    NoRoom,
}

/// Why a body did not get up.
#[derive(Debug)]
enum UploadError {
    Client(CodecError),
    Upstream(CodecError),
}

impl<'c> RequestBody<'c> {
    pub(crate) fn new(source: Source<'c>, bounds: &'c Bounds) -> Self {
        Self {
            source,
            kept: Vec::new(),
            kept_bytes: 0,
            position: 0,
            ended: false,
            completed: None,
            received: 0,
            copies: Vec::new(),
            bounds,
            patience: Rc::new(Patience::new()),
            prompt: true,
            decoder: None,
        }
    }

    /// Whether the client has sent all of it.
    pub(crate) fn is_complete(&self) -> bool {
        self.ended
    }

    /// It is text that was binary once, also what was read ahead of it.
    pub(crate) fn decode_by(&mut self, decoder: Option<Decoder>) -> Result<(), CodecError> {
        let Some(mut decoder) = decoder else {
            return Ok(());
        };
        for frame in &mut self.kept {
            if let Frame::Data(data) = frame {
                *data = decoder.data(data)?;
            }
        }
        match self.ended {
            true => decoder.end(),
            false => {
                self.decoder = Some(decoder);
                Ok(())
            }
        }
    }

    /// When the client had sent all of it.
    pub(crate) fn completed(&self) -> Option<Instant> {
        self.completed
    }

    /// Reads its beginning before it is sent up, for one who decides by it: `most` bytes if a `part` will do, all of it
    /// otherwise. Never more than one request's share.
    pub(crate) async fn read_ahead(&mut self, most: usize, part: bool) -> Result<Ahead, CodecError> {
        let mut there = self.kept_data().map(Bytes::len).sum::<usize>();
        loop {
            match self.ended {
                _ if part && there >= most => return Ok(Ahead::Part),
                _ if there > most => return Ok(Ahead::TooLong),
                _ if self.kept_bytes > SHARE && part => return Ok(Ahead::Part),
                _ if self.kept_bytes > SHARE => return Ok(Ahead::TooLong),
                true => return Ok(Ahead::Whole),
                false => {}
            }
            let Some(frame) = self.decoded().await? else {
                continue;
            };
            // A frame takes room by itself, too, however small it is.
            let size = size_of(Some(&frame)) + FRAME;
            if !self.bounds.take_kept(size) {
                return Ok(Ahead::NoRoom);
            }
            self.kept_bytes += size;
            if let Frame::Data(data) = &frame {
                there += data.len();
            }
            self.kept.push(frame);
        }
    }

    /// The first bytes of what was read ahead, and whether there are more of those, or may be where less was read.
    pub(crate) fn beginning(&self, most: usize) -> (Vec<u8>, bool) {
        let mut bytes = Vec::new();
        for data in self.kept_data() {
            let room = most - bytes.len();
            bytes.extend_from_slice(&data[..data.len().min(room)]);
            if data.len() > room {
                return (bytes, true);
            }
        }
        let is_part = bytes.len() < most && !self.ended;
        (bytes, is_part)
    }

    fn kept_data(&self) -> impl Iterator<Item = &Bytes> {
        self.kept.iter().filter_map(|frame| match frame {
            Frame::Data(data) => Some(data),
            Frame::Trailers(_) => None,
        })
    }

    /// Reads what has come already, for a request that has its answer: if that is all of it, another one may follow.
    pub(crate) fn skip_what_is_there(&mut self, task: &mut Context<'_>) {
        let mut left = KEEP_WITHOUT_RETRIES;
        while !self.ended && left > 0 {
            match pin!(self.source.frame()).poll(task) {
                Poll::Ready(Ok(Some(Frame::Data(data)))) => {
                    self.received += data.len() as u64;
                    left = left.saturating_sub(data.len());
                }
                Poll::Ready(Ok(Some(Frame::Trailers(_)) | None)) => self.ended = true,
                Poll::Ready(Err(_)) | Poll::Pending => return,
            }
        }
    }

    /// Copies every frame, those that were read ahead and those to come. Before the first is sent up.
    pub(crate) fn copy_to(&mut self, copy: Feed) {
        for frame in &self.kept {
            copy.push(frame, size_of(Some(frame)));
        }
        if self.ended {
            copy.end();
        }
        self.copies.push(copy);
    }

    /// Waits, before the body is read and if there is none, for the client to leave.
    pub(crate) async fn gone(&mut self) -> CodecError {
        self.source.gone().await
    }

    /// Begins again with what was kept.
    pub(crate) fn rewind(&mut self) {
        self.position = 0;
    }

    /// Sends the body up (`complete` says when that is done), and then watches for the client to leave.
    /// Ends only with what the client did wrong.
    pub(crate) async fn upload(
        &mut self,
        sink: &mut Sink<'_>,
        replay: &Replay,
        complete: &Cell<bool>,
    ) -> CodecError {
        match self.send(sink, replay).await {
            Ok(()) => {
                complete.set(true);
                replay.forwarded.set(Some(clock::now()));
            }
            // Its response, or the reason why there is none, is on its way.
            Err(UploadError::Upstream(error)) => {
                tracing::debug!(%error, "upstream does not take the request's body");
            }
            Err(UploadError::Client(error)) => return error,
        }
        self.source.gone().await
    }

    /// Small pieces wait for more, or until none is there.
    async fn send(&mut self, sink: &mut Sink<'_>, replay: &Replay) -> Result<(), UploadError> {
        loop {
            let frame = {
                let mut next = pin!(self.frame(replay));
                match poll!(next.as_mut()) {
                    Poll::Ready(frame) => frame,
                    Poll::Pending => {
                        sink.flush().await.map_err(UploadError::Upstream)?;
                        // However long that takes: the limits are the stream's.
                        next.await
                    }
                }
            };
            match frame.map_err(UploadError::Client)? {
                Some(Frame::Data(data)) => {
                    let mut taken = pin!(sink.data(data));
                    let taken = match poll!(taken.as_mut()) {
                        Poll::Ready(taken) => taken,
                        Poll::Pending => {
                            self.prompt = false;
                            taken.await
                        }
                    };
                    taken.map_err(UploadError::Upstream)?;
                }
                Some(Frame::Trailers(fields)) => {
                    return sink.end(Some(&fields)).await.map_err(UploadError::Upstream);
                }
                None => return sink.end(None).await.map_err(UploadError::Upstream),
            }
        }
    }

    /// The client's connection, for what follows a switch of protocols.
    pub(crate) fn source(&mut self) -> &mut Source<'c> {
        &mut self.source
    }

    async fn frame(&mut self, replay: &Replay) -> Result<Option<Frame>, CodecError> {
        if let Some(frame) = self.kept.get(self.position) {
            self.position += 1;
            return Ok(Some(frame.clone()));
        }
        if self.ended {
            return Ok(None);
        }
        let frame = self.decoded().await?;
        if self.ended && replay.received.get().is_none() {
            replay.received.set(self.completed);
        }
        let size = size_of(frame.as_ref());
        if let Some(frame) = &frame {
            self.copies.iter().for_each(|copy| copy.push(frame, size));
            self.keep(frame, size, replay);
        }
        if self.ended {
            self.copies.iter().for_each(Feed::end);
        }
        Ok(frame)
    }

    /// The next frame of the client, as it is to be sent up.
    async fn decoded(&mut self) -> Result<Option<Frame>, CodecError> {
        let frame = self.next().await?;
        // As it came: a decoder makes it another.
        self.received += size_of(frame.as_ref()) as u64;
        let frame = match (&mut self.decoder, frame) {
            (Some(decoder), Some(Frame::Data(data))) => Some(Frame::Data(decoder.data(&data)?)),
            (Some(decoder), frame) => {
                decoder.end()?;
                frame
            }
            (None, frame) => frame,
        };
        self.ended = !matches!(frame, Some(Frame::Data(_)));
        if self.ended {
            self.completed = Some(clock::now());
        }
        Ok(frame)
    }

    /// The next frame of the client. While it is awaited, nobody waits for us.
    async fn next(&mut self) -> Result<Option<Frame>, CodecError> {
        let frame = {
            let mut next = pin!(self.source.frame());
            match poll!(next.as_mut()) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    self.prompt = false;
                    self.patience.pause();
                    next.await
                }
            }
        };
        if self.prompt {
            self.patience.stir();
        } else {
            self.patience.resume();
        }
        frame
    }

    fn keep(&mut self, frame: &Frame, size: usize, replay: &Replay) {
        let keeps = replay.keeping.get() && self.kept_bytes + size <= replay.most;
        if keeps && self.bounds.take_kept(size) {
            self.kept.push(frame.clone());
            self.kept_bytes += size;
            self.position = self.kept.len();
            return;
        }
        replay.stop();
        replay.lost.set(true);
        self.forget();
    }

    fn forget(&mut self) {
        self.kept.clear();
        self.position = 0;
        self.bounds.give_kept(std::mem::take(&mut self.kept_bytes));
    }
}

fn size_of(frame: Option<&Frame>) -> usize {
    match frame {
        Some(Frame::Data(data)) => data.len(),
        Some(Frame::Trailers(fields)) => usize::try_from(fields.size()).unwrap_or(usize::MAX),
        None => 0,
    }
}

impl Drop for RequestBody<'_> {
    fn drop(&mut self) {
        self.forget();
    }
}
