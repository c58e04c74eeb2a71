//! Times as the API writes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::jiff::Timestamp;

/// `2026-11-22T20:25:06Z`: whole seconds, as in metadata.
pub fn rfc3339(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or_default()
        .to_string()
}

/// Reads any RFC 3339 time; `None` for other texts and for times before 1970.
pub fn parse(text: &str) -> Option<SystemTime> {
    let at: Timestamp = text.parse().ok()?;
    let nanoseconds = u64::try_from(at.as_nanosecond()).ok()?;
    Some(UNIX_EPOCH + Duration::from_nanos(nanoseconds))
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
}
