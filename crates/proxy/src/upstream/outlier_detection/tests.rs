//! Endpoints are set aside and come back as Envoy's rules say; time is passed in.

use std::sync::Arc;
use std::time::Duration;

use daemon::clock::{self, Instant};
use snapshot::{Cluster, Discovery, Endpoint, Endpoints, LocalityEndpoints, OutlierDetection};

use super::keeper::Keeper;
use super::{Failure, Monitor, Outcome, Suspicion};
use crate::upstream::load_balancing::Balancer;

const NOBODY: [usize; 0] = [];

struct World {
    keeper: Keeper,
    balancer: Arc<Balancer>,
    now: Instant,
}

impl World {
    fn new(detection: OutlierDetection, endpoints: u8) -> Self {
        let facts = Cluster {
            outlier_detection: Some(detection),
            ..Cluster::new("c".into(), Discovery::Endpoints)
        };
        let endpoints = Endpoints {
            cluster: "c".into(),
            localities: vec![LocalityEndpoints {
                weight: 1,
                endpoints: (0..endpoints)
                    .map(|number| Endpoint::new(([10, 0, 0, number], 80).into()))
                    .collect(),
                ..LocalityEndpoints::default()
            }],
        };
        let now = clock::now();
        let balancer = Balancer::next(&facts.into(), Some(&endpoints.into()), None, now);
        let mut keeper = Keeper::default();
        keeper.take([&balancer].into_iter(), now);
        Self {
            keeper,
            balancer,
            now,
        }
    }

    fn monitor(&self, number: usize) -> &Arc<Monitor> {
        &self.balancer.hosts[number].monitor
    }

    /// Something with an endpoint ends, so many times.
    fn ends(&self, number: usize, outcome: Outcome, times: usize) {
        let detection = self.balancer.facts.outlier_detection.as_ref().unwrap();
        for _ in 0..times {
            self.monitor(number).count(detection, outcome, |failure| {
                let suspicion = Suspicion {
                    cluster: "c".into(),
                    monitor: self.monitor(number).clone(),
                    failure,
                };
                self.keeper.suspect(&suspicion, self.now);
            });
        }
    }

    /// Time passes, second by second.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            if self.keeper.next_look().is_some_and(|at| at <= self.now) {
                self.keeper.look(self.now);
            }
        }
    }

    fn ejected(&self) -> Vec<usize> {
        let all = self.balancer.hosts.iter().enumerate();
        all.filter(|(_, host)| host.monitor.is_ejected())
            .map(|(number, _)| number)
            .collect()
    }

    fn counter(&self, name: &str) -> u64 {
        let all = self.balancer.counters.all();
        all.iter().find(|(known, _)| *known == name).unwrap().1
    }
}

fn half() -> OutlierDetection {
    OutlierDetection {
        max_ejection_percent: 50,
        ..OutlierDetection::default()
    }
}

#[test]
fn five_errors_in_a_row_set_an_endpoint_aside_and_one_success_begins_anew() {
    let world = World::new(half(), 4);
    world.ends(0, Outcome::Answered(500), 4);
    world.ends(0, Outcome::Answered(200), 1);
    world.ends(0, Outcome::Answered(500), 4);
    assert_eq!(world.ejected(), NOBODY);
    world.ends(0, Outcome::Answered(599), 1);
    assert_eq!(world.ejected(), [0]);
    assert_eq!(world.counter("ejections_enforced_consecutive_5xx"), 1);
    assert_eq!(world.counter("ejections_enforced_total"), 1);
}

#[test]
fn no_more_are_set_aside_than_the_percentage_allows_and_none_of_a_few() {
    let world = World::new(half(), 4);
    for number in 0..4 {
        world.ends(number, Outcome::Answered(503), 5);
    }
    assert_eq!(world.ejected(), [0, 1]);
    assert_eq!(world.counter("ejections_overflow"), 2);
    let few = World::new(OutlierDetection::default(), 9);
    few.ends(0, Outcome::Answered(503), 50);
    assert_eq!(few.ejected(), NOBODY, "one of nine is more than a tenth");
    assert_eq!(
        few.counter("ejections_detected_consecutive_5xx"),
        10,
        "each row anew"
    );
    let one = OutlierDetection {
        always_eject_one: true,
        ..OutlierDetection::default()
    };
    let one = World::new(one, 2);
    one.ends(0, Outcome::Answered(503), 5);
    one.ends(1, Outcome::Answered(503), 5);
    assert_eq!(one.ejected(), [0]);
}

#[test]
fn an_endpoint_comes_back_at_a_look_after_its_time_and_stays_away_longer_each_time() {
    let mut world = World::new(half(), 2);
    for (away, healthy) in [(30, 0), (60, 0), (90, 0)] {
        world.ends(0, Outcome::Broken, 5);
        assert_eq!(world.ejected(), [0]);
        world.pass(away - 1);
        assert_eq!(world.ejected(), [0], "after {away} - 1 seconds");
        world.pass(1);
        assert_eq!(world.ejected(), NOBODY, "after {away} seconds");
        world.pass(healthy);
    }
    // Each whole interval without a failure has one time forgotten.
    world.pass(30);
    world.ends(0, Outcome::Broken, 5);
    world.pass(30);
    assert_eq!(world.ejected(), NOBODY, "as the first time");
}

