//! The controller's end of delta discovery for one proxy: messages in, messages out, no IO and no clock.
//!
//! The order of pushes is what keeps traffic flowing (make before break): clusters, their endpoints, listeners,
//! their route tables; then, from the user to the used, what is gone. A stage waits for the answer to the one
//! before, but for one case: Envoy answers for clusters only once it has their endpoints, so these follow at once.
//! A client asks for endpoints and route tables after it learned their names, so a stage also waits for those
//! questions; [`Server::give_up_waiting`] ends that patience.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations>

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::message::{Request, Response, Status};
use crate::rejected::Reason;
use crate::{Dialect, Encoded, Kind, Rejected};

const ALL: &str = "*";

/// What one proxy has, wants, and should have.
#[derive(Debug, Default)]
pub struct Server {
    target: Option<Arc<Encoded>>,
    subscriptions: [Subscription; 4],
    /// Pushes that the client has not answered yet, by kind.
    outstanding: [Option<Push>; 4],
    pushes: u64,
    impatient: bool,
}

#[derive(Debug, Default)]
struct Subscription {
    begun: bool,
    wildcard: bool,
    /// The client waits for a first answer, even if there is nothing to tell.
    unanswered: bool,
    names: BTreeSet<Arc<str>>,
    /// What the client has, by version.
    held: BTreeMap<Arc<str>, Arc<str>>,
    /// Names that the client asked for and knows not to exist.
    absent: BTreeSet<Arc<str>>,
    /// What the client refused; not sent again until it changes.
    refused: BTreeMap<Arc<str>, Arc<str>>,
}

/// What a client lacks of one kind.
#[derive(Debug, Default)]
struct Delta {
    changed: Vec<Versioned>,
    removed: Vec<Arc<str>>,
}

#[derive(Debug)]
struct Versioned {
    name: Arc<str>,
    version: Arc<str>,
}

/// A delta that the client has not answered yet.
#[derive(Debug)]
struct Push {
    kind: Kind,
    nonce: String,
    delta: Delta,
}

/// How a client answered a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What the push was about.
    pub kind: Kind,
    /// What it refused; empty when it accepted all.
    pub rejected: Vec<Rejected>,
}

impl Server {
    /// A new stream: nothing asked, nothing sent.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the proxy should have from now on.
    pub fn update(&mut self, target: Arc<Encoded>) {
        self.target = Some(target);
        self.impatient = false;
    }

    /// What the proxy should have.
    pub fn target(&self) -> Option<&Arc<Encoded>> {
        self.target.as_ref()
    }

    /// Takes a message of the client. Kinds that we do not serve are ignored, as are answers to pushes of which
    /// we know nothing.
    pub fn request(&mut self, request: &Request) -> Option<Answer> {
        let kind = Kind::from_type_url(&request.type_url)?;
        self.subscriptions[kind.index()].change(kind, request);
        if let Some(push) = &mut self.outstanding[kind.index()] {
            // Asked for again while under way: it will be sent again.
            let asked = |name: &str| request.subscribe.iter().any(|asked| asked == name);
            push.delta.changed.retain(|item| !asked(&item.name));
        }
        let push = self.outstanding[kind.index()].take_if(|push| push.nonce == request.response_nonce)?;
        Some(match &request.error {
            None => self.accepted(push),
            Some(status) => self.refused(push, status),
        })
    }

    /// The next message to send, if it is time for one.
    pub fn poll(&mut self) -> Option<Response> {
        let target = self.target.clone()?;
        if self.is_under_way(Kind::Cluster) && target.dialect() == Dialect::Envoy {
            let idle = !self.is_under_way(Kind::Endpoints);
            return idle
                .then(|| self.push_additions(Kind::Endpoints, &target))
                .flatten();
        }
        if self.is_any_under_way() {
            return None;
        }
        for kind in Kind::ALL {
            if let Some(response) = self.push_additions(kind, &target) {
                return Some(response);
            }
            let awaited = match kind {
                Kind::Endpoints => self.awaits_questions(Kind::Cluster, Kind::Endpoints, &target),
                Kind::Routes => self.awaits_questions(Kind::Listener, Kind::Routes, &target),
                Kind::Cluster | Kind::Listener => false,
            };
            if awaited && !self.impatient {
                return None;
            }
        }
        // Until a client has said which listeners it has, its routes may still use any cluster.
        let listens = self.subscriptions[Kind::Listener.index()].begun;
        if !listens && !self.impatient {
            return None;
        }
        Kind::REMOVAL
            .into_iter()
            .find_map(|kind| self.push_removals(kind, &target))
    }

