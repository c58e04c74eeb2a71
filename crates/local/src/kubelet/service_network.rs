//! Service addresses: one nft table in the node's network namespace.

use daemon::Tasks;

use crate::api::client::Client;

/// Puts the first rules in force and keeps them up to date. The node needs `ip_forward` and a route that covers the
/// service range (`10.96.0.0/16 dev lo`, source the node's address).
///
/// # Errors
/// When the kernel refuses the table.
#[allow(clippy::unused_async, reason = "signature first")]
pub async fn start(client: Client, tasks: &Tasks) -> Result<(), netfilter::Error> {
    let _ = (client, tasks);
    Ok(())
}
