//! What can go wrong with one request, and what the client, the log and the retry policy learn from it.
//!
//! Statuses, bodies and flags are Envoy's: dashboards and people know them.

use std::borrow::Cow;

use crate::http::codec::h1::Refusal;
use crate::telemetry::flags::{Flag, Flags};
use crate::tls::TlsError;

/// Whose doing it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Upstream,
    Us,
}

/// Why a request was not answered by an upstream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("request: {0}")]
    Request(#[from] RequestError),
    #[error("route: {0}")]
    Route(#[from] RouteError),
    #[error("upstream: {0}")]
    Upstream(#[from] UpstreamError),
    #[error("stream: {0}")]
    Stream(#[from] StreamError),
}

/// A limit on the stream itself; `complete` if the request was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("silent for too long")]
    Silent { complete: bool },
    #[error("open for too long")]
    TooLong { complete: bool },
}

/// The request itself is at fault.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("path cannot be normalised")]
    Path,
    #[error("target is not a path")]
    NotAPath,
    #[error("the client went away")]
    ClientGone,
    #[error("the client's request was silent for too long")]
    Silent,
}

/// The routes say no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RouteError {
    #[error("no route")]
    NotFound,
    #[error("route names a cluster that does not exist")]
    NoCluster,
}

/// The upstream is at fault, or cannot be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    #[error("no healthy upstream")]
    NoHealthyEndpoint,
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("cannot encrypt: {0}")]
    Tls(#[from] TlsError),
    #[error("connecting took too long")]
    ConnectTimeout,
    #[error("circuit breaker is open")]
    Overflow,
    /// Closed before any byte of a response, by a peer that may have read the request.
    #[error("closed before a response")]
    Closed,
    /// Closed by a peer that had not read the request: see [`crate::upstream::Lease::unread`].
    #[error("closed without having read the request")]
    Unread,
    #[error("stream reset")]
    Reset,
    #[error("stream refused")]
    StreamRefused,
    #[error("not HTTP: {0}")]
    Protocol(Refusal),
    /// The response had begun; the client has a part of it.
    #[error("closed in the middle of the response")]
    Truncated,
    #[error("the route's timeout passed")]
    Timeout,
    #[error("the timeout of one try passed")]
    TryTimeout,
}

impl ProxyError {
    /// The status of the local reply.
    pub(crate) fn status(&self) -> u16 {
        match self {
            ProxyError::Request(RequestError::Refused(refusal)) => refusal.status(),
            ProxyError::Request(RequestError::Path) => 400,
            ProxyError::Request(RequestError::NotAPath) => 404,
            // Nobody reads it; metrics count a client that left as 0, as Envoy's do.
            ProxyError::Request(RequestError::ClientGone) => 0,
            ProxyError::Request(RequestError::Silent) => 408,
            ProxyError::Route(RouteError::NotFound) => 404,
            ProxyError::Route(RouteError::NoCluster) => 503,
            ProxyError::Upstream(error) => error.status(),
            ProxyError::Stream(StreamError::Silent { complete } | StreamError::TooLong { complete }) => {
                if *complete {
                    504
                } else {
                    408
                }
            }
        }
    }

    /// Envoy's response flag.
    pub(crate) fn flags(&self) -> Flags {
        Flags::from(match self {
            // Envoy has no flag for these.
            ProxyError::Request(
                RequestError::Path
                | RequestError::NotAPath
                | RequestError::Refused(
                    Refusal::HostMissing | Refusal::SwitchForbidden | Refusal::Base64 | Refusal::Base64Length,
                ),
            )
            | ProxyError::Stream(StreamError::TooLong { .. }) => return Flags::default(),
            ProxyError::Stream(StreamError::Silent { .. }) => Flag::StreamIdleTimeout,
            ProxyError::Request(RequestError::Refused(_)) => Flag::DownstreamProtocolError,
            ProxyError::Request(RequestError::ClientGone) => Flag::DownstreamConnectionTermination,
            ProxyError::Request(RequestError::Silent) => Flag::StreamIdleTimeout,
            ProxyError::Route(RouteError::NotFound) => Flag::NoRouteFound,
            ProxyError::Route(RouteError::NoCluster) => Flag::NoClusterFound,
            ProxyError::Upstream(error) => error.flag(),
        })
    }

