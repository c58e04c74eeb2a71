//! The history of a workload's template: one ControllerRevision for each, numbered in the order of their use.
//!
//! Its data is the patch that makes an object's template that one again; `kubectl rollout undo` applies it.
//! <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/controller-revision-v1/>

use serde_json::{Value, json};

use super::{claim, hash, object, write};
use crate::api::client::{Client, Object, Patch};
use crate::api::{Gvr, Status};

pub(super) const REVISIONS: Gvr = Gvr::fixed("apps", "v1", "controllerrevisions");
/// The label of a revision with its hash, of which its name is made.
const HASH: &str = "controller.kubernetes.io/hash";
/// The label of a pod that says which revision it is of.
pub(super) const OF_POD: &str = "controller-revision-hash";

/// The revision of the template that the owner has now.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Newest {
    pub(super) revision: Value,
    change: Change,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Nothing,
    Create,
    /// An earlier template is wanted again.
    Renumber,
}

/// All revisions of an owner, in the order of their numbers, the newest last.
pub(super) struct History {
    revisions: Vec<Object>,
}

impl History {
    /// Reads the revisions of `owner` (of the collection `of`), and makes or renumbers the one of its present template.
    pub(super) async fn settle(client: &Client, of: &Gvr, owner: &Value) -> Result<Self, Status> {
        let mut revisions = claim::settle(client, &REVISIONS, owner).await?;
        let newest = newest(owner, &revisions);
        let namespace = object::namespace(owner);
        let name = object::name(&newest.revision).to_owned();
        let written = match newest.change {
            Change::Nothing => newest.revision.into(),
            Change::Create => create(client, of, owner, newest.revision).await?,
            Change::Renumber => {
                let patch = json!({"revision": newest.revision["revision"]});
                client
                    .patch(&REVISIONS, namespace, &name, Patch::Merge(patch))
                    .await?
            }
        };
        revisions.retain(|one| object::name(one) != name);
        revisions.sort_by_key(|one| object::number(&one["revision"]));
        revisions.push(written);
        Ok(Self { revisions })
    }

    #[cfg(test)]
    pub(super) fn of(revisions: Vec<Object>) -> Self {
        Self { revisions }
    }

    /// The one of the present template.
    pub(super) fn newest(&self) -> &Object {
        self.revisions.last().expect("settle ends with the newest one")
    }

    pub(super) fn find(&self, name: &str) -> Option<&Object> {
        self.revisions
            .iter()
            .find(|revision| object::name(revision) == name)
    }

    /// Removes the oldest that nobody uses, beyond the length of the history.
    pub(super) async fn shorten(
        &self,
        client: &Client,
        limit: i64,
        is_used: impl Fn(&Value) -> bool,
    ) -> Result<(), Status> {
        for revision in self.surplus(limit, is_used) {
            write::delete(client, &REVISIONS, revision, None).await?;
        }
        Ok(())
    }

    fn surplus(&self, limit: i64, is_used: impl Fn(&Value) -> bool) -> Vec<&Object> {
        let (_, older) = self
            .revisions
            .split_last()
            .expect("settle ends with the newest one");
        let unused: Vec<&Object> = older.iter().filter(|one| !is_used(one)).collect();
        let kept = usize::try_from(limit).unwrap_or(0);
        let over = unused.len().saturating_sub(kept);
        unused.into_iter().take(over).collect()
    }
}

/// The template that a revision stands for.
pub(super) fn template(revision: &Value) -> Value {
    let mut template = revision["data"]["spec"]["template"].clone();
    if let Some(fields) = template.as_object_mut() {
        fields.shift_remove("$patch");
    }
    template
}

/// The hash in a revision's name.
pub(super) fn hash_of(revision: &Value) -> &str {
    object::label(revision, HASH)
}

