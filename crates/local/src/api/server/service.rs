//! One request: who asks, what is meant, who answers.

use std::sync::Arc;

use daemon::{Drain, Tasks, clock};
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use serde_json::json;

use super::super::node_link::NodeLink;
use super::super::verbs::Api;
use super::super::{Status, User, discovery, openapi, tokens};
use super::accept::{self, Accepted};
use super::authorize;
use super::bounds::Bounds;
use super::respond::{self, Body};
use super::route::{self, Route};

/// What serves every request.
#[derive(Clone)]
pub(in super::super) struct Service {
    pub(in super::super) api: Arc<Api>,
    pub(in super::super) node: NodeLink,
    pub(in super::super) drain: Drain,
    pub(in super::super) bounds: Arc<Bounds>,
    /// Owns what outlives its request: upgraded connections.
    pub(in super::super) tasks: Tasks,
}

/// A request whose sender and purpose are known.
pub(super) struct Asked {
    pub(super) request: Request<Incoming>,
    pub(super) user: Arc<User>,
    pub(super) parameters: Parameters,
    pub(super) accepted: Accepted,
}

/// The query, in its order.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads what stands behind the `?`.
    pub(super) fn of(query: &str) -> Self {
        Self(route::parameters(query))
    }

    /// The first value of a parameter; empty ones count as absent.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| &**value)
    }

    /// Every value of a parameter that may be repeated; empty ones count as absent.
    pub(super) fn each(&self, name: &str) -> Vec<&str> {
        let values = self
            .0
            .iter()
            .filter(|(key, value)| key == name && !value.is_empty());
        values.map(|(_, value)| &**value).collect()
    }

    pub(super) fn all(&self) -> &[(String, String)] {
        &self.0
    }

    /// `true`, `1` and the bare name mean yes.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|(key, value)| key == name && !matches!(&**value, "false" | "0"))
    }
}

impl Service {
    /// Answers a request; `shown` is whom the client certificate names.
    pub(super) async fn serve(&self, request: Request<Incoming>, shown: Option<User>) -> Response<Body> {
        match self.answer(request, shown).await {
            Ok(response) => response,
            Err(status) => respond::status(&status),
        }
    }

    /// Who it is, on whose behalf, whether they may; then it is served. Admission of writes comes later, in the verbs.
    async fn answer(
        &self,
        request: Request<Incoming>,
        shown: Option<User>,
    ) -> Result<Response<Body>, Status> {
        let headers = request.headers();
        let user = self.authenticate(headers, shown)?;
        let user = authorize::impersonate(&self.api.rights, headers, user)?;
        let route = route::route(request.uri().path());
        let parameters = Parameters::of(request.uri().query().unwrap_or_default());
        let access = authorize::access(request.method(), &route, request.uri().path(), &parameters);
        self.api.rights.require(&user, &access)?;
        match route {
            Route::Place(place) => {
                let accepted = accept::negotiate(header(request.headers(), ACCEPT.as_str()))?;
                let asked = Asked {
                    request,
                    user: Arc::new(user),
                    parameters,
                    accepted,
                };
                self.place(asked, &place).await
            }
            Route::Unknown => Ok(respond::text(404, "404 page not found\n")),
            _ if !matches!(*request.method(), Method::GET | Method::HEAD) => Err(respond::wrong_method()),
            document => Ok(self.document(&document, request.headers())),
        }
    }

    /// What is served beside objects.
    fn document(&self, route: &Route, headers: &HeaderMap) -> Response<Body> {
        let registry = self.api.types.now();
        let accept = header(headers, ACCEPT.as_str());
        let found = match route {
            Route::Version => Some(discovery::version()),
            Route::Health => return respond::text(200, "ok"),
            Route::Core | Route::Groups => {
                let core = *route == Route::Core;
                if let Some(version) = accept::aggregated(accept) {
                    let document = discovery::aggregated(&registry, core, version);
                    let mut response = respond::json(200, &document);
                    let headers = response.headers_mut();
                    headers.insert(http::header::CONTENT_TYPE, discovery::content_type(version));
                    headers.insert(http::header::VARY, http::HeaderValue::from_static("Accept"));
                    return response;
                }
                Some(if core {
                    discovery::core_versions()
                } else {
                    discovery::groups(&registry)
                })
            }
            Route::Group(group) => discovery::group(&registry, group),
            Route::Resources { group, version } => discovery::resources(&registry, group, version),
            Route::OpenApiIndex => return respond::json_text(openapi::index(&registry)),
            Route::OpenApi { group, version } => match openapi::document(&registry, group, version) {
                Some(document) => return respond::json_text(document),
                None => None,
            },
            Route::Issuer => Some(json!({
                "issuer": tokens::ISSUER, "jwks_uri": format!("{}/openid/v1/jwks", tokens::ISSUER),
                "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            })),
            Route::Keys => Some(self.api.tokens.key_set()),
            Route::Place(_) | Route::Unknown => None,
        };
        match found {
            Some(document) => respond::json(200, &document),
            None => respond::text(404, "404 page not found\n"),
        }
    }

    /// Who asks: the bearer of a token, or whom the certificate names, or nobody we know.
    fn authenticate(&self, headers: &HeaderMap, shown: Option<User>) -> Result<User, Status> {
        let value = header(headers, AUTHORIZATION.as_str()).unwrap_or_default();
        let token = value
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, token)) = token else {
            return Ok(shown.unwrap_or_else(User::anonymous));
        };
        match self
            .api
            .tokens
            .check(&self.api.store, token.trim(), &[], clock::wall())
        {
            Ok(proven) => Ok(proven.user),
            Err(why) => {
                tracing::debug!(why, "a bearer token was refused");
                Err(Status::new(401, "Unauthorized", "Unauthorized"))
            }
        }
    }
}

pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
