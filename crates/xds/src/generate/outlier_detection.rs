//! When clusters set endpoints aside.

use proptest::collection::vec;
use proptest::prelude::*;
use snapshot::OutlierDetection;

use super::limit;

pub(super) fn outlier_detection() -> impl Strategy<Value = OutlierDetection> {
    let failures = (0..9u32, 0..9u32, 0..9u32, any::<(bool, bool)>());
    let times = (limit(), limit(), limit());
    (failures, times, 0..=100u8, vec(100..600u16, 0..3)).prop_map(
        |((consecutive_5xx, gateway, local, flags), (interval, base, more), percent, error_statuses)| {
            OutlierDetection {
                consecutive_5xx,
                consecutive_gateway_failures: gateway,
                consecutive_local_origin_failures: local,
                split_local_origin_failures: flags.0,
                interval,
                base_ejection_time: base,
                max_ejection_time: base + more,
                max_ejection_percent: percent,
                always_eject_one: flags.1,
                error_statuses,
            }
        },
    )
}
