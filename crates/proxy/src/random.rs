//! Random numbers of one worker: fast, seeded by the system, not for secrets.

use std::cell::RefCell;

use rand::Rng;
#[cfg(test)]
use rand::SeedableRng;
use rand::rngs::SmallRng;

/// A generator of one worker.
#[derive(Debug)]
pub(crate) struct Random(RefCell<SmallRng>);

impl Random {
    /// Seeded by the system.
    pub(crate) fn new() -> Self {
        Self(RefCell::new(rand::make_rng()))
    }

    /// Always the same numbers, for tests.
    #[cfg(test)]
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(RefCell::new(SmallRng::seed_from_u64(seed)))
    }

    /// Any number, every one equally likely.
    pub(crate) fn next(&self) -> u64 {
        self.0.borrow_mut().next_u64()
    }

    /// A random UUID (version 4), for `x-request-id`.
    pub(crate) fn uuid(&self) -> String {
        let (high, low) = (self.next(), self.next());
        let high = (high & !0xf000) | 0x4000;
        let low = (low >> 2) | (1 << 63);
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_says_that_it_is_random() {
        let text = Random::seeded(3).uuid();
        assert_eq!((text.len(), &text[14..15]), (36, "4"));
        assert!(matches!(&text[19..20], "8" | "9" | "a" | "b"), "{text}");
        let random = Random::new();
        assert_ne!(random.uuid(), random.uuid());
    }
}