fn newest(owner: &Value, revisions: &[Object]) -> Newest {
    let data = data(owner);
    let wanted = object::canonical(&data);
    let highest = revisions
        .iter()
        .map(|one| object::number(&one["revision"]))
        .max()
        .unwrap_or(0);
    let equal = revisions
        .iter()
        .filter(|one| object::canonical(&one["data"]) == wanted)
        .max_by_key(|one| object::number(&one["revision"]));
    let Some(equal) = equal else {
        return Newest {
            revision: new(owner, &data, highest + 1),
            change: Change::Create,
        };
    };
    let mut revision = Value::clone(equal);
    let change = if object::number(&revision["revision"]) == highest {
        Change::Nothing
    } else {
        revision["revision"] = (highest + 1).into();
        Change::Renumber
    };
    Newest { revision, change }
}

fn data(owner: &Value) -> Value {
    let mut template = owner["spec"]["template"].clone();
    template["$patch"] = "replace".into();
    json!({"spec": {"template": template}})
}

fn new(owner: &Value, data: &Value, number: i64) -> Value {
    let collisions = object::number(&owner["status"]["collisionCount"]);
    let hash = hash::of(&object::canonical(data), collisions);
    let mut labels = owner["spec"]["template"]["metadata"]["labels"].clone();
    labels[HASH] = hash.as_str().into();
    let mut metadata = json!({
        "name": format!("{}-{hash}", object::name(owner)),
        "namespace": object::namespace(owner),
        "labels": labels,
        "ownerReferences": [object::controller_reference(owner)],
    });
    if owner["metadata"]["annotations"].is_object() {
        metadata["annotations"] = owner["metadata"]["annotations"].clone();
    }
    json!({
        "apiVersion": "apps/v1", "kind": "ControllerRevision",
        "metadata": metadata, "data": data, "revision": number,
    })
}

/// A name that somebody else's revision has is counted as a collision: the next hash is another one.
async fn create(client: &Client, of: &Gvr, owner: &Value, revision: Value) -> Result<Object, Status> {
    let namespace = object::namespace(owner);
    let (name, data) = (object::name(&revision).to_owned(), revision["data"].clone());
    let error = match client.create(&REVISIONS, namespace, revision).await {
        Err(error) if error.reason == "AlreadyExists" => error,
        created => return created,
    };
    let taken = client.get(&REVISIONS, namespace, &name)?;
    let is_ours = object::is_controlled_by(&taken, owner);
    if is_ours && object::canonical(&taken["data"]) == object::canonical(&data) {
        return Ok(taken);
    }
    let collisions = object::number(&owner["status"]["collisionCount"]) + 1;
    let patch = json!({"status": {"collisionCount": collisions}});
    client
        .patch_status(of, namespace, object::name(owner), Patch::Merge(patch))
        .await?;
    Err(error)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn owner(image: &str) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": {"name": "web", "namespace": "n", "uid": "u"},
            "spec": {"template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": image}]}}}})
    }

    #[test]
    fn a_template_that_is_wanted_again_gets_the_next_number_and_keeps_its_name() {
        let first = newest(&owner("a"), &[]);
        assert_eq!(
            (first.change, &first.revision["revision"]),
            (Change::Create, &json!(1))
        );
        let revisions = [Arc::new(first.revision)];
        assert_eq!(newest(&owner("a"), &revisions).change, Change::Nothing);
        let second = newest(&owner("b"), &revisions);
        assert_eq!(second.revision["revision"], 2);
        let revisions = [revisions[0].clone(), Arc::new(second.revision)];
        let again = newest(&owner("a"), &revisions);
        assert_eq!(again.change, Change::Renumber);
        assert_eq!(again.revision["revision"], 3);
        assert_eq!(
            again.revision["metadata"]["name"],
            revisions[0]["metadata"]["name"]
        );
        assert_eq!(template(&again.revision), owner("a")["spec"]["template"]);
    }

    #[test]
    fn only_the_oldest_unused_ones_leave_the_history() {
        let named = |name: &str| Arc::new(json!({"metadata": {"name": name}}));
        let history = History::of(["a", "b", "c", "d"].map(named).to_vec());
        let gone = history.surplus(1, |one| object::name(one) == "a");
        assert_eq!(gone, [&named("b")]);
    }
}
