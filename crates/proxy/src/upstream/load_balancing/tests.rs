//! Choices are Envoy's: where a key decides, the very same (recorded from stock Envoy 1.40); where chance decides,
//! the same shares. Bounds are 4.5 standard deviations, the generator is seeded.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use daemon::clock;
use snapshot::{
    Cluster, Discovery, Endpoint as Fact, Endpoints, Health, LoadBalancing, Locality, LocalityBalancing,
    LocalityEndpoints, SlowStart,
};

use super::{Balancer, Picker, Round, Wish, xxhash};
use crate::random::Random;
use crate::upstream::Endpoint;

const UP: Health = Health::Healthy;
const DOWN: Health = Health::Unhealthy;
const RING: LoadBalancing = LoadBalancing::RingHash {
    minimum_size: LoadBalancing::MINIMUM_RING_SIZE,
    maximum_size: LoadBalancing::MAXIMUM_RING_SIZE,
};
const MAGLEV: LoadBalancing = LoadBalancing::Maglev {
    table_size: LoadBalancing::MAGLEV_TABLE_SIZE,
};

/// One cluster, as one worker sees it.
struct World {
    all: Vec<Rc<Endpoint>>,
    picker: Picker,
    random: Random,
}

/// Priority, weight of the place, and its endpoints.
type Place<'a> = (u32, u32, &'a [(u32, Health)]);

