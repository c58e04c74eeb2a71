//! Limits of a policy without sockets: time is passed in.

use std::net::IpAddr;
use std::time::Duration;

use http::Method;
use snapshot::rate_limit::{LimitKey, TOO_MANY_REQUESTS};
use snapshot::{Origin, RouteMatch};

use super::*;
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
