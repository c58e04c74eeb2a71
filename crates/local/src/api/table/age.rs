//! Ages as kubectl's users know them: two digits of precision, no more.

use std::time::{Duration, SystemTime};

use crate::api::time;

/// The time since a timestamp; `<unknown>` without one.
pub(super) fn since(timestamp: Option<&str>, now: SystemTime) -> String {
    let Some(then) = timestamp.and_then(time::parse) else {
        return "<unknown>".to_owned();
    };
    match now.duration_since(then) {
        Ok(age) => human(age),
        // Clocks differ a little.
        Err(error) if error.duration() < Duration::from_secs(2) => "0s".to_owned(),
        Err(_) => "<invalid>".to_owned(),
    }
}

/// `HumanDuration` of `apimachinery/pkg/util/duration`.
pub(super) fn human(age: Duration) -> String {
    let seconds = age.as_secs();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let pair = |large: u64, unit: char, small: u64, small_unit: char| {
        if small == 0 {
            format!("{large}{unit}")
        } else {
            format!("{large}{unit}{small}{small_unit}")
        }
    };
    match (seconds, minutes, hours) {
        (..120, _, _) => format!("{seconds}s"),
        (_, ..10, _) => pair(minutes, 'm', seconds % 60, 's'),
        (_, ..180, _) => format!("{minutes}m"),
        (_, _, ..8) => pair(hours, 'h', minutes % 60, 'm'),
        (_, _, ..48) => format!("{hours}h"),
        (_, _, ..192) => pair(hours / 24, 'd', hours % 24, 'h'),
        (_, _, ..17_520) => format!("{}d", hours / 24),
        (_, _, ..70_080) => pair(hours / 24 / 365, 'y', hours / 24 % 365, 'd'),
        _ => format!("{}y", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_shortened_as_kubectl_does() {
        for (seconds, wanted) in [
            (0, "0s"),
            (61, "61s"),
            (119, "119s"),
            (120, "2m"),
            (329, "5m29s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (10_860, "3h1m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (180_000, "2d2h"),
            (691_200, "8d"),
            (63_072_000, "2y"),
            (63_158_400, "2y1d"),
            (315_360_000, "10y"),
        ] {
            assert_eq!(human(Duration::from_secs(seconds)), wanted);
        }
    }
}
