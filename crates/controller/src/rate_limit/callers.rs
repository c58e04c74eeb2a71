//! Who asks, without asking the API server each time: a token that was believed is believed for a while.
//!
//! A review goes on when the one who asked has given up (proxies wait for milliseconds), so that the next question finds
//! its outcome; and there is one review of a token at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use daemon::Tasks;
use daemon::clock::{self, Instant};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use tokio::sync::watch;
use tonic::Status;

use crate::ca::authenticate::{Authenticator, Caller, Unauthenticated};

/// How long an outcome holds. A pod that is gone may be believed for as long.
const BELIEVED: Duration = Duration::from_secs(300);
const DISBELIEVED: Duration = Duration::from_secs(10);
/// Tokens that are remembered; more proxies than one controller should serve.
const TOKENS: usize = 20_000;

/// By token.
type Reviews = HashMap<Vec<u8>, Review>;

type Outcome = Result<Caller, Unauthenticated>;

/// What is known of tokens. Cloning shares it.
#[derive(Clone)]
pub(super) struct Known {
    authenticator: Authenticator,
    tasks: Tasks,
    reviews: Arc<Mutex<Reviews>>,
}

/// A review, under way or done.
#[derive(Clone)]
struct Review {
    begun: Instant,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl Review {
    fn holds(&self, now: Instant) -> bool {
        let time = match &*self.outcome.borrow() {
            None | Some(Ok(_)) => BELIEVED,
            Some(Err(Unauthenticated::Unavailable(_))) => Duration::ZERO,
            Some(Err(_)) => DISBELIEVED,
        };
        now.saturating_duration_since(self.begun) < time
    }
}

impl Known {
    pub(super) fn new(authenticator: Authenticator, tasks: Tasks) -> Self {
        Self {
            authenticator,
            tasks,
            reviews: Arc::default(),
        }
    }

    /// The caller behind a question's headers.
    pub(super) async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Status> {
        let mut review = self.review(headers);
        let outcome = review.outcome.wait_for(Option::is_some).await;
        let stopping = || Status::unavailable("the controller is stopping");
        let outcome = outcome.map_err(|_| stopping())?.clone();
        Ok(outcome.ok_or_else(stopping)??)
    }

    /// The review of a token: one that holds, or a new one.
    fn review(&self, headers: &HeaderMap) -> Review {
        let now = clock::now();
        let token = headers
            .get(AUTHORIZATION)
            .map_or(&[][..], |value| value.as_bytes());
        let mut reviews = self.reviews.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = reviews.get(token).filter(|known| known.holds(now)) {
            return known.clone();
        }
        if reviews.len() >= TOKENS {
            reviews.retain(|_, review| review.holds(now));
        }
        if reviews.len() >= TOKENS {
            reviews.clear();
        }
        let (tell, outcome) = watch::channel(None);
        let review = Review { begun: now, outcome };
        reviews.insert(token.to_vec(), review.clone());
        let (authenticator, headers) = (self.authenticator.clone(), headers.clone());
        self.tasks.spawn("token review", async move {
            tell.send_replace(Some(authenticator.authenticate(&headers, None).await));
        });
        review
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::*;
    use crate::fake_api;

    fn headers(token: &str) -> HeaderMap {
        let value = format!("Bearer {token}").parse().unwrap();
        HeaderMap::from_iter([(AUTHORIZATION, value)])
    }

    fn known(asked: &Arc<AtomicUsize>) -> Known {
        let asked = asked.clone();
        let client = fake_api::client(move |_, _, body| {
            asked.fetch_add(1, Ordering::Relaxed);
            let good = body["spec"]["token"] == "good";
            let status = json!({
                "authenticated": good, "audiences": ["istio-ca"],
                "user": {"username": "system:serviceaccount:shop:web"},
            });
            (
                201,
                json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {},
                         "spec": body["spec"], "status": status}),
            )
        });
        Known::new(Authenticator::new(client, crate::live::known()), Tasks::new())
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_reviewed_once_and_again_after_a_while() {
        let asked = Arc::new(AtomicUsize::new(0));
        let known = known(&asked);
        for _ in 0..3 {
            assert_eq!(known.caller(&headers("good")).await.unwrap().namespace, "shop");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        clock::sleep(BELIEVED).await;
        known.caller(&headers("good")).await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_believed_is_told_so_and_may_try_again_later() {
        let asked = Arc::new(AtomicUsize::new(0));
        let known = known(&asked);
        for _ in 0..3 {
            let refused = known.caller(&headers("bad")).await.unwrap_err();
            assert_eq!(refused.code(), tonic::Code::Unauthenticated);
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        clock::sleep(DISBELIEVED).await;
        known.caller(&headers("bad")).await.unwrap_err();
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        let nobody = known.caller(&HeaderMap::new()).await.unwrap_err();
        assert_eq!(nobody.code(), tonic::Code::Unauthenticated);
    }

    #[tokio::test(start_paused = true)]
    async fn a_review_goes_on_when_nobody_waits_for_it() {
        let asked = Arc::new(AtomicUsize::new(0));
        let known = known(&asked);
        let (token, mut context) = (
            headers("good"),
            std::task::Context::from_waker(std::task::Waker::noop()),
        );
        let mut impatient = Box::pin(known.caller(&token));
        assert!(impatient.as_mut().poll(&mut context).is_pending());
        drop(impatient);
        known.caller(&token).await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
}
