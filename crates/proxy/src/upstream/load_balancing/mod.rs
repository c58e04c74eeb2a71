//! Picks one endpoint, as Envoy does.
//!
//! What can be worked out beforehand is the [`Plan`], one for all workers ([`Balancer`]); a [`Picker`] is what one
//! worker needs to follow it: cursors and schedules. A pick allocates nothing and waits for nobody; that there is a
//! next plan is one look at an atomic number.

mod balancer;
mod maglev;
mod plan;
mod priorities;
mod ring;
mod schedule;
#[cfg(test)]
mod tests;
pub(crate) mod xxhash;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use daemon::clock::{self, Instant};
use snapshot::{LoadBalancing, SlowStart};
use tokio::sync::watch;

use super::Endpoint;
use crate::random::Random;
pub(crate) use balancer::{Balancer, Host};
pub(crate) use plan::Plan;
use plan::{Group, Priority};
use schedule::Schedule;

/// How often another endpoint is looked for when one was tried already (Envoy: `host_selection_retry_max_attempts`).
const RESELECTIONS: usize = 5;

/// Picks endpoints of one cluster for one worker.
#[derive(Debug)]
pub(crate) struct Picker {
    policy: LoadBalancing,
    slow_start: Option<SlowStart>,
    plans: RefCell<watch::Receiver<Arc<Plan>>>,
    following: RefCell<Following>,
}

/// The plan that is followed, and how far.
#[derive(Debug)]
struct Following {
    plan: Arc<Plan>,
    /// One for each priority.
    states: Vec<State>,
}

#[derive(Debug)]
struct State {
    places: Schedule,
    all: Turns,
    by_place: Vec<Turns>,
}

/// Whose turn it is in a group.
#[derive(Debug)]
enum Turns {
    Scheduled(Schedule),
    Cursor(Cell<usize>),
}

/// What a pick depends on besides the plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    /// For a consistent choice; a random one without.
    pub(crate) key: Option<u64>,
    /// Others are preferred.
    pub(crate) tried: &'a [SocketAddr],
    /// Priorities without any of these are preferred.
    pub(crate) left: &'a [SocketAddr],
    pub(crate) random: &'a Random,
}

impl<'a> Wish<'a> {
    /// Whoever.
    pub(crate) fn any(random: &'a Random) -> Self {
        Self {
            key: None,
            tried: &[],
            left: &[],
            random,
        }
    }
}

/// One pick.
#[derive(Clone, Copy)]
struct Round<'a> {
    all: &'a [Rc<Endpoint>],
    wish: Wish<'a>,
    /// Given only where it matters.
    now: Option<Instant>,
}

impl Picker {
    /// `all` are the endpoints of the balancer, in its order.
    pub(crate) fn new(balancer: &Balancer, all: &[Rc<Endpoint>], random: &Random) -> Self {
        let plans = balancer.follow();
        let picker = Self {
            policy: balancer.facts.load_balancing,
            slow_start: balancer.facts.slow_start,
            following: RefCell::new(Following {
                plan: Arc::default(),
                states: Vec::new(),
            }),
            plans: RefCell::new(plans),
        };
        picker.follow(all, random);
        picker
    }

    /// Picks one of `all`; `None` when nobody may be picked.
    pub(crate) fn pick<'e>(&self, all: &'e [Rc<Endpoint>], wish: Wish<'_>) -> Option<&'e Rc<Endpoint>> {
        // An error means that the balancer is gone; its last plan holds.
        if self.plans.borrow().has_changed().unwrap_or(false) {
            self.follow(all, wish.random);
        }
        let mut following = self.following.borrow_mut();
        // Only who warms endpoints up looks at the clock.
        let now = self.slow_start.is_some().then(clock::now);
        let round = Round { all, wish, now };
        let mut last = None;
        for attempt in 0..=RESELECTIONS {
            let member = self.pick_once(&mut following, round, attempt)?;
            let endpoint = all.get(member as usize)?;
            if !wish.tried.contains(&endpoint.address) {
                return Some(endpoint);
            }
            last = Some(endpoint);
        }
        last
    }

    fn pick_once(&self, following: &mut Following, round: Round<'_>, attempt: usize) -> Option<u32> {
        let Following { plan, states } = following;
        let Wish { key, random, .. } = round.wish;
        let key = key.unwrap_or_else(|| random.next());
        let percent = key % 100 + 1;
        let by_load = || {
            let mut priorities = plan.priorities.iter();
            priorities.position(|priority| percent <= priority.until)
        };
        let number = elsewhere(plan, round, key).or_else(by_load)?;
        let (priority, state) = (&plan.priorities[number], &mut states[number]);
        if let Some(table) = &priority.table {
            return table.choose(key, attempt);
        }
        let place = state
            .places
            .next(|place| priority.places[place as usize].0)
            .map(|place| place as usize);
        let (group, turns) = match place {
            Some(place) => (&priority.places[place].1, &mut state.by_place[place]),
            None => (&priority.all, &mut state.all),
        };
        self.choose(group, turns, round)
    }

