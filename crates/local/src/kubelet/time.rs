//! Kubernetes' two ways to write a time, both in UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `2026-11-22T20:25:06Z`, as in objects.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    format!("{}Z", seconds(time))
}

/// `2026-11-22T20:25:06.123456789Z`, as in logs.
pub(crate) fn rfc3339_nanos(time: SystemTime) -> String {
    format!("{}.{:09}Z", seconds(time), since_epoch(time).subsec_nanos())
}

/// Reads either.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    let (date, rest) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (clock, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    let mut clock = clock.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (hours, minutes, seconds) = (clock.next()??, clock.next()??, clock.next()??);
    let nanos: u32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let days = days_before(year, month)?.checked_add(day.checked_sub(1)?)?;
    UNIX_EPOCH.checked_add(Duration::new(
        days * 86_400 + hours * 3_600 + minutes * 60 + seconds,
        nanos,
    ))
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn seconds(time: SystemTime) -> String {
    let total = since_epoch(time).as_secs();
    let (mut days, clock) = (total / 86_400, total % 86_400);
    let mut year = 1970;
    while days >= year_length(year) {
        days -= year_length(year);
        year += 1;
    }
    let mut month = 1;
    while days >= month_length(year, month) {
        days -= month_length(year, month);
        month += 1;
    }
    format!(
        "{year}-{month:02}-{:02}T{:02}:{:02}:{:02}",
        days + 1,
        clock / 3_600,
        clock / 60 % 60,
        clock % 60
    )
}

fn days_before(year: u64, month: u64) -> Option<u64> {
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    let years: u64 = (1970..year).map(year_length).sum();
    Some(years + (1..month).map(|month| month_length(year, month)).sum::<u64>())
}

fn leap(year: u64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn year_length(year: u64) -> u64 {
    365 + u64::from(leap(year))
}

fn month_length(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + u64::from(leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read_back() {
        for (nanos, text) in [
            (0_u64, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z"),
            (1_795_379_106_123_456_789, "2026-11-22T20:25:06.123456789Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_nanos(nanos);
            assert_eq!(rfc3339_nanos(time), text);
            assert_eq!(parse(text), Some(time));
        }
        assert_eq!(
            parse("2026-11-22T20:25:06Z").map(rfc3339).as_deref(),
            Some("2026-11-22T20:25:06Z")
        );
        assert_eq!(parse("yesterday"), None);
        assert_eq!(parse("2026-13-01T00:00:00Z"), None);
    }
}
