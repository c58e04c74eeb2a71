//! `maxUnavailable: 25%`: numbers that may be given as a share of another one.

use serde_json::Value;

use super::object::number;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    Up,
    Down,
}

/// A number, or a percentage of `whole`.
pub(super) fn of(value: &Value, whole: i64, round: Round) -> i64 {
    let Some(percent) = value.as_str().and_then(|text| text.strip_suffix('%')) else {
        return number(value).max(0);
    };
    let percent = percent.parse::<i64>().unwrap_or(0).clamp(0, 1_000_000);
    let hundredths = percent.saturating_mul(whole);
    match round {
        Round::Up => hundredths.saturating_add(99) / 100,
        Round::Down => hundredths / 100,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_rounded_as_asked_and_numbers_taken_as_they_are() {
        assert_eq!(of(&"25%".into(), 10, Round::Up), 3);
        assert_eq!(of(&"25%".into(), 10, Round::Down), 2);
        assert_eq!(of(&7.into(), 10, Round::Down), 7);
        assert_eq!(of(&Value::Null, 10, Round::Up), 0);
    }
}
