//! The mesh's own server of limits: counts for all proxies together, and needs nothing else installed. It speaks
//! `envoy.service.ratelimit.v3` beside discovery, on the same port.
//!
//! Rules come from the RateLimits of the mesh, never from who asks, and only the namespace that a limit is for (or any,
//! for limits of the root namespace) may use it up, by the rule's cost with each question. Counts are in memory: a
//! restart fills the buckets, so at most one burst is given twice. Before the mesh is known no question is answered.

mod callers;
mod limiter;
mod stated;

use std::sync::Arc;

use daemon::{Tasks, clock};
use http::{Extensions, HeaderMap};
use tokio::sync::watch;
use tonic::Status;
use translate::ROOT_NAMESPACE;
use xds::rate_limit::{Question, Verdict};

use crate::ca::authenticate::{Authenticator, Caller};
use crate::grpc::Peer;
use crate::push::World;
use callers::Known;
pub(crate) use limiter::Limiter;

/// Most limits that one question may be about.
const DESCRIPTORS: usize = 64;

/// Answers questions. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Server {
    limiter: Arc<Limiter>,
    known: Known,
}

impl Server {
    /// One that follows the mesh; `tasks` owns what it starts.
    pub(crate) fn start(
        authenticator: Authenticator,
        worlds: watch::Receiver<Option<World>>,
        tasks: &Tasks,
    ) -> Self {
        let limiter = Arc::new(Limiter::default());
        tasks.spawn("rate limits", follow(limiter.clone(), worlds));
        Self {
            limiter,
            known: Known::new(authenticator, tasks.clone()),
        }
    }

    /// The answer to one question of who sends these headers.
    pub(crate) async fn answer(
        self,
        headers: HeaderMap,
        extensions: Extensions,
        question: Question,
    ) -> Result<Verdict, Status> {
        let caller = self.known.caller(&headers).await?;
        if let Some(peer) = extensions.get::<Peer>() {
            peer.prove();
        }
        check(&caller, &question)?;
        let verdict = self.limiter.judge(&caller.namespace, &question, clock::now());
        // Whoever asks does then what its policy says about a server that cannot be asked.
        verdict.map_err(|unanswered| Status::unavailable(unanswered.to_string()))
    }
}

/// Whether a caller may use up what it asks about.
fn check(caller: &Caller, question: &Question) -> Result<(), Status> {
    let owner = question
        .domain
        .split_once('/')
        .map_or("", |(namespace, _)| namespace);
    if owner != caller.namespace && owner != ROOT_NAMESPACE {
        return Err(Status::permission_denied(format!(
            "domain {:?} is not of namespace {}",
            question.domain, caller.namespace
        )));
    }
    match question.descriptors.len() {
        0..=DESCRIPTORS => Ok(()),
        _ => Err(Status::invalid_argument("too many descriptors")),
    }
}

async fn follow(limiter: Arc<Limiter>, mut worlds: watch::Receiver<Option<World>>) {
    while worlds.changed().await.is_ok() {
        let world = worlds.borrow_and_update().clone();
        if let Some(world) = world {
            limiter.follow(&translate::rate_limit::rules(&world.mesh), clock::now());
        }
    }
}

#[cfg(test)]
mod tests;
