//! What a service is asked: over gRPC the attributes of a request, over HTTP a request like it.

use std::collections::BTreeMap;

use bytes::Bytes;
use daemon::clock;
use serde_json::{Map, Value};
use snapshot::ExtAuthz;
use snapshot::ext_authz::{CheckedBody, CheckedPath, GrpcService, HttpService, NamePattern, RouteExtAuthz};
use xds::check::{self, Check};

use crate::http::codec::{Fields, Length, Request, Version};
use crate::http::exchange::Exchange;
use crate::http::headers::Changes;
use crate::telemetry::format::Facts;
use crate::tls::peer::peer_identity;

/// Whether a service sees only the beginning of a body; a client's own word on that is not passed on.
const PARTIAL: &str = "x-envoy-auth-partial-body";
/// What every service over HTTP is told.
const ALWAYS: [&str; 4] = [":authority", ":method", ":path", "authorization"];

/// The message of a call over gRPC.
pub(super) fn message(
    exchange: &Exchange<'_>,
    filter: &ExtAuthz,
    route: Option<&RouteExtAuthz>,
    body: Option<CheckedBody>,
) -> Vec<u8> {
    let request = &exchange.request;
    let (content, partial) = beginning(exchange, body);
    let told = |name: &str| filter.headers.as_deref().is_none_or(|names| takes(names, name));
    let mut headers = told_headers(request, filter, told);
    if let Some(partial) = partial {
        headers.push((PARTIAL.to_owned(), partial.to_string().into_bytes()));
    }
    let question = check::Request {
        time: since_1970(exchange),
        id: exchange.connection.worker.random.next().to_string(),
        method: request.method.to_string(),
        path: request.path.clone(),
        host: request.authority.clone(),
        scheme: request.scheme.to_owned(),
        protocol: protocol(request.version).to_owned(),
        size: exchange.body.received,
        headers,
        raw_headers: filter.raw_headers,
        body: content,
        raw_body: body.is_some_and(|body| body.as_bytes),
    };
    let (source, destination) = ends(exchange);
    check::encode(Check {
        source,
        destination,
        request: Some(question),
        context: route.map(|route| route.context.clone()).unwrap_or_default(),
        metadata: known(exchange, filter),
    })
}

/// The fields of a call over gRPC.
pub(crate) fn metadata(service: &GrpcService, facts: &Facts<'_>) -> Fields {
    let operations = snapshot::HeaderOperations {
        add: service.metadata.clone(),
        ..Default::default()
    };
    let mut fields = Fields::default();
    Changes::new(&operations, facts).apply(&mut fields);
    fields
}

/// The request that a service over HTTP gets, with its body.
pub(super) fn request(
    exchange: &Exchange<'_>,
    filter: &ExtAuthz,
    service: &HttpService,
    body: Option<CheckedBody>,
) -> (Request, Bytes) {
    let request = &exchange.request;
    let (content, partial) = beginning(exchange, body);
    let names = filter.headers.as_deref().unwrap_or_default();
    let told = |name: &str| ALWAYS.contains(&name) || takes(names, name);
    let mut fields = Fields::default();
    for (name, value) in told_headers(request, filter, told) {
        if !name.starts_with(':') && name != "content-length" && name != "upgrade" {
            // As Envoy sends them: one field of a name.
            match fields.get(&name).map(|known| [known, &value].join(&b","[..])) {
                Some(joined) => fields.set(&name, &joined),
                None => fields.push(&name, &value),
            }
        }
    }
    if let Some(partial) = partial {
        fields.set(PARTIAL, partial.to_string().as_bytes());
    }
    let operations = snapshot::HeaderOperations {
        set: service.add.clone(),
        ..Default::default()
    };
    Changes::new(&operations, &exchange.facts("")).apply(&mut fields);
    let question = Request {
        method: request.method.clone(),
        path: match &service.path {
            CheckedPath::Prefix(prefix) => format!("{prefix}{}", request.path),
            CheckedPath::Instead(path) => path.clone(),
        },
        authority: request.authority.clone(),
        scheme: "http",
        fields,
        length: Length::Exact(content.len() as u64),
        upgrade: None,
        version: Version::Http1,
    };
    (question, content.into())
}

/// Who is at both ends of its connection.
fn ends(exchange: &Exchange<'_>) -> (check::Peer, check::Peer) {
    let ends = exchange.connection.ends;
    let service = exchange.request.fields.text("x-envoy-downstream-service-cluster");
    let peer = peer_identity(exchange.connection);
    let source = check::Peer {
        address: ends.peer,
        service: service.unwrap_or_default().to_owned(),
        principal: peer.map(|peer| peer.principal().to_owned()).unwrap_or_default(),
    };
    let destination = check::Peer {
        address: ends.destination,
        service: String::new(),
        principal: peer.map(|peer| peer.own.to_string()).unwrap_or_default(),
    };
    (source, destination)
}

/// What the service is told of the body, and, if it is told of bodies, whether that is a part of it only.
fn beginning(exchange: &Exchange<'_>, body: Option<CheckedBody>) -> (Vec<u8>, Option<bool>) {
    let Some(body) = body else {
        return (Vec::new(), None);
    };
    let most = usize::try_from(body.most).unwrap_or(usize::MAX);
    let (bytes, partial) = exchange.body.beginning(most);
    (bytes, Some(partial))
}

/// The fields that a service is told, pseudo-header fields among them.
fn told_headers(request: &Request, filter: &ExtAuthz, told: impl Fn(&str) -> bool) -> Vec<(String, Vec<u8>)> {
    let pseudo = [
        (":authority", request.authority.as_bytes()),
        (":path", request.path.as_bytes()),
        (":method", request.method.as_str().as_bytes()),
        (":scheme", request.scheme.as_bytes()),
    ];
    let framing = ["content-length", "upgrade"].map(|name| (name, request.framing_field(name)));
    let framing = framing
        .iter()
        .filter_map(|(name, value)| Some((*name, value.as_ref()?.as_bytes())));
    let all = pseudo.into_iter().chain(request.fields.iter());
    all.chain(framing)
        .filter(|(name, _)| *name != PARTIAL && told(name) && !takes(&filter.withheld_headers, name))
        .map(|(name, value)| (name.to_owned(), value.to_vec()))
        .collect()
}

fn known(exchange: &Exchange<'_>, filter: &ExtAuthz) -> BTreeMap<String, Map<String, Value>> {
    let metadata = &exchange.record.metadata;
    let known = filter.metadata.iter();
    known
        .filter_map(|of| Some((of.clone(), metadata.of(of)?.clone())))
        .collect()
}

fn takes(names: &[NamePattern], name: &str) -> bool {
    names.iter().any(|pattern| pattern.takes(name))
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::Http1 => "HTTP/1.1",
        Version::Http2 => "HTTP/2",
    }
}

/// When the request came.
fn since_1970(exchange: &Exchange<'_>) -> std::time::Duration {
    let passed = clock::now() - exchange.record.begun;
    clock::unix().saturating_sub(passed)
}
