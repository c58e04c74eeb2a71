//! Whom a rotation remembers: who has a certificate of the old root, who believes the new one, and who is not waited
//! for. It has to fit into a Secret beside keys; callers that are too many to be named are waited for together.

use super::{Belief, FILES, Facts, Phase, Rotation, is_pod};

/// Of the names and times, as they are stored. A Secret holds 1 MiB.
const LARGEST: usize = 256 << 10;
/// What an entry takes beside its name.
const ENTRY: usize = 16;

impl Rotation {
    /// The same with what has become known.
    pub(super) fn informed(&self, facts: &Facts) -> Self {
        let mut next = self.clone();
        next.note_issued(facts);
        if self.phase == Phase::Trusting {
            next.note_connected(facts);
        }
        let renewed = |name: &str| {
            let given = facts.issued.get(name);
            // An account may have other callers, whose certificates are older.
            is_pod(name) && given.is_some_and(|given| given.root == self.to)
        };
        next.former
            .retain(|name, until| *until > facts.now && !renewed(name));
        next.crowd = next.crowd.filter(|until| *until > facts.now);
        next.without.retain(|_, until| *until > facts.now);
        let former = &next.former;
        next.believing.retain(|name| former.contains_key(name));
        next.bound(facts);
        if self.phase != Phase::Trusting && next != *self {
            // Who was given a certificate a moment ago may not show it yet.
            next.entered = facts.now;
        }
        next
    }

    /// Whoever was given a certificate of another root than the new one, also a moment after the new one signs.
    fn note_issued(&mut self, facts: &Facts) {
        for (name, given) in &facts.issued {
            let counts = self.without.get(name).is_none_or(|until| given.until > *until);
            if given.root == self.to || !counts {
                continue;
            }
            match self.crowd {
                Some(until) => self.crowd = Some(until.max(given.until)),
                // The newest of a pod is the one that it shows.
                None if is_pod(name) => drop(self.former.insert(name.clone(), given.until)),
                None => {
                    let until = self.former.entry(name.clone()).or_default();
                    *until = given.until.max(*until);
                }
            }
        }
    }

    /// Who is connected, and was given its certificate before anybody here can remember.
    fn note_connected(&mut self, facts: &Facts) {
        let remembers = facts.now >= facts.since.saturating_add(facts.longest);
        let files_are_there = facts.now.saturating_sub(self.entered) >= FILES;
        for proxy in &facts.proxies {
            let name = &proxy.name;
            let is_new = !facts.issued.contains_key(name) && !self.is_exempt(name);
            let has_ours = !matches!(proxy.belief, Belief::Mounted | Belief::Unsaid);
            if is_new && !remembers && has_ours {
                let forever = facts.now.saturating_add(facts.longest);
                match self.crowd {
                    Some(_) => {}
                    None => drop(self.former.entry(name.clone()).or_insert(forever)),
                }
            }
            match proxy.belief {
                Belief::Acknowledged => drop(self.believing.insert(name.clone())),
                Belief::File if files_are_there => drop(self.believing.insert(name.clone())),
                Belief::File | Belief::Lagging | Belief::Unsaid | Belief::Mounted => {}
            }
        }
    }

    /// Makes one crowd of names that do not fit. Whom somebody named by hand stays named.
    fn bound(&mut self, facts: &Facts) {
        let names = self
            .former
            .keys()
            .chain(&self.believing)
            .chain(self.without.keys());
        let size: usize = names.map(|name| name.len() + ENTRY).sum();
        let unknown = facts
            .crowded
            .filter(|_| self.crowd.is_none() && self.phase == Phase::Trusting);
        if size <= LARGEST && unknown.is_none() {
            return;
        }
        let known = self.former.values().copied().max().unwrap_or(facts.now);
        self.crowd = self.crowd.max(unknown).max(Some(known));
        self.former.clear();
        self.believing.clear();
        self.without.retain(|_, until| *until == u64::MAX);
    }

    /// Those are gone for good: nobody will use the certificates that they have.
    pub(in crate::ca) fn without_pods(&self, gone: &[String], now: u64) -> Self {
        let mut left = self.clone();
        for name in gone {
            let until = left.former.remove(name).unwrap_or(now);
            left.believing.remove(name);
            left.without.insert(name.clone(), until);
        }
        if left != *self && self.phase != Phase::Trusting {
            left.entered = now;
        }
        left
    }

    /// Those are not waited for, whatever becomes of them: somebody said so.
    pub(in crate::ca) fn without(&self, named: &[String]) -> Self {
        let mut left = self.clone();
        for name in named {
            left.former.remove(name);
            left.believing.remove(name);
            left.without.insert(name.clone(), u64::MAX);
        }
        left
    }
}
