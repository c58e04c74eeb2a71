//! Which tokens a request may carry, as the filter of a proxy judges them.

use snapshot::{HttpFilter, JwtProvider};

use super::TokenRule;

/// The place where most clients put tokens, and proxies look for them when nobody says otherwise.
pub const BEARER: &str = "header authorization behind \"Bearer \"";

/// What a filter says about tokens.
pub(super) fn token_rules(filter: &HttpFilter) -> Vec<TokenRule> {
    let HttpFilter::Jwt(jwt) = filter else {
        return Vec::new();
    };
    let rules = jwt.providers.iter().map(|(name, provider)| TokenRule {
        provider: name.clone(),
        issuer: provider.issuer.clone(),
        audiences: provider.audiences.clone(),
        places: places(provider),
    });
    rules.collect()
}

fn places(provider: &JwtProvider) -> Vec<String> {
    let headers = provider
        .from_headers
        .iter()
        .map(|header| match header.prefix.as_str() {
            "" => format!("header {}", header.name),
            prefix => format!("header {} behind {prefix:?}", header.name),
        });
    let parameters = provider.from_parameters.iter();
    let parameters = parameters.map(|name| format!("query parameter {name}"));
    let cookies = provider.from_cookies.iter().map(|name| format!("cookie {name}"));
    let places: Vec<_> = headers.chain(parameters).chain(cookies).collect();
    if places.is_empty() {
        return vec![BEARER.to_owned(), "query parameter access_token".to_owned()];
    }
    places
}
