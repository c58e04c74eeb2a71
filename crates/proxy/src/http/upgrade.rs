//! After 101: both connections carry opaque bytes until each side has ended.

use std::future::Future;

use crate::http::codec::{CodecError, Frame, Reply, Source, h1};

/// Relays in both directions. Bytes to the client are counted.
pub(crate) async fn tunnel(
    source: &mut Source<'_>,
    reply: &mut Reply<'_>,
    upstream: (&mut h1::Reader, &mut h1::Writer),
) -> u64 {
    let (
        Source::Http1(client_reader),
        Reply::Http1 {
            writer: client_writer,
            ..
        },
    ) = (source, reply)
    else {
        // A 101 is sent only where both sides speak HTTP/1.1.
        return 0;
    };
    let (upstream_reader, upstream_writer) = upstream;
    client_reader.become_opaque();
    let up = relay(client_reader, upstream_writer);
    let down = relay(upstream_reader, client_writer);
    both(up, down).await
}

/// Waits for the end of both; an error of one ends the other.
async fn both(
    up: impl Future<Output = Result<u64, CodecError>>,
    down: impl Future<Output = Result<u64, CodecError>>,
) -> u64 {
    match futures_util::future::try_join(up, down).await {
        Ok((_, down)) => down,
        Err(error) => {
            tracing::debug!(%error, "upgraded connection ended");
            0
        }
    }
}

async fn relay(reader: &mut h1::Reader, writer: &mut h1::Writer) -> Result<u64, CodecError> {
    let mut bytes = 0;
    loop {
        match reader.frame().await? {
            Some(Frame::Data(data)) => {
                bytes += data.len() as u64;
                writer.data(data).await?;
                writer.flush().await?;
            }
            Some(Frame::Trailers(_)) | None => {
                writer.close().await;
                return Ok(bytes);
            }
        }
    }
}
