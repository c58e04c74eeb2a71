//! What a route makes of a request before the first try: header fields, authority, path. Istio keeps what was sent in
//! `x-envoy-original-path` and `x-envoy-original-host`.

use snapshot::Weighted;
use snapshot::route::{Forward, Found};

use super::codec::Request;
use super::exchange::Exchange;
use super::headers::Changes;

/// Changes a request that goes to `target`: by the target first, then by the route.
pub(crate) fn request(exchange: &mut Exchange<'_>, found: &Found<'_>, forward: &Forward, target: &Weighted) {
    for operations in found.route.request_changes(target) {
        let changes = Changes::new(operations, &exchange.facts(&found.route.name));
        changes.apply(&mut exchange.request.fields);
    }
    let request = &mut exchange.request;
    if let Some(authority) = forward
        .authority_rewrite
        .as_ref()
        .or(target.authority_rewrite.as_ref())
    {
        set_authority(request, authority);
    }
    let path = found.rewrite(&request.path);
    if found.rewrites() {
        let path = path.into_owned();
        let sent = std::mem::replace(&mut request.path, path);
        request.fields.set("x-envoy-original-path", sent.as_bytes());
    }
}

fn set_authority(request: &mut Request, authority: &str) {
    if request.authority != authority {
        let sent = std::mem::replace(&mut request.authority, authority.to_owned());
        request.fields.set("x-envoy-original-host", sent.as_bytes());
    }
}
