//! Kubernetes' two ways to write a time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::jiff::Timestamp;

/// `2026-11-22T20:25:06Z`, as in objects.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let seconds = i64::try_from(since_epoch(time).as_secs()).unwrap_or_default();
    Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

/// `2026-11-22T20:25:06.123456789Z`, as in logs: always nine digits, so that texts sort as times do.
pub(crate) fn rfc3339_nanos(time: SystemTime) -> String {
    format!(
        "{}.{:09}Z",
        rfc3339(time).trim_end_matches('Z'),
        since_epoch(time).subsec_nanos()
    )
}

/// Reads either.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    let nanoseconds = text.parse::<Timestamp>().ok()?.as_nanosecond();
    Some(UNIX_EPOCH + Duration::from_nanos(u64::try_from(nanoseconds).ok()?))
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
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
    }
}
