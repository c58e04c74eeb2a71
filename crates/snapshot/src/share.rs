//! A share of requests, in millionths: the finest that Istio's percentages go.

use serde::{Deserialize, Serialize};

/// How many of a million requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Share(pub u32);

impl Share {
    /// No request.
    pub const NONE: Self = Self(0);
    /// Every request.
    pub const ALL: Self = Self(Self::WHOLE);
    const WHOLE: u32 = 1_000_000;

    /// A percentage; what is finer than a millionth is cut off, as Istio does.
    pub fn from_percent(percent: f64) -> Self {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to the range just before"
        )]
        Self((percent * 10_000.0).clamp(0.0, f64::from(Self::WHOLE)) as u32)
    }

    /// Whether a request belongs to the share. `random` is any number, every value equally likely.
    pub fn takes(self, random: u64) -> bool {
        random % u64::from(Self::WHOLE) < u64::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_takes_as_many_of_a_million_as_it_says() {
        assert_eq!(Share::from_percent(12.5), Share(125_000));
        assert_eq!(Share::from_percent(0.0001), Share(1));
        assert_eq!(Share::from_percent(f64::NAN), Share::NONE);
        assert_eq!(Share::from_percent(1e9), Share::ALL);
        let taken = (0..1_000_000)
            .filter(|number| Share(125_000).takes(*number))
            .count();
        assert_eq!(taken, 125_000);
        assert!(!Share::NONE.takes(0) && Share::ALL.takes(u64::MAX));
    }
}
