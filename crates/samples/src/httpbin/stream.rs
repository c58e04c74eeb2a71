//! Replies that take time: late ones, and bodies that come piece by piece.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};
use serde_json::json;
use tokio::time::{Interval, MissedTickBehavior};

use super::{Asked, error, json_reply, told};
use crate::call::Call;
use crate::echo_basic::duration;
use crate::server::{self, Reply};

const LONGEST: Duration = Duration::from_secs(10);
const MOST_PIECES: usize = 10_000;

/// `/delay/2`, `/delay/1.5`, `/delay/200ms`.
pub(super) async fn delayed(asked: &Asked<'_>, seconds: &str) -> Reply {
    let Some(delay) = time(seconds) else {
        return error(400, "invalid duration");
    };
    tokio::time::sleep(delay.min(LONGEST)).await;
    json_reply(&told::everything(asked))
}

fn time(text: &str) -> Option<Duration> {
    let plain = text
        .parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    plain.or_else(|| duration(text))
}

/// `/stream/20`: a line of JSON for each.
pub(super) fn lines(asked: &Asked<'_>, count: &str) -> Reply {
    let Ok(count) = count.parse::<usize>() else {
        return error(400, "invalid count");
    };
    let mut told = told::everything(asked);
    let line = |id: usize| {
        told["id"] = json!(id);
        Bytes::from(told.to_string() + "\n")
    };
    let pieces = (0..count.clamp(1, 100)).map(line).collect();
    streamed("application/json; charset=utf-8", pieces, Duration::ZERO)
}

/// `/drip?numbytes=10&duration=2s&delay=0&code=200`.
pub(super) async fn drip(call: &Call) -> Reply {
    let number = |name: &str, default: usize| {
        call.parameter(name)
            .map_or(Some(default), |text| text.parse().ok())
    };
    let span = |name: &str, default: u64| {
        call.parameter(name)
            .map_or(Some(Duration::from_secs(default)), |text| time(&text))
    };
    let parts = (
        number("numbytes", 10),
        span("duration", 2),
        span("delay", 0),
        number("code", 200),
    );
    let (Some(count), Some(lasts), Some(delay), Some(code)) = parts else {
        return error(400, "invalid numbytes, duration, delay or code");
    };
    if !(1..=MOST_PIECES).contains(&count)
        || lasts.saturating_add(delay) > LONGEST
        || !(200..600).contains(&code)
    {
        return error(400, "out of range: at most 10000 bytes in 10 s");
    }
    tokio::time::sleep(delay).await;
    let every = lasts / u32::try_from(count).unwrap_or(u32::MAX);
    let mut reply = streamed(
        "text/plain; charset=utf-8",
        vec![Bytes::from_static(b"*"); count].into(),
        every,
    );
    if let Ok(code) = u16::try_from(code)
        .map_err(drop)
        .and_then(|code| http::StatusCode::from_u16(code).map_err(drop))
    {
        *reply.status_mut() = code;
    }
    reply
}

/// `/sse?count=10&duration=5s`.
pub(super) fn events(call: &Call) -> Reply {
    let count = call
        .parameter("count")
        .map_or(Some(10), |count| count.parse::<usize>().ok());
    let lasts = call
        .parameter("duration")
        .map_or(Some(Duration::from_secs(5)), |text| time(&text));
    let (Some(count), Some(lasts)) = (count.filter(|count| (1..=MOST_PIECES).contains(count)), lasts) else {
        return error(400, "invalid count or duration");
    };
    let event = |id: usize| Bytes::from(format!("event: ping\ndata: {}\n\n", json!({"id": id})));
    let every = lasts.min(LONGEST) / u32::try_from(count).unwrap_or(u32::MAX);
    streamed(
        "text/event-stream; charset=utf-8",
        (0..count).map(event).collect(),
        every,
    )
}

fn streamed(kind: &str, pieces: VecDeque<Bytes>, every: Duration) -> Reply {
    let (head, _) = server::reply(200, kind, "").into_parts();
    let ticks = (!every.is_zero()).then(|| {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    });
    Response::from_parts(head, Pieces { pieces, ticks }.boxed_unsync())
}

/// A body that comes piece by piece, one at each tick.
struct Pieces {
    pieces: VecDeque<Bytes>,
    ticks: Option<Interval>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !self.pieces.is_empty()
            && let Some(ticks) = &mut self.ticks
            && ticks.poll_tick(context).is_pending()
        {
            return Poll::Pending;
        }
        Poll::Ready(self.pieces.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_go_s() {
        assert_eq!(time("2"), Some(Duration::from_secs(2)));
        assert_eq!(time("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(time("200ms"), Some(Duration::from_millis(200)));
        for bad in ["", "-1", "nan", "1e99", "x"] {
            assert_eq!(time(bad), None, "{bad}");
        }
    }

    fn asked(query: &str) -> Call {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        Call {
            method: "GET".to_owned(),
            path: "/drip".to_owned(),
            query: query.to_owned(),
            headers: http::HeaderMap::new(),
            authority: None,
            version: http::Version::HTTP_11,
            body: Bytes::new(),
            peer: server::Peer { address, port: 80 },
        }
    }

    #[test]
    fn drops_come_after_the_delay_and_no_number_is_too_large_to_refuse() {
        let statuses = crate::block_on(async {
            let begin = tokio::time::Instant::now();
            let late = drip(&asked("numbytes=1&duration=0&delay=30ms&code=201")).await;
            assert!(begin.elapsed() >= Duration::from_millis(30));
            let never = drip(&asked("duration=1e19&delay=1e19")).await;
            Ok([late.status(), never.status()])
        });
        assert_eq!(statuses.unwrap().map(|status| status.as_u16()), [201, 400]);
    }

    #[test]
    fn pieces_arrive_in_order() {
        let body = crate::block_on(async {
            let pieces = ["a", "b", "c"].map(Bytes::from).into();
            Ok(streamed("text/plain", pieces, Duration::from_millis(1))
                .into_body()
                .collect()
                .await?
                .to_bytes())
        });
        assert_eq!(body.unwrap(), "abc");
    }
}
