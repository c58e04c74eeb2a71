//! How long an exchange and each of its tries may take. Envoy's rules: time counts from the end of the request, so that
//! a client that sends slowly is not cut off; a gRPC caller's deadline takes the place of the route's timeout, up to
//! it; a limit of each try that is not below that of the whole is none.

use std::cell::Cell;
use std::time::Duration;

use daemon::clock::{self, Instant};
use snapshot::GrpcTimeout;
use snapshot::route::Forward;
use tokio::sync::Notify;

use crate::http::codec::{Fields, Request};
use crate::http::reply::is_grpc;

/// The largest number that `grpc-timeout` can hold: eight digits.
const LARGEST: u128 = 99_999_999;

/// The limits of one exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Of all tries together.
    pub(crate) whole: Option<Duration>,
    /// Of each.
    pub(crate) each: Option<Duration>,
    /// The caller's deadline counts, and the upstream is told what is left of it.
    grpc: bool,
}

impl Limits {
    /// The limits for a request of a route.
    pub(crate) fn of(forward: &Forward, request: &Request) -> Self {
        let within = match forward.grpc_timeout {
            _ if !is_grpc(&request.fields) => None,
            GrpcTimeout::WithinTimeout => Some(forward.timeout),
            GrpcTimeout::Within(most) => Some((!most.is_zero()).then_some(most)),
            GrpcTimeout::OfStream(_) | GrpcTimeout::Ignored => None,
        };
        let grpc = within.is_some();
        let whole = match within {
            None => forward.timeout,
            Some(most) => match (grpc_timeout(&request.fields), most) {
                (Some(stated), Some(most)) => Some(stated.min(most)),
                (stated, most) => stated.or(most),
            },
        };
        let each = forward.retry.as_ref().and_then(|retry| retry.per_try_timeout);
        Self {
            whole,
            each: each.filter(|each| whole.is_none_or(|whole| *each < whole)),
            grpc,
        }
    }

    /// Tells the upstream how long its try may take, when the request has been waiting for `elapsed`.
    pub(crate) fn announce(&self, fields: &mut Fields, elapsed: Duration) {
        let Some(limit) = self.each.or(self.whole) else {
            return;
        };
        let left = self.whole.map(|whole| whole.saturating_sub(elapsed));
        // Nothing is left, but 0 would mean no limit.
        let expected = left
            .map_or(limit, |left| limit.min(left))
            .max(Duration::from_millis(1));
        let milliseconds = expected.as_millis().to_string();
        fields.set("x-envoy-expected-rq-timeout-ms", milliseconds.as_bytes());
        if self.grpc {
            fields.set("grpc-timeout", write_grpc_timeout(expected).as_bytes());
        }
    }
}

/// `grpc-timeout`, rounded up to milliseconds; 0 and what is no timeout are none.
pub(super) fn grpc_timeout(fields: &Fields) -> Option<Duration> {
    let text = fields.text("grpc-timeout")?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    let milliseconds = match unit {
        "H" => number * 3_600_000,
        "M" => number * 60_000,
        "S" => number * 1000,
        "m" => number,
        "u" => number.div_ceil(1000),
        "n" => number.div_ceil(1_000_000),
        _ => return None,
    };
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
}

/// In the smallest unit that has room.
pub(super) fn write_grpc_timeout(timeout: Duration) -> String {
    let mut number = timeout.as_millis();
    let mut unit = "m";
    for (factor, larger) in [(1000, "S"), (60, "M"), (60, "H")] {
        if number > LARGEST {
            number /= factor;
            unit = larger;
        }
    }
    format!("{}{unit}", number.min(LARGEST))
}

/// Since when the proxy itself is asked: time that it waits for the client's body does not count.
#[derive(Debug)]
pub(crate) struct Patience {
    /// `None` while the client is waited for.
    since: Cell<Option<Instant>>,
    changed: Notify,
    /// When something moved last, in either direction; `None` once nobody asks any more.
    stirred: Cell<Option<Instant>>,
}

impl Patience {
    pub(crate) fn new() -> Self {
        Self {
            since: Cell::new(Some(clock::now())),
            changed: Notify::new(),
            stirred: Cell::new(Some(clock::now())),
        }
    }

    /// The client is waited for from now on; for ever, after a switch of protocols.
    pub(crate) fn pause(&self) {
        self.since.set(None);
        self.changed.notify_waiters();
    }

    /// Something has come from the upstream.
    pub(crate) fn stir(&self) {
        if self.stirred.get().is_some() {
            self.stirred.set(Some(clock::now()));
        }
    }

    /// What follows has no end that could be timed.
    pub(crate) fn rest(&self) {
        self.pause();
        self.stirred.set(None);
    }

    /// Returns when nothing has moved for so long.
    pub(crate) async fn silent(&self, limit: Option<Duration>) {
        let Some(limit) = limit else {
            return std::future::pending().await;
        };
        while let Some(stirred) = self.stirred.get() {
            let end = stirred + limit;
            if end <= clock::now() {
                return;
            }
            clock::sleep_until(end).await;
        }
        std::future::pending().await
    }

