//! `retries` of a rule → retries. Nothing said is Istio's default: two more tries after failures that provably
//! reached nobody.

use resources::istio::virtual_service::HttpRetry;
use snapshot::{BackOff, Retry};

use crate::timeout::timeout;

/// Retries of an outbound route. Where the choice is `consistent`, another endpoint is looked for only if a rule
/// says so.
pub(crate) fn retry(settings: Option<&HttpRetry>, consistent: bool) -> Option<Retry> {
    let default = Retry {
        avoid_previous_hosts: !consistent,
        ..Retry::default()
    };
    let Some(settings) = settings else {
        return Some(default);
    };
    let attempts = u32::try_from(settings.attempts)
        .ok()
        .filter(|attempts| *attempts > 0)?;
    let mut on = Vec::new();
    let mut status_codes = Vec::new();
    for condition in settings
        .retry_on
        .split(',')
        .map(str::trim)
        .filter(|condition| !condition.is_empty())
    {
        match condition.parse().ok().filter(|status| is_known(*status)) {
            Some(status) => status_codes.push(status),
            None => on.push(condition.to_owned()),
        }
    }
    let by_status = "retriable-status-codes";
    if !status_codes.is_empty() && !on.iter().any(|condition| condition == by_status) {
        on.push(by_status.into());
    }
    Some(Retry {
        attempts,
        on: if on.is_empty() { default.on } else { on },
        status_codes,
        per_try_timeout: timeout(settings.per_try_timeout),
        avoid_previous_hosts: settings
            .retry_ignore_previous_hosts
            .unwrap_or(default.avoid_previous_hosts),
        remote_localities: settings.retry_remote_localities.unwrap_or_default(),
        back_off: settings
            .backoff
            .map_or_else(BackOff::default, |base| BackOff::from(base.0)),
    })
}

/// Whether a number is a status that has a name; Istio hands others to Envoy as words, which Envoy ignores.
fn is_known(status: u16) -> bool {
    matches!(status, 100..=103 | 200..=208 | 226 | 300..=305 | 307 | 308 | 400..=418 | 421..=426)
        || matches!(status, 428 | 429 | 431 | 451 | 500..=508 | 510 | 511)
}

/// Retries from a sidecar to its own workload: a connection that the workload had closed, unnoticed, before the
/// request was on it.
pub(crate) fn inbound_retry() -> Retry {
    Retry {
        attempts: 2,
        on: vec!["reset-before-request".into()],
        avoid_previous_hosts: false,
        ..Retry::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_among_the_conditions_become_retriable_statuses() {
        let settings = HttpRetry {
            attempts: 3,
            retry_on: "5xx, 409".into(),
            ..HttpRetry::default()
        };
        let retry = retry(Some(&settings), false).unwrap();
        assert_eq!((retry.attempts, retry.status_codes), (3, vec![409]));
        assert_eq!(retry.on, ["5xx", "retriable-status-codes"]);
    }

    #[test]
    fn no_attempts_switch_retries_off_and_silence_is_the_default() {
        assert_eq!(retry(Some(&HttpRetry::default()), false), None);
        assert_eq!(retry(None, false), Some(Retry::default()));
    }
}
