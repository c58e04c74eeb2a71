//! What a request may ask of the backend: in its path, or in the header `x-backend`, which a rewrite does not change.
//! `x-NAME` (`x-backend-v1`) asks the backend of that name only, and counts before both.

use std::time::Duration;

use http::HeaderMap;

use crate::call::pairs;
use crate::echo_basic::duration;

const LONGEST_DELAY: Duration = Duration::from_secs(30);
const LARGEST: usize = 16 << 20;

/// One wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Tell what arrived.
    Tell,
    /// The same with this status.
    Status(u16),
    /// The same, later.
    Delay(Duration),
    /// Head at once, body later.
    SlowBody(Duration),
    /// 503 for the first tries, by the caller's count of attempts.
    FailFirst(u64),
    /// No answer: the connection (or stream) ends.
    Reset,
    /// A head and part of a body, then the end.
    ResetInBody,
    /// The same as `Reset` for the first tries.
    ResetFirst(u64),
    /// Tell, with these header fields.
    Headers(Vec<(String, String)>),
    /// So many bytes.
    Bytes(usize),
    /// Tell, with a trailer field after the body.
    Trailers,
    /// Close the connection after the answer.
    Close,
    /// End a gRPC call with this status.
    GrpcStatus(u32),
    /// Tell when this is the first request of its connection, otherwise 409.
    Fresh,
    /// Hear nothing on the connection for a while, not even the kernel, then tell.
    Deaf(Duration),
}

impl Command {
    pub(super) fn of(name: &str, headers: &HeaderMap, target: &str) -> Self {
        let text = |header: &str| headers.get(header).and_then(|value| value.to_str().ok());
        let asked = text(&format!("x-{name}")).or_else(|| text("x-backend"));
        Self::parse(asked.unwrap_or(target)).unwrap_or(Self::Tell)
    }

    fn parse(target: &str) -> Option<Self> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut parts = path.strip_prefix('/')?.split('/');
        let (verb, argument) = (parts.next()?, parts.next().unwrap_or_default());
        let time = || Some(duration(argument)?.min(LONGEST_DELAY));
        Some(match verb {
            "status" => Self::Status(argument.parse().ok()?),
            "delay" => Self::Delay(time()?),
            "slow-body" => Self::SlowBody(time()?),
            "fail-first" => Self::FailFirst(argument.parse().ok()?),
            "reset" => Self::Reset,
            "reset-in-body" => Self::ResetInBody,
            "reset-first" => Self::ResetFirst(argument.parse().ok()?),
            "headers" => Self::Headers(pairs(query).collect()),
            "bytes" => Self::Bytes(argument.parse::<usize>().ok()?.min(LARGEST)),
            "trailers" => Self::Trailers,
            "close" => Self::Close,
            "grpc-status" => Self::GrpcStatus(argument.parse().ok()?),
            "fresh" => Self::Fresh,
            "deaf" => Self::Deaf(time()?),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_name_counts_before_the_header_and_the_header_before_the_path() {
        let mut headers = HeaderMap::new();
        assert_eq!(Command::of("v1", &headers, "/status/404"), Command::Status(404));
        assert_eq!(Command::of("v1", &headers, "/anything"), Command::Tell);
        headers.insert("x-backend", "/delay/20ms".parse().unwrap());
        let delay = Command::Delay(Duration::from_millis(20));
        assert_eq!(Command::of("v1", &headers, "/status/404"), delay);
        headers.insert("x-v1", "/headers?a=b&c=d%20e".parse().unwrap());
        let fields = vec![("a".into(), "b".into()), ("c".into(), "d e".into())];
        assert_eq!(Command::of("v1", &headers, "/"), Command::Headers(fields));
        assert_eq!(Command::of("v2", &headers, "/"), delay);
    }
}