    /// Whether a stage waits for the client to ask for what it learned of.
    pub fn waits(&self) -> bool {
        !self.is_any_under_way() && !self.impatient && !self.in_sync()
    }

    /// Goes on without those questions until the next [`Server::update`]; for clients that do not ask.
    pub fn give_up_waiting(&mut self) {
        self.impatient = true;
    }

    /// Whether the client has all that it asked for, in the latest version, or refused it.
    pub fn in_sync(&self) -> bool {
        Kind::ALL.into_iter().all(|kind| self.in_sync_for(kind))
    }

    /// The same for one kind.
    pub fn in_sync_for(&self, kind: Kind) -> bool {
        let Some(target) = &self.target else { return true };
        let subscription = &self.subscriptions[kind.index()];
        !self.is_under_way(kind)
            && subscription.lacks(kind, target).is_none()
            && subscription.gone(kind, target).next().is_none()
    }

    /// Whether the client asked for this kind.
    pub fn serves(&self, kind: Kind) -> bool {
        self.subscriptions[kind.index()].begun
    }

    /// The versions that the client has.
    pub fn held(&self, kind: Kind) -> &BTreeMap<Arc<str>, Arc<str>> {
        &self.subscriptions[kind.index()].held
    }

    fn is_under_way(&self, kind: Kind) -> bool {
        self.outstanding[kind.index()].is_some()
    }

    fn is_any_under_way(&self) -> bool {
        self.outstanding.iter().any(Option::is_some)
    }

    fn push_additions(&mut self, kind: Kind, target: &Encoded) -> Option<Response> {
        let delta = self.subscriptions[kind.index()].lacks(kind, target)?;
        Some(self.push(kind, delta, target))
    }

    fn push_removals(&mut self, kind: Kind, target: &Encoded) -> Option<Response> {
        let removed: Vec<_> = self.subscriptions[kind.index()]
            .gone(kind, target)
            .cloned()
            .collect();
        let delta = Delta {
            removed,
            ..Delta::default()
        };
        (!delta.removed.is_empty()).then(|| self.push(kind, delta, target))
    }

    fn push(&mut self, kind: Kind, delta: Delta, target: &Encoded) -> Response {
        self.pushes += 1;
        self.subscriptions[kind.index()].unanswered = false;
        let changed = delta.changed.iter();
        let response = Response {
            system_version: self.pushes.to_string(),
            resources: changed
                .filter_map(|item| target.resource(kind, &item.name))
                .collect(),
            type_url: kind.type_url().into(),
            nonce: format!("{}-{}", kind.short(), self.pushes),
            removed: delta.removed.iter().map(ToString::to_string).collect(),
        };
        if kind == Kind::Cluster && target.dialect() == Dialect::Envoy {
            self.resend_endpoints(&delta, target);
        }
        self.outstanding[kind.index()] = Some(Push {
            kind,
            nonce: response.nonce.clone(),
            delta,
        });
        response
    }

    /// Whether the client accepted a `parent` that makes it ask for a `child`, and has not asked yet.
    fn awaits_questions(&self, parent: Kind, child: Kind, target: &Encoded) -> bool {
        let child = &self.subscriptions[child.index()];
        self.subscriptions[parent.index()]
            .held
            .iter()
            .any(|(name, version)| {
                let item = target
                    .items(parent)
                    .get(name)
                    .filter(|item| item.version == *version);
                item.is_some_and(|item| item.refers.iter().any(|name| !child.wants(name)))
            })
    }

    fn accepted(&mut self, push: Push) -> Answer {
        self.subscriptions[push.kind.index()].settle(push.delta);
        Answer {
            kind: push.kind,
            rejected: Vec::new(),
        }
    }

    /// Envoy warms a changed cluster anew and wants its endpoints again, without asking.
    fn resend_endpoints(&mut self, clusters: &Delta, target: &Encoded) {
        let endpoints = &mut self.subscriptions[Kind::Endpoints.index()];
        for changed in &clusters.changed {
            let item = target.items(Kind::Cluster).get(&changed.name);
            for name in item.into_iter().flat_map(|item| &*item.refers) {
                endpoints.held.remove(name);
            }
        }
    }