    /// The client has sent something.
    pub(crate) fn resume(&self) {
        self.stir();
        self.since.set(Some(clock::now()));
        self.changed.notify_waiters();
    }

    /// How long the request has been waiting for us.
    pub(crate) fn elapsed(&self) -> Duration {
        self.since
            .get()
            .map_or(Duration::ZERO, |since| clock::now() - since)
    }

    /// Returns when `limit` has passed since `begun`, or since the client sent the last part of its request.
    pub(crate) async fn exceeded(&self, begun: Instant, limit: Option<Duration>) {
        let Some(limit) = limit else {
            return std::future::pending().await;
        };
        loop {
            let changed = self.changed.notified();
            let Some(since) = self.since.get() else {
                changed.await;
                continue;
            };
            tokio::select! {
                () = clock::sleep_until(since.max(begun) + limit) => return,
                () = changed => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use snapshot::Retry;

    use super::*;
    use crate::http::codec::{Length, Version};

    fn request(fields: &[(&str, &str)]) -> Request {
        let mut request = Request {
            method: http::Method::POST,
            path: "/".to_owned(),
            authority: "x".to_owned(),
            scheme: "http",
            fields: Fields::default(),
            length: Length::Empty,
            upgrade: None,
            version: Version::Http2,
        };
        for (name, value) in fields {
            request.fields.push(name, value.as_bytes());
        }
        request
    }

    fn limits(whole: u64, each: u64, fields: &[(&str, &str)]) -> Limits {
        let some = |seconds| (seconds > 0).then(|| Duration::from_secs(seconds));
        let forward = Forward {
            timeout: some(whole),
            retry: Some(Retry {
                per_try_timeout: some(each),
                ..Retry::default()
            }),
            ..Forward::to(Vec::new())
        };
        Limits::of(&forward, &request(fields))
    }

    const GRPC: (&str, &str) = ("content-type", "application/grpc");

    #[test]
    fn a_try_has_a_limit_only_below_that_of_the_whole() {
        let seconds = |limits: Limits| (limits.whole, limits.each);
        let some = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(seconds(limits(3, 1, &[])), (some(3), some(1)));
        assert_eq!(seconds(limits(3, 3, &[])), (some(3), None));
        assert_eq!(seconds(limits(0, 9, &[])), (None, some(9)));
    }

    #[test]
    fn the_deadline_of_a_grpc_caller_counts_up_to_the_timeout_of_the_route() {
        let whole = |timeout, fields: &[(&str, &str)]| {
            limits(timeout, 0, fields).whole.map(|whole| whole.as_millis())
        };
        assert_eq!(whole(0, &[GRPC, ("grpc-timeout", "20m")]), Some(20));
        assert_eq!(whole(2, &[GRPC, ("grpc-timeout", "3S")]), Some(2000));
        assert_eq!(whole(2, &[GRPC, ("grpc-timeout", "1500u")]), Some(2));
        assert_eq!(whole(2, &[GRPC]), Some(2000));
        assert_eq!(whole(0, &[("grpc-timeout", "1S")]), None, "it is no gRPC call");
        for nonsense in ["", "S", "1", "-1S", "123456789S", "1x", "0m", "é"] {
            assert_eq!(whole(0, &[GRPC, ("grpc-timeout", nonsense)]), None, "{nonsense}");
        }
    }

    #[test]
    fn the_upstream_learns_what_is_left() {
        let told = |limits: Limits, elapsed| {
            let mut fields = Fields::default();
            limits.announce(&mut fields, Duration::from_millis(elapsed));
            let text = |name| fields.text(name).unwrap_or_default().to_owned();
            (text("x-envoy-expected-rq-timeout-ms"), text("grpc-timeout"))
        };
        let pair = |ours: &str, grpc: &str| (ours.to_owned(), grpc.to_owned());
        assert_eq!(told(limits(3, 2, &[]), 0), pair("2000", ""));
        assert_eq!(told(limits(3, 2, &[]), 1400), pair("1600", ""));
        assert_eq!(told(limits(3, 2, &[]), 4000), pair("1", ""));
        assert_eq!(told(limits(0, 0, &[]), 0), pair("", ""));
        assert_eq!(told(limits(3, 0, &[GRPC]), 0), pair("3000", "3000m"));
        assert_eq!(write_grpc_timeout(Duration::from_secs(100_000)), "100000S");
    }

    #[tokio::test(start_paused = true)]
    async fn time_that_the_client_takes_does_not_count() {
        let patience = Patience::new();
        let begun = clock::now();
        let sending = async {
            patience.pause();
            clock::sleep(Duration::from_secs(60)).await;
            patience.resume();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = patience.exceeded(begun, Some(Duration::from_secs(1))) => {}
            () = sending => {}
        }
        assert_eq!((clock::now() - begun).as_secs(), 61);
    }
}
