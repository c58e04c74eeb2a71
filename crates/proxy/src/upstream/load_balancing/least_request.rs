//! The better of two random endpoints by requests in flight (power of two choices); Istio's default.
//!
//! Both are drawn by weight, and the load of each is seen relative to its weight.

use super::Members;

pub(super) fn pick(members: &Members, numbers: [u64; 2]) -> usize {
    let first = members.by_weight(numbers[0]);
    let mut second = members.by_weight(numbers[1]);
    if second == first {
        // Two different ones, or there would be no choice; neighbours are as random as the first is.
        second = (first + 1) % members.endpoints.len();
    }
    let load = |index: usize| {
        let endpoint = &members.endpoints[index];
        (u64::from(endpoint.pool.in_flight()), u64::from(endpoint.weight))
    };
    let ((busy1, weight1), (busy2, weight2)) = (load(first), load(second));
    if busy2 * weight1 < busy1 * weight2 {
        second
    } else {
        first
    }
}
