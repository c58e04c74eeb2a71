//! Distribution of picks: bounds are 4.5 standard deviations, the generator is seeded.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use snapshot::{Endpoint as Fact, Endpoints, Health, LoadBalancing, LocalityEndpoints};

use super::{Members, pick};
use crate::random::Random;
use crate::upstream::Endpoint;

fn members(facts: &[(u32, Health, u32)]) -> Members {
    let group = |(position, (weight, health, priority)): (usize, &(u32, Health, u32))| LocalityEndpoints {
        priority: *priority,
        weight: 1,
        endpoints: vec![Fact {
            weight: *weight,
            health: *health,
            ..Fact::new(([10, 0, 0, u8::try_from(position).unwrap()], 80).into())
        }],
        ..LocalityEndpoints::default()
    };
    let endpoints = Endpoints {
        cluster: "c".into(),
        localities: facts.iter().enumerate().map(group).collect(),
    };
    let all: Vec<_> = endpoints
        .iter()
        .map(|fact| {
            Rc::new(Endpoint {
                address: fact.address,
                weight: fact.weight,
                health: fact.health,
                workload: Arc::default(),
                pool: Rc::default(),
                label: Cell::default(),
            })
        })
        .collect();
    Members::new(Some(&endpoints), &all)
}

fn counts(policy: LoadBalancing, members: &Members, picks: usize) -> [usize; 4] {
    let (cursor, random, mut counts) = (Cell::new(0), Random::seeded(7), [0; 4]);
    for _ in 0..picks {
        let address = pick(policy, members, &cursor, &random).unwrap().address;
        let std::net::IpAddr::V4(address) = address.ip() else {
            panic!("only IPv4 here")
        };
        counts[usize::from(address.octets()[3])] += 1;
    }
    counts
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

const UP: Health = Health::Healthy;

#[test]
fn random_and_round_robin_honour_weights() {
    let weighted = members(&[(1, UP, 0), (2, UP, 0), (5, UP, 0)]);
    let random = counts(LoadBalancing::Random, &weighted, 8000);
    assert_close(random[0], 8000, 1.0 / 8.0);
    assert_close(random[2], 8000, 5.0 / 8.0);
    let turns = counts(LoadBalancing::RoundRobin, &weighted, 8000);
    assert!(
        turns[0].abs_diff(1000) < 10 && turns[1].abs_diff(2000) < 10,
        "{turns:?}"
    );
}

#[test]
fn equal_weights_share_equally() {
    let equal = members(&[(1, UP, 0), (1, UP, 0)]);
    for policy in [LoadBalancing::Random, LoadBalancing::LeastRequest] {
        assert_close(counts(policy, &equal, 4000)[0], 4000, 0.5);
    }
    assert_eq!(counts(LoadBalancing::RoundRobin, &equal, 10), [5, 5, 0, 0]);
}

#[test]
fn draining_and_unhealthy_endpoints_are_never_picked() {
    let some = members(&[(9, Health::Draining, 0), (9, Health::Unhealthy, 0), (1, UP, 0)]);
    for policy in [
        LoadBalancing::Random,
        LoadBalancing::RoundRobin,
        LoadBalancing::LeastRequest,
    ] {
        assert_eq!(counts(policy, &some, 100), [0, 0, 100, 0]);
    }
    let none = members(&[(1, Health::Draining, 0)]);
    assert!(pick(LoadBalancing::Random, &none, &Cell::new(0), &Random::seeded(1)).is_none());
}

#[test]
fn the_next_priority_serves_only_when_the_first_has_nobody() {
    let both = members(&[(1, UP, 1), (1, UP, 0)]);
    assert_eq!(counts(LoadBalancing::Random, &both, 50), [0, 50, 0, 0]);
    let failed = members(&[(1, UP, 1), (1, Health::Unhealthy, 0)]);
    assert_eq!(counts(LoadBalancing::Random, &failed, 50), [50, 0, 0, 0]);
}

#[test]
fn least_request_prefers_the_idle_one_of_two() {
    let two = members(&[(1, UP, 0), (1, UP, 0)]);
    let _busy: Vec<_> = (0..3).map(|_| two.endpoints[0].pool.begin_request()).collect();
    assert_eq!(counts(LoadBalancing::LeastRequest, &two, 100), [0, 100, 0, 0]);
}
