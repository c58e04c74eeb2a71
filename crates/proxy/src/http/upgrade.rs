//! After 101: both connections carry opaque bytes until each side has ended.

use std::cell::Cell;

use crate::http::codec::{CodecError, Frame, Reply, Source, h1};

/// What passed through a connection after its switch.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    pub(crate) up: Cell<u64>,
    pub(crate) down: Cell<u64>,
    /// The client ended before the upstream did.
    pub(crate) client_left: Cell<bool>,
}

/// Relays in both directions.
pub(crate) async fn tunnel(
    source: &mut Source<'_>,
    reply: &mut Reply<'_>,
    upstream: (&mut h1::Reader, &mut h1::Writer),
) -> Passed {
    let passed = Passed::default();
    let (
        Source::Http1(client_reader),
        Reply::Http1 {
            writer: client_writer,
            ..
        },
    ) = (source, reply)
    else {
        // A 101 is sent only where both sides speak HTTP/1.1.
        return passed;
    };
    let (upstream_reader, upstream_writer) = upstream;
    client_reader.become_opaque();
    let upstream_left = Cell::new(false);
    let up = async {
        let ended = relay(client_reader, upstream_writer, &passed.up).await;
        passed.client_left.set(!upstream_left.get());
        ended
    };
    let down = async {
        let ended = relay(upstream_reader, client_writer, &passed.down).await;
        upstream_left.set(true);
        ended
    };
    // An error of one ends the other.
    if let Err(error) = futures_util::future::try_join(up, down).await {
        tracing::debug!(%error, "upgraded connection ended");
    }
    passed
}

async fn relay(
    reader: &mut h1::Reader,
    writer: &mut h1::Writer,
    passed: &Cell<u64>,
) -> Result<(), CodecError> {
    loop {
        match reader.frame().await? {
            Some(Frame::Data(data)) => {
                passed.set(passed.get() + data.len() as u64);
                writer.data(data).await?;
                writer.flush().await?;
            }
            Some(Frame::Trailers(_)) | None => {
                writer.close().await;
                return Ok(());
            }
        }
    }
}
