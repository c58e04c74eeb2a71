//! Times as the API writes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::jiff::Timestamp;

/// `2026-11-22T20:25:06Z`: whole seconds, as in metadata.
pub fn rfc3339(at: SystemTime) -> String {
    i64::try_from(since_epoch(at).as_secs())
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or_default()
        .to_string()
}

/// `2026-11-22T20:25:06.123456789Z`, as in logs: always nine digits, so that texts sort as times do.
pub(crate) fn rfc3339_nanos(at: SystemTime) -> String {
    format!(
        "{}.{:09}Z",
        rfc3339(at).trim_end_matches('Z'),
        since_epoch(at).subsec_nanos()
    )
}

/// Reads any RFC 3339 time; `None` for other texts and for times before 1970.
pub fn parse(text: &str) -> Option<SystemTime> {
    let at: Timestamp = text.parse().ok()?;
    let nanoseconds = u64::try_from(at.as_nanosecond()).ok()?;
    Some(UNIX_EPOCH + Duration::from_nanos(nanoseconds))
}

fn since_epoch(at: SystemTime) -> Duration {
    at.duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_its_textual_form() {
        let at = UNIX_EPOCH + Duration::from_secs(1_795_379_106);
        assert_eq!(rfc3339(at), "2026-11-22T20:25:06Z");
        assert_eq!(parse("2026-11-22T20:25:06Z"), Some(at));
        assert_eq!(parse("2026-11-22T21:25:06+01:00"), Some(at));
        assert_eq!(parse("yesterday"), None);
    }

    #[test]
    fn times_of_logs_have_nine_digits() {
        for (nanos, text) in [
            (0_u64, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z"),
            (1_795_379_106_123_456_789, "2026-11-22T20:25:06.123456789Z"),
        ] {
            let at = UNIX_EPOCH + Duration::from_nanos(nanos);
            assert_eq!(rfc3339_nanos(at), text);
            assert_eq!(parse(text), Some(at));
        }
    }
}
