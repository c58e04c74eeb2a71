//! Replacing the root of the mesh without one failed handshake: what comes next, as a pure function of what is known.
//!
//! 1. [`Phase::Trusting`]: the new root is believed beside the old one, which still signs. Lasts until everybody with a
//!    certificate of the old root has said that it believes the new one, and every namespace and webhook has it.
//! 2. [`Phase::Renewing`]: the new root signs; both are believed. Proxies see by the order of the bundle that another
//!    one signs, and renew. Lasts until no certificate of the old root is in use.
//! 3. [`Phase::Closing`]: the controller itself shows a certificate of the new root.
//! 4. The old root is removed.
//!
//! The state is kept in the Secret of the authority: who must be heard of is stored with it, so that a controller that
//! has just started, and knows nobody, waits for the same ones. Nobody is hurried: what cannot be known to have
//! happened is waited for until it cannot matter any more, or until somebody says that it does not.

mod memory;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use xds::secrets::SPREAD;
use xds::transport::LONGEST_PAUSE;

use super::issued::Newest;

/// Kubelets bring a changed ConfigMap to their pods within this time.
const FILES: u64 = 150;
/// The least time of each phase: for what is not seen from here.
const SETTLE: u64 = 15;
/// A controller that has just started knows whom it serves after this time: everybody is back, and has renewed.
const RETURN: u64 = LONGEST_PAUSE.as_secs() + SPREAD.as_secs() + 10;
/// Reasons that are told.
const TOLD: usize = 10;
/// Names whose pods are looked for at a time.
const LOOKED_FOR: usize = 20;

const _: () = assert!(
    SETTLE > SPREAD.as_secs(),
    "who was told to renew has done so when a phase ends"
);

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Both roots are believed, the old one signs.
    Trusting,
    /// Both roots are believed, the new one signs.
    Renewing,
    /// The same, and the controller itself has left the old one.
    Closing,
}

/// A rotation under way. Times are seconds since 1970, as all of them here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rotation {
    pub(crate) phase: Phase,
    /// Fingerprint of the root that comes.
    pub(crate) to: String,
    pub(crate) begun: u64,
    /// When its phase began, or a certificate of the old root was last seen to go.
    pub(crate) entered: u64,
    /// When the new root began to sign.
    #[serde(default)]
    pub(crate) switched: u64,
    /// The request that it answers; empty where the controller began by itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) request: String,
    /// Nothing is waited for any more: somebody said so.
    #[serde(default)]
    pub(crate) hurried: bool,
    /// Who has a certificate of the old root, and until when that is valid.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) former: BTreeMap<String, u64>,
    /// Those of them who have said that they believe the new root. Empty after [`Phase::Trusting`].
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) believing: BTreeSet<String>,
    /// Who is not waited for: certificates up to that time count for nothing. Their pods are gone, or somebody said so.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) without: BTreeMap<String, u64>,
    /// Of callers that are too many to be named: until when the last certificate of the old root is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) crowd: Option<u64>,
}

/// What a connected proxy is known to believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Belief {
    /// It has acknowledged the bundle of now.
    Acknowledged,
    /// It has not, or not yet.
    Lagging,
    /// It has just connected, and may be about to ask for the bundle.
    Unsaid,
    /// It asks for no bundle: it follows the file of its pod.
    File,
    /// Its certificates and roots are files of somebody else's: nothing of ours reaches it.
    Mounted,
}

/// A connected proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Proxy {
    /// `shop/backend-0`.
    pub(crate) name: String,
    pub(crate) belief: Belief,
}

/// What is known now, by all replicas of the controller together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) now: u64,
    /// When the youngest of them started.
    pub(crate) since: u64,
    /// Replicas that have not said what they see.
    pub(crate) unheard: Vec<String>,
    pub(crate) proxies: Vec<Proxy>,
    /// Whether every namespace has the bundle of now.
    pub(crate) published: bool,
    /// Whether the API server has it, for our webhooks.
    pub(crate) webhooks: bool,
    /// The newest certificate of each caller.
    pub(crate) issued: Newest,
    /// The longest validity of any certificate.
    pub(crate) longest: u64,
    /// There are more callers than could be told: until when the last certificate of any of them is valid.
    pub(crate) crowded: Option<u64>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing yet; why.
    Wait(Vec<String>),
    /// Store this: something became known, or the last phase begins.
    Note(Rotation),
    /// Let the new root sign. What is to be stored with it.
    Switch(Rotation),
    /// Remove the old root.
    Finish,
}

impl Rotation {
    /// One that begins now.
    pub(crate) fn new(to: String, now: u64) -> Self {
        Self {
            phase: Phase::Trusting,
            to,
            begun: now,
            entered: now,
            switched: 0,
            request: String::new(),
            hurried: false,
            former: BTreeMap::new(),
            believing: BTreeSet::new(),
            without: BTreeMap::new(),
            crowd: None,
        }
    }

    /// What comes next. What has become known is stored with what is decided upon it, or, if that is to wait, by itself.
    pub(crate) fn next(&self, facts: &Facts) -> Next {
        let informed = self.informed(facts);
        let reasons = informed.reasons(facts);
        match (reasons.is_empty(), informed == *self) {
            (true, _) => informed.onward(facts.now),
            (false, true) => Next::Wait(told(reasons)),
            (false, false) => Next::Note(informed),
        }
    }

