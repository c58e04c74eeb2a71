//! Who asks, without asking the API server each time: a token that was believed is believed for a while.
//!
//! A review goes on when the one who asked has given up (proxies wait for milliseconds), so that the next question finds
//! its outcome; and there is one review of a token at a time.
//!
//! Anybody may show anything. So what is no token is refused unseen; reviews under way are bounded, and strangers have
//! at most half of them; and tokens that were not believed have a small table of their own, so that however many come,
//! nobody who was believed is forgotten or kept out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use daemon::Tasks;
use daemon::clock::{self, Instant};
use http::HeaderMap;
use identity::token::digest;
use tokio::sync::watch;
use tonic::Status;

use crate::ca::authenticate::{Authenticator, Caller, Unauthenticated, bearer};

/// How long an outcome holds. A pod that is gone may be believed for as long.
const BELIEVED: Duration = Duration::from_secs(300);
const DISBELIEVED: Duration = Duration::from_secs(10);
/// Believed tokens that are remembered; more proxies than one controller should serve.
const TOKENS: usize = 20_000;
/// Disbelieved ones.
const STRANGERS: usize = 1000;
/// Reviews under way; tokens that were not believed before have half of them.
const UNDER_WAY: usize = 64;

/// SHA-256 of a token.
type Digest = [u8; 32];

type Outcome = Result<Caller, Unauthenticated>;

/// What is known of tokens. Cloning shares it.
#[derive(Clone)]
pub(super) struct Known {
    authenticator: Authenticator,
    tasks: Tasks,
    reviews: Arc<Mutex<Reviews>>,
}

/// What came of reviews, and those under way.
#[derive(Default)]
struct Reviews {
    believed: HashMap<Digest, (Instant, Caller)>,
    disbelieved: HashMap<Digest, (Instant, Unauthenticated)>,
    under_way: HashMap<Digest, watch::Receiver<Option<Outcome>>>,
}

/// What is known of one token.
enum Standing {
    Known(Outcome),
    UnderWay(watch::Receiver<Option<Outcome>>),
    /// Nothing, and there is a place to find out.
    New,
    /// Nothing, and there is no place.
    Full,
}

impl Reviews {
    fn standing(&self, token: &Digest, now: Instant) -> Standing {
        let holds = |begun: Instant, time| now.saturating_duration_since(begun) < time;
        let believed = self.believed.get(token);
        if let Some((begun, caller)) = believed
            && holds(*begun, BELIEVED)
        {
            return Standing::Known(Ok(caller.clone()));
        }
        if let Some((begun, reason)) = self.disbelieved.get(token)
            && holds(*begun, DISBELIEVED)
        {
            return Standing::Known(Err(reason.clone()));
        }
        let places = match believed {
            Some(_) => UNDER_WAY,
            None => UNDER_WAY / 2,
        };
        match self.under_way.get(token) {
            Some(outcome) => Standing::UnderWay(outcome.clone()),
            None if self.under_way.len() < places => Standing::New,
            None => Standing::Full,
        }
    }

    /// Keeps what came of a review that began then. A review that failed says nothing about its token.
    fn learn(&mut self, token: Digest, begun: Instant, outcome: &Outcome) {
        self.under_way.remove(&token);
        match outcome {
            Ok(caller) => {
                make_room(&mut self.believed, &token, TOKENS);
                self.believed.insert(token, (begun, caller.clone()));
            }
            Err(Unauthenticated::Unavailable(_)) => {}
            Err(reason) => {
                self.believed.remove(&token);
                make_room(&mut self.disbelieved, &token, STRANGERS);
                self.disbelieved.insert(token, (begun, reason.clone()));
            }
        }
    }
}

/// Forgets the oldest entry of a table that is full, if that token is not there.
fn make_room<T>(table: &mut HashMap<Digest, (Instant, T)>, token: &Digest, most: usize) {
    if table.len() < most || table.contains_key(token) {
        return;
    }
    let oldest = table.iter().min_by_key(|(_, (begun, _))| *begun);
    if let Some(oldest) = oldest.map(|(token, _)| *token) {
        table.remove(&oldest);
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
        let token = bearer(headers)?;
        if !is_token(token) {
            return Err(Status::unauthenticated("the bearer token is no JSON Web Token"));
        }
        let mut review = match self.standing(digest(token), headers) {
            Standing::Known(outcome) => return Ok(outcome?),
            Standing::UnderWay(review) => review,
            Standing::New | Standing::Full => {
                return Err(Status::unavailable("too many tokens are being reviewed"));
            }
        };
        let outcome = review.wait_for(Option::is_some).await;
        let stopping = || Status::unavailable("the controller is stopping");
        let outcome = outcome.map_err(|_| stopping())?.clone();
        Ok(outcome.ok_or_else(stopping)??)
    }

    /// What is known of a token; where that is nothing, a review begins if there is a place for it.
    fn standing(&self, token: Digest, headers: &HeaderMap) -> Standing {
        let now = clock::now();
        let mut reviews = self.reviews.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = reviews.standing(&token, now);
        if !matches!(standing, Standing::New) {
            return standing;
        }
        let (tell, outcome) = watch::channel(None);
        reviews.under_way.insert(token, outcome.clone());
        let (authenticator, headers) = (self.authenticator.clone(), headers.clone());
        let known = self.reviews.clone();
        self.tasks.spawn("token review", async move {
            let outcome = authenticator.authenticate(&headers, None).await;
            let mut reviews = known.lock().unwrap_or_else(PoisonError::into_inner);
            reviews.learn(token, now, &outcome);
            tell.send_replace(Some(outcome));
        });
        Standing::UnderWay(outcome)
    }
}

