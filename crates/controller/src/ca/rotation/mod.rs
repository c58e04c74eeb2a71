//! Replacing the root of the mesh without one failed handshake: what comes next, as a pure function of what is known.
//!
//! 1. [`Phase::Trusting`]: the new root is believed beside the old one, which still signs. Lasts until every connected
//!    proxy has acknowledged the new bundle and every namespace has it.
//! 2. [`Phase::Renewing`]: the new root signs; both are believed. Proxies see by the order of the bundle that another
//!    one signs, and renew. Lasts until no certificate of the old root is in use.
//! 3. The old root is removed.
//!
//! The state is kept in the Secret of the authority, so that a restart goes on where it was. Nobody is hurried: what
//! cannot be known to have happened is waited for until it cannot matter any more.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::issued::Newest;

/// Kubelets bring a changed ConfigMap to their pods within this time; for proxies that follow a file.
const FILES: u64 = 150;
/// The least time for anything that is not seen from here, such as another replica's pushes.
const SETTLE: u64 = 5;
/// Reasons that are told.
const TOLD: usize = 10;
/// Callers whose certificates are waited for one by one; with more, the longest validity is waited for instead.
const CALLERS: usize = 10_000;

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// Both roots are believed, the old one signs.
    Trusting,
    /// Both roots are believed, the new one signs.
    Renewing,
}

/// A rotation under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rotation {
    pub(crate) phase: Phase,
    /// Fingerprint of the root that comes.
    pub(crate) to: String,
    /// When it began, and when it last made progress; seconds since 1970, like all times here.
    pub(crate) begun: u64,
    pub(crate) entered: u64,
    /// Who has a certificate of the old root, and until when that is valid. Empty before [`Phase::Renewing`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) former: BTreeMap<String, u64>,
}

/// A connected proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proxy {
    /// `shop/backend-0`.
    pub(crate) name: String,
    /// Whether it has acknowledged the bundle of now; `None` for one that does not ask for bundles.
    pub(crate) holds: Option<bool>,
}