    fn choose(&self, group: &Group, turns: &mut Turns, round: Round<'_>) -> Option<u32> {
        let (members, random) = (&group.members, round.wish.random);
        let endpoint = |member: u32| &*round.all[member as usize];
        let cursor = match turns {
            Turns::Scheduled(schedule) => {
                let weight = |turn: u32| self.weight(endpoint(members[turn as usize]), round.now);
                let turn = schedule.next(weight)?;
                return members.get(turn as usize).copied();
            }
            Turns::Cursor(cursor) => cursor,
        };
        let any = || members.get(below(random.next(), members.len())).copied();
        match self.policy {
            LoadBalancing::RoundRobin => {
                let turn = cursor.get();
                cursor.set(turn.wrapping_add(1));
                members.get(turn.checked_rem(members.len())?).copied()
            }
            LoadBalancing::LeastRequest => {
                let (first, second) = (any()?, any()?);
                let busy = |member: u32| endpoint(member).pool.in_flight();
                Some(if busy(second) < busy(first) { second } else { first })
            }
            LoadBalancing::Random | LoadBalancing::RingHash { .. } | LoadBalancing::Maglev { .. } => any(),
        }
    }

    /// What an endpoint weighs in a schedule, now.
    fn weight(&self, endpoint: &Endpoint, now: Option<Instant>) -> f64 {
        let weight = f64::from(endpoint.host.weight);
        let weight = match self.policy {
            LoadBalancing::LeastRequest => weight / (f64::from(endpoint.pool.in_flight()) + 1.0),
            _ => weight,
        };
        match (self.slow_start, now) {
            (Some(slow), Some(now)) => {
                let age = now.saturating_duration_since(endpoint.host.since);
                weight * growth(slow, age.as_secs_f64())
            }
            _ => weight,
        }
    }

    /// Takes up the plan in force.
    fn follow(&self, all: &[Rc<Endpoint>], random: &Random) {
        let plan = self.plans.borrow_mut().borrow_and_update().clone();
        let states = plan
            .priorities
            .iter()
            .map(|priority| self.state(priority, all, random));
        let states = states.collect();
        self.following.replace(Following { plan, states });
    }

    fn state(&self, priority: &Priority, all: &[Rc<Endpoint>], random: &Random) -> State {
        let now = self.slow_start.is_some().then(clock::now);
        let count = |length: usize| u32::try_from(length).expect("far fewer endpoints than 2^32");
        let turns = |group: &Group| {
            // Only who takes turns looks at weights.
            let by_weight = matches!(
                self.policy,
                LoadBalancing::RoundRobin | LoadBalancing::LeastRequest
            );
            if group.scheduled && by_weight {
                let weight = |turn: u32| self.weight(&all[group.members[turn as usize] as usize], now);
                Turns::Scheduled(Schedule::new(count(group.members.len()), weight, random))
            } else {
                Turns::Cursor(Cell::new(below(random.next(), group.members.len().max(1))))
            }
        };
        let weight = |place: u32| priority.places[place as usize].0;
        State {
            places: Schedule::new(count(priority.places.len()), weight, random),
            all: turns(&priority.all),
            by_place: priority.places.iter().map(|(_, group)| turns(group)).collect(),
        }
    }
}

/// The part of its weight that an endpoint has after so many seconds in the cluster.
fn growth(slow: SlowStart, seconds: f64) -> f64 {
    let window = slow.window.as_secs_f64();
    if seconds >= window {
        return 1.0;
    }
    let passed = seconds.max(0.001) / window;
    let aggression = if slow.aggression > 0.0 {
        slow.aggression
    } else {
        1.0
    };
    passed.powf(1.0 / aggression).max(slow.minimum_percent / 100.0)
}

/// A priority none of whose members has been tried, if there is one with members (Envoy: `previous_priorities`).
fn elsewhere(plan: &Plan, round: Round<'_>, key: u64) -> Option<usize> {
    let left = round.wish.left;
    if left.is_empty() {
        return None;
    }
    let was_tried = |member: &u32| left.contains(&round.all[*member as usize].address);
    let fresh = plan.priorities.iter().enumerate().filter(|(_, priority)| {
        let members = &priority.all.members;
        !members.is_empty() && !members.iter().any(was_tried)
    });
    let fresh: Vec<usize> = fresh.map(|(number, _)| number).collect();
    fresh.get(below(key, fresh.len().max(1))).copied()
}

/// A number below `limit` from any number, without division.
fn below(number: u64, limit: usize) -> usize {
    let wide = u128::from(number) * limit as u128;
    usize::try_from(wide >> 64).expect("less than limit")
}