    /// Why the next step may not be taken yet.
    fn reasons(&self, facts: &Facts) -> Vec<String> {
        let mut reasons = match (self.hurried, self.phase) {
            (true, _) => Vec::new(),
            (false, Phase::Trusting) => self.trusting(facts),
            (false, Phase::Renewing | Phase::Closing) => self.renewing(facts),
        };
        if facts.now.saturating_sub(self.entered) < SETTLE {
            reasons.push("what has changed settles".to_owned());
        }
        reasons
    }

    /// The next step.
    fn onward(self, now: u64) -> Next {
        let before = self.phase;
        let entered = |phase| Self {
            phase,
            entered: now,
            believing: BTreeSet::new(),
            ..self
        };
        match before {
            Phase::Trusting => Next::Switch(Self {
                switched: now,
                ..entered(Phase::Renewing)
            }),
            Phase::Renewing => Next::Note(entered(Phase::Closing)),
            Phase::Closing => Next::Finish,
        }
    }

    /// Why the new root may not sign yet.
    fn trusting(&self, facts: &Facts) -> Vec<String> {
        let mut reasons = self.unseen(facts);
        let counts = |proxy: &&Proxy| !self.is_exempt(&proxy.name);
        let connected = || facts.proxies.iter().filter(counts);
        let lagging = connected().filter(|proxy| match proxy.belief {
            Belief::Lagging => true,
            // Of many proxies one always comes back: what it has said before counts on.
            Belief::Unsaid => !self.believing.contains(&proxy.name),
            Belief::Acknowledged | Belief::File | Belief::Mounted => false,
        });
        reasons.extend(lagging.map(|proxy| format!("{} has not acknowledged the new bundle", proxy.name)));
        let offline = self
            .outstanding(facts)
            .map(|name| format!("{name} has not acknowledged the new bundle, and is not connected"));
        reasons.extend(offline);
        let by_file = self.crowd.is_some() || connected().any(|proxy| proxy.belief == Belief::File);
        let left = self.left_for_files(self.entered, facts.now);
        if by_file && left > 0 {
            reasons.push(format!("proxies that follow a file get {left} s more"));
        }
        reasons
    }

    /// Why the old root may not go yet.
    fn renewing(&self, facts: &Facts) -> Vec<String> {
        let mut reasons = self.unseen(facts);
        let names = self.former.keys();
        reasons.extend(names.map(|name| format!("{name} has a certificate of the old root")));
        if self.crowd.is_some() {
            reasons
                .push("callers that are too many to be named have certificates of the old root".to_owned());
        }
        let left = self.left_for_files(self.switched, facts.now);
        if left > 0 {
            reasons.push(format!("the files of pods get {left} s more"));
        }
        reasons
    }

    /// What has to be known before anything is decided.
    fn unseen(&self, facts: &Facts) -> Vec<String> {
        let unheard = facts.unheard.iter();
        let mut reasons: Vec<String> = unheard
            .map(|replica| format!("controller {replica} has not said what it sees"))
            .collect();
        let back = facts.since.saturating_add(RETURN).saturating_sub(facts.now);
        if back > 0 {
            reasons.push(format!(
                "proxies get {back} s more to come back to a controller that has just started"
            ));
        }
        if !facts.published {
            reasons.push("not every namespace has the new bundle".to_owned());
        }
        if !facts.webhooks {
            reasons.push("the API server does not have the new bundle for the webhooks".to_owned());
        }
        reasons
    }

    /// Whether somebody said that it is not waited for.
    fn is_exempt(&self, name: &str) -> bool {
        self.without.get(name) == Some(&u64::MAX)
    }

    fn left_for_files(&self, since: u64, now: u64) -> u64 {
        since.saturating_add(FILES).saturating_sub(now)
    }

    /// Who has to be heard of, and is not there.
    fn outstanding<'a>(&'a self, facts: &'a Facts) -> impl Iterator<Item = &'a String> {
        let connected: BTreeSet<&str> = facts.proxies.iter().map(|proxy| proxy.name.as_str()).collect();
        let names = self.former.keys().filter(|name| !self.believing.contains(*name));
        names.filter(move |name| !connected.contains(name.as_str()))
    }

    /// Pods that are waited for and are not connected: perhaps they are gone for good. All of them in turn, those
    /// behind `last` first.
    pub(crate) fn missing(&self, facts: &Facts, last: &str) -> Vec<String> {
        let pods = || self.outstanding(facts).filter(|name| is_pod(name));
        let behind = pods().filter(|name| name.as_str() > last);
        let before = pods().filter(|name| name.as_str() <= last);
        behind.chain(before).take(LOOKED_FOR).cloned().collect()
    }
}

/// Whether a caller is known by its pod, and not by an account that others have too.
fn is_pod(name: &str) -> bool {
    name.split_once('/').is_some_and(|(_, pod)| !pod.contains(':'))
}

fn told(mut reasons: Vec<String>) -> Vec<String> {
    let more = reasons.len().saturating_sub(TOLD);
    reasons.truncate(TOLD);
    if more > 0 {
        reasons.push(format!("and {more} more"));
    }
    reasons
}

#[cfg(test)]
mod tests;
