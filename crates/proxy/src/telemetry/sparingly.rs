//! Lines about what strangers do: they may knock as often as they like, and yet fill no log.

use std::cell::Cell;
use std::time::Duration;

use daemon::clock::Instant;

/// Between two lines.
const PAUSE: Duration = Duration::from_secs(1);

/// Tells, for one worker and one sort of line, whether it is time for another one.
#[derive(Debug, Default)]
pub(crate) struct Sparingly {
    last: Cell<Option<Instant>>,
    unsaid: Cell<u64>,
}

impl Sparingly {
    /// How many lines were left out since the last one, if this one may be written.
    pub(crate) fn say(&self, now: Instant) -> Option<u64> {
        let early = self.last.get().is_some_and(|last| now - last < PAUSE);
        if early {
            self.unsaid.set(self.unsaid.get().saturating_add(1));
            return None;
        }
        self.last.set(Some(now));
        Some(self.unsaid.take())
    }
}

#[cfg(test)]
mod tests {
    use daemon::clock;

    use super::*;

    #[test]
    fn one_line_a_second_tells_how_many_there_were() {
        let (lines, now) = (Sparingly::default(), clock::now());
        assert_eq!(lines.say(now), Some(0));
        assert_eq!(lines.say(now), None);
        assert_eq!(lines.say(now + PAUSE / 2), None);
        assert_eq!(lines.say(now + PAUSE), Some(2));
    }
}