/// What is known now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) now: u64,
    pub(crate) proxies: Vec<Proxy>,
    /// Whether every namespace has the bundle of now.
    pub(crate) published: bool,
    /// The newest certificate of each caller: the root that it leads to, and until when it is valid.
    pub(crate) issued: Newest,
    /// The longest validity of any certificate.
    pub(crate) longest: u64,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing yet; why.
    Wait(Vec<String>),
    /// Let the new root sign. What is to be stored with it.
    Switch(Rotation),
    /// Some certificates of the old root are gone. What is to be stored.
    Note(Rotation),
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
            former: BTreeMap::new(),
        }
    }

    /// What comes next.
    pub(crate) fn next(&self, facts: &Facts) -> Next {
        match self.phase {
            Phase::Trusting => self.after_trusting(facts),
            Phase::Renewing => self.after_renewing(facts),
        }
    }

    fn after_trusting(&self, facts: &Facts) -> Next {
        let passed = facts.now.saturating_sub(self.entered);
        let mut reasons = Vec::new();
        if !facts.published {
            reasons.push("not every namespace has the new bundle".to_owned());
        }
        let lagging = facts.proxies.iter().filter(|proxy| proxy.holds == Some(false));
        reasons.extend(lagging.map(|proxy| format!("{} has not acknowledged the new bundle", proxy.name)));
        let by_file = facts.proxies.iter().any(|proxy| proxy.holds.is_none());
        if by_file && passed < FILES {
            reasons.push(format!(
                "proxies that follow a file get {} s more",
                FILES - passed
            ));
        }
        if passed < SETTLE {
            reasons.push("the new bundle settles".to_owned());
        }
        match reasons.is_empty() {
            true => Next::Switch(self.switched(facts)),
            false => Next::Wait(told(reasons)),
        }
    }

    fn switched(&self, facts: &Facts) -> Self {
        let forever = facts.now.saturating_add(facts.longest);
        let connected = facts.proxies.iter().map(|proxy| (proxy.name.clone(), forever));
        // What is known exactly counts more than what is assumed of everybody.
        let issued = facts
            .issued
            .iter()
            .map(|(name, (_, until))| (name.clone(), *until));
        let mut former: BTreeMap<String, u64> = connected.chain(issued).collect();
        if former.len() > CALLERS {
            former = BTreeMap::from([("callers that are too many to be named".to_owned(), forever)]);
        }
        Self {
            phase: Phase::Renewing,
            entered: facts.now,
            former,
            ..self.clone()
        }
    }

    fn after_renewing(&self, facts: &Facts) -> Next {
        let renewed = |name: &str| facts.issued.get(name).is_some_and(|(root, _)| *root == self.to);
        let left = self
            .former
            .iter()
            .filter(|(name, until)| **until > facts.now && !renewed(name));
        let left: BTreeMap<String, u64> = left.map(|(name, until)| (name.clone(), *until)).collect();
        if left.len() < self.former.len() {
            return Next::Note(Self {
                former: left,
                entered: facts.now,
                ..self.clone()
            });
        }
        // Who was given a certificate a moment ago may not show it yet.
        if left.is_empty() && facts.now.saturating_sub(self.entered) >= SETTLE {
            return Next::Finish;
        }
        let names = left.keys();
        let mut reasons: Vec<String> = names
            .map(|name| format!("{name} has a certificate of the old root"))
            .collect();
        if reasons.is_empty() {
            reasons.push("the last certificates settle".to_owned());
        }
        Next::Wait(told(reasons))
    }

    /// Who is waited for, as far as they are not connected: perhaps they are gone for good.
    pub(crate) fn missing(&self, facts: &Facts) -> Vec<String> {
        let connected = |name: &str| facts.proxies.iter().any(|proxy| proxy.name == name);
        let missing = self.former.keys().filter(|name| !connected(name));
        missing.take(TOLD).cloned().collect()
    }

    /// Those are gone for good: nobody will use their certificates.
    pub(crate) fn without(&self, gone: &[String]) -> Self {
        let mut left = self.clone();
        left.former.retain(|name, _| !gone.contains(name));
        left
    }
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
mod tests {
    use super::*;

    const NEW: &str = "new";
    const OLD: &str = "old";
    const DAY: u64 = 86_400;

    fn proxy(name: &str, holds: Option<bool>) -> Proxy {
        Proxy {
            name: name.to_owned(),
            holds,
        }
    }

    fn facts(now: u64, proxies: Vec<Proxy>) -> Facts {
        Facts {
            now,
            proxies,
            published: true,
            issued: BTreeMap::new(),
            longest: DAY,
        }
    }

    fn reasons(next: Next) -> String {
        match next {
            Next::Wait(reasons) => reasons.join("; "),
            other => panic!("expected to wait, not {other:?}"),
        }
    }

    fn switched(rotation: &Rotation, facts: &Facts) -> Rotation {
        match rotation.next(facts) {
            Next::Switch(rotation) => rotation,
            other => panic!("expected to switch, not {other:?}"),
        }
    }

    #[test]
    fn the_signer_is_switched_when_everybody_believes_the_new_root() {
        let rotation = Rotation::new(NEW.into(), 1000);
        let lagging = facts(
            1010,
            vec![proxy("shop/a", Some(true)), proxy("shop/b", Some(false))],
        );
        assert_eq!(
            reasons(rotation.next(&lagging)),
            "shop/b has not acknowledged the new bundle"
        );
        let unpublished = Facts {
            published: false,
            ..facts(1010, vec![])
        };
        assert_eq!(
            reasons(rotation.next(&unpublished)),
            "not every namespace has the new bundle"
        );
        assert_eq!(
            reasons(rotation.next(&facts(1001, vec![]))),
            "the new bundle settles"
        );
        let all = facts(1010, vec![proxy("shop/a", Some(true))]);
        assert_eq!(switched(&rotation, &all).phase, Phase::Renewing);
    }