impl World {
    fn new(facts: Cluster, places: &[Place<'_>]) -> Self {
        let mut last = 1_u8;
        let localities = places
            .iter()
            .enumerate()
            .map(|(number, (priority, weight, endpoints))| {
                let endpoints = endpoints.iter().map(|(weight, health)| {
                    last += 1;
                    Fact {
                        weight: *weight,
                        health: *health,
                        ..Fact::new(([127, 0, 0, last], 18081).into())
                    }
                });
                LocalityEndpoints {
                    locality: Locality {
                        region: number.to_string(),
                        ..Locality::default()
                    },
                    priority: *priority,
                    weight: *weight,
                    endpoints: endpoints.collect(),
                }
            });
        let endpoints = Endpoints {
            cluster: "c".into(),
            localities: localities.collect(),
        };
        let balancer = Balancer::next(&facts.into(), Some(&endpoints.into()), None, clock::now());
        let all: Vec<_> = balancer.hosts.iter().map(Endpoint::of).collect();
        let random = Random::seeded(7);
        let picker = Picker::new(&balancer, &all, &random);
        Self { all, picker, random }
    }

    fn simple(policy: LoadBalancing, endpoints: &[(u32, Health)]) -> Self {
        Self::new(cluster(policy), &[(0, 1, endpoints)])
    }

    fn pick_with(&self, key: Option<u64>, tried: &[std::net::SocketAddr]) -> Option<usize> {
        let wish = Wish {
            key,
            tried,
            left: &[],
            random: &self.random,
        };
        let picked = self.picker.pick(&self.all, wish)?;
        self.all.iter().position(|endpoint| Rc::ptr_eq(endpoint, picked))
    }

    /// How often each is picked.
    fn counts(&self, picks: usize) -> Vec<usize> {
        let mut counts = vec![0; self.all.len()];
        for _ in 0..picks {
            counts[self.pick_with(None, &[]).unwrap()] += 1;
        }
        counts
    }

    /// Whom the keys `key-0`, `key-1` … choose, one digit each.
    fn choices(&self) -> String {
        let choose = |number: usize| {
            let key = xxhash::hash(format!("key-{number}").as_bytes());
            self.pick_with(Some(key), &[]).unwrap().to_string()
        };
        (0..100).map(choose).collect()
    }
}

fn cluster(load_balancing: LoadBalancing) -> Cluster {
    Cluster {
        load_balancing,
        ..Cluster::new("c".into(), Discovery::Endpoints)
    }
}

fn assert_close(count: usize, picks: usize, share: f64) {
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    let (count, picks) = (count as f64, picks as f64);
    let deviation = (picks * share * (1.0 - share)).sqrt();
    assert!(
        (count - picks * share).abs() < 4.5 * deviation,
        "{count} of {picks}, expected share {share}"
    );
}

#[test]
fn a_ring_chooses_whom_envoy_chooses() {
    let equal = [(1, UP); 5];
    let weighted = [(1, UP), (2, UP), (5, UP), (1, UP), (3, UP)];
    let ring = |minimum_size, maximum_size| LoadBalancing::RingHash {
        minimum_size,
        maximum_size,
    };
    for (policy, endpoints, expected) in [
        (
            RING,
            equal,
            "2140430302030313433040134433311211234210344202411124440104112432244403324230024030414013104433324114",
        ),
        (
            ring(100, LoadBalancing::MAXIMUM_RING_SIZE),
            equal,
            "1113300202421213433001011133143141202313340222241033314141333422412101221314242434113013433342321441",
        ),
        (
            ring(3, 7),
            equal,
            "1304443031401103404141331303000313031433004313104303420142301111214133034010431231433313334331033301",
        ),
        (
            RING,
            weighted,
            "2142433202422314423040222424141212214212324222411424440224212442244401344220224220212013134440224124",
        ),
    ] {
        assert_eq!(
            World::simple(policy, &endpoints).choices(),
            expected,
            "{policy:?}"
        );
    }
}

#[test]
fn a_maglev_table_chooses_whom_envoy_chooses() {
    let equal = [(1, UP); 5];
    let weighted = [(1, UP), (2, UP), (5, UP), (1, UP), (3, UP)];
    for (policy, endpoints, expected) in [
        (
            MAGLEV,
            equal,
            "1200442202141442132132422344041411312122130142404004131333044021032100041102004330300101442321023004",
        ),
        (
            MAGLEV,
            weighted,
            "1220422222142242122122422144241412212122222142424004131233424221022120041202024242340201442321024022",
        ),
        (
            LoadBalancing::Maglev { table_size: 101 },
            equal,
            "0041043212122014324434004214013200011434101430121142313223130424101012413144432442403033121002330000",
        ),
    ] {
        assert_eq!(
            World::simple(policy, &endpoints).choices(),
            expected,
            "{policy:?}"
        );
    }
}

#[test]
fn a_ring_heeds_places_priorities_and_health_as_envoy_does() {
    let weighted = Cluster {
        locality: LocalityBalancing::Weighted,
        ..cluster(RING)
    };
    let places: &[Place<'_>] = &[(0, 20, &[(1, UP); 2]), (0, 80, &[(1, UP); 3])];
    assert_eq!(
        World::new(weighted, places).choices(),
        "2340333302432313433040434433333211234212344202411324440144332432244403344230124330424013334433324414"
    );
    let places: &[Place<'_>] = &[(0, 1, &[(1, UP), (1, DOWN)]), (1, 1, &[(1, UP); 3])];
    assert_eq!(
        World::new(cluster(RING), places).choices(),
        "0300000002000300400044000003030200004040000200000300000000230000000400004034300030000020004403304034"
    );
    let one_down = [(1, UP), (1, UP), (1, DOWN), (1, UP), (1, UP)];
    assert_eq!(
        World::simple(RING, &one_down).choices(),
        "4140330300031313433040134433331111334400344000411134441104114431044403344331014030414013104433344114"
    );
}

#[test]
fn a_retry_of_a_consistent_choice_goes_on_from_there() {
    for policy in [RING, MAGLEV] {
        let world = World::simple(policy, &[(1, UP); 3]);
        let first = world.pick_with(Some(5), &[]).unwrap();
        let tried = [world.all[first].address];
        let second = world.pick_with(Some(5), &tried).unwrap();
        assert_ne!(first, second);
        assert_eq!(world.pick_with(Some(5), &tried), Some(second), "always the same");
    }
}

#[test]
fn without_a_key_a_consistent_choice_is_any() {
    let world = World::simple(RING, &[(1, UP); 4]);
    assert!(world.counts(400).iter().all(|count| *count > 40));
}

#[test]
fn a_ring_of_millions_is_bounded() {
    let share = super::ring::Share {
        host: 0,
        address: ([127, 0, 0, 1], 1).into(),
        share: 1e-9,
    };
    let ring = super::ring::Ring::new(&[share; 3], 1024, 5000);
    assert!(ring.len() <= 5000, "a tiny share would want 10^9 points");
    let (minimum, maximum) = super::plan::bounded(LoadBalancing::MAXIMUM_RING_SIZE, u64::MAX);
    assert_eq!((minimum, maximum), (1 << 20, 1 << 20));
}

#[test]
fn turns_are_taken_in_proportion_to_weights() {
    let weighted = World::simple(LoadBalancing::RoundRobin, &[(1, UP), (2, UP), (5, UP)]);
    let turns = weighted.counts(8000);
    assert!(
        turns[0].abs_diff(1000) < 3 && turns[1].abs_diff(2000) < 3,
        "{turns:?}"
    );
    let equal = World::simple(LoadBalancing::RoundRobin, &[(1, UP), (1, UP)]);
    assert_eq!(equal.counts(10), [5, 5]);
    let least = World::simple(LoadBalancing::LeastRequest, &[(1, UP), (3, UP)]);
    assert!(least.counts(4000)[1].abs_diff(3000) < 3, "idle, weights decide");
}

#[test]
fn chance_knows_no_weights() {
    let random = World::simple(LoadBalancing::Random, &[(1, UP), (5, UP)]);
    assert_close(random.counts(4000)[0], 4000, 0.5);
    let least = World::simple(LoadBalancing::LeastRequest, &[(1, UP), (1, UP)]);
    assert_close(least.counts(4000)[0], 4000, 0.5);
}

#[test]
fn least_request_prefers_the_idle_one_of_two_and_the_lighter_load_by_weight() {
    let two = World::simple(LoadBalancing::LeastRequest, &[(1, UP), (1, UP)]);
    let busy: Vec<_> = (0..3).map(|_| two.all[0].pool.begin_request()).collect();
    assert_close(two.counts(4000)[0], 4000, 0.25);
    drop(busy);
    let weighted = World::simple(LoadBalancing::LeastRequest, &[(4, UP), (1, UP)]);
    let _busy: Vec<_> = (0..3).map(|_| weighted.all[0].pool.begin_request()).collect();
    let counts = weighted.counts(4000);
    assert!(
        counts[0].abs_diff(2000) < 8,
        "4 / (3 + 1) is 1 / (0 + 1): {counts:?}"
    );
}

#[test]
fn draining_and_unhealthy_endpoints_are_never_picked() {
    let endpoints = [(9, Health::Draining), (9, DOWN), (1, UP)];
    for policy in [
        LoadBalancing::Random,
        LoadBalancing::RoundRobin,
        LoadBalancing::LeastRequest,
        RING,
        MAGLEV,
    ] {
        assert_eq!(World::simple(policy, &endpoints).counts(100), [0, 0, 100]);
    }
    let none = World::simple(LoadBalancing::Random, &[(1, Health::Draining)]);
    assert_eq!(none.pick_with(None, &[]), None);
}

#[test]
fn the_next_priority_bears_what_the_first_cannot() {
    let places: &[Place<'_>] = &[(0, 1, &[(1, UP), (1, DOWN)]), (1, 1, &[(1, UP)])];
    let world = World::new(cluster(LoadBalancing::RoundRobin), places);
    assert_close(world.counts(5000)[2], 5000, 0.3);
    let places: &[Place<'_>] = &[(0, 1, &[(1, DOWN)]), (1, 1, &[(1, UP)])];
    let failed = World::new(cluster(LoadBalancing::RoundRobin), places);
    assert_eq!(failed.counts(50), [0, 50]);
}

#[test]
fn in_panic_everybody_is_picked() {
    let facts = Cluster {
        panic_percent: 60,
        ..cluster(LoadBalancing::RoundRobin)
    };
    let world = World::new(facts, &[(0, 1, &[(1, UP), (1, DOWN)])]);
    assert_eq!(world.counts(10), [5, 5]);
}

#[test]
fn places_share_by_weight_where_they_count_and_not_elsewhere() {
    let places: &[Place<'_>] = &[(0, 20, &[(1, UP)]), (0, 80, &[(1, UP), (1, UP)])];
    let weighted = Cluster {
        locality: LocalityBalancing::Weighted,
        ..cluster(LoadBalancing::RoundRobin)
    };
    let counts = World::new(weighted.clone(), places).counts(1000);
    assert!(
        counts[0].abs_diff(200) < 3 && counts[1].abs_diff(400) < 3,
        "{counts:?}"
    );
    let ignored = World::new(cluster(LoadBalancing::RoundRobin), places);
    assert!(ignored.counts(999).iter().all(|count| *count == 333));
    let half_down: &[Place<'_>] = &[(0, 50, &[(1, UP), (1, DOWN)]), (0, 50, &[(1, UP), (1, UP)])];
    let counts = World::new(weighted, half_down).counts(1700);
    assert!(
        counts[0].abs_diff(700) < 5,
        "half of a place bears 1.4 times half of its weight: {counts:?}"
    );
}

/// Of 1100 turns, how many the newer of two endpoints gets that joined so many seconds ago.
fn turns_of_the_newer(seconds: u64) -> usize {
    let slow = Cluster {
        slow_start: Some(SlowStart {
            window: Duration::from_secs(100),
            aggression: 1.0,
            minimum_percent: 10.0,
        }),
        ..cluster(LoadBalancing::RoundRobin)
    };
    let endpoints = |count: u8| Endpoints {
        cluster: "c".into(),
        localities: vec![LocalityEndpoints {
            weight: 1,
            endpoints: (0..count)
                .map(|number| Fact::new(([127, 0, 0, number], 1).into()))
                .collect(),
            ..LocalityEndpoints::default()
        }],
    };
    let joined = clock::now();
    let facts = Arc::new(slow);
    let first = Balancer::next(&facts, Some(&endpoints(1).into()), None, joined);
    // What passes for now is the instant at which the second one joined, and some.
    let later = joined + Duration::from_secs(1000);
    let both = Balancer::next(&facts, Some(&endpoints(2).into()), Some(&first), later);
    let random = Random::seeded(7);
    let all: Vec<_> = both.hosts.iter().map(Endpoint::of).collect();
    let picker = Picker::new(&both, &all, &random);
    let mut following = picker.following.borrow_mut();
    let now = later + Duration::from_secs(seconds);
    let round = Round {
        all: &all,
        wish: Wish {
            key: None,
            tried: &[],
            left: &[],
            random: &random,
        },
        now: Some(now),
    };
    let picks = (0..1100).map(|_| picker.pick_once(&mut following, round, 0).unwrap());
    picks.filter(|picked| *picked == 1).count()
}

#[test]
fn who_is_new_gets_its_share_little_by_little() {
    assert!(
        turns_of_the_newer(0).abs_diff(100) < 5,
        "a tenth of the other's at first"
    );
    assert!(
        turns_of_the_newer(50).abs_diff(1100 / 3) < 5,
        "half of the other's in the middle"
    );
    assert!(
        turns_of_the_newer(100).abs_diff(550) < 5,
        "as much as the other at the end"
    );
}

#[test]
fn an_aggressive_warm_up_begins_faster() {
    let slow = |aggression| SlowStart {
        window: Duration::from_secs(100),
        aggression,
        minimum_percent: 10.0,
    };
    let at = |aggression: f64, seconds: f64| super::growth(slow(aggression), seconds);
    assert!((at(1.0, 25.0) - 0.25).abs() < 1e-9);
    assert!((at(2.0, 25.0) - 0.5).abs() < 1e-9);
    assert!((at(0.5, 50.0) - 0.25).abs() < 1e-9);
    assert!((at(1.0, 0.0) - 0.1).abs() < 1e-9, "never below the minimum");
    assert!((at(1.0, 100.0) - 1.0).abs() < 1e-9);
}
