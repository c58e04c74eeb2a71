//! How clusters pick endpoints.

use proptest::option::of;
use proptest::prelude::*;
use snapshot::{LoadBalancing, LocalityBalancing, SlowStart};

use super::limit;

/// How a cluster with members picks one.
#[derive(Clone, Debug, Default)]
pub(super) struct Balancing {
    pub(super) policy: LoadBalancing,
    pub(super) slow_start: Option<SlowStart>,
    pub(super) locality: LocalityBalancing,
    pub(super) panic_percent: u8,
}

impl From<LoadBalancing> for Balancing {
    fn from(policy: LoadBalancing) -> Self {
        Self {
            policy,
            ..Self::default()
        }
    }
}

pub(super) fn balancing() -> impl Strategy<Value = Balancing> {
    let slow_start =
        (limit(), 0.1..9.0, 0.0..100.0).prop_map(|(window, aggression, minimum_percent)| SlowStart {
            window,
            aggression,
            minimum_percent,
        });
    let slow = prop_oneof![Just(LoadBalancing::LeastRequest), Just(LoadBalancing::RoundRobin)];
    let ring = (1..1024u64, 1024..9000u64).prop_map(|(minimum_size, maximum_size)| LoadBalancing::RingHash {
        minimum_size,
        maximum_size,
    });
    let table = proptest::sample::select(vec![2, 65_537, 5_000_011]);
    let maglev = table.prop_map(|table_size| LoadBalancing::Maglev { table_size });
    let policy = prop_oneof![
        (slow, of(slow_start)),
        (prop_oneof![Just(LoadBalancing::Random), ring, maglev], Just(None)),
    ];
    let zones =
        (0..=100u8, 0..9u64).prop_map(|(enabled_percent, minimum_size)| LocalityBalancing::ZoneAware {
            enabled_percent,
            minimum_size,
        });
    let locality = prop_oneof![
        Just(LocalityBalancing::Ignored),
        Just(LocalityBalancing::Weighted),
        zones
    ];
    (policy, locality, 0..=100u8).prop_map(|((policy, slow_start), locality, panic_percent)| Balancing {
        policy,
        slow_start,
        locality,
        panic_percent,
    })
}
