//! Policies about tokens wait for the keys that they ask for: pushed without them, they would refuse every token.
//!
//! A policy whose keys nobody has tried to fetch yet waits until somebody has, at most [`LONGEST`]; the one in force
//! before stays so long, and so do its keys. The first picture waits as a whole, so that a controller that starts anew
//! takes no keys away from proxies that have them. Keys that cannot be fetched hold up nothing after that: tokens of
//! that issuer are refused, as in Istio, and the policy's owner is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use daemon::clock::Instant;
use resources::{Key, Kind, RequestAuthentication, Resource};
use translate::{Change, KeySets, Mesh, key_sources};

use crate::jwks::Wanted;

/// How long a policy waits: a little longer than a fetch may take where its rule says nothing about that.
const LONGEST: Duration = Duration::from_secs(6);

/// What waits, and since when.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// The first picture.
    first: Option<Instant>,
    /// Single policies. Each has its own time: those of others take nothing from it.
    since: BTreeMap<Key, Instant>,
}

impl Waiting {
    /// When something that waits must go.
    pub(super) fn due(&self) -> Option<Instant> {
        let since = self.since.values().copied().chain(self.first).min();
        since.map(|since| since + LONGEST)
    }

    /// What may be pushed now, and what waits.
    pub(super) fn part(
        &mut self,
        before: Option<&Mesh>,
        changes: Vec<Change>,
        fetched: &KeySets,
        now: Instant,
    ) -> (Vec<Change>, Vec<Change>) {
        let untried = |change: &Change| {
            let policy = policy_of(change);
            policy.is_some_and(|policy| {
                let sources = key_sources([&**policy]);
                sources.keys().any(|source| !fetched.contains_key(source))
            })
        };
        if before.is_none() {
            let since = *self.first.get_or_insert(now);
            if changes.iter().any(untried) && now < since + LONGEST {
                return (Vec::new(), changes);
            }
            self.first = None;
            return (changes, Vec::new());
        }
        let known = std::mem::take(&mut self.since);
        let (waiting, rest) = changes.into_iter().partition(|change| {
            let since = known.get(&change.key).copied().unwrap_or(now);
            let waits = untried(change) && now < since + LONGEST;
            if waits {
                self.since.insert(change.key.clone(), since);
            }
            waits
        });
        (rest, waiting)
    }
}

/// What all policies ask for, once the changes that go are made, and what those that wait ask for. So the keys of the
/// policy in force stay until the one that waits takes its place. `None` if no policy changes.
pub(super) fn wanted(before: Option<&Mesh>, going: &[Change], waiting: &[Change]) -> Option<Wanted> {
    let mut changes = going.iter().chain(waiting);
    if !changes.any(|change| change.key.kind == Kind::RequestAuthentication) {
        return None;
    }
    let known = before
        .into_iter()
        .flat_map(|mesh| mesh.request_authentications().all());
    let mut policies: BTreeMap<Key, &Arc<RequestAuthentication>> =
        known.map(|policy| (key_of(policy), policy)).collect();
    for change in going {
        match policy_of(change) {
            Some(policy) => drop(policies.insert(change.key.clone(), policy)),
            None => drop(policies.remove(&change.key)),
        }
    }
    let policies = policies.into_values().chain(waiting.iter().filter_map(policy_of));
    Some(key_sources(policies.map(AsRef::as_ref)))
}

fn key_of(policy: &RequestAuthentication) -> Key {
    let meta = &policy.metadata;
    Key::new(Kind::RequestAuthentication, &meta.namespace, &meta.name)
}

