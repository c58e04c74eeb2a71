//! How requests are spread over priorities, and when unhealthy endpoints are used all the same. Pure; Envoy's rules
//! and numbers (`LoadBalancerBase`), in whole percents as there.

/// A priority counts as whole while 1/1.4 of its endpoints are healthy.
const OVERPROVISIONING: u64 = 140;

/// How many endpoints a priority has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Population {
    pub(super) all: u64,
    pub(super) healthy: u64,
}

/// What a priority gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// Percentage of requests; those of all priorities come to 100.
    pub(super) percent: u64,
    /// Its unhealthy endpoints are used too.
    pub(super) panic: bool,
}

/// What each priority gets. `panic_percent`: with a smaller share of healthy endpoints than this, all are used, but
/// only where all priorities together cannot bear the load.
pub(super) fn loads(populations: &[Population], panic_percent: u8) -> Vec<Load> {
    let mut loads = vec![Load::default(); populations.len()];
    let health = |population: &Population| {
        (OVERPROVISIONING * population.healthy)
            .checked_div(population.all)
            .unwrap_or(0)
            .min(100)
    };
    let available = populations.iter().map(health).sum::<u64>().min(100);
    let share = |population: &Population| (health(population) * 100).checked_div(available);
    if available > 0 {
        let mut left = 100;
        for (load, population) in loads.iter_mut().zip(populations) {
            load.percent = left.min(share(population).unwrap_or(0));
            left -= load.percent;
        }
        // What rounding leaves over.
        let first = populations.iter().position(|population| health(population) > 0);
        if let Some(first) = first {
            loads[first].percent += left;
        }
    }
    let panics = |population: &Population| {
        available < 100 && population.healthy * 100 < u64::from(panic_percent) * population.all.max(1)
    };
    for (load, population) in loads.iter_mut().zip(populations) {
        load.panic = panics(population);
    }
    if loads.iter().all(|load| load.panic) {
        in_total_panic(&mut loads, populations);
    } else if available == 0 {
        // Nobody is there, and nobody else is to be used.
        loads[0].percent = 100;
    }
    loads
}

/// Nobody is told apart any more: priorities get as much as they have endpoints.
fn in_total_panic(loads: &mut [Load], populations: &[Population]) {
    let total: u64 = populations.iter().map(|population| population.all).sum();
    let mut left = 100;
    for (load, population) in loads.iter_mut().zip(populations) {
        load.percent = (100 * population.all).checked_div(total).unwrap_or(0);
        left -= load.percent;
    }
    let first = populations.iter().position(|population| population.all > 0);
    if let Some(load) = loads.get_mut(first.unwrap_or(0)) {
        load.percent += left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Percentages; a panicking priority has a negative one.
    fn spread(populations: &[(u64, u64)], panic_percent: u8) -> Vec<i64> {
        let populations: Vec<_> = populations
            .iter()
            .map(|(healthy, all)| Population {
                all: *all,
                healthy: *healthy,
            })
            .collect();
        let loads = loads(&populations, panic_percent);
        loads
            .iter()
            .map(|load| i64::try_from(load.percent).unwrap() * if load.panic { -1 } else { 1 })
            .collect()
    }

    #[test]
    fn the_first_priority_bears_all_until_seven_tenths_of_it_are_left() {
        assert_eq!(spread(&[(10, 10), (10, 10)], 0), [100, 0]);
        assert_eq!(spread(&[(8, 10), (10, 10)], 0), [100, 0]);
        assert_eq!(spread(&[(7, 10), (10, 10)], 0), [98, 2]);
        assert_eq!(spread(&[(5, 10), (10, 10)], 0), [70, 30]);
        assert_eq!(spread(&[(0, 10), (10, 10)], 0), [0, 100]);
        assert_eq!(spread(&[(0, 0), (0, 10), (1, 1)], 0), [0, 0, 100]);
        assert_eq!(
            spread(&[(1, 4), (1, 4)], 0),
            [50, 50],
            "what is there is scaled up"
        );
        assert_eq!(spread(&[(1, 3), (1, 3)], 0), [50, 50]);
    }

    #[test]
    fn without_panic_nobody_else_is_used() {
        assert_eq!(spread(&[(0, 3)], 0), [100]);
        assert_eq!(spread(&[(0, 3), (0, 2)], 0), [100, 0]);
        assert_eq!(spread(&[(1, 10)], 0), [100]);
    }

    #[test]
    fn panic_needs_a_threshold_and_too_little_health_everywhere() {
        assert_eq!(spread(&[(1, 10)], 50), [-100]);
        assert_eq!(spread(&[(1, 10), (10, 10)], 50), [14, 86], "the second bears it");
        assert_eq!(spread(&[(2, 10), (5, 10)], 30), [-29, 71]);
        assert_eq!(
            spread(&[(0, 3), (0, 1)], 50),
            [-75, -25],
            "total panic: by number"
        );
        assert_eq!(spread(&[(0, 0)], 50), [-100], "an empty cluster");
    }
}
