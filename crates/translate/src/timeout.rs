//! `timeout` of a rule → limit of the whole exchange. Nothing said, and 0s, are no limit.

use std::time::Duration;

use resources::istio;

/// The limit of the whole exchange.
pub(crate) fn timeout(duration: Option<istio::Duration>) -> Option<Duration> {
    duration
        .filter(|duration| !duration.is_zero())
        .map(|duration| duration.0)
}
