//! Who owns whom, from what the watches told: plain data, no IO.
//!
//! It only says whom to look at; what is done is decided by what the API says at that moment.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::super::object;
use super::super::queue::Key;

#[derive(Debug, Default)]
pub(super) struct Graph {
    objects: HashMap<String, Node>,
    /// By the owner's uid, whether or not we have seen the owner.
    dependents: HashMap<String, BTreeSet<String>>,
}

#[derive(Debug)]
struct Node {
    key: Key,
    owners: BTreeSet<String>,
    /// It is being deleted and waits for us.
    waits: bool,
}

pub(super) const FOREGROUND: &str = "foregroundDeletion";
pub(super) const ORPHAN: &str = "orphan";

impl Graph {
    /// An object is there, with these owners now. Answers whom to look at.
    pub(super) fn seen(&mut self, key: Key, object: &Value) -> Vec<Key> {
        let uid = object::uid(object).to_owned();
        let owners: BTreeSet<String> = object::list(&object["metadata"]["ownerReferences"])
            .iter()
            .map(|one| object::text(&one["uid"]).to_owned())
            .collect();
        let waits = object::is_ending(object)
            && (object::has_finalizer(object, FOREGROUND) || object::has_finalizer(object, ORPHAN));
        if let Some(before) = self.objects.get(&uid) {
            for owner in before.owners.difference(&owners) {
                forget(&mut self.dependents, owner, &uid);
            }
        }
        for owner in &owners {
            self.dependents
                .entry(owner.clone())
                .or_default()
                .insert(uid.clone());
        }
        let is_news = |before: &Node| before.owners != owners || before.waits != waits;
        let changed = self.objects.get(&uid).is_none_or(is_news);
        let mut concerned: Vec<Key> = Vec::new();
        if changed && (!owners.is_empty() || waits) {
            concerned.push(key.clone());
        }
        if changed {
            // An owner that waits for its dependents may wait for this one no longer.
            concerned.extend(self.waiting(&owners));
        }
        self.objects.insert(uid, Node { key, owners, waits });
        concerned
    }

    /// An object is gone: its dependents are orphans, and its owners may be done waiting.
    pub(super) fn gone(&mut self, uid: &str) -> Vec<Key> {
        let Some(node) = self.objects.remove(uid) else {
            return Vec::new();
        };
        for owner in &node.owners {
            forget(&mut self.dependents, owner, uid);
        }
        let mut concerned = self.dependents(uid);
        concerned.extend(self.waiting(&node.owners));
        concerned
    }

    pub(super) fn dependents(&self, uid: &str) -> Vec<Key> {
        let dependents = self.dependents.get(uid).into_iter().flatten();
        dependents
            .filter_map(|uid| Some(self.objects.get(uid)?.key.clone()))
            .collect()
    }

    /// Where an owner is, wherever a reference says it should be.
    pub(super) fn place(&self, uid: &str) -> Option<&Key> {
        Some(&self.objects.get(uid)?.key)
    }

    fn waiting(&self, owners: &BTreeSet<String>) -> Vec<Key> {
        let owners = owners.iter().filter_map(|uid| self.objects.get(uid));
        owners
            .filter(|node| node.waits)
            .map(|node| node.key.clone())
            .collect()
    }
}

fn forget(dependents: &mut HashMap<String, BTreeSet<String>>, owner: &str, uid: &str) {
    if let Some(of_owner) = dependents.get_mut(owner) {
        of_owner.remove(uid);
        if of_owner.is_empty() {
            dependents.remove(owner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::gvr::PODS;
    use serde_json::json;

    fn key(name: &str) -> Key {
        Key::new(&PODS, "n", name)
    }

    fn object(uid: &str, owners: &[&str]) -> Value {
        let owners: Vec<Value> = owners.iter().map(|uid| json!({"uid": uid})).collect();
        json!({"metadata": {"uid": uid, "ownerReferences": owners}})
    }

    #[test]
    fn the_end_of_an_owner_concerns_its_dependents() {
        let mut graph = Graph::default();
        assert_eq!(graph.seen(key("owner"), &object("owner", &[])), []);
        assert_eq!(graph.seen(key("pod"), &object("pod", &["owner"])), [key("pod")]);
        assert_eq!(
            graph.seen(key("pod"), &object("pod", &["owner"])),
            [],
            "nothing new"
        );
        assert_eq!(graph.gone("owner"), [key("pod")]);
        graph.gone("pod");
        assert!(graph.dependents.is_empty() && graph.objects.is_empty());
    }

    #[test]
    fn the_end_of_a_dependent_concerns_an_owner_that_waits() {
        let mut graph = Graph::default();
        graph.seen(key("owner"), &object("owner", &[]));
        graph.seen(key("pod"), &object("pod", &["owner"]));
        let mut ending = object("owner", &[]);
        ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        ending["metadata"]["finalizers"] = json!([FOREGROUND]);
        assert_eq!(graph.seen(key("owner"), &ending), [key("owner")]);
        assert_eq!(graph.gone("pod"), [key("owner")]);
    }

    #[test]
    fn a_dependent_that_changes_its_owner_is_no_longer_the_first_ones() {
        let mut graph = Graph::default();
        graph.seen(key("pod"), &object("pod", &["one"]));
        graph.seen(key("pod"), &object("pod", &["other"]));
        assert_eq!(graph.dependents("one"), []);
        assert_eq!(graph.dependents("other"), [key("pod")]);
    }
}
