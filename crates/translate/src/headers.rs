//! `Headers` of a rule or of a target → header operations, and the authority that they may hide.

use std::collections::BTreeMap;

use resources::istio::virtual_service::{HeaderOperations as IstioOperations, Headers};
use snapshot::{HeaderField, HeaderOperations};

/// What a `headers` block asks for.
#[derive(Default)]
pub(crate) struct Changes {
    pub(crate) request: HeaderOperations,
    pub(crate) response: HeaderOperations,
    /// `Host` or `:authority` among the request's headers is a rewrite of the authority.
    pub(crate) authority: Option<String>,
}

pub(crate) fn changes(headers: Option<&Headers>) -> Changes {
    let request = headers.and_then(|headers| headers.request.as_ref());
    let response = headers.and_then(|headers| headers.response.as_ref());
    let authority = request.and_then(|request| {
        let mut stated = request.set.iter().chain(&request.add);
        stated
            .find(|(name, _)| is_authority(name))
            .map(|(_, value)| value.clone())
    });
    Changes {
        request: request.map(operations).unwrap_or_default(),
        response: response.map(operations).unwrap_or_default(),
        authority,
    }
}

fn operations(operations: &IstioOperations) -> HeaderOperations {
    HeaderOperations {
        remove: operations
            .remove
            .iter()
            .map(|name| name.to_ascii_lowercase())
            .collect(),
        set: fields(&operations.set),
        add: fields(&operations.add),
        ..HeaderOperations::default()
    }
}

/// A field that cannot be written is left out; `analyze` reports it.
fn fields(stated: &BTreeMap<String, String>) -> Vec<HeaderField> {
    let fields = stated.iter().filter(|(name, _)| !is_authority(name));
    fields
        .filter_map(|(name, value)| HeaderField::new(name, value).ok())
        .collect()
}

pub(crate) fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority")
}
