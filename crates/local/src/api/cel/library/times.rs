//! Parts of timestamps (in UTC or a zone given as an offset) and of durations.

use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::tz::{Offset, TimeZone};

use super::super::eval::{Outcome, failed};
use super::super::value::Value;
use super::Signature;

pub(super) const FUNCTIONS: &[Signature] = &[
    ("getFullYear", true, 0..=1),
    ("getMonth", true, 0..=1),
    ("getDate", true, 0..=1),
    ("getDayOfMonth", true, 0..=1),
    ("getDayOfWeek", true, 0..=1),
    ("getDayOfYear", true, 0..=1),
    ("getHours", true, 0..=1),
    ("getMinutes", true, 0..=1),
    ("getSeconds", true, 0..=1),
    ("getMilliseconds", true, 0..=1),
];

pub(super) fn call(name: &str, arguments: &[Value]) -> Option<Outcome> {
    let number = match arguments {
        [Value::Duration(nanos)] => match name {
            "getHours" => nanos / 3_600_000_000_000,
            "getMinutes" => nanos / 60_000_000_000,
            "getSeconds" => nanos / 1_000_000_000,
            "getMilliseconds" => nanos / 1_000_000,
            _ => return None,
        },
        [Value::Timestamp(nanos)] => part(name, *nanos, TimeZone::UTC)?,
        [Value::Timestamp(nanos), Value::String(zone)] => match zone_of(zone) {
            Some(zone) => part(name, *nanos, zone)?,
            None => return Some(failed(format!("unknown time zone {zone}"))),
        },
        _ => return None,
    };
    Some(Ok(Value::Int(i64::try_from(number).unwrap_or(i64::MAX))))
}

fn part(name: &str, nanos: i128, zone: TimeZone) -> Option<i128> {
    let at = Timestamp::from_nanosecond(nanos).ok()?.to_zoned(zone);
    Some(match name {
        "getFullYear" => i128::from(at.year()),
        "getMonth" => i128::from(at.month()) - 1,
        "getDate" => i128::from(at.day()),
        "getDayOfMonth" => i128::from(at.day()) - 1,
        "getDayOfWeek" => i128::from(at.weekday().to_sunday_zero_offset()),
        "getDayOfYear" => i128::from(at.day_of_year()) - 1,
        "getHours" => i128::from(at.hour()),
        "getMinutes" => i128::from(at.minute()),
        "getSeconds" => i128::from(at.second()),
        "getMilliseconds" => i128::from(at.millisecond()),
        _ => return None,
    })
}

/// `UTC`, `+02:00`, `-08:30`; the host's table of zones is not asked.
fn zone_of(text: &str) -> Option<TimeZone> {
    if text == "UTC" || text == "Z" {
        return Some(TimeZone::UTC);
    }
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
    Some(TimeZone::fixed(Offset::from_seconds(sign * seconds).ok()?))
}
