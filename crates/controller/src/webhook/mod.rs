//! Admission webhooks: the API server asks, over TLS, about pods (`/inject`) and about Istio's objects (`/validate`).

pub(crate) mod bundle;
pub(crate) mod injector;
pub(crate) mod review;
pub(crate) mod validate;

use std::future::ready;
use std::sync::Arc;

use arc_swap::ArcSwap;
use daemon::admin::{Call, Reply, Routes, json, text};
use daemon::metrics::Registry;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use crate::inject;
use review::{Answer, Review};

/// Injection settings that change while the controller runs.
pub(crate) type LiveSettings = Arc<ArcSwap<inject::Settings>>;

/// The pages of the webhook port.
pub(crate) fn routes(settings: &LiveSettings, metrics: &Registry) -> Routes {
    let injector = Arc::new(injector::Injector::new(settings.clone(), metrics));
    let below = injector.clone();
    let validator = validate::Validator::new(metrics);
    Routes::new()
        .post("/inject", move |call| {
            ready(reply(&call, |review| injector.judge(review)))
        })
        // Istio puts cluster and network into the path: /inject/cluster/NAME/net/NAME.
        .post("/inject/*", move |call| {
            ready(reply(&call, |review| below.judge(review)))
        })
        .post("/validate", move |call| {
            ready(reply(&call, |review| validator.judge(review)))
        })
}

fn reply(call: &Call, judge: impl FnOnce(&Review) -> Answer) -> Reply {
    let content_type = call
        .request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(|value| value.starts_with("application/json")) {
        return text(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "invalid Content-Type, want `application/json`\n",
        );
    }
    match Review::parse(call.request.body()) {
        Ok(review) => json(StatusCode::OK, &review.answer(&judge(&review))),
        Err(reason) => text(StatusCode::BAD_REQUEST, format!("{reason}\n")),
    }
}

#[cfg(test)]
mod tests;
