//! Whether, and when, a request is tried again. Pure: outcomes and random numbers in, decisions out.
//!
//! Istio's default is two more tries on failures that provably reached nobody. Beyond a route's policy, a request that
//! was provably not processed is sent again for a short while: an application that ends costs nothing.

use std::net::SocketAddr;
use std::time::Duration;

use snapshot::Retry;

use crate::error::UpstreamError;
use crate::http::codec::Response;

/// How often a request that nobody processed is sent again beyond the policy, and the first wait between; each wait is
/// twice the one before. Together 630 ms: time for the news of an endpoint that goes to arrive.
const RESENDS: u32 = 7;
const FIRST_WAIT: Duration = Duration::from_millis(10);
/// After how many tries other priorities are looked for (Istio: `update_frequency`).
const UPDATE: usize = 2;

/// The tries of one request.
#[derive(Debug)]
pub(crate) struct Attempts<'p> {
    policy: Option<&'p Retry>,
    retries: u32,
    resent: u32,
    /// Endpoints that were tried, if the policy asks about them.
    tried: Vec<SocketAddr>,
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
    pub(crate) fn new(policy: Option<&'p Retry>) -> Self {
        Self {
            policy,
            retries: 0,
            resent: 0,
            tried: Vec::new(),
        }
    }

    /// The number of the current try, from 1.
    pub(crate) fn number(&self) -> u32 {
        self.retries + self.resent + 1
    }

    /// Remembers an endpoint that is tried now.
    pub(crate) fn trying(&mut self, address: SocketAddr) {
        if self
            .policy
            .is_some_and(|policy| policy.avoid_previous_hosts || policy.remote_localities)
        {
            self.tried.push(address);
        }
    }

    /// Endpoints that another one is preferred to.
    pub(crate) fn avoided(&self) -> &[SocketAddr] {
        match self.policy {
            Some(policy) if policy.avoid_previous_hosts => &self.tried,
            Some(_) | None => &[],
        }
    }

    /// Endpoints whose priorities are left for others. The list grows with every [`UPDATE`] tries.
    pub(crate) fn left(&self) -> &[SocketAddr] {
        match self.policy {
            Some(policy) if policy.remote_localities => &self.tried[..self.tried.len() / UPDATE * UPDATE],
            Some(_) | None => &[],
        }
    }

    /// Whether that response is one that the policy asks to try again.
    pub(crate) fn wants_another(&self, response: &Response) -> bool {
        // It comes from a proxy that limits rates: only who asks for that tries again.
        if response.fields.contains("x-envoy-ratelimited") {
            return self.asks(|condition| condition == "envoy-ratelimited");
        }
        self.asks(|condition| matches_response(condition, response, self.policy))
    }

    /// Whether a try is left.
    pub(crate) fn has_more(&self) -> bool {
        self.policy.is_some_and(|policy| self.retries < policy.attempts)
    }

    /// After a failure.
    pub(crate) fn after_error(&mut self, error: &UpstreamError, random: u64) -> Next {
        let asked = error.retryable() && self.asks(|condition| matches_error(condition, error));
        let next = if asked { self.another(random) } else { Next::Final };
        match next {
            Next::Again(_) => next,
            Next::Exhausted | Next::Final if error.is_unprocessed() && self.may_resend() => self.resend(),
            Next::Exhausted | Next::Final => next,
        }
    }

    /// Whether a request that nobody processed would be sent again.
    pub(crate) fn may_resend(&self) -> bool {
        self.resent < RESENDS
    }

    /// At once the first time: a connection that was found closed is replaced.
    fn resend(&mut self) -> Next {
        let wait = match self.resent {
            0 => Duration::ZERO,
            times => FIRST_WAIT * 2_u32.pow(times - 1),
        };
        self.resent += 1;
        Next::Again(wait)
    }

    /// After a response that [`Attempts::wants_another`] wants, or when a policy wanted one for an error.
    pub(crate) fn another(&mut self, random: u64) -> Next {
        if !self.has_more() {
            return Next::Exhausted;
        }
        self.retries += 1;
        let waits = self.policy.map(|policy| policy.back_off).unwrap_or_default();
        Next::Again(part_of(waits.interval(self.retries), random))
    }

    fn asks(&self, matches: impl Fn(&str) -> bool) -> bool {
        self.policy
            .is_some_and(|policy| policy.on.iter().any(|condition| matches(condition)))
    }
}

