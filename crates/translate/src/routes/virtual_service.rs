//! VirtualService → routes of an HTTP port.

use std::sync::Arc;

use resources::istio::virtual_service::{HttpBody, HttpDestination, HttpMatch, HttpRoute};
use resources::{Key, Kind};
use snapshot::route::{DirectResponse, Forward};
use snapshot::{Action, ClusterName, Origin, Route, RouteMatch, Weighted};

use super::matching::{Asked, conditions};
use super::{cors, fault, mirror, redirect, rewrite};
use crate::destination::cluster_name;
use crate::headers::changes;
use crate::load_balancing::key_of_destination;
use crate::mesh::routes::IndexedRoutes;
use crate::retry::retry;
use crate::scope::Scope;
use crate::timeout::timeout;

/// The routes that sidecars of this scope apply on that port; none when every rule is for somebody else.
/// Nothing follows a rule that takes every request.
pub(crate) fn http_routes(scope: &Scope, virtual_service: &IndexedRoutes, listener_port: u16) -> Vec<Route> {
    let meta = &virtual_service.object.metadata;
    let resource: Arc<str> = Key::new(Kind::VirtualService, &meta.namespace, &meta.name)
        .path()
        .into();
    let mut routes = Vec::new();
    for (field, rule) in virtual_service.http() {
        let action = action(scope, rule, &meta.namespace, listener_port);
        let headers = changes(rule.headers.as_ref());
        let (fault, cors) = (
            fault::fault(rule.fault.as_ref()),
            cors::cors(rule.cors_policy.as_ref()),
        );
        let mut add = |name: &str, stat_prefix: &str, matches: RouteMatch| {
            let takes_all = matches == RouteMatch::default();
            routes.push(Route {
                name: [rule.name.as_str(), name]
                    .into_iter()
                    .filter(|name| !name.is_empty())
                    .collect::<Vec<_>>()
                    .join("."),
                matches,
                request_headers: headers.request.clone(),
                response_headers: headers.response.clone(),
                stat_prefix: stat_prefix.to_owned(),
                fault: fault.clone(),
                cors: cors.clone(),
                origin: Some(Origin {
                    resource: resource.clone(),
                    field: field.as_ref().into(),
                }),
                ..Route::new(action.clone())
            });
            takes_all
        };
        let applies = |matches: &&HttpMatch| Asked::from(*matches).applies(scope, listener_port);
        let takes_all = if rule.matches.is_empty() {
            add("", "", RouteMatch::default())
        } else {
            let mut matches = rule.matches.iter().filter(applies);
            matches.any(|matches| add(&matches.name, &matches.stat_prefix, conditions(matches)))
        };
        if takes_all {
            break;
        }
    }
    routes
}

fn action(scope: &Scope, rule: &HttpRoute, namespace: &str, listener_port: u16) -> Action {
    if let Some(stated) = &rule.redirect {
        return redirect::redirect(stated, listener_port)
            .map_or_else(|| not_supported("redirectCode"), Action::Redirect);
    }
    if let Some(response) = &rule.direct_response {
        let body = response.body.as_ref().and_then(HttpBody::text);
        let status = u16::try_from(response.status).unwrap_or(500);
        return Action::Respond(DirectResponse {
            status,
            body: body.unwrap_or_default(),
        });
    }
    if rule.route.is_empty() {
        return not_supported("a rule without route");
    }
    let to = |target: &HttpDestination| cluster_name(scope, &target.destination, namespace, listener_port);
    let key = |target: &HttpDestination| key_of_destination(scope, &target.destination, namespace);
    // Of several targets those without weight do not count.
    let counts = |target: &&HttpDestination| rule.route.len() == 1 || target.weight > 0;
    let hash: Vec<_> = rule.route.iter().filter(counts).filter_map(key).collect();
    let consistent = rule.route.len() == 1 && !hash.is_empty();
    Action::Forward(Forward {
        timeout: timeout(rule.timeout),
        retry: retry(
            rule.retries.as_ref().or(scope.settings.retries.as_ref()),
            consistent,
        ),
        hash,
        path_rewrite: rewrite::path(rule.rewrite.as_ref()),
        authority_rewrite: rewrite::authority(rule.rewrite.as_ref())
            .or_else(|| changes(rule.headers.as_ref()).authority),
        mirrors: mirror::mirrors(rule, |target| {
            cluster_name(scope, target, namespace, listener_port)
        }),
        ..Forward::to(weighted(&rule.route, to))
    })
}

/// What `analyze` reports as not supported yet. To fall through to the next rule would send the request somewhere
/// that its author did not mean.
fn not_supported(what: &str) -> Action {
    Action::Respond(DirectResponse {
        status: 503,
        body: format!("{what} is not supported yet"),
    })
}

/// A single target takes everything; of several those without weight take nothing.
fn weighted(targets: &[HttpDestination], to: impl Fn(&HttpDestination) -> ClusterName) -> Vec<Weighted> {
    let weighted = targets.iter().map(|target| {
        let weight = match targets {
            [_] => 1,
            _ => u32::try_from(target.weight).unwrap_or(0),
        };
        let headers = changes(target.headers.as_ref());
        Weighted {
            request_headers: headers.request,
            response_headers: headers.response,
            authority_rewrite: headers.authority,
            ..Weighted::new(to(target), weight)
        }
    });
    weighted.filter(|target| target.weight > 0).collect()
}
