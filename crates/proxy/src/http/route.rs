//! Finds the route of a request: the matchers of `snapshot`, over our request heads.

use snapshot::route::{Found, RequestView};

use crate::active::Active;
use crate::active::compile::HttpChain;
use crate::error::RouteError;
use crate::http::codec::Request;

/// The route for a request of a chain.
pub(crate) fn find<'a>(
    active: &'a Active,
    chain: &'a HttpChain,
    request: &Request,
) -> Result<Found<'a>, RouteError> {
    // CONNECT is for tunnels, and no route offers one.
    if request.method == http::Method::CONNECT {
        return Err(RouteError::NotFound);
    }
    // Every route that matches a path, and the one that takes all of them, takes paths only: not `OPTIONS *`.
    if !request.path.starts_with('/') {
        return Err(RouteError::NotFound);
    }
    let table = active.compiled.routes(chain).ok_or(RouteError::NotFound)?;
    table.find(request).ok_or(RouteError::NotFound)
}

impl RequestView for Request {
    fn method(&self) -> &str {
        self.method.as_str()
    }

    fn path_and_query(&self) -> &str {
        &self.path
    }

    fn authority(&self) -> &str {
        &self.authority
    }

    fn scheme(&self) -> &str {
        self.scheme
    }

    fn header(&self, name: &str, each: &mut dyn FnMut(&str)) {
        if let Some(value) = self.framing_field(name) {
            each(&value);
        }
        for value in self.fields.all(name) {
            // Values are bytes; those that are no text match as their replacement, and so never an exact text.
            each(&String::from_utf8_lossy(value));
        }
    }
}
