//! Faults of a route ⇄ `extensions.filters.http.fault.v3.HTTPFault`.

use common::fault_delay::FaultDelaySecifier;
use envoy_types::pb::envoy::extensions::filters::common::fault::v3 as common;
use envoy_types::pb::envoy::extensions::filters::http::fault::v3 as pb;
use pb::fault_abort::ErrorType;
use snapshot::Fault;
use snapshot::fault::{Abort, AbortStatus, Delay};

use super::proto::{duration, refuse, to_duration};
use super::share;
use crate::rejected::Reason;

/// The filter, and the key of what a route says to it.
pub(super) const FILTER: &str = "envoy.filters.http.fault";

pub(super) fn to_proto(fault: &Fault) -> pb::HttpFault {
    pb::HttpFault {
        delay: fault.delay.map(|delay| common::FaultDelay {
            percentage: Some(share::to_proto(delay.share)),
            fault_delay_secifier: duration(delay.duration).map(FaultDelaySecifier::FixedDelay),
        }),
        abort: fault.abort.map(|abort| pb::FaultAbort {
            percentage: Some(share::to_proto(abort.share)),
            error_type: Some(match abort.status {
                AbortStatus::Http(status) => ErrorType::HttpStatus(status.into()),
                AbortStatus::Grpc(status) => ErrorType::GrpcStatus(status),
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub(super) fn from_proto(message: &pb::HttpFault) -> Result<Fault, Reason> {
    refuse!(
        message,
        "HTTPFault",
        [
            upstream_cluster,
            headers,
            downstream_nodes,
            max_active_faults,
            response_rate_limit,
            delay_percent_runtime,
            abort_percent_runtime,
            delay_duration_runtime,
            abort_http_status_runtime,
            max_active_faults_runtime,
            response_rate_limit_percent_runtime,
            abort_grpc_status_runtime,
            disable_downstream_cluster_stats,
            filter_metadata,
        ]
    );
    Ok(Fault {
        delay: message.delay.as_ref().map(delay_from_proto).transpose()?,
        abort: message.abort.as_ref().map(abort_from_proto).transpose()?,
    })
}

fn delay_from_proto(message: &common::FaultDelay) -> Result<Delay, Reason> {
    let duration = match &message.fault_delay_secifier {
        Some(FaultDelaySecifier::FixedDelay(delay)) => to_duration(*delay, "FaultDelay.fixed_delay")?,
        Some(FaultDelaySecifier::HeaderDelay(_)) => {
            return Err(Reason::unsupported("FaultDelay.header_delay"));
        }
        None => return Err(Reason::missing("FaultDelay.fixed_delay")),
    };
    Ok(Delay {
        duration,
        share: message.percentage.map(share::from_proto).unwrap_or_default(),
    })
}

fn abort_from_proto(message: &pb::FaultAbort) -> Result<Abort, Reason> {
    refuse!(message, "FaultAbort", [response_body]);
    let status = match &message.error_type {
        Some(ErrorType::HttpStatus(status)) => {
            let status = u16::try_from(*status)
                .ok()
                .filter(|status| (200..600).contains(status));
            AbortStatus::Http(
                status.ok_or_else(|| Reason::new("FaultAbort.http_status", "is not from 200 to 599"))?,
            )
        }
        Some(ErrorType::GrpcStatus(status)) => AbortStatus::Grpc(*status),
        Some(ErrorType::HeaderAbort(_)) => return Err(Reason::unsupported("FaultAbort.header_abort")),
        None => return Err(Reason::missing("FaultAbort.error_type")),
    };
    Ok(Abort {
        status,
        share: message.percentage.map(share::from_proto).unwrap_or_default(),
    })
}