fn policy_of(change: &Change) -> Option<&Arc<RequestAuthentication>> {
    match &change.resource {
        Some(Resource::RequestAuthentication(policy)) => Some(policy),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use translate::{Fetched, KeySource};

    use super::*;

    fn policy(name: &str, issuer: &str) -> Change {
        let object = json!({"apiVersion": "security.istio.io/v1", "kind": "RequestAuthentication",
            "metadata": {"name": name, "namespace": "shop"}, "spec": {"jwtRules": [{"issuer": issuer}]}});
        Resource::from_object(&object).unwrap().resource.into()
    }

    fn namespace() -> Change {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
        Resource::from_object(&object).unwrap().resource.into()
    }

    fn tried(issuer: &str) -> KeySets {
        KeySets::from([(KeySource::Issuer(issuer.to_owned()), Fetched::default())])
    }

    #[test]
    fn a_policy_waits_until_its_keys_were_asked_for_and_nothing_else_does() {
        let (mut waiting, start, mesh) = (Waiting::default(), daemon::clock::now(), Mesh::default());
        let changes = || vec![policy("a", "https://a"), namespace()];
        let (go, wait) = waiting.part(Some(&mesh), changes(), &KeySets::new(), start);
        assert_eq!((go.len(), wait.len()), (1, 1));
        assert_eq!(wait[0].key.kind, Kind::RequestAuthentication);
        let (go, wait) = waiting.part(Some(&mesh), changes(), &tried("https://a"), start);
        assert_eq!((go.len(), wait.len(), waiting.due()), (2, 0, None));
    }

    #[test]
    fn the_first_picture_waits_as_a_whole_and_not_for_ever() {
        let (mut waiting, start) = (Waiting::default(), daemon::clock::now());
        let changes = || vec![policy("a", "https://a"), namespace()];
        let (go, wait) = waiting.part(None, changes(), &tried("https://b"), start);
        assert_eq!((go.len(), wait.len()), (0, 2));
        let due = waiting.due().unwrap();
        let (go, wait) = waiting.part(None, changes(), &KeySets::new(), due);
        assert_eq!((go.len(), wait.len()), (2, 0));
    }

    #[test]
    fn each_policy_waits_for_its_own_keys_as_long_as_any_other() {
        let (mut waiting, start, mesh) = (Waiting::default(), daemon::clock::now(), Mesh::default());
        let (first, second) = (policy("a", "https://a"), policy("b", "https://b"));
        let none = KeySets::new();
        waiting.part(Some(&mesh), vec![first.clone()], &none, start);
        let later = start + LONGEST / 2;
        let both = || vec![first.clone(), second.clone()];
        assert_eq!(waiting.part(Some(&mesh), both(), &none, later).1.len(), 2);
        let due = waiting.due().unwrap();
        assert_eq!(due, start + LONGEST);
        let (go, wait) = waiting.part(Some(&mesh), both(), &none, due);
        assert_eq!((go.len(), wait.len()), (1, 1));
        assert_eq!((&go[0].key, &wait[0].key), (&first.key, &second.key));
        assert_eq!(waiting.due(), Some(later + LONGEST));
        let (go, wait) = waiting.part(Some(&mesh), vec![second], &none, later + LONGEST);
        assert_eq!((go.len(), wait.len(), waiting.due()), (1, 0, None));
    }

    #[test]
    fn what_is_wanted_follows_the_policies() {
        let issuers = |mesh: Option<&Mesh>, changes: &[Change]| {
            let wanted = wanted(mesh, changes, &[])?;
            Some(wanted.keys().map(ToString::to_string).collect::<Vec<_>>())
        };
        let first = [policy("a", "https://a"), policy("b", "https://b")];
        assert_eq!(
            issuers(None, &first),
            Some(vec!["issuer https://a".to_owned(), "issuer https://b".to_owned()])
        );
        let mesh = Mesh::default().next(&first);
        assert_eq!(issuers(Some(&mesh), &[namespace()]), None);
        let gone = Change {
            resource: None,
            ..policy("a", "")
        };
        assert_eq!(
            issuers(Some(&mesh), &[gone]),
            Some(vec!["issuer https://b".to_owned()])
        );
        assert_eq!(
            issuers(Some(&mesh), &[policy("b", "https://c")]),
            Some(vec!["issuer https://a".to_owned(), "issuer https://c".to_owned()])
        );
    }

    #[test]
    fn the_keys_in_force_are_wanted_as_long_as_the_policy_that_asks_for_others_waits() {
        let (mut waiting, now) = (Waiting::default(), daemon::clock::now());
        let mesh = Mesh::default().next(&[policy("a", "https://old")]);
        let mut issuers = |fetched: &KeySets| {
            let changes = vec![policy("a", "https://new")];
            let (go, wait) = waiting.part(Some(&mesh), changes, fetched, now);
            let wanted = wanted(Some(&mesh), &go, &wait).unwrap();
            wanted.keys().map(ToString::to_string).collect::<Vec<_>>()
        };
        let untried = issuers(&tried("https://old"));
        assert_eq!(untried, ["issuer https://new", "issuer https://old"]);
        assert_eq!(issuers(&tried("https://new")), ["issuer https://new"]);
    }
}
