//! Bodies that come piece by piece, that break off, or that end with trailers.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Frame;
use tokio::sync::mpsc;

pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;
pub(crate) type Piece = Result<Frame<Bytes>, io::Error>;

pub(crate) fn whole(body: impl Into<Bytes>) -> Body {
    Full::new(body.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

pub(crate) fn of_pieces(pieces: mpsc::Receiver<Piece>) -> Body {
    Pieces(pieces).boxed_unsync()
}

struct Pieces(mpsc::Receiver<Piece>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Piece>> {
        self.get_mut().0.poll_recv(context)
    }
}