    /// Envoy's `response_code_details`. `begun` says that the client has a part of the response.
    pub(crate) fn details(&self, begun: bool, transport_failure: Option<&str>) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            ProxyError::Request(RequestError::Refused(refusal)) => refused_details(*refusal),
            ProxyError::Request(RequestError::Path) => "path_normalization_failed",
            ProxyError::Request(RequestError::NotAPath) => "absolute_path_rejected",
            ProxyError::Request(RequestError::ClientGone) => "downstream_remote_disconnect",
            ProxyError::Request(RequestError::Silent) => "stream_idle_timeout",
            ProxyError::Stream(StreamError::Silent { .. }) => "stream_idle_timeout",
            ProxyError::Stream(StreamError::TooLong { .. }) => "max_duration_timeout",
            ProxyError::Route(RouteError::NotFound) => "route_not_found",
            ProxyError::Route(RouteError::NoCluster) => "cluster_not_found",
            ProxyError::Upstream(UpstreamError::NoHealthyEndpoint) => "no_healthy_upstream",
            ProxyError::Upstream(UpstreamError::Timeout) => "response_timeout",
            ProxyError::Upstream(UpstreamError::TryTimeout) => "upstream_per_try_timeout",
            ProxyError::Upstream(error) => {
                let when = if begun { "after" } else { "before" };
                let reason = error.reset_reason().replace(' ', "_");
                let why = transport_failure.map(|why| format!("|{why}")).unwrap_or_default();
                return Cow::Owned(format!("upstream_reset_{when}_response_started{{{reason}{why}}}"));
            }
        })
    }

    /// Envoy's reason why a connection did not come about, without blanks.
    pub(crate) fn transport_failure(&self) -> Option<String> {
        match self {
            ProxyError::Upstream(UpstreamError::Connect(error)) => Some(format!(
                "delayed_connect_error:_{}",
                system_words(error).replace(' ', "_")
            )),
            ProxyError::Upstream(UpstreamError::Tls(error)) => {
                Some(error.failure_reason().replace(' ', "_")).filter(|reason| !reason.is_empty())
            }
            _ => None,
        }
    }

    /// Whose doing it was.
    pub(crate) fn side(&self) -> Side {
        match self {
            ProxyError::Request(RequestError::NotAPath) => Side::Us,
            ProxyError::Request(_) => Side::Client,
            ProxyError::Route(_) | ProxyError::Stream(_) | ProxyError::Upstream(UpstreamError::Overflow) => {
                Side::Us
            }
            ProxyError::Upstream(_) => Side::Upstream,
        }
    }

    /// Envoy's body of the local reply. `retried` says that this was not the first try.
    pub(crate) fn client_message(&self, retried: bool) -> String {
        match self {
            ProxyError::Request(RequestError::Silent) | ProxyError::Stream(StreamError::Silent { .. }) => {
                "stream timeout".to_owned()
            }
            ProxyError::Stream(StreamError::TooLong { .. }) => "downstream duration timeout".to_owned(),
            ProxyError::Request(RequestError::Refused(refusal)) => refused_message(*refusal).to_owned(),
            ProxyError::Request(_) | ProxyError::Route(_) => String::new(),
            ProxyError::Upstream(error) => error.client_message(retried),
        }
    }
}

impl UpstreamError {
    fn status(&self) -> u16 {
        match self {
            UpstreamError::Protocol(_) => 502,
            UpstreamError::Timeout | UpstreamError::TryTimeout => 504,
            UpstreamError::NoHealthyEndpoint
            | UpstreamError::Connect(_)
            | UpstreamError::Tls(_)
            | UpstreamError::ConnectTimeout
            | UpstreamError::Overflow
            | UpstreamError::Closed
            | UpstreamError::Unread
            | UpstreamError::Reset
            | UpstreamError::StreamRefused
            | UpstreamError::Truncated => 503,
        }
    }

    /// Envoy's response flag.
    pub(crate) fn flag(&self) -> Flag {
        match self {
            UpstreamError::NoHealthyEndpoint => Flag::NoHealthyUpstream,
            UpstreamError::Connect(_) | UpstreamError::Tls(_) | UpstreamError::ConnectTimeout => {
                Flag::UpstreamConnectionFailure
            }
            UpstreamError::Overflow => Flag::UpstreamOverflow,
            UpstreamError::Closed | UpstreamError::Unread => Flag::UpstreamConnectionTermination,
            UpstreamError::Reset | UpstreamError::StreamRefused => Flag::UpstreamRemoteReset,
            UpstreamError::Protocol(_) | UpstreamError::Truncated => Flag::UpstreamProtocolError,
            UpstreamError::Timeout | UpstreamError::TryTimeout => Flag::UpstreamRequestTimeout,
        }
    }

    /// Whether the request was provably not processed, so that sending it again does no harm whatever it asks for.
    /// A connection that could not be made belongs here too, but what follows from that is the policy's to say.
    pub(crate) fn is_unprocessed(&self) -> bool {
        matches!(self, UpstreamError::Unread | UpstreamError::StreamRefused)
    }

    /// Whether nobody is there to process the request: what an application leaves that stopped listening.
    pub(crate) fn is_refusal(&self) -> bool {
        let refused = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
        self.is_unprocessed() || matches!(self, UpstreamError::Connect(error) if refused(error))
    }

    /// Whether the client had time to send more than the head of its request: something was waited for.
    pub(crate) fn took_a_while(&self) -> bool {
        !matches!(self, UpstreamError::NoHealthyEndpoint | UpstreamError::Overflow)
    }

    /// Whether another try may help: the request did not get an answer, and the client has seen nothing of one.
    /// Whether the policy wants one is [`crate::http::retry`]'s to say.
    pub(crate) fn retryable(&self) -> bool {
        !matches!(
            self,
            UpstreamError::Truncated | UpstreamError::Timeout | UpstreamError::Overflow
        )
    }

