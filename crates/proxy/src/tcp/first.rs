//! The first words of a client on a port whose requests are judged by policies.
//!
//! A connection whose client was silent is taken for opaque, so that a server may speak first; and a peer of the mesh says
//! itself whether it speaks HTTP. Neither may lead a request past the policies of its port: nothing of the client is
//! relayed until it is known to be none.

use bytes::BytesMut;
use daemon::clock;
use tokio::io::AsyncReadExt;

use super::forward::{PIECE, Way, silent, wait_readable};
use crate::http::connection::HEAD;
use crate::listen::sniff;
use crate::transport::ReadHalf;

/// Reads the client's first words, and says whether they could be a request.
pub(super) async fn is_refused(
    from: &mut ReadHalf,
    words: &mut BytesMut,
    way: &Way<'_>,
) -> std::io::Result<bool> {
    if words.is_empty() {
        wait_readable(from, way).await?;
    }
    let known = async {
        let mut ended = false;
        loop {
            if let Some(could_be) = sniff::could_be_request(words, ended) {
                return Ok(could_be);
            }
            words.reserve(PIECE);
            ended = from.read_buf(words).await? == 0;
        }
    };
    clock::timeout(HEAD, known)
        .await
        .unwrap_or_else(|_| Err(silent()))
}