/// Whether it has the form of a JSON Web Token, as all tokens of service accounts have.
fn is_token(text: &str) -> bool {
    let part = |part: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        !part.is_empty() && part.bytes().all(known)
    };
    let mut parts = text.split('.');
    parts.by_ref().take(3).filter(|text| part(text)).count() == 3 && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::header::AUTHORIZATION;
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
            let good = body["spec"]["token"]
                .as_str()
                .is_some_and(|token| token.starts_with("good"));
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
            assert_eq!(
                known.caller(&headers("good.a.b")).await.unwrap().namespace,
                "shop"
            );
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        clock::sleep(BELIEVED).await;
        known.caller(&headers("good.a.b")).await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_believed_is_told_so_and_may_try_again_later() {
        let asked = Arc::new(AtomicUsize::new(0));
        let known = known(&asked);
        for _ in 0..3 {
            let refused = known.caller(&headers("bad.a.b")).await.unwrap_err();
            assert_eq!(refused.code(), tonic::Code::Unauthenticated);
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        clock::sleep(DISBELIEVED).await;
        known.caller(&headers("bad.a.b")).await.unwrap_err();
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        let nobody = known.caller(&HeaderMap::new()).await.unwrap_err();
        assert_eq!(nobody.code(), tonic::Code::Unauthenticated);
    }

    #[tokio::test(start_paused = true)]
    async fn a_review_goes_on_when_nobody_waits_for_it() {
        let asked = Arc::new(AtomicUsize::new(0));
        let known = known(&asked);
        let (token, mut context) = (
            headers("good.a.b"),
            std::task::Context::from_waker(std::task::Waker::noop()),
        );
        let mut impatient = Box::pin(known.caller(&token));
        assert!(impatient.as_mut().poll(&mut context).is_pending());
        drop(impatient);
        known.caller(&token).await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_token_is_refused_without_asking_anybody() {
        let asked = Arc::new(AtomicUsize::new(0));
        let known = known(&asked);
        let long = format!("a.b.{}", "c".repeat(20 << 10));
        for text in [
            "good",
            "good.a",
            "good..b",
            "good.a.b.c",
            "good.a.b!",
            "good.a b.c",
            &long,
        ] {
            let refused = known.caller(&headers(text)).await.unwrap_err();
            assert_eq!(refused.code(), tonic::Code::Unauthenticated, "{text}");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 0);
    }

    /// Asks without waiting for the answer, as a proxy that gives up.
    fn ask(known: &Known, token: &str) -> Option<Result<Caller, Status>> {
        let headers = headers(token);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::pin!(known.caller(&headers)).poll(&mut context) {
            std::task::Poll::Ready(outcome) => Some(outcome),
            std::task::Poll::Pending => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_of_strangers_makes_nobody_forgotten_and_keeps_nobody_out_who_was_known() {
        let asked = Arc::new(AtomicUsize::new(0));
        let known = known(&asked);
        known.caller(&headers("good.a.b")).await.unwrap();
        for number in 0..STRANGERS + 100 {
            let refused = known.caller(&headers(&format!("bad.a.{number}"))).await;
            assert_eq!(refused.unwrap_err().code(), tonic::Code::Unauthenticated);
        }
        let before = asked.load(Ordering::Relaxed);
        known.caller(&headers("good.a.b")).await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), before, "still known");
        {
            let reviews = known.reviews.lock().unwrap();
            assert_eq!(
                (reviews.believed.len(), reviews.disbelieved.len()),
                (1, STRANGERS)
            );
        }
        clock::sleep(BELIEVED).await;
        for number in 0..UNDER_WAY {
            let answer = ask(&known, &format!("bad.b.{number}"));
            let full = answer.map(|answer| answer.unwrap_err().code());
            assert_eq!(full.is_some(), number >= UNDER_WAY / 2, "{number}");
            assert!(
                full.is_none_or(|code| code == tonic::Code::Unavailable),
                "{number}"
            );
        }
        known.caller(&headers("good.a.b")).await.unwrap();
    }
}