/// A random part of a wait, in Envoy's whole milliseconds.
fn part_of(interval: Duration, random: u64) -> Duration {
    let milliseconds = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(random % milliseconds.max(1))
}

fn matches_error(condition: &str, error: &UpstreamError) -> bool {
    // Without its encryption there is no connection.
    let connect = matches!(
        error,
        UpstreamError::Connect(_) | UpstreamError::ConnectTimeout | UpstreamError::Tls(_)
    );
    let refused = matches!(error, UpstreamError::StreamRefused);
    let unread = matches!(error, UpstreamError::Unread);
    let reset = matches!(
        error,
        UpstreamError::Closed | UpstreamError::Reset | UpstreamError::TryTimeout | UpstreamError::Protocol(_)
    );
    match condition {
        "connect-failure" => connect,
        "refused-stream" => refused,
        "reset" | "5xx" | "gateway-error" => connect || refused || unread || reset,
        "reset-before-request" => connect || refused || unread,
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
        let mut attempts = Attempts::new(Some(&policy));
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
    fn remote_localities_are_asked_from_the_second_retry_on() {
        let policy = Retry {
            attempts: 3,
            remote_localities: true,
            avoid_previous_hosts: false,
            ..Retry::default()
        };
        let mut attempts = Attempts::new(Some(&policy));
        let left = [1, 2, 3].map(|port| {
            attempts.trying(([10, 0, 0, 1], port).into());
            attempts.left().len()
        });
        assert_eq!((left, attempts.avoided().len()), ([0, 2, 2], 0));
    }

    #[test]
    fn what_nobody_processed_is_sent_again_for_a_while_whatever_the_policy_says() {
        for error in [UpstreamError::Unread, UpstreamError::StreamRefused] {
            let mut attempts = Attempts::new(None);
            let waits: Vec<_> = std::iter::from_fn(|| match attempts.after_error(&error, 1) {
                Next::Again(wait) => Some(wait.as_millis()),
                Next::Exhausted | Next::Final => None,
            })
            .collect();
            assert_eq!(waits, [0, 10, 20, 40, 80, 160, 320]);
        }
        assert_eq!(
            Attempts::new(None).after_error(&UpstreamError::Closed, 1),
            Next::Final,
            "it may have been processed"
        );
    }

    #[test]
    fn the_policy_of_the_route_comes_before_what_we_add_to_it() {
        let policy = Retry::default();
        let mut attempts = Attempts::new(Some(&policy));
        for retries in [1, 2, 2] {
            assert!(matches!(
                attempts.after_error(&UpstreamError::StreamRefused, 1),
                Next::Again(_)
            ));
            assert_eq!(attempts.retries, retries);
        }
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
        assert!(Attempts::new(Some(&named)).wants_another(&response));
        assert!(!Attempts::new(Some(&default)).wants_another(&response));
        let mut grpc = Response::new(200);
        grpc.fields.push("grpc-status", b"14");
        assert!(Attempts::new(Some(&default)).wants_another(&grpc));
    }

    #[test]
    fn waits_are_parts_of_the_intervals_of_the_policy() {
        let policy = Retry {
            attempts: 3,
            back_off: snapshot::BackOff::from(Duration::from_millis(100)),
            ..Retry::default()
        };
        let mut attempts = Attempts::new(Some(&policy));
        let waits = [(); 3].map(|()| attempts.another(399));
        assert_eq!(
            waits,
            [99, 199, 399].map(|wait| Next::Again(Duration::from_millis(wait)))
        );
    }

    #[test]
    fn a_response_of_a_rate_limiter_is_tried_again_only_when_that_is_asked_for() {
        let asks = |on: &str| {
            let policy = Retry {
                on: vec![on.into()],
                ..Retry::default()
            };
            let mut limited = Response::new(503);
            limited.fields.push("x-envoy-ratelimited", b"true");
            Attempts::new(Some(&policy)).wants_another(&limited)
        };
        assert!(asks("envoy-ratelimited") && !asks("5xx"));
    }
}
