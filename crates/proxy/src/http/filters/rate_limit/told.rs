//! What responses tell of limits: `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers),
//! `Retry-After` of refusals, and Envoy's `x-ratelimit-*`. Of several limits the one with the least left is told.

use std::time::Duration;

use daemon::buckets::Left;
use snapshot::RateLimit;
use snapshot::rate_limit::Limit;
use xds::rate_limit::Status;

use crate::http::codec::Fields;
use crate::http::filters::ext_authz;

/// What a response tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    limit: String,
    refused: bool,
    /// Requests per window, and its seconds.
    quota: u32,
    window: u64,
    remaining: u64,
    /// Seconds until all is there again, and until the request would have passed.
    reset: u64,
    retry: u64,
    standard: bool,
    /// Envoy's fields: limit and reset as Envoy has them.
    x: Option<(String, u64)>,
    /// Fields that a server asked for.
    pub(super) fields: Vec<(String, String)>,
}

impl Told {
    /// Keeps the one with less left.
    pub(super) fn keep(kept: &mut Option<Self>, mut other: Self) {
        match kept {
            Some(kept) if (kept.refused, other.remaining) >= (other.refused, kept.remaining) => {
                kept.fields.append(&mut other.fields);
            }
            Some(before) => {
                let mut fields = std::mem::take(&mut before.fields);
                fields.append(&mut other.fields);
                *before = Self { fields, ..other };
            }
            None => *kept = Some(other),
        }
    }

    /// Of a bucket of this proxy.
    pub(super) fn of_bucket(policy: &RateLimit, limit: &Limit, left: Left) -> Self {
        Self {
            limit: limit.name.clone(),
            refused: !left.taken,
            quota: limit.requests,
            window: limit.interval.as_secs(),
            remaining: left.remaining,
            reset: whole_seconds(left.full_in),
            retry: whole_seconds(left.enough_in),
            standard: policy.says_limits,
            x: policy
                .says_x_limits
                .then(|| (limit.burst.to_string(), seconds_to_next(left))),
            fields: Vec::new(),
        }
    }

    /// Of a limit that a server keeps, and whether it refuses the request.
    pub(super) fn of_server(policy: &RateLimit, limit: &Limit, status: &Status, refused: bool) -> Self {
        let (quota, window) = status.rate.unwrap_or((limit.requests, limit.interval));
        let window = window.as_secs();
        let seconds = whole_seconds(status.reset);
        let x = || format!("{quota}, {quota};w={window}");
        Self {
            limit: limit.name.clone(),
            refused,
            quota,
            window,
            remaining: status.remaining.into(),
            reset: seconds,
            retry: seconds,
            standard: policy.says_limits,
            x: policy.says_x_limits.then(|| (x(), status.reset.as_secs())),
            fields: Vec::new(),
        }
    }

    /// Fields of a server, and nothing else.
    pub(super) fn fields(fields: Vec<(String, String)>) -> Self {
        Self {
            remaining: u64::MAX,
            fields,
            ..Self::default()
        }
    }

    /// Adds it to a response.
    pub(crate) fn apply(&self, fields: &mut Fields) {
        let Self {
            limit,
            quota,
            window,
            remaining,
            reset,
            ..
        } = self;
        if self.standard {
            let policy = format!("\"{limit}\";q={quota};w={window}");
            fields.set("ratelimit-policy", policy.as_bytes());
            let rest = format!("\"{limit}\";r={remaining};t={reset}");
            fields.set("ratelimit", rest.as_bytes());
            if self.refused {
                fields.set("retry-after", self.retry.max(1).to_string().as_bytes());
            }
        }
        if let Some((limit, reset)) = &self.x {
            fields.set("x-ratelimit-limit", limit.as_bytes());
            fields.set("x-ratelimit-remaining", remaining.to_string().as_bytes());
            fields.set("x-ratelimit-reset", reset.to_string().as_bytes());
        }
        add(fields, &self.fields);
    }
}

/// Adds fields that a server asked for, as long as others still accept the message.
pub(super) fn add(fields: &mut Fields, asked: &[(String, String)]) {
    for (name, value) in asked {
        if ext_authz::has_room(fields, name, value.as_bytes()) {
            fields.push(name, value.as_bytes());
        }
    }
}

/// As Envoy tells it: nobody waits for a token that is there.
fn seconds_to_next(left: Left) -> u64 {
    match left.remaining {
        0 => whole_seconds(left.next_in),
        _ => 0,
    }
}

/// A part of a second is one to who waits.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
