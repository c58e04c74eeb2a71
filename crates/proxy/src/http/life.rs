//! How long a stream may be silent, and how long it may live, whatever its upstream does: Envoy's `stream_idle_timeout`,
//! `max_stream_duration`, and the deadline of a gRPC caller where a route lets it end the stream (Istio, inbound).

use std::time::Duration;

use daemon::clock::{self, Instant};
use snapshot::route::Forward;
use snapshot::{GrpcTimeout, HttpHandler};

use super::timeout::{Patience, grpc_timeout};
use crate::http::codec::Request;
use crate::http::reply::is_grpc;

/// The limits of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    idle: Option<Duration>,
    longest: Option<Duration>,
}

/// Why a stream is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Silent,
    TooLong,
}

impl Life {
    /// The limits for a request of a chain and route.
    pub(crate) fn of(handler: &HttpHandler, forward: &Forward, request: &Request) -> Self {
        let above_zero = |limit: Duration| (!limit.is_zero()).then_some(limit);
        let by_caller = match forward.grpc_timeout {
            GrpcTimeout::OfStream(most) if is_grpc(&request.fields) => grpc_timeout(&request.fields)
                .map(|stated| above_zero(most).map_or(stated, |most| stated.min(most))),
            _ => None,
        };
        let longest = forward.max_stream_duration.or(handler.timeouts.stream);
        Self {
            idle: forward
                .idle_timeout
                .or(handler.stream_idle_timeout)
                .and_then(above_zero),
            longest: by_caller.or(longest.and_then(above_zero)),
        }
    }

    /// Returns when the stream, begun then, is over.
    pub(crate) async fn over(&self, begun: Instant, patience: &Patience) -> Over {
        let aged = async {
            match self.longest {
                Some(longest) => clock::sleep_until(begun + longest).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = patience.silent(self.idle) => Over::Silent,
            () = aged => Over::TooLong,
        }
    }
}
