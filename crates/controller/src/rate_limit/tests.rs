//! Limits over several proxies, restarts and changes of rules, with time that is passed in and seeds that repeat.

use std::collections::HashMap;
use std::time::Duration;

use daemon::clock::{self, Instant};
use translate::rate_limit::Rule;
use xds::rate_limit::{Descriptor, Question};

use super::limiter::Unanswered;
use super::stated::NoRoom;
use super::*;

const REQUESTS: u32 = 20;
const BURST: u32 = 20;
const INTERVAL: Duration = Duration::from_secs(10);

fn rule() -> Rule {
    Rule {
        domain: "shop/backend".into(),
        limit: "each".into(),
        requests: REQUESTS,
        interval: INTERVAL,
        burst: BURST,
        cost: 1,
    }
}

fn judge(limiter: &Limiter, question: &Question, now: Instant) -> Verdict {
    limiter
        .judge("shop", question, now)
        .expect("there is a rule for it")
}

fn question(user: u64) -> Question {
    let entries = vec![
        ("limit".to_owned(), "each".to_owned()),
        ("header:x-user".to_owned(), user.to_string()),
    ];
    Question {
        domain: "shop/backend".into(),
        descriptors: vec![Descriptor {
            entries,
            ..Descriptor::default()
        }],
    }
}

fn limiter(now: Instant) -> Limiter {
    let limiter = Limiter::default();
    limiter.follow(&[rule()], now);
    limiter
}

/// A linear congruence is random enough here, and the same every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 24) % bound
    }
}

/// Questions that are on their way from a proxy to the server: who, and when it arrives.
struct OnTheWay(Vec<(u64, u64)>);

/// Proxies ask with delays of their own, the server restarts now and then; what passed is judged afterwards.
fn simulate(seed: u64) {
    let begun = clock::now();
    let at = |milliseconds| begun + Duration::from_millis(milliseconds);
    let mut numbers = Numbers(seed);
    let mut proxies: Vec<_> = (0..5).map(|_| OnTheWay(Vec::new())).collect();
    let mut server = limiter(at(0));
    let mut restarts = Vec::new();
    let mut passed: HashMap<u64, Vec<u64>> = HashMap::new();
    for now in 0..30_000_u64 {
        if numbers.below(8000) == 0 {
            server = limiter(at(now));
            restarts.push(now);
        }
        for proxy in &mut proxies {
            if numbers.below(10) == 0 {
                proxy.0.push((numbers.below(6), now + numbers.below(50)));
            }
            let (arrived, still): (Vec<_>, Vec<_>) = std::mem::take(&mut proxy.0)
                .into_iter()
                .partition(|(_, due)| *due <= now);
            proxy.0 = still;
            for (user, _) in arrived {
                if !judge(&server, &question(user), at(now)).over {
                    passed.entry(user).or_default().push(now);
                }
            }
        }
    }
    for (user, times) in &passed {
        check_windows(seed, *user, times, &restarts);
    }
    assert_eq!(passed.len(), 6, "seed {seed}: everybody gets something");
}

/// In no stretch of time has more passed than the bucket held, and what came meanwhile, and one burst for a restart.
fn check_windows(seed: u64, user: u64, times: &[u64], restarts: &[u64]) {
    let token = u64::try_from(INTERVAL.as_millis()).unwrap() / u64::from(REQUESTS);
    for (first, begun) in times.iter().enumerate() {
        for (later, ended) in times.iter().enumerate().skip(first) {
            let within = restarts
                .iter()
                .filter(|restart| (begun..=ended).contains(restart));
            let lives = 1 + u64::try_from(within.count()).unwrap();
            let most = lives * u64::from(BURST) + (ended - begun) / token;
            let count = u64::try_from(later - first + 1).unwrap();
            assert!(
                count <= most,
                "seed {seed}, user {user}: {count} of {most} in {begun}..{ended}"
            );
        }
    }
}

#[test]
fn a_limit_holds_over_all_proxies_and_a_restart_gives_at_most_one_burst() {
    for seed in 0..8 {
        simulate(seed);
    }
}

