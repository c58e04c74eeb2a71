//! `http.fault` → faults made on purpose. Istio: `HTTPFaultInjection`.
//!
//! What Istio refuses at admission (`exponentialDelay`, `http2Error`) and does nothing about once it is stored, does
//! nothing here either; without a percentage nothing is done, too.

use resources::istio::virtual_service::{FaultAbort, FaultDelay, HttpFault};
use snapshot::fault::{Abort, AbortStatus, Delay};
use snapshot::{Fault, Share};

/// The names of gRPC's statuses, by their numbers.
const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

pub(super) fn fault(stated: Option<&HttpFault>) -> Option<Fault> {
    let stated = stated?;
    let fault = Fault {
        delay: stated.delay.as_ref().and_then(delay),
        abort: stated.abort.as_ref().and_then(abort),
    };
    (fault != Fault::default()).then_some(fault)
}

fn delay(stated: &FaultDelay) -> Option<Delay> {
    let percent = match (stated.percentage, stated.percent) {
        (Some(percentage), _) => percentage.value,
        (None, percent) => f64::from(percent.unwrap_or_default()),
    };
    Some(Delay {
        duration: stated.fixed_delay?.0,
        share: Share::from_percent(percent),
    })
}

fn abort(stated: &FaultAbort) -> Option<Abort> {
    let grpc = |name: &String| GRPC_STATUSES.iter().position(|known| known == name);
    let status = match (stated.http_status, &stated.grpc_status) {
        (Some(status), _) => {
            let status = u16::try_from(status).ok();
            AbortStatus::Http(status.filter(|status| (200..600).contains(status))?)
        }
        (None, Some(name)) => AbortStatus::Grpc(u32::try_from(grpc(name)?).ok()?),
        (None, None) => return None,
    };
    let percent = stated.percentage.map(|percentage| percentage.value);
    Some(Abort {
        status,
        share: Share::from_percent(percent.unwrap_or_default()),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use resources::istio::Percent;

    use super::*;

    #[test]
    fn a_status_by_name_and_a_percentage_become_numbers() {
        let stated = HttpFault {
            delay: Some(FaultDelay {
                fixed_delay: Some(resources::istio::Duration(Duration::from_millis(3))),
                percent: Some(7),
                ..FaultDelay::default()
            }),
            abort: Some(FaultAbort {
                grpc_status: Some("UNAVAILABLE".into()),
                percentage: Some(Percent { value: 0.5 }),
                ..FaultAbort::default()
            }),
        };
        let made = fault(Some(&stated)).unwrap();
        assert_eq!(made.delay.unwrap().share, Share(70_000));
        let abort = made.abort.unwrap();
        assert_eq!((abort.status, abort.share), (AbortStatus::Grpc(14), Share(5_000)));
    }

    #[test]
    fn what_says_nothing_that_can_be_done_is_nothing() {
        let empty = HttpFault {
            abort: Some(FaultAbort::default()),
            delay: Some(FaultDelay::default()),
        };
        assert_eq!(fault(Some(&empty)), None);
    }
}
