//! Limits of a policy without sockets: time is passed in.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use snapshot::rate_limit::{LimitKey, TOO_MANY_REQUESTS};
use snapshot::{Origin, RouteMatch};
use xds::rate_limit::{Status, Verdict};

use super::*;
use crate::http::codec::h1::{MAX_FIELDS, MAX_HEAD};
use crate::http::codec::{Fields, Length, Version};

pub(crate) fn limit(name: &str, requests: u32) -> Limit {
    Limit {
        name: name.into(),
        matches: RouteMatch::default(),
        keys: Vec::new(),
        requests,
        interval: Duration::from_secs(60),
        burst: requests,
        cost: 1,
        global: false,
        dry_run: false,
        origin: Origin {
            resource: "x".into(),
            field: "".into(),
        },
    }
}

fn policy(limits: Vec<Limit>) -> RateLimit {
    RateLimit {
        policy: "shop/backend".into(),
        limits,
        status: TOO_MANY_REQUESTS,
        body: None,
        says_limits: true,
        says_x_limits: true,
        server: None,
    }
}

fn request(user: Option<&str>) -> Request {
    let mut fields = Fields::default();
    if let Some(user) = user {
        fields.push("x-user", user.as_bytes());
    }
    Request {
        method: Method::GET,
        path: "/".into(),
        authority: "x".into(),
        scheme: "http",
        fields,
        length: Length::Empty,
        upgrade: None,
        version: Version::Http1,
    }
}

fn caller(address: &str) -> Caller<'static> {
    Caller::from(address.parse::<IpAddr>().unwrap())
}

#[test]
fn each_caller_has_a_bucket_and_who_has_no_key_is_not_counted() {
    let each = Limit {
        keys: vec![LimitKey::Header("x-user".into())],
        ..limit("each", 2)
    };
    let limiter = Limiter::new(&policy(vec![each]));
    let (now, from) = (clock::now(), caller("10.0.0.1"));
    let passes = |user| {
        let judged = (0..4).filter(|_| limiter.judge(&request(user), &from, now).refused.is_none());
        judged.count()
    };
    assert_eq!((passes(Some("a")), passes(Some("b"))), (2, 2));
    assert_eq!(passes(None), 4);
}

#[test]
fn addresses_are_callers_too() {
    let each = Limit {
        keys: vec![LimitKey::SourceAddress],
        ..limit("each", 1)
    };
    let limiter = Limiter::new(&policy(vec![each]));
    let now = clock::now();
    let refused = |address| limiter.judge(&request(None), &caller(address), now).refused;
    assert_eq!(
        (refused("10.0.0.1"), refused("10.0.0.2"), refused("10.0.0.1")),
        (None, None, Some(0))
    );
}

#[test]
fn a_dry_run_refuses_nothing_and_says_so() {
    let dry = Limit {
        dry_run: true,
        ..limit("try", 1)
    };
    let limiter = Limiter::new(&policy(vec![dry, limit("all", 3)]));
    let now = clock::now();
    let judge = || limiter.judge(&request(None), &caller("10.0.0.1"), now);
    assert!(judge().ignored.is_empty());
    let second = judge();
    assert_eq!((second.ignored.as_slice(), second.refused), (&[0][..], None));
    judge();
    assert_eq!(judge().refused, Some(1));
}

#[test]
fn after_a_refusal_nobody_else_is_asked() {
    let shared = Limit {
        global: true,
        ..limit("shared", 5)
    };
    let limiter = Limiter::new(&policy(vec![shared, limit("near", 1)]));
    let now = clock::now();
    let judge = || limiter.judge(&request(None), &caller("10.0.0.1"), now);
    assert_eq!(judge().asked, [0]);
    let refused = judge();
    assert_eq!((refused.refused, refused.asked.len()), (Some(1), 0));
}

#[test]
fn the_limit_with_the_least_left_is_told() {
    let limiter = Limiter::new(&policy(vec![limit("wide", 100), limit("narrow", 10)]));
    let now = clock::now();
    let told = limiter
        .judge(&request(None), &caller("10.0.0.1"), now)
        .told
        .unwrap();
    let mut fields = Fields::default();
    told.apply(&mut fields);
    let told = [
        "ratelimit-policy",
        "ratelimit",
        "retry-after",
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
    ]
    .map(|name| fields.text(name).unwrap_or("-").to_owned());
    assert_eq!(
        told,
        ["\"narrow\";q=10;w=60", "\"narrow\";r=9;t=6", "-", "10", "9", "0"]
    );
}

