//! What requests of one worker may hold in memory together, beyond what is under way on their connections.

use std::cell::Cell;

/// Most bytes of request bodies that are kept for another try.
pub(crate) const KEPT: usize = 64 << 20;
/// Most of it for one request.
pub(crate) const SHARE: usize = KEPT / 16;
const _: () = assert!(SHARE == snapshot::ext_authz::LONGEST_BODY as usize);
/// Most copies of requests under way to mirrors.
const COPIES: usize = 1024;

/// How much of it is in use.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    kept: Cell<usize>,
    copies: Cell<usize>,
}

impl Bounds {
    /// Room for that many more bytes of bodies; whoever takes it gives it back. Whether there was room.
    pub(crate) fn take_kept(&self, bytes: usize) -> bool {
        let kept = self.kept.get() + bytes;
        let fits = kept <= KEPT;
        if fits {
            self.kept.set(kept);
        }
        fits
    }

    /// Gives back what was taken.
    pub(crate) fn give_kept(&self, bytes: usize) {
        self.kept.set(self.kept.get() - bytes);
    }

    /// Begins a copy; whoever begins one ends it. Whether one more may begin.
    pub(crate) fn begin_copy(&self) -> bool {
        let begins = self.copies.get() < COPIES;
        if begins {
            self.copies.set(self.copies.get() + 1);
        }
        begins
    }

    /// A copy is done with.
    pub(crate) fn end_copy(&self) {
        self.copies.set(self.copies.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let bounds = Bounds::default();
        assert!(bounds.take_kept(KEPT) && !bounds.take_kept(1));
        bounds.give_kept(1);
        assert!(bounds.take_kept(1));
        assert!((0..COPIES).all(|_| bounds.begin_copy()) && !bounds.begin_copy());
        bounds.end_copy();
        assert!(bounds.begin_copy());
    }
}
