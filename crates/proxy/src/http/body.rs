//! The body of a request on its way up, and as much of it as another try may need.
//!
//! Frames are kept, shared and not copied, until the response begins or [`KEEP`] is passed; from then on the
//! request cannot be tried again.

use std::cell::Cell;
use std::pin::pin;
use std::task::Poll;

use daemon::clock;
use futures_util::poll;

use crate::http::codec::{CodecError, Frame, Sink, Source};
use crate::transport::SILENCE;

/// Most bytes kept of one body.
const KEEP: usize = 64 * 1024;

/// The body of one request.
#[derive(Debug)]
pub(crate) struct RequestBody<'c> {
    source: Source<'c>,
    kept: Vec<Frame>,
    kept_bytes: usize,
    position: usize,
    ended: bool,
    /// Bytes received from the client.
    pub(crate) received: u64,
}

/// What is shared between the one who sends the body up and the one who decides about another try.
#[derive(Debug)]
pub(crate) struct Replay {
    /// Frames are kept.
    keeping: Cell<bool>,
    /// A frame has passed that was not kept.
    lost: Cell<bool>,
}

impl Replay {
    pub(crate) fn new() -> Self {
        Self {
            keeping: Cell::new(true),
            lost: Cell::new(false),
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

/// Why a body did not get up.
#[derive(Debug)]
enum UploadError {
    Client(CodecError),
    Upstream(CodecError),
}

impl<'c> RequestBody<'c> {
    pub(crate) fn new(source: Source<'c>) -> Self {
        Self {
            source,
            kept: Vec::new(),
            kept_bytes: 0,
            position: 0,
            ended: false,
            received: 0,
        }
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
            Ok(()) => complete.set(true),
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
                        clock::timeout(SILENCE, next)
                            .await
                            .unwrap_or(Err(CodecError::Silent))
                    }
                }
            };
            match frame.map_err(UploadError::Client)? {
                Some(Frame::Data(data)) => sink.data(data).await.map_err(UploadError::Upstream)?,
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
        let frame = self.source.frame().await?;
        self.ended = !matches!(frame, Some(Frame::Data(_)));
        let size = match &frame {
            Some(Frame::Data(data)) => data.len(),
            Some(Frame::Trailers(fields)) => usize::try_from(fields.size()).unwrap_or(usize::MAX),
            None => 0,
        };
        self.received += size as u64;
        if let Some(frame) = &frame {
            self.keep(frame, size, replay);
        }
        Ok(frame)
    }

    fn keep(&mut self, frame: &Frame, size: usize, replay: &Replay) {
        if replay.keeping.get() && self.kept_bytes + size <= KEEP {
            self.kept.push(frame.clone());
            self.kept_bytes += size;
            self.position = self.kept.len();
            return;
        }
        replay.stop();
        replay.lost.set(true);
        self.kept.clear();
        self.position = 0;
    }
}
