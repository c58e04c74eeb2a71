//! When a failing endpoint is set aside. Istio: `OutlierDetection`; Envoy's words for the limits.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When an endpoint is set aside, for how long, and how many may be at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutlierDetection {
    /// Answers 5xx in a row; 0 never sets aside for them.
    pub consecutive_5xx: u32,
    /// Answers 502, 503 or 504 in a row; 0 never sets aside for them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub consecutive_gateway_failures: u32,
    /// Failures to connect and timeouts in a row, if these are counted apart; 0 never sets aside for them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub consecutive_local_origin_failures: u32,
    /// Failures to connect and timeouts are counted apart, not as answers 503 and 504.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub split_local_origin_failures: bool,
    /// Pause between looks at those set aside.
    pub interval: Duration,
    /// How long an endpoint is set aside the first time; each further time in a row adds as much.
    pub base_ejection_time: Duration,
    /// The longest time that an endpoint is set aside.
    pub max_ejection_time: Duration,
    /// Largest share of endpoints set aside at once.
    pub max_ejection_percent: u8,
    /// One endpoint may be set aside whatever its share.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub always_eject_one: bool,
    /// Statuses that count as errors instead of all 5xx; empty for those.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub error_statuses: Vec<u16>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl OutlierDetection {
    /// The longest time set aside where none is stated, unless the base time is longer.
    pub const MAX_EJECTION_TIME: Duration = Duration::from_secs(300);
}

impl Default for OutlierDetection {
    /// Envoy's defaults, with the detection by success rate off, as Istio has it.
    fn default() -> Self {
        Self {
            consecutive_5xx: 5,
            consecutive_gateway_failures: 0,
            consecutive_local_origin_failures: 5,
            split_local_origin_failures: false,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Self::MAX_EJECTION_TIME,
            max_ejection_percent: 10,
            always_eject_one: false,
            error_statuses: Vec::new(),
        }
    }
}
