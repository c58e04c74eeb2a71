//! The two programs of the soaks: a backend that is gone the moment it is told to end, and a load at a steady rate
//! that tells of every answer that is not the one it must be.

mod backend;
mod certificates;
mod load;
mod streams;
mod tap;

pub(crate) use backend::run as backend;
pub(crate) use load::run as load;

/// The methods of the gRPC service that both know.
const METHOD: &str = "/soak.Soak/Call";
const STREAM: &str = "/soak.Soak/Stream";
/// Says which version of the backend must answer.
const VERSION: &str = "x-version";

/// A gRPC message with its frame.
fn frame(message: &[u8]) -> bytes::Bytes {
    let length = u32::try_from(message.len()).expect("short messages");
    [&[0], &length.to_be_bytes()[..], message].concat().into()
}
