//! What the proxy at the other end gets of a call that this one forwards.

use std::net::SocketAddr;

use snapshot::{Direction, Snapshot};

use super::{Call, Caller, Outcome, Request, Target};
use crate::mtls;

/// The call as it comes to `member`, one of those that `target` of the outcome may go to. Changes to headers are not
/// made: [`Target::changes_headers`] tells of them.
pub fn onward(
    snapshot: &Snapshot,
    call: &Call,
    outcome: &Outcome,
    (target, member): (&Target, SocketAddr),
) -> Call {
    let name = target.cluster.as_str();
    let cluster = snapshot.clusters.get(name);
    let members = snapshot.endpoints.get(name);
    let endpoint = members.and_then(|members| members.iter().find(|known| known.address == member));
    let mutual = cluster.is_some_and(|cluster| mtls::is_mutual(cluster, endpoint));
    // TLS of a DestinationRule's own: the other end sees no more of it than of the client's.
    let own_tls = cluster
        .and_then(|cluster| cluster.tls.as_ref())
        .filter(|_| !mutual);
    let server_name = own_tls.map(|tls| tls.server_name.clone());
    // What was taken for opaque bytes here is announced as such there.
    let is_http = outcome.host.is_some() || !mutual;
    let request = call.request.as_ref().filter(|_| is_http && own_tls.is_none());
    let request = request.map(|request| Request {
        path: outcome.path.as_ref().unwrap_or(&request.path).clone(),
        authority: target.authority.as_ref().unwrap_or(&request.authority).clone(),
        ..request.clone()
    });
    Call {
        direction: Direction::Inbound,
        destination: member,
        server_name: server_name.or_else(|| call.server_name.clone()),
        mutual,
        request,
        caller: Caller {
            identity: call.caller.identity.clone().filter(|_| mutual),
            ..call.caller.clone()
        },
    }
}
