//! Whether, and when, a request is tried again. Pure: outcomes and random numbers in, decisions out.
//!
//! Istio's default is two more tries on failures that provably reached nobody. Besides that policy, a request that
//! found its kept connection closed by the other side is sent once more, if sending it twice does no harm.

use std::net::SocketAddr;
use std::time::Duration;

use http::Method;
use snapshot::Retry;

use crate::error::UpstreamError;
use crate::http::codec::Response;

/// Envoy's `retry_back_off` defaults.
const BASE: Duration = Duration::from_millis(25);
const LONGEST: Duration = Duration::from_millis(250);

/// The tries of one request.
#[derive(Debug)]
pub(crate) struct Attempts<'p> {
    policy: Option<&'p Retry>,
    repeatable: bool,
    refreshed: bool,
    retries: u32,
    /// Endpoints that were tried, if the policy avoids them.
    pub(crate) tried: Vec<SocketAddr>,
}

/// What follows a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another try, after a wait.
    Again(Duration),
    /// No more, though the policy would have wanted one (flag URX).
    Exhausted,
    /// The policy does not ask for one.
    Final,
}

impl<'p> Attempts<'p> {
    pub(crate) fn new(policy: Option<&'p Retry>, method: &Method) -> Self {
        Self {
            policy,
            repeatable: method.is_idempotent(),
            refreshed: false,
            retries: 0,
            tried: Vec::new(),
        }
    }

    /// The number of the current try, from 1.
    pub(crate) fn number(&self) -> u32 {
        self.retries + u32::from(self.refreshed) + 1
    }

    /// Whether frames of the body should be kept for another try.
    pub(crate) fn wants_body(&self) -> bool {
        self.policy.is_some_and(|policy| policy.attempts > 0) || self.repeatable
    }

    /// Limit of one try.
    pub(crate) fn per_try_timeout(&self) -> Option<Duration> {
        self.policy.and_then(|policy| policy.per_try_timeout)
    }

    /// Remembers an endpoint that is tried now.
    pub(crate) fn trying(&mut self, address: SocketAddr) {
        if self.policy.is_some_and(|policy| policy.avoid_previous_hosts) {
            self.tried.push(address);
        }
    }

    /// Whether that response is one that the policy asks to try again.
    pub(crate) fn wants_another(&self, response: &Response) -> bool {
        self.asks(|condition| matches_response(condition, response, self.policy))
    }

    /// Whether a try is left.
    pub(crate) fn has_more(&self) -> bool {
        self.policy.is_some_and(|policy| self.retries < policy.attempts)
    }

    /// After a failure.
    pub(crate) fn after_error(&mut self, error: &UpstreamError, random: u64) -> Next {
        if matches!(error, UpstreamError::Closed { reused: true }) && self.repeatable && !self.refreshed {
            self.refreshed = true;
            return Next::Again(Duration::ZERO);
        }
        if !error.retryable() || !self.asks(|condition| matches_error(condition, error)) {
            return Next::Final;
        }
        self.another(random)
    }

    /// After a response that [`Attempts::wants_another`] wants, or when a policy wanted one for an error.
    pub(crate) fn another(&mut self, random: u64) -> Next {
        if !self.has_more() {
            return Next::Exhausted;
        }
        self.retries += 1;
        Next::Again(back_off(self.retries, random))
    }

    fn asks(&self, matches: impl Fn(&str) -> bool) -> bool {
        self.policy
            .is_some_and(|policy| policy.on.iter().any(|condition| matches(condition)))
    }
}

/// Envoy's fully jittered exponential back-off: any time up to `BASE * (2^retry - 1)`, at most [`LONGEST`].
fn back_off(retry: u32, random: u64) -> Duration {
    let factor = 2_u32.saturating_pow(retry.min(16)) - 1;
    let ceiling = (BASE * factor).min(LONGEST);
    let nanoseconds = u64::try_from(ceiling.as_nanos())
        .expect("a quarter of a second")
        .max(1);
    Duration::from_nanos(random % nanoseconds)
}

