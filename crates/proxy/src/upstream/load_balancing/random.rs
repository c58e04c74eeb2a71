//! Any endpoint, each with the chance that its weight gives it.

use super::Members;

pub(super) fn pick(members: &Members, number: u64) -> usize {
    members.by_weight(number)
}
