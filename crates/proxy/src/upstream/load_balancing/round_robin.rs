//! One after the other. With weights, the turns of the heavy ones are spread out, not bunched: the cursor walks the
//! line of all weights in steps of the golden ratio, which fall evenly on it.

use std::cell::Cell;

use super::Members;

/// 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

pub(super) fn pick(members: &Members, cursor: &Cell<usize>) -> usize {
    let turn = cursor.get();
    cursor.set(turn.wrapping_add(1));
    match members.sums.last() {
        None => turn % members.endpoints.len(),
        Some(total) => {
            let step = (turn as u64).wrapping_mul(GOLDEN);
            let place = (u128::from(step) * u128::from(*total)) >> 64;
            members.sums.partition_point(|sum| u128::from(*sum) <= place)
        }
    }
}