    /// Our proxy says which resources it refused, and took the rest. Of Envoy's words nobody can tell, so nothing
    /// of that push counts as held, and nothing of it is sent again unless it changes.
    fn refused(&mut self, push: Push, status: &Status) -> Answer {
        let subscription = &mut self.subscriptions[push.kind.index()];
        let exact = status.rejected(push.kind);
        let is_refused = |name: &str| match &exact {
            Some(rejected) => rejected.iter().any(|rejected| rejected.name == name),
            None => true,
        };
        let Delta { changed, removed } = push.delta;
        let (refused, taken): (Vec<_>, Vec<_>) = changed.into_iter().partition(|item| is_refused(&item.name));
        let names: Vec<_> = refused.iter().map(|item| item.name.to_string()).collect();
        for item in refused {
            if exact.is_none() {
                subscription.held.remove(&item.name);
            }
            subscription.refused.insert(item.name, item.version);
        }
        subscription.settle(Delta {
            changed: taken,
            removed,
        });
        let in_words = || Rejected {
            kind: push.kind,
            name: names.join(", "),
            reason: Reason::new("push", status.message.clone()),
        };
        Answer {
            kind: push.kind,
            rejected: exact.unwrap_or_else(|| vec![in_words()]),
        }
    }
}

impl Subscription {
    fn change(&mut self, kind: Kind, request: &Request) {
        let first = !std::mem::replace(&mut self.begun, true);
        if first {
            self.wildcard = kind.wildcard() && request.subscribe.is_empty();
            self.unanswered = self.wildcard && request.initial_versions.is_empty();
            let versions = request.initial_versions.iter();
            self.held = versions
                .map(|(name, version)| (name.as_str().into(), version.as_str().into()))
                .collect();
        }
        for name in &request.subscribe {
            if name == ALL {
                self.wildcard = true;
                continue;
            }
            self.names.insert(name.as_str().into());
            self.absent.remove(name.as_str());
            if !first {
                // Asking again means that the client wants to be sent it again.
                self.held.remove(name.as_str());
                self.refused.remove(name.as_str());
            }
        }
        for name in &request.unsubscribe {
            if name == ALL {
                self.wildcard = false;
            }
            self.names.remove(name.as_str());
        }
        if first || !request.unsubscribe.is_empty() {
            self.forget_unwanted();
        }
    }

    fn forget_unwanted(&mut self) {
        if self.wildcard {
            return;
        }
        let names = &self.names;
        self.held.retain(|name, _| names.contains(name));
        self.refused.retain(|name, _| names.contains(name));
        self.absent.retain(|name| names.contains(name));
    }

    fn wants(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    /// What the client should get: new and changed resources, and names that do not exist.
    fn lacks(&self, kind: Kind, target: &Encoded) -> Option<Delta> {
        let items = target.items(kind);
        let lacking = |name: &Arc<str>| {
            let version = &items.get(name)?.version;
            let known = self.held.get(name) == Some(version) || self.refused.get(name) == Some(version);
            (!known).then(|| Versioned {
                name: name.clone(),
                version: version.clone(),
            })
        };
        let changed: Vec<_> = match self.wildcard {
            true => items.keys().filter_map(lacking).collect(),
            false => self.names.iter().filter_map(lacking).collect(),
        };
        let unheard = |name: &&Arc<str>| {
            !items.contains_key(*name) && !self.held.contains_key(*name) && !self.absent.contains(*name)
        };
        let removed: Vec<_> = self.names.iter().filter(unheard).cloned().collect();
        let something = self.unanswered || !changed.is_empty() || !removed.is_empty();
        something.then_some(Delta { changed, removed })
    }

    /// What the client has and should not.
    fn gone<'a>(&'a self, kind: Kind, target: &'a Encoded) -> impl Iterator<Item = &'a Arc<str>> {
        self.held
            .keys()
            .filter(move |name| !target.items(kind).contains_key(*name))
    }

    fn settle(&mut self, delta: Delta) {
        for Versioned { name, version } in delta.changed {
            if self.wants(&name) {
                self.refused.remove(&name);
                self.absent.remove(&name);
                self.held.insert(name, version);
            }
        }
        for name in delta.removed {
            self.held.remove(&name);
            self.refused.remove(&name);
            if self.names.contains(&name) {
                self.absent.insert(name);
            }
        }
    }
}
