//! What `start` functions return: where it listens, and how it is stopped.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::Tasks;
use crate::drain::Trigger;

/// A started part of the system.
#[derive(Debug)]
pub struct Running {
    /// Bound addresses by purpose (`xds`, `webhook`, `outbound`, `admin` …).
    pub addresses: BTreeMap<&'static str, SocketAddr>,
    /// Begins the graceful end.
    pub drain: Trigger,
    /// Everything that runs.
    pub tasks: Tasks,
}

impl Running {
    /// Ends it: drains for at most `grace`, then drops what is left.
    pub async fn stop(self, grace: Duration) {
        self.drain.finish(grace).await;
        self.tasks.stop(Duration::from_secs(1)).await;
    }
}
