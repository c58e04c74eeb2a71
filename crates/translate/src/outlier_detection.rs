//! `outlierDetection` → when a failing endpoint is set aside. As in Istio, the detection by success rate is always
//! off, and a percentage of 0 is one that is not set.

use resources::istio::destination_rule::OutlierDetection as Settings;
use snapshot::OutlierDetection;

/// When an endpoint is set aside.
pub(crate) fn outlier_detection(settings: &Settings) -> OutlierDetection {
    let default = OutlierDetection::default();
    let split = settings.split_external_local_origin_errors == Some(true);
    let local = settings.consecutive_local_origin_failures;
    let base = settings
        .base_ejection_time
        .map_or(default.base_ejection_time, |time| time.0);
    let percent = settings.max_ejection_percent.and_then(percent);
    OutlierDetection {
        consecutive_5xx: settings.consecutive_5xx_errors.unwrap_or(default.consecutive_5xx),
        consecutive_gateway_failures: settings.consecutive_gateway_errors.unwrap_or(0),
        consecutive_local_origin_failures: local
            .filter(|failures| split && *failures > 0)
            .unwrap_or(default.consecutive_local_origin_failures),
        split_local_origin_failures: split,
        interval: settings.interval.map_or(default.interval, |time| time.0),
        base_ejection_time: base,
        max_ejection_time: base.max(OutlierDetection::MAX_EJECTION_TIME),
        max_ejection_percent: percent.unwrap_or(default.max_ejection_percent),
        always_eject_one: false,
        error_statuses: settings
            .outlier_detection_http_error_codes
            .iter()
            .filter_map(|status| u16::try_from(*status).ok())
            .collect(),
    }
}

/// With fewer healthy endpoints than this percentage, all are used; 0 never does that.
pub(crate) fn panic_percent(settings: Option<&Settings>) -> u8 {
    settings
        .and_then(|settings| settings.min_health_percent)
        .and_then(percent)
        .unwrap_or(0)
}

/// From 1 to 100.
fn percent(number: i32) -> Option<u8> {
    u8::try_from(number.min(100)).ok().filter(|percent| *percent > 0)
}