#[test]
fn before_the_mesh_is_known_no_question_is_answered() {
    let (limiter, now) = (Limiter::default(), clock::now());
    let answer = limiter.judge("shop", &question(1), now);
    assert_eq!(answer, Err(Unanswered::Unknown), "there may be a rule for it");
    limiter.follow(&[], now);
    let verdict = judge(&limiter, &question(1), now);
    assert_eq!((verdict.over, &verdict.statuses[0].rate), (false, &None));
}

#[test]
fn who_asks_learns_what_is_left() {
    let now = clock::now();
    let limiter = limiter(now);
    let status = judge(&limiter, &question(1), now).statuses[0].clone();
    assert_eq!((status.over, status.remaining), (false, BURST - 1));
    assert_eq!(status.rate, Some((REQUESTS, INTERVAL)));
    assert_eq!(status.reset, INTERVAL / REQUESTS);
}

#[test]
fn counts_outlive_changes_of_other_rules() {
    let now = clock::now();
    let limiter = limiter(now);
    for _ in 0..BURST {
        assert!(!judge(&limiter, &question(1), now).over);
    }
    let other = Rule {
        limit: "other".into(),
        ..rule()
    };
    limiter.follow(&[other, rule()], now);
    assert!(judge(&limiter, &question(1), now).over);
    let wider = Rule {
        requests: 2 * REQUESTS,
        ..rule()
    };
    limiter.follow(&[wider], now);
    assert!(
        !judge(&limiter, &question(1), now).over,
        "another limit begins anew"
    );
    limiter.follow(&[], now);
    assert_eq!(judge(&limiter, &question(1), now).statuses[0].rate, None);
}

#[test]
fn an_envoy_may_state_a_rate_where_there_is_no_rule() {
    let now = clock::now();
    let limiter = Limiter::default();
    limiter.follow(&[], now);
    let stated = |requests| Question {
        domain: "shop/x".into(),
        descriptors: vec![Descriptor {
            entries: vec![("generic_key".into(), "a".into())],
            cost: None,
            stated: Some((requests, Duration::from_secs(60))),
        }],
    };
    let passes = |question: &Question| limiter.judge("shop", question, now).map(|verdict| !verdict.over);
    assert_eq!((0..5).filter(|_| passes(&stated(3)).unwrap()).count(), 3);
    let outcomes: Vec<_> = (10..200).map(|requests| passes(&stated(requests))).collect();
    assert_eq!(outcomes[0], Ok(true));
    let no_room = Err(Unanswered::NoRoom(NoRoom));
    assert_eq!(outcomes[189], no_room, "nothing passes uncounted");
    assert_eq!(
        passes(&stated(3)),
        Ok(false),
        "what was there first is still counted"
    );
}

#[test]
fn a_question_takes_no_more_than_the_rule_says() {
    let now = clock::now();
    let limiter = Limiter::default();
    let dear = Rule {
        limit: "dear".into(),
        cost: 5,
        ..rule()
    };
    limiter.follow(&[rule(), dear], now);
    let left = |limit: &str, cost| {
        let mut question = question(1);
        question.descriptors[0].entries[0].1 = limit.into();
        question.descriptors[0].cost = cost;
        judge(&limiter, &question, now).statuses[0].remaining
    };
    assert_eq!(left("each", Some(u64::MAX)), BURST - 1);
    assert_eq!(left("each", None), BURST - 2);
    assert_eq!(left("dear", Some(5)), BURST - 5);
    assert_eq!(left("dear", Some(6)), BURST - 10);
    assert_eq!(left("dear", None), BURST - 11);
}

#[test]
fn nobody_uses_up_the_limits_of_another_namespace() {
    let caller = |namespace: &str| Caller {
        namespace: namespace.into(),
        service_account: "default".into(),
        pod: None,
        until: None,
    };
    let question = question(1);
    assert!(check(&caller("shop"), &question).is_ok());
    let refused = check(&caller("other"), &question).unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    let of_all = Question {
        domain: "istio-system/everybody".into(),
        ..question
    };
    assert!(check(&caller("other"), &of_all).is_ok());
    let many = Question {
        descriptors: vec![Descriptor::default(); DESCRIPTORS + 1],
        ..of_all
    };
    let refused = check(&caller("other"), &many).unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
}