fn matches_error(condition: &str, error: &UpstreamError) -> bool {
    let connect = matches!(error, UpstreamError::Connect(_) | UpstreamError::ConnectTimeout);
    let refused = matches!(error, UpstreamError::StreamRefused);
    let reset = matches!(
        error,
        UpstreamError::Closed { .. }
            | UpstreamError::Reset
            | UpstreamError::TryTimeout
            | UpstreamError::Protocol(_)
    );
    match condition {
        "connect-failure" => connect,
        "refused-stream" => refused,
        "reset" | "5xx" | "gateway-error" => connect || refused || reset,
        "reset-before-request" => connect || refused,
        _ => false,
    }
}

fn matches_response(condition: &str, response: &Response, policy: Option<&Retry>) -> bool {
    let grpc = |code: &str| response.fields.text("grpc-status") == Some(code);
    match condition {
        "5xx" => (500..600).contains(&response.status),
        "gateway-error" => (502..=504).contains(&response.status),
        "retriable-4xx" => response.status == 409,
        "retriable-status-codes" => {
            policy.is_some_and(|policy| policy.status_codes.contains(&response.status))
        }
        // gRPC conditions look at the head only: a status in trailers comes too late for another try.
        "cancelled" => grpc("1"),
        "deadline-exceeded" => grpc("4"),
        "resource-exhausted" => grpc("8"),
        "internal" => grpc("13"),
        "unavailable" => grpc("14"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> UpstreamError {
        UpstreamError::Connect(std::io::Error::from(std::io::ErrorKind::ConnectionRefused))
    }

    #[test]
    fn the_default_policy_tries_twice_more_on_failures_that_reached_nobody() {
        let policy = Retry::default();
        let mut attempts = Attempts::new(Some(&policy), &Method::POST);
        assert!(matches!(attempts.after_error(&refused(), 1), Next::Again(_)));
        assert!(matches!(
            attempts.after_error(&UpstreamError::StreamRefused, 1),
            Next::Again(_)
        ));
        assert_eq!(attempts.number(), 3);
        assert_eq!(attempts.after_error(&refused(), 1), Next::Exhausted);
        assert_eq!(
            attempts.after_error(&UpstreamError::Reset, 1),
            Next::Final,
            "it may have reached somebody"
        );
    }

    #[test]
    fn a_connection_that_was_closed_while_idle_is_replaced_once_and_only_for_harmless_methods() {
        let stale = UpstreamError::Closed { reused: true };
        let mut get = Attempts::new(None, &Method::GET);
        assert_eq!(get.after_error(&stale, 1), Next::Again(Duration::ZERO));
        assert_eq!(get.after_error(&stale, 1), Next::Final);
        assert_eq!(
            Attempts::new(None, &Method::POST).after_error(&stale, 1),
            Next::Final
        );
        let fresh = UpstreamError::Closed { reused: false };
        assert_eq!(
            Attempts::new(None, &Method::GET).after_error(&fresh, 1),
            Next::Final
        );
    }

    #[test]
    fn statuses_are_retried_only_when_the_policy_names_them() {
        let named = Retry {
            on: vec!["retriable-status-codes".into()],
            status_codes: vec![503],
            ..Retry::default()
        };
        let default = Retry::default();
        let response = Response::new(503);
        assert!(Attempts::new(Some(&named), &Method::GET).wants_another(&response));
        assert!(!Attempts::new(Some(&default), &Method::GET).wants_another(&response));
        let mut grpc = Response::new(200);
        grpc.fields.push("grpc-status", b"14");
        assert!(Attempts::new(Some(&default), &Method::GET).wants_another(&grpc));
    }

    #[test]
    fn waits_grow_and_stay_below_a_quarter_of_a_second() {
        assert!(back_off(1, u64::MAX) < Duration::from_millis(25));
        assert!((1..40).all(|retry| back_off(retry, u64::MAX) < LONGEST));
    }
}