#[test]
fn no_endpoint_stays_away_longer_than_the_longest_time() {
    let detection = OutlierDetection {
        base_ejection_time: Duration::from_secs(200),
        ..half()
    };
    let mut world = World::new(detection, 2);
    for away in [200, 300, 300] {
        world.ends(0, Outcome::Late, 5);
        world.pass(away);
        assert_eq!(world.ejected(), NOBODY, "after {away} seconds");
    }
}

#[test]
fn gateway_errors_count_apart_and_only_when_asked_for() {
    let detection = OutlierDetection {
        consecutive_5xx: 0,
        consecutive_gateway_failures: 2,
        ..half()
    };
    let world = World::new(detection, 4);
    world.ends(0, Outcome::Answered(500), 9);
    assert_eq!(world.ejected(), NOBODY);
    world.ends(0, Outcome::Answered(502), 1);
    world.ends(0, Outcome::Answered(500), 1);
    world.ends(0, Outcome::Answered(504), 1);
    assert_eq!(world.ejected(), NOBODY, "a 500 is no gateway error");
    world.ends(0, Outcome::Broken, 1);
    assert_eq!(
        world.ejected(),
        [0],
        "who does not take a connection is as good as 503"
    );
    world.ends(1, Outcome::Late, 2);
    assert_eq!(world.ejected(), [0, 1], "and who is late as good as 504");
}

#[test]
fn failures_to_connect_are_counted_apart_when_asked_for() {
    let detection = OutlierDetection {
        split_local_origin_failures: true,
        consecutive_5xx: 3,
        consecutive_local_origin_failures: 2,
        ..half()
    };
    let world = World::new(detection, 4);
    world.ends(0, Outcome::Broken, 1);
    world.ends(0, Outcome::Connected, 1);
    world.ends(0, Outcome::Broken, 1);
    assert_eq!(world.ejected(), NOBODY);
    world.ends(0, Outcome::Answered(500), 2);
    assert_eq!(world.ejected(), NOBODY, "neither row is complete");
    world.ends(0, Outcome::Late, 1);
    assert_eq!(world.ejected(), [0]);
    assert_eq!(
        world.counter("ejections_enforced_consecutive_local_origin_failure"),
        1
    );
    world.ends(1, Outcome::Answered(500), 3);
    assert_eq!(world.ejected(), [0, 1]);
}

#[test]
fn only_the_statuses_named_are_errors_when_any_are() {
    let detection = OutlierDetection {
        error_statuses: vec![429],
        ..half()
    };
    let world = World::new(detection, 4);
    world.ends(0, Outcome::Answered(503), 9);
    assert_eq!(world.ejected(), NOBODY);
    world.ends(0, Outcome::Answered(429), 5);
    assert_eq!(world.ejected(), [0]);
}

#[test]
fn who_is_set_aside_stays_so_under_the_next_snapshot_until_nothing_is_detected() {
    let mut world = World::new(half(), 4);
    world.ends(0, Outcome::Answered(503), 5);
    let fewer = Endpoints {
        cluster: "c".into(),
        localities: vec![LocalityEndpoints {
            weight: 1,
            endpoints: vec![
                Endpoint::new(([10, 0, 0, 0], 80).into()),
                Endpoint::new(([10, 0, 0, 9], 80).into()),
            ],
            ..LocalityEndpoints::default()
        }],
    };
    let facts = world.balancer.facts.clone();
    let next = Balancer::next(
        &facts,
        Some(&fewer.clone().into()),
        Some(&world.balancer),
        world.now,
    );
    world.keeper.take([&next].into_iter(), world.now);
    world.balancer = next;
    assert_eq!(world.ejected(), [0]);
    world.ends(1, Outcome::Answered(503), 5);
    assert_eq!(world.ejected(), [0], "half of two are away");
    let silent = Cluster {
        outlier_detection: None,
        ..(*facts).clone()
    };
    let next = Balancer::next(
        &silent.into(),
        Some(&fewer.into()),
        Some(&world.balancer),
        world.now,
    );
    assert_eq!(next.ejected(), 0);
}

#[test]
fn a_word_about_an_endpoint_that_is_gone_has_no_effect() {
    let world = World::new(half(), 2);
    let stranger = Suspicion {
        cluster: "c".into(),
        monitor: Arc::default(),
        failure: Failure::Status5xx,
    };
    world.keeper.suspect(&stranger, world.now);
    assert!(!stranger.monitor.is_ejected());
    assert_eq!(world.counter("ejections_detected_consecutive_5xx"), 0);
}
