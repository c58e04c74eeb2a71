//! Faults made on purpose. As Envoy's fault filter: a wait first, then perhaps an error; each has its own dice.

use std::borrow::Cow;
use std::time::Duration;

use daemon::clock;
use snapshot::Fault;
use snapshot::fault::AbortStatus;

use crate::error::RequestError;
use crate::http::exchange::Exchange;
use crate::http::reply::{self, LocalReply};
use crate::telemetry::flags::Flag;

const BODY: &str = "fault filter abort";

/// Lets the request wait and fail as the route says.
pub(super) async fn inject(
    exchange: &mut Exchange<'_>,
    fault: &Fault,
) -> Result<Option<LocalReply>, RequestError> {
    let worker = exchange.connection.worker.clone();
    // Envoy counts whole milliseconds.
    let long_enough = |delay: &snapshot::fault::Delay| delay.duration >= Duration::from_millis(1);
    if let Some(delay) = fault.delay.filter(long_enough)
        && delay.share.takes(worker.random.next())
    {
        exchange.record.flags = exchange.record.flags.with(Flag::DelayInjected);
        tokio::select! {
            biased;
            () = exchange.client_gone() => return Err(RequestError::ClientGone),
            () = clock::sleep(delay.duration) => {}
        }
    }
    let Some(abort) = fault
        .abort
        .filter(|abort| abort.share.takes(worker.random.next()))
    else {
        return Ok(None);
    };
    exchange.record.flags = exchange.record.flags.with(Flag::FaultInjected);
    let answer = match abort.status {
        AbortStatus::Http(status) => reply::stated(status, None, BODY, &exchange.request),
        AbortStatus::Grpc(status) => reply::stated(200, Some(status), BODY, &exchange.request),
    };
    exchange.record.details = Cow::Borrowed("fault_filter_abort");
    Ok(Some(answer))
}
