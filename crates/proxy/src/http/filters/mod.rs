//! What happens to a request before what its route does. First the filters of the chain, in its order: who else decides,
//! whose token it carries, who may send what. Then those that routes have a say in: faults made on purpose, then the
//! rules for other origins, in Istio's order; before them limits of our own. A filter lets a request pass, or answers
//! it.

pub(crate) mod authorization;
pub(crate) mod cors;
pub(crate) mod ext_authz;
mod fault;
pub(crate) mod jwt;
pub(crate) mod local_rate_limit;
pub(crate) mod rate_limit;

use authorization::Authorization;
use jwt::Tokens;
use snapshot::route::Found;
use snapshot::{Action, ExtAuthz, HttpFilter};

use crate::active::Active;
use crate::error::{RequestError, RouteError};
use crate::http::exchange::Exchange;
use crate::http::reply::LocalReply;
use crate::http::route;

/// What a filter answers.
pub(crate) enum Answer {
    /// The route's changes of responses are for it, too.
    Local(LocalReply),
    /// It leaves as it is: for Envoy, a preflight's answer is no local reply.
    AsItIs(LocalReply),
}

/// A filter of a chain, ready to run.
#[derive(Debug)]
pub(crate) enum ChainFilter {
    Jwt(Tokens),
    Authorization(Box<Authorization>),
    ExtAuthz(Box<ExtAuthz>),
}

impl ChainFilter {
    /// `None` for filters that are asked elsewhere.
    pub(crate) fn new(facts: &HttpFilter) -> Option<Self> {
        match facts {
            HttpFilter::Jwt(facts) => Some(Self::Jwt(Tokens::new(facts))),
            HttpFilter::Authorization(facts) => {
                Some(Self::Authorization(Box::new(Authorization::new(facts))))
            }
            HttpFilter::ExtAuthz(facts) => Some(Self::ExtAuthz(facts.clone())),
            HttpFilter::Stats
            | HttpFilter::GrpcWeb
            | HttpFilter::LocalRateLimit(_)
            | HttpFilter::RateLimit(_) => None,
        }
    }
}

/// Asks the filters of the chain, also about requests that no route takes; `None` lets the request pass,
/// perhaps to another route than before.
pub(crate) async fn of_chain<'f, 'c: 'f>(
    exchange: &mut Exchange<'c>,
    active: &'f Active,
    found: &mut Result<Found<'f>, RouteError>,
) -> Result<Option<LocalReply>, RequestError> {
    let chain = &exchange.connection.chain;
    for filter in &chain.filters {
        let answer = match filter {
            ChainFilter::Jwt(tokens) => jwt::check(exchange, tokens),
            ChainFilter::Authorization(filter) => authorization::check(exchange, filter),
            ChainFilter::ExtAuthz(filter) => {
                let route = found.as_ref().ok();
                // Boxed: every request would have room for a question that few need.
                match Box::pin(ext_authz::decide(exchange, active, route, filter)).await? {
                    ext_authz::Outcome::Passes => None,
                    ext_authz::Outcome::PassesAnew => {
                        *found = route::find(active, chain, &exchange.request);
                        None
                    }
                    ext_authz::Outcome::Answered(answer) => Some(answer),
                }
            }
        };
        if answer.is_some() {
            return Ok(answer);
        }
    }
    Ok(None)
}

/// Asks every filter that the route names; `None` lets the request pass.
pub(crate) async fn request(
    exchange: &mut Exchange<'_>,
    active: &Active,
    found: &Found<'_>,
) -> Result<Option<Answer>, RequestError> {
    let chain = exchange.connection.chain.clone();
    for limiter in &chain.limiters {
        if let Some(answer) = rate_limit::check(exchange, active, limiter).await {
            return Ok(Some(Answer::Local(answer)));
        }
    }
    if let Some((limit, bucket)) = chain.limit(&active.compiled, found.route)
        && let Some(answer) = local_rate_limit::check(exchange, limit, bucket)
    {
        return Ok(Some(Answer::Local(answer)));
    }
    if let Some(fault) = &found.route.fault
        && let Some(answer) = fault::inject(exchange, fault).await?
    {
        return Ok(Some(Answer::Local(answer)));
    }
    // As Envoy's, the filter knows routes that forward; redirects and direct responses are none of its business.
    let forwards = matches!(found.route.action, Action::Forward(_));
    let cors = found.route.cors.as_ref().filter(|_| forwards);
    let preflight = cors.and_then(|cors| cors::check(exchange, found, cors));
    Ok(preflight.map(Answer::AsItIs))
}
