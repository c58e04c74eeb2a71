//! Which dependents belong to an owner with a selector: adopt those without a manager, let go those that no longer
//! match.
//!
//! <https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#non-template-pod-acquisitions>

use serde_json::{Value, json};

use super::queue::Key;
use super::{object, selector};
use crate::api::client::{Client, Object, Patch};
use crate::api::{Gvr, Status};

/// What is to happen to each of the candidates; others are none of the owner's business.
#[derive(Debug, Default)]
struct Claims {
    mine: Vec<Object>,
    adopt: Vec<Object>,
    release: Vec<Object>,
}

fn claims(owner: &Value, candidates: Vec<Object>) -> Claims {
    let mut claims = Claims::default();
    for candidate in candidates {
        let matches = selector::matches(&owner["spec"]["selector"], &candidate["metadata"]["labels"]);
        let is_managed = object::controller(&candidate).is_some();
        if object::is_controlled_by(&candidate, owner) {
            match matches || object::is_ending(owner) {
                true => claims.mine.push(candidate),
                false => claims.release.push(candidate),
            }
        } else if matches && !is_managed && !object::is_ending(owner) && !object::is_ending(&candidate) {
            claims.adopt.push(candidate);
        }
    }
    claims
}

/// The dependents of `owner` in the collection `gvr`, adopted and let go as needed, oldest first.
pub(super) async fn settle(client: &Client, gvr: &Gvr, owner: &Value) -> Result<Vec<Object>, Status> {
    let namespace = object::namespace(owner);
    let candidates = client
        .list(gvr, namespace, &crate::api::client::Query::default())?
        .items;
    let claims = claims(owner, candidates);
    let mut mine = claims.mine;
    for orphan in claims.adopt {
        let owners = object::list(&orphan["metadata"]["ownerReferences"])
            .iter()
            .cloned();
        let owners: Value = owners.chain([object::controller_reference(owner)]).collect();
        mine.push(write_owners(client, gvr, &orphan, owners).await?);
    }
    for stranger in claims.release {
        let owners = object::list(&stranger["metadata"]["ownerReferences"]).iter();
        let owners: Value = owners
            .filter(|one| one["uid"] != *object::uid(owner))
            .cloned()
            .collect();
        write_owners(client, gvr, &stranger, owners).await?;
    }
    object::sort_by_age(&mut mine);
    Ok(mine)
}

/// Replaces the owners, provided that nobody changed the object meanwhile.
pub(super) async fn write_owners(
    client: &Client,
    gvr: &Gvr,
    of: &Value,
    owners: Value,
) -> Result<Object, Status> {
    let patch = json!({"metadata": {
        "uid": object::uid(of), "resourceVersion": of["metadata"]["resourceVersion"], "ownerReferences": owners,
    }});
    let (namespace, name) = (object::namespace(of), object::name(of));
    client.patch(gvr, namespace, name, Patch::Merge(patch)).await
}

/// Whom a change of a dependent concerns: its manager, or everyone in its namespace who would adopt it.
pub(super) fn owners_of(client: &Client, gvr: &Gvr, kind: &str, dependent: &Value) -> Vec<Key> {
    let namespace = object::namespace(dependent);
    if let Some(owner) = object::controller(dependent) {
        let is_one = owner["kind"] == kind && owner["apiVersion"] == *gvr.api_version();
        let key = || Key::new(gvr, namespace, object::text(&owner["name"]));
        return is_one.then(key).into_iter().collect();
    }
    let Ok(list) = client.list(gvr, namespace, &crate::api::client::Query::default()) else {
        return Vec::new();
    };
    let labels = &dependent["metadata"]["labels"];
    let would = |owner: &&Object| selector::matches(&owner["spec"]["selector"], labels);
    list.items
        .iter()
        .filter(would)
        .map(|owner| Key::of(gvr, owner))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn pod(app: &str, owner: Option<&str>) -> Object {
        let owners: Vec<Value> = owner
            .map(|uid| json!({"uid": uid, "controller": true}))
            .into_iter()
            .collect();
        Arc::new(json!({"metadata": {"labels": {"app": app}, "ownerReferences": owners}}))
    }

    #[test]
    fn matching_orphans_are_adopted_and_strangers_let_go() {
        let owner = json!({"metadata": {"uid": "me"}, "spec": {"selector": {"matchLabels": {"app": "a"}}}});
        let candidates = [
            pod("a", Some("me")),
            pod("b", Some("me")),
            pod("a", None),
            pod("a", Some("other")),
            pod("b", None),
        ];
        let claims = claims(&owner, candidates.to_vec());
        assert_eq!(claims.mine, [candidates[0].clone()]);
        assert_eq!(claims.release, [candidates[1].clone()]);
        assert_eq!(claims.adopt, [candidates[2].clone()]);
    }

    #[test]
    fn an_owner_that_is_being_deleted_neither_adopts_nor_lets_go() {
        let owner = json!({"metadata": {"uid": "me", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"selector": {"matchLabels": {"app": "a"}}}});
        let claims = claims(&owner, vec![pod("b", Some("me")), pod("a", None)]);
        assert_eq!(
            (claims.mine.len(), claims.adopt.len(), claims.release.len()),
            (1, 0, 0)
        );
    }
}