    #[test]
    fn proxies_that_follow_a_file_are_given_the_time_of_kubelets() {
        let rotation = Rotation::new(NEW.into(), 1000);
        let at = |now| rotation.next(&facts(now, vec![proxy("shop/a", None)]));
        assert_eq!(reasons(at(1050)), "proxies that follow a file get 100 s more");
        assert!(matches!(at(1150), Next::Switch(_)));
    }

    #[test]
    fn the_old_root_goes_when_none_of_its_certificates_is_in_use() {
        let before = Facts {
            issued: BTreeMap::from([
                ("shop/a".into(), (OLD.into(), 1500)),
                ("shop/gone".into(), (OLD.into(), 1200)),
            ]),
            ..facts(
                1010,
                vec![proxy("shop/a", Some(true)), proxy("shop/b", Some(true))],
            )
        };
        let rotation = switched(&Rotation::new(NEW.into(), 1000), &before);
        let expected = [("shop/a", 1500), ("shop/b", 1010 + DAY), ("shop/gone", 1200)];
        assert_eq!(
            rotation.former,
            expected.map(|(name, until)| (name.to_owned(), until)).into()
        );
        let new = |name: &str| (name.to_owned(), (NEW.to_owned(), 9000));
        let later = Facts {
            issued: BTreeMap::from([new("shop/a"), new("shop/b")]),
            ..facts(1100, vec![proxy("shop/b", Some(true))])
        };
        let Next::Note(rotation) = rotation.next(&later) else {
            panic!("something was renewed")
        };
        assert_eq!(
            reasons(rotation.next(&later)),
            "shop/gone has a certificate of the old root"
        );
        assert_eq!(rotation.missing(&later), ["shop/gone"]);
        let at_its_end = Facts {
            now: 1200,
            ..later.clone()
        };
        let Next::Note(last) = rotation.next(&at_its_end) else {
            panic!("the last one has run out")
        };
        assert_eq!(reasons(last.next(&at_its_end)), "the last certificates settle");
        let settled = Facts {
            now: 1200 + SETTLE,
            ..later.clone()
        };
        assert_eq!(last.next(&settled), Next::Finish);
        let buried = rotation.without(&["shop/gone".into()]);
        assert_eq!(buried.next(&settled), Next::Finish);
    }

    #[test]
    fn a_restart_goes_on_from_what_was_stored() {
        let before = facts(1010, vec![proxy("shop/a", Some(true))]);
        let rotation = switched(&Rotation::new(NEW.into(), 1000), &before);
        let stored = serde_json::to_string(&rotation).unwrap();
        let read: Rotation = serde_json::from_str(&stored).unwrap();
        assert_eq!(read, rotation);
        // Nothing is known any more of what was issued: it is waited for the longest validity, and not for ever.
        assert!(matches!(read.next(&facts(2000, vec![])), Next::Wait(_)));
        let Next::Note(last) = read.next(&facts(1010 + DAY, vec![])) else {
            panic!("nobody can have a certificate of the old root any more")
        };
        assert_eq!(last.next(&facts(1010 + DAY + SETTLE, vec![])), Next::Finish);
    }

    #[test]
    fn what_is_told_and_what_is_stored_is_bounded() {
        let many = (0..2 * CALLERS).map(|number| proxy(&format!("shop/{number}"), Some(false)));
        let mut facts = facts(1010, many.collect());
        let rotation = Rotation::new(NEW.into(), 1000);
        let Next::Wait(reasons) = rotation.next(&facts) else {
            panic!()
        };
        assert_eq!(reasons.len(), TOLD + 1);
        facts
            .proxies
            .iter_mut()
            .for_each(|proxy| proxy.holds = Some(true));
        assert_eq!(switched(&rotation, &facts).former.len(), 1);
    }
}
