//! Asks a program how it is, as kubelets do: one GET, or one health check of gRPC.
//!
//! Callers open the connections, so that they leave from where they should, and set the limit. Each call has connections
//! of its own and ends them. Of an answer no more than [`LONGEST`] bytes are looked at.
//! <https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/>

mod grpc;
mod http;
mod secure;

use std::future::Future;
use std::pin::pin;

pub use self::grpc::check;
pub use self::http::Get;

/// How much of an answer is looked at; kubelet's own limit.
pub const LONGEST: usize = 10 << 10;

/// The answer, while its connection is driven. What has come before the connection ended counts.
async fn over<T>(
    connection: impl Future<Output = hyper::Result<()>>,
    answer: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let mut answer = pin!(answer);
    let ended = tokio::select! {
        biased;
        answer = &mut answer => return answer,
        ended = connection => ended,
    };
    let answer = answer.await;
    match ended {
        Ok(()) => answer,
        Err(error) => answer.map_err(|_| error.to_string()),
    }
}

#[cfg(test)]
mod tests;
