//! `http.corsPolicy` → cross-origin rules. Istio: `CorsPolicy`.

use resources::istio::virtual_service::{CorsPolicy, UnmatchedPreflights};
use snapshot::Cors;
use snapshot::route::StringMatch;

use super::matching::string_match;

pub(super) fn cors(stated: Option<&CorsPolicy>) -> Option<Cors> {
    let stated = stated?;
    let exact = |origin: &String| StringMatch::Exact(origin.clone());
    let allow_origins = if stated.allow_origins.is_empty() {
        stated.allow_origin.iter().map(exact).collect()
    } else {
        stated.allow_origins.iter().filter_map(string_match).collect()
    };
    let seconds = stated.max_age.map(|age| age.0.as_secs().to_string());
    Some(Cors {
        allow_origins,
        allow_methods: stated.allow_methods.join(","),
        allow_headers: stated.allow_headers.join(","),
        expose_headers: stated.expose_headers.join(","),
        max_age: seconds.unwrap_or_default(),
        allow_credentials: stated.allow_credentials.unwrap_or_default(),
        answer_unmatched_preflights: stated.unmatched_preflights == Some(UnmatchedPreflights::Ignore),
    })
}