    /// The same for another request that waited for the same connection.
    pub(crate) fn same(&self) -> Self {
        match self {
            UpstreamError::Connect(error) => UpstreamError::Connect(match error.raw_os_error() {
                Some(code) => std::io::Error::from_raw_os_error(code),
                None => error.kind().into(),
            }),
            UpstreamError::ConnectTimeout => UpstreamError::ConnectTimeout,
            _ => UpstreamError::Reset,
        }
    }

    fn client_message(&self, retried: bool) -> String {
        match self {
            UpstreamError::NoHealthyEndpoint => "no healthy upstream".to_owned(),
            UpstreamError::Timeout | UpstreamError::TryTimeout => "upstream request timeout".to_owned(),
            _ => format!(
                "upstream connect error or disconnect/reset before headers. {}reset reason: {}",
                if retried { "retried and the latest " } else { "" },
                self.reset_reason()
            ),
        }
    }

    /// Envoy's words for how a stream to an upstream ended.
    fn reset_reason(&self) -> &'static str {
        match self {
            UpstreamError::NoHealthyEndpoint | UpstreamError::Timeout | UpstreamError::TryTimeout => {
                "local reset"
            }
            UpstreamError::Connect(_) | UpstreamError::Tls(_) => "remote connection failure",
            UpstreamError::ConnectTimeout => "connection timeout",
            UpstreamError::Overflow => "overflow",
            UpstreamError::Closed | UpstreamError::Unread => "connection termination",
            UpstreamError::Reset => "remote reset",
            UpstreamError::StreamRefused => "remote refused stream reset",
            // A message that breaks off is to Envoy one that breaks the protocol.
            UpstreamError::Protocol(_) | UpstreamError::Truncated => "protocol error",
        }
    }
}

/// What Envoy tells a client about a request that it does not accept: the name of the status.
fn refused_message(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::HostMissing | Refusal::SwitchForbidden => "",
        Refusal::Base64 | Refusal::Base64Length => "Bad gRPC-web request, invalid base64 data.",
        refusal => http::StatusCode::from_u16(refusal.status())
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or_default(),
    }
}

/// Envoy's details for a request that it does not accept.
fn refused_details(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Version => "low_version",
        Refusal::SwitchForbidden => "upgrade_failed",
        Refusal::Base64 => "grpc_base_64_decode_failed",
        Refusal::Base64Length => "grpc_base_64_decode_failed_bad_size",
        Refusal::HeadTooLarge => "http1.headers_too_large",
        Refusal::TooManyFields => "http1.too_many_headers",
        Refusal::HostMissing => "missing_host_header",
        Refusal::HostMalformed => "http.invalid_authority",
        Refusal::LengthConflict => "http1.content_length_and_chunked_not_allowed",
        Refusal::TransferEncoding => "http1.invalid_transfer_encoding",
        Refusal::FieldValue => "http1.invalid_characters",
        _ => "http1.codec_error",
    }
}

/// The system's words for an error, without Rust's ` (os error 111)`.
fn system_words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_connection_reads_as_envoy_says_it() {
        let error = ProxyError::Upstream(UpstreamError::Connect(std::io::Error::from_raw_os_error(111)));
        assert_eq!(
            error.client_message(true),
            "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: \
             remote connection failure"
        );
        assert_eq!(
            (error.status(), error.flags().to_string()),
            (503, "UF".to_owned())
        );
        assert_eq!(error.side(), Side::Upstream);
        let failure = error.transport_failure();
        assert_eq!(
            error.details(false, failure.as_deref()),
            "upstream_reset_before_response_started\
             {remote_connection_failure|delayed_connect_error:_Connection_refused}"
        );
        assert_eq!(
            ProxyError::Upstream(UpstreamError::Truncated).details(true, None),
            "upstream_reset_after_response_started{protocol_error}"
        );
    }

    #[test]
    fn every_kind_has_the_status_and_flag_of_envoy() {
        type Row = (ProxyError, u16, &'static str, &'static str);
        let table: [Row; 7] = [
            (RouteError::NotFound.into(), 404, "NR", ""),
            (RouteError::NoCluster.into(), 503, "NC", ""),
            (
                UpstreamError::NoHealthyEndpoint.into(),
                503,
                "UH",
                "no healthy upstream",
            ),
            (
                UpstreamError::Timeout.into(),
                504,
                "UT",
                "upstream request timeout",
            ),
            (
                RequestError::Refused(Refusal::Version).into(),
                426,
                "DPE",
                "Upgrade Required",
            ),
            (RequestError::Refused(Refusal::HostMissing).into(), 400, "-", ""),
            (
                UpstreamError::Closed.into(),
                503,
                "UC",
                "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
            ),
        ];
        for (error, status, flag, body) in table {
            assert_eq!(
                (
                    error.status(),
                    error.flags().to_string().as_str(),
                    error.client_message(false).as_str()
                ),
                (status, flag, body)
            );
        }
    }
}
