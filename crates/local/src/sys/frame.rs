//! Frames: a length (4 bytes, big-endian) and that many bytes of JSON.
//!
//! Read without buffering, so that whatever follows a frame on the same descriptor is left for its next reader.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Far above what a pod with megabytes of ConfigMaps in its environment needs.
const LARGEST: usize = 16 << 20;

/// A value as a frame.
pub(crate) fn encode(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(value)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    Ok([&length.to_be_bytes()[..], &body].concat())
}

pub(crate) fn write(to: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    to.write_all(&encode(value)?)?;
    to.flush()
}

/// The next frame, or `None` at the end of the stream.
pub(crate) fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
    if length > LARGEST {
        return Err(io::Error::other("frame too large"));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(Some(serde_json::from_slice(&body)?))
}

/// The next frame of an asynchronous stream, or `None` at its end or when it makes no sense.
/// Not to be dropped half-way: what was read would be lost.
pub(crate) async fn receive<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> Option<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length).await.ok()?;
    let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
    let mut body = vec![0; (length <= LARGEST).then_some(length)?];
    from.read_exact(&mut body).await.ok()?;
    serde_json::from_slice(&body).ok()
}

/// The first frame on standard input. `std::io::stdin` would buffer beyond it.
pub(crate) fn from_stdin<T: DeserializeOwned>() -> anyhow::Result<T> {
    let mut input = std::fs::File::from(stdin()?);
    read(&mut input)?.ok_or_else(|| anyhow::anyhow!("standard input ended before the settings"))
}

/// Standard input as a descriptor of its own.
pub(crate) fn stdin() -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::AsFd;
    io::stdin().as_fd().try_clone_to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_frame_is_left_alone() {
        let mut stream = encode(&vec!["a", "b"]).unwrap();
        stream.extend(b"rest");
        let mut input = stream.as_slice();
        assert_eq!(read::<Vec<String>>(&mut input).unwrap().unwrap(), ["a", "b"]);
        assert_eq!(input, b"rest");
    }

    #[test]
    fn a_frame_that_claims_gigabytes_is_refused() {
        assert!(read::<String>(&mut [0xff, 0xff, 0xff, 0xff].as_slice()).is_err());
    }

    #[test]
    fn the_end_of_the_stream_is_not_an_error() {
        assert!(read::<String>(&mut [].as_slice()).unwrap().is_none());
    }
}
