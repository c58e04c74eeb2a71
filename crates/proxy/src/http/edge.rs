//! The first proxy that a client meets (Envoy: `use_remote_address`): whose address the client's is, and which headers
//! of strangers are not believed.

use std::net::IpAddr;

use snapshot::http_options::Edge;

use super::codec::{Fields, Request};
use crate::listen::accept::Ends;

/// What only proxies of our own may say.
const NOT_BELIEVED: [&str; 17] = [
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-ip-tags",
    "x-envoy-max-retries",
    "x-envoy-original-url",
    "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-upstream-rq-timeout-ms",
];

/// Says whose request it is, before routing.
pub(crate) fn request(request: &mut Request, edge: Edge, ends: Ends) {
    let peer = ends.peer.ip();
    let fields = &mut request.fields;
    let said = fields.text("x-forwarded-for").unwrap_or_default().to_owned();
    let client = client(edge, &said, peer);
    if !edge.without_append {
        let list = match said.is_empty() {
            true => peer.to_string(),
            false => format!("{said},{peer}"),
        };
        fields.set("x-forwarded-for", list.as_bytes());
    }
    if edge.trusted_hops == 0 || !fields.contains("x-forwarded-proto") {
        fields.set("x-forwarded-proto", ends.scheme().as_bytes());
    }
    doubt(fields);
    fields.set("x-envoy-external-address", client.to_string().as_bytes());
}

/// The address that so many hops of ours ago came in; the peer's where nobody said.
fn client(edge: Edge, said: &str, peer: IpAddr) -> IpAddr {
    let Some(back) = usize::try_from(edge.trusted_hops)
        .ok()
        .and_then(|hops| hops.checked_sub(1))
    else {
        return peer;
    };
    let entry = said.rsplit(',').nth(back);
    entry
        .and_then(|address| address.trim().parse().ok())
        .unwrap_or(peer)
}

fn doubt(fields: &mut Fields) {
    fields.remove("x-envoy-internal");
    for name in NOT_BELIEVED {
        fields.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_who_our_own_proxies_say() {
        let peer: IpAddr = "127.0.0.1".parse().unwrap();
        let hops = |trusted_hops| Edge {
            trusted_hops,
            ..Edge::default()
        };
        let list = "1.1.1.1, 2.2.2.2";
        assert_eq!(client(hops(0), list, peer), peer);
        assert_eq!(client(hops(1), list, peer).to_string(), "2.2.2.2");
        assert_eq!(client(hops(2), list, peer).to_string(), "1.1.1.1");
        assert_eq!(client(hops(3), list, peer), peer);
    }
}