#[test]
fn a_refusal_says_when_to_come_again() {
    let limiter = Limiter::new(&policy(vec![limit("narrow", 1)]));
    let now = clock::now();
    let judge = || limiter.judge(&request(None), &caller("10.0.0.1"), now);
    judge();
    let mut fields = Fields::default();
    judge().told.unwrap().apply(&mut fields);
    assert_eq!(fields.text("retry-after"), Some("60"));
    assert_eq!(fields.text("ratelimit"), Some("\"narrow\";r=0;t=60"));
}

fn shared(name: &str) -> Limit {
    Limit {
        global: true,
        ..limit(name, 60)
    }
}

fn used_up() -> Status {
    Status {
        over: true,
        rate: Some((10, Duration::from_secs(1))),
        remaining: 0,
        reset: Duration::from_secs(1),
    }
}

#[test]
fn what_a_server_says_of_all_limits_together_decides() {
    let dry = Limit {
        dry_run: true,
        ..shared("try")
    };
    let limiter = Limiter::new(&policy(vec![shared("each"), dry]));
    let judge = |over| {
        let verdict = Verdict {
            over,
            statuses: vec![used_up(), used_up()],
            ..Verdict::default()
        };
        server::ruling(&limiter, &[0, 1], &verdict)
    };
    let told = |judgement: Judgement| {
        let mut fields = Fields::default();
        judgement.told.unwrap().apply(&mut fields);
        ["ratelimit", "retry-after"].map(|name| fields.text(name).unwrap_or("-").to_owned())
    };
    let watching = judge(false);
    assert_eq!((watching.refused, watching.ignored.as_slice()), (None, &[1][..]));
    assert_eq!(told(watching), ["\"each\";r=0;t=1", "-"]);
    let refusing = judge(true);
    assert_eq!(
        (refusing.refused, refusing.ignored.as_slice()),
        (Some(0), &[1][..])
    );
    assert_eq!(told(refusing), ["\"each\";r=0;t=1", "1"]);
}

#[test]
fn of_what_a_server_has_no_rule_for_nothing_is_told() {
    let limiter = Limiter::new(&policy(vec![shared("each")]));
    let tells = |over, status: Status| {
        let verdict = Verdict {
            over,
            statuses: vec![status],
            ..Verdict::default()
        };
        server::ruling(&limiter, &[0], &verdict).told.is_some()
    };
    assert!(!tells(false, Status::default()));
    let unlimited = Status {
        over: false,
        remaining: u32::MAX,
        ..used_up()
    };
    assert!(!tells(false, unlimited));
    let left = Status {
        over: false,
        remaining: 7,
        ..used_up()
    };
    assert!(tells(false, left));
    let unknown = Status {
        rate: None,
        ..used_up()
    };
    assert!(tells(true, unknown), "its caller is told when to come again");
}

#[test]
fn fields_of_a_server_are_added_as_long_as_there_is_room() {
    let added = |count: usize, length: usize| {
        let asked = (0..count).map(|number| (format!("x-{number}"), "a".repeat(length)));
        let mut fields = Fields::default();
        Told::fields(asked.collect()).apply(&mut fields);
        fields
    };
    assert_eq!(added(500, 1).len(), MAX_FIELDS);
    let fields = added(90, 1000);
    assert!((50_000..=MAX_HEAD as u64).contains(&fields.size()));
}

#[test]
fn a_call_of_grpc_is_told_the_beginning_of_a_refusal() {
    let body = Bytes::from("%".repeat(60_000));
    let mut call = request(None);
    call.fields.push("content-type", b"application/grpc");
    let told = server::refusal(TOO_MANY_REQUESTS, body.clone(), &call);
    let message = told.response.fields.text("grpc-message").unwrap();
    assert_eq!(message.len(), 3 * 8 * 1024);
    let told = server::refusal(TOO_MANY_REQUESTS, body.clone(), &request(None));
    assert_eq!((told.response.status, told.body), (TOO_MANY_REQUESTS, body));
}

#[test]
fn a_limit_that_is_tried_out_refuses_nothing_while_its_server_is_away() {
    let dry = Limit {
        dry_run: true,
        ..shared("try")
    };
    let limiter = Limiter::new(&policy(vec![dry, shared("each")]));
    let (open, closed) = (LimitOutcome::FailedOpen, LimitOutcome::FailedClosed);
    assert_eq!(
        server::outcomes(&limiter, &[0, 1], true),
        [(0, open), (1, closed)]
    );
    assert_eq!(server::outcomes(&limiter, &[0, 1], false), [(0, open), (1, open)]);
}

#[test]
fn questions_share_their_time() {
    let milliseconds = Duration::from_millis;
    let left = |passed| server::left(milliseconds(20), milliseconds(passed));
    assert_eq!(left(0), Some(milliseconds(20)));
    assert_eq!(left(15), Some(milliseconds(5)));
    assert_eq!((left(20), left(25)), (None, None));
}
