//! Cross-origin resource sharing. As Envoy's CORS filter: a preflight of an allowed origin is answered here, and every
//! response of a route that forwards to an allowed origin, whoever gives it, says so.

use std::borrow::Cow;

use http::Method;
use snapshot::Cors;
use snapshot::route::Found;

use crate::http::codec::{Fields, Length, Response};
use crate::http::exchange::Exchange;
use crate::http::reply::LocalReply;

/// What responses to a script of an allowed origin say.
#[derive(Debug)]
pub(crate) struct Allowed {
    origin: Box<[u8]>,
    credentials: bool,
    expose_headers: String,
}

impl Allowed {
    /// Adds the fields to a response.
    pub(crate) fn apply(&self, fields: &mut Fields) {
        set(fields, "access-control-allow-origin", &self.origin);
        set(
            fields,
            "access-control-allow-credentials",
            if_so(self.credentials),
        );
        set(
            fields,
            "access-control-expose-headers",
            self.expose_headers.as_bytes(),
        );
    }
}

/// A permission that is not given is not said.
fn if_so(allowed: bool) -> &'static [u8] {
    if allowed { b"true" } else { b"" }
}

/// Nothing is not said, and what is there already stays where it is.
fn set(fields: &mut Fields, name: &str, value: &[u8]) {
    if !value.is_empty() && fields.get(name) != Some(value) {
        fields.set(name, value);
    }
}

/// Judges the origin, for the response to come, and answers preflights.
pub(super) fn check(exchange: &mut Exchange<'_>, found: &Found<'_>, cors: &Cors) -> Option<LocalReply> {
    let request = &exchange.request;
    let origin = request.fields.get("origin").filter(|origin| !origin.is_empty())?;
    let allowed = found.allows_origin(origin).then(|| Allowed {
        origin: origin.into(),
        credentials: cors.allow_credentials,
        expose_headers: cors.expose_headers.clone(),
    });
    let asks = request.fields.get("access-control-request-method");
    let is_preflight = request.method == Method::OPTIONS && asks.is_some_and(|method| !method.is_empty());
    let answers = is_preflight && (allowed.is_some() || cors.answer_unmatched_preflights);
    if answers {
        exchange.record.details = Cow::Borrowed("cors_response");
    }
    let reply = answers.then(|| preflight(cors, allowed.as_ref()));
    exchange.record.cors = allowed;
    reply
}

fn preflight(cors: &Cors, allowed: Option<&Allowed>) -> LocalReply {
    let mut response = Response::new(200);
    response.length = Length::Empty;
    let fields = &mut response.fields;
    if let Some(allowed) = allowed {
        set(fields, "access-control-allow-origin", &allowed.origin);
    }
    // Without an origin that is allowed, a browser makes nothing of these.
    for (name, value) in [
        ("access-control-allow-credentials", if_so(cors.allow_credentials)),
        ("access-control-allow-methods", cors.allow_methods.as_bytes()),
        ("access-control-allow-headers", cors.allow_headers.as_bytes()),
        ("access-control-max-age", cors.max_age.as_bytes()),
    ] {
        set(fields, name, value);
    }
    LocalReply {
        response,
        body: bytes::Bytes::new(),
    }
}
