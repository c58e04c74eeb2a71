//! Picks one endpoint. Each algorithm is a pure function of the members, a random number and a cursor.

mod least_request;
mod random;
mod round_robin;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::rc::Rc;

use snapshot::{Endpoints, Health, LoadBalancing};

use super::Endpoint;
use crate::random::Random;

/// The endpoints that may be picked: healthy ones, of the first priority that has any.
#[derive(Debug, Default)]
pub(crate) struct Members {
    endpoints: Vec<Rc<Endpoint>>,
    /// Sums of weights up to and with each; empty when all weigh the same.
    sums: Vec<u64>,
}

impl Members {
    /// `all` are the endpoints of `endpoints`, in its order.
    pub(crate) fn new(endpoints: Option<&Endpoints>, all: &[Rc<Endpoint>]) -> Self {
        let groups = endpoints.into_iter().flat_map(|endpoints| &endpoints.localities);
        let priorities = groups.flat_map(|group| std::iter::repeat_n(group.priority, group.endpoints.len()));
        let healthy = || {
            priorities
                .clone()
                .zip(all)
                .filter(|(_, endpoint)| endpoint.health == Health::Healthy)
        };
        let first = healthy().map(|(priority, _)| priority).min();
        let endpoints: Vec<_> = healthy()
            .filter(|(priority, _)| Some(*priority) == first)
            .map(|(_, endpoint)| endpoint.clone())
            .collect();
        let equal = endpoints.windows(2).all(|pair| pair[0].weight == pair[1].weight);
        let sums = endpoints.iter().scan(0, |sum, endpoint| {
            *sum += u64::from(endpoint.weight);
            Some(*sum)
        });
        let sums = if equal { Vec::new() } else { sums.collect() };
        Self { endpoints, sums }
    }

    /// The member that owns a place on the line of all weights; any number will do.
    fn by_weight(&self, number: u64) -> usize {
        match self.sums.last() {
            None => below(number, self.endpoints.len()),
            Some(total) => {
                let place = number % total;
                self.sums.partition_point(|sum| *sum <= place)
            }
        }
    }
}

/// Picks a member; `None` when there is none.
pub(crate) fn pick<'m>(
    policy: LoadBalancing,
    members: &'m Members,
    cursor: &Cell<usize>,
    random: &Random,
) -> Option<&'m Rc<Endpoint>> {
    let endpoints = &members.endpoints;
    let index = match endpoints.len() {
        0 => return None,
        1 => 0,
        _ => match policy {
            // A consistent choice without a key is any.
            LoadBalancing::RingHash { .. } | LoadBalancing::Maglev { .. } | LoadBalancing::Random => {
                random::pick(members, random.next())
            }
            LoadBalancing::RoundRobin => round_robin::pick(members, cursor),
            LoadBalancing::LeastRequest => least_request::pick(members, [random.next(), random.next()]),
        },
    };
    endpoints.get(index)
}

/// A number below `limit` (not 0) from any number, without division.
fn below(number: u64, limit: usize) -> usize {
    let wide = u128::from(number) * limit as u128;
    usize::try_from(wide >> 64).expect("less than limit")
}
