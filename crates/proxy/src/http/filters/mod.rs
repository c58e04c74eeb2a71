//! What happens to a request between its route and what the route does: faults made on purpose, then the rules for
//! other origins, in Istio's order; before them limits of our own. A filter lets a request pass, or answers it.

pub(crate) mod cors;
mod fault;
pub(crate) mod local_rate_limit;
pub(crate) mod rate_limit;

use snapshot::Action;
use snapshot::route::Found;

use crate::active::Active;
use crate::error::RequestError;
use crate::http::exchange::Exchange;
use crate::http::reply::LocalReply;

/// What a filter answers.
pub(crate) enum Answer {
    /// The route's changes of responses are for it, too.
    Local(LocalReply),
    /// It leaves as it is: for Envoy, a preflight's answer is no local reply.
    AsItIs(LocalReply),
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
