//! Which limits are for a request, and what its caller is told apart by.

use std::net::IpAddr;

use super::*;
use crate::route::{HeaderMatch, StringMatch};

struct Request {
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
}

impl RequestView for Request {
    fn method(&self) -> &str {
        "GET"
    }

    fn path_and_query(&self) -> &str {
        self.path
    }

    fn authority(&self) -> &str {
        "backend:9090"
    }

    fn scheme(&self) -> &str {
        "http"
    }

    fn header(&self, name: &str, each: &mut dyn FnMut(&str)) {
        let found = self.headers.iter().filter(|(known, _)| *known == name);
        found.for_each(|(_, value)| each(value));
    }
}

struct Caller(Option<&'static str>);

impl CallerView for Caller {
    fn claim(&self, name: &str) -> Option<&str> {
        (name == "sub").then_some("alice")
    }

    fn peer_identity(&self) -> Option<&str> {
        self.0
    }

    fn source_address(&self) -> Option<IpAddr> {
        "::ffff:10.0.0.7".parse().ok()
    }
}

fn limit(name: &str, requests: u32, seconds: u64) -> Limit {
    Limit {
        name: name.into(),
        matches: RouteMatch::default(),
        keys: Vec::new(),
        requests,
        interval: Duration::from_secs(seconds),
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
        says_limits: false,
        says_x_limits: false,
        server: None,
    }
}

#[test]
fn a_descriptor_has_every_key_or_there_is_none() {
    let keys = vec![
        LimitKey::Header("x-user".into()),
        LimitKey::QueryParameter("q".into()),
        LimitKey::Claim("sub".into()),
        LimitKey::Path,
        LimitKey::Method,
        LimitKey::Host,
        LimitKey::SourceAddress,
        LimitKey::Value("gold".into()),
    ];
    let limit = Limit {
        keys,
        ..limit("each", 1, 1)
    };
    let request = Request {
        path: "/a?p=1&q=2&q=3#q=4",
        headers: &[("x-user", "bob"), ("x-user", "eve")],
    };
    let entries = limit.descriptor(&request, &Caller(None)).unwrap();
    let text: Vec<_> = entries
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    assert_eq!(
        text,
        [
            "limit=each",
            "header:x-user=bob",
            "query:q=2",
            "claim:sub=alice",
            "path=/a",
            "method=GET",
            "host=backend:9090",
            "remote_address=10.0.0.7",
            "value=gold",
        ]
    );
    let plain = Request {
        path: "/a",
        headers: &[],
    };
    assert_eq!(limit.descriptor(&plain, &Caller(None)), None);
    let by_peer = Limit {
        keys: vec![LimitKey::PeerIdentity],
        ..limit
    };
    assert_eq!(
        by_peer.descriptor(&plain, &Caller(None)),
        None,
        "plain text proves nothing"
    );
    let peer = Caller(Some("spiffe://cluster.local/ns/shop/sa/web"));
    assert_eq!(by_peer.descriptor(&plain, &peer).unwrap().len(), 2);
}

#[test]
fn the_strictest_limit_is_asked_first_and_servers_last() {
    let shared = Limit {
        global: true,
        ..limit("shared", 1, 3600)
    };
    let policy = policy(vec![
        shared,
        limit("second", 10, 1),
        limit("minute", 60, 60),
        limit("hour", 60, 3600),
    ]);
    let (compiled, problems) = CompiledRateLimit::new(&policy);
    assert!(problems.is_empty());
    let request = Request {
        path: "/",
        headers: &[],
    };
    let order: Vec<_> = compiled.matching(&request).collect();
    assert_eq!(order, [3, 2, 1, 0]);
}

#[test]
fn a_limit_is_for_requests_that_match_and_one_that_cannot_work_for_none() {
    let api = Limit {
        matches: RouteMatch {
            path: Some(StringMatch::Prefix("/api".into())),
            ..RouteMatch::default()
        },
        ..limit("api", 1, 1)
    };
    let broken = Limit {
        matches: RouteMatch {
            headers: vec![HeaderMatch {
                name: "x-a".into(),
                value: Some(StringMatch::Regex("(".into())),
                invert: false,
            }],
            ..RouteMatch::default()
        },
        ..limit("broken", 1, 1)
    };
    let (compiled, problems) = CompiledRateLimit::new(&policy(vec![api, broken]));
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("shop/backend broken: "), "{problems:?}");
    let matching = |path| {
        let request = Request { path, headers: &[] };
        compiled.matching(&request).collect::<Vec<_>>()
    };
    assert_eq!(matching("/api/x?y"), [0]);
    assert!(matching("/other?/api").is_empty());
}
