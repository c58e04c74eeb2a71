//! Garbage collection: what is owned goes with its owners, in the background, in the foreground, or not at all.
//!
//! <https://kubernetes.io/docs/concepts/architecture/garbage-collection/>

mod graph;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use daemon::{Tasks, clock};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::changes::{Changed, Changes};
use super::queue::{Backoff, Key};
use super::run::{self, Definition, Next};
use super::{claim, events, object};
use crate::api::client::{Client, DeleteOptions, Object, Patch};
use crate::api::gvr::CUSTOM_RESOURCE_DEFINITIONS;
use crate::api::registry::Type;
use crate::api::{Gvr, Status};
use graph::{FOREGROUND, Graph, ORPHAN};

const NAME: &str = "garbage-collector";
const SETTLING: Duration = Duration::from_millis(100);

/// Shared by the watches and the work; locked for moments only.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Graph>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Graph> {
        // A graph that a panic left half-changed still only says whom to look at.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn start(client: &Client, tasks: &Tasks) {
    let graph = Shared::default();
    let definition = Definition {
        name: NAME,
        sources: Vec::new(),
        backoff: Backoff::default(),
        at_once: 8,
    };
    let shared = graph.clone();
    let keys = run::start(definition, client, tasks, move |client, key| {
        let graph = shared.clone();
        async move { reconcile(&client, &graph, &key).await }
    });
    tasks.spawn(NAME, follow_all(client.clone(), graph, keys, tasks.clone()));
}

/// Follows every collection that there is, and those that CustomResourceDefinitions bring later.
async fn follow_all(client: Client, graph: Shared, keys: mpsc::Sender<Key>, tasks: Tasks) {
    let mut followed = HashSet::new();
    let mut definitions = Changes::of(&client, &CUSTOM_RESOURCE_DEFINITIONS);
    loop {
        for kind in client.registry().all().iter().filter(|kind| is_followed(kind)) {
            if followed.insert(kind.gvr.clone()) {
                let changes = Changes::of(&client, &kind.gvr);
                tasks.spawn(
                    NAME,
                    follow(changes, kind.gvr.clone(), graph.clone(), keys.clone()),
                );
            }
        }
        definitions.next().await;
        // A definition is told before its kind is served.
        clock::sleep(SETTLING).await;
    }
}

/// One version of each kind that can be deleted; Events own nothing and are owned by nobody.
fn is_followed(kind: &Type) -> bool {
    kind.gvr == kind.stored_as
        && kind.verbs.contains(&"delete")
        && kind.verbs.contains(&"watch")
        && kind.kind != "Event"
}

async fn follow(mut changes: Changes, gvr: Gvr, graph: Shared, keys: mpsc::Sender<Key>) {
    loop {
        let changed = changes.next().await;
        for key in note(&graph, &gvr, &changed) {
            // Fails only when the collector stops.
            let _ = keys.send(key).await;
        }
    }
}

fn note(graph: &Shared, gvr: &Gvr, changed: &Changed) -> Vec<Key> {
    let mut graph = graph.lock();
    let mut concerned = Vec::new();
    let is_successor = |before: &Object| {
        changed
            .after
            .as_ref()
            .is_some_and(|after| object::uid(after) != object::uid(before))
    };
    if let Some(before) = &changed.before
        && (changed.after.is_none() || is_successor(before))
    {
        concerned.extend(graph.gone(object::uid(before)));
    }
    if let Some(after) = &changed.after {
        concerned.extend(graph.seen(Key::of(gvr, after), after));
    }
    concerned
}

async fn reconcile(client: &Client, graph: &Shared, key: &Key) -> Result<Next, Status> {
    let object = match client.get(&key.gvr, &key.namespace, &key.name) {
        Err(status) if status.code == 404 => return Ok(Next::Wait),
        found => found?,
    };
    if object::is_ending(&object) {
        let dependents = graph.lock().dependents(object::uid(&object));
        if object::has_finalizer(&object, ORPHAN) {
            return let_go(client, key, &object, &dependents).await;
        }
        if object::has_finalizer(&object, FOREGROUND) {
            return delete_dependents(client, graph, key, &object, &dependents).await;
        }
        return Ok(Next::Wait);
    }
    check_owners(client, graph, key, &object).await
}

/// What has become of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    There,
    Gone,
    /// It is being deleted and waits for this dependent to go first.
    Waits,
}

/// Deletes an object whose owners are all gone; forgets those that are, while others are there.
async fn check_owners(client: &Client, graph: &Shared, key: &Key, object: &Object) -> Result<Next, Status> {
    let owners = object::list(&object["metadata"]["ownerReferences"]);
    if owners.is_empty() {
        return Ok(Next::Wait);
    }
    let mut states = Vec::with_capacity(owners.len());
    for reference in owners {
        states.push(state(client, &key.namespace, reference)?);
    }
    for (reference, state) in owners.iter().zip(&states) {
        if is_elsewhere(graph, &key.namespace, reference, *state) {
            report(client, object, reference).await;
        }
    }
    if !states.contains(&Owner::There) {
        let dependents = graph.lock().dependents(object::uid(object));
        let mut object = object.clone();
        let propagation = match () {
            () if object::has_finalizer(&object, ORPHAN) => "Orphan",
            () if object::has_finalizer(&object, FOREGROUND) => "Foreground",
            () if states.contains(&Owner::Waits) && !dependents.is_empty() => "Foreground",
            () => "Background",
        };
        if propagation == "Foreground" && is_circle(client, &dependents)? {
            object = unblock(client, key, &object).await?;
        }
        delete(client, key, &object, propagation).await?;
    } else if states.iter().any(|state| *state != Owner::There) {
        let left = owners
            .iter()
            .zip(&states)
            .filter(|(_, state)| **state == Owner::There);
        let left: Value = left.map(|(reference, _)| reference.clone()).collect();
        claim::write_owners(client, &key.gvr, object, left).await?;
    }
    Ok(Next::Wait)
}

fn state(client: &Client, namespace: &str, reference: &Value) -> Result<Owner, Status> {
    let text = |field: &str| object::text(&reference[field]);
    let registry = client.registry();
    let Some(kind) = registry.find_kind(text("apiVersion"), text("kind")) else {
        // A kind that nobody serves: whether the owner is there cannot be known, so nothing is deleted.
        return Ok(Owner::There);
    };
    if kind.namespaced && namespace.is_empty() {
        // What is not in a namespace cannot be owned by what is: such a reference means nothing.
        return Ok(Owner::There);
    }
    let namespace = if kind.namespaced { namespace } else { "" };
    match client.get(&kind.gvr, namespace, text("name")) {
        Err(status) if status.code == 404 => Ok(Owner::Gone),
        Err(status) => Err(status),
        Ok(owner) if object::uid(&owner) != text("uid") => Ok(Owner::Gone),
        Ok(owner) if reference["blockOwnerDeletion"] == true && waits(&owner) => Ok(Owner::Waits),
        Ok(_) => Ok(Owner::There),
    }
}

/// Whether the reference names an owner that is in another namespace.
fn is_elsewhere(graph: &Shared, namespace: &str, reference: &Value, state: Owner) -> bool {
    let graph = graph.lock();
    let place = graph.place(object::text(&reference["uid"]));
    let elsewhere = place.is_some_and(|owner| !owner.namespace.is_empty() && owner.namespace != namespace);
    elsewhere && (state == Owner::Gone || namespace.is_empty())
}

/// Says so on the dependent, in Kubernetes' words.
async fn report(client: &Client, object: &Value, reference: &Value) {
    let text = |field: &str| object::text(&reference[field]);
    let namespace = object::namespace(object);
    let message = format!(
        "ownerRef [{}/{}, namespace: {namespace}, name: {}, uid: {}] does not exist in namespace {namespace:?}",
        text("apiVersion"),
        text("kind"),
        text("name"),
        text("uid"),
    );
    let note = events::Note {
        about: object,
        warning: true,
        reason: "OwnerRefInvalidNamespace",
        message,
        component: "garbage-collector-controller",
        field: None,
    };
    events::record(client, &note).await;
}

/// Whether one that would be waited for is waiting itself: then nobody would ever be done.
fn is_circle(client: &Client, dependents: &[Key]) -> Result<bool, Status> {
    for dependent in dependents {
        match client.get(&dependent.gvr, &dependent.namespace, &dependent.name) {
            Err(status) if status.code != 404 => return Err(status),
            Ok(object) if waits(&object) => return Ok(true),
            _ => {}
        }
    }
    Ok(false)
}

/// None of the owners has to wait for this object any longer.
async fn unblock(client: &Client, key: &Key, object: &Object) -> Result<Object, Status> {
    let mut owners = object["metadata"]["ownerReferences"].clone();
    for reference in owners.as_array_mut().into_iter().flatten() {
        reference["blockOwnerDeletion"] = false.into();
    }
    claim::write_owners(client, &key.gvr, object, owners).await
}

/// Deletes the object as it was looked at; whoever gave it another owner meanwhile was right (409: look again).
async fn delete(client: &Client, key: &Key, object: &Value, propagation: &str) -> Result<(), Status> {
    let version = object::text(&object["metadata"]["resourceVersion"]);
    let options = DeleteOptions {
        uid: Some(object::uid(object).to_owned()),
        resource_version: Some(version.to_owned()),
        propagation: Some(propagation.to_owned()),
        ..DeleteOptions::default()
    };
    match client.delete(&key.gvr, &key.namespace, &key.name, options).await {
        Err(status) if status.code != 404 => Err(status),
        _ => Ok(()),
    }
}

fn waits(owner: &Value) -> bool {
    object::is_ending(owner) && object::has_finalizer(owner, FOREGROUND)
}

/// Foreground: dependents first. The owner goes when none is left that blocks it.
async fn delete_dependents(
    client: &Client,
    graph: &Shared,
    key: &Key,
    owner: &Object,
    dependents: &[Key],
) -> Result<Next, Status> {
    let mut blocked = false;
    for dependent in dependents {
        let Some((object, reference)) = dependent_of(client, dependent, owner)? else {
            continue;
        };
        blocked |= reference["blockOwnerDeletion"] == true;
        if !object::is_ending(&object) {
            check_owners(client, graph, dependent, &object).await?;
        }
    }
    if !blocked {
        remove_finalizer(client, key, owner, FOREGROUND).await?;
    }
    Ok(Next::Wait)
}

/// Orphan: the dependents stay and forget their owner.
async fn let_go(client: &Client, key: &Key, owner: &Object, dependents: &[Key]) -> Result<Next, Status> {
    for dependent in dependents {
        if let Some((object, _)) = dependent_of(client, dependent, owner)? {
            let others = object::list(&object["metadata"]["ownerReferences"]).iter();
            let others: Value = others
                .filter(|one| one["uid"] != *object::uid(owner))
                .cloned()
                .collect();
            claim::write_owners(client, &dependent.gvr, &object, others).await?;
        }
    }
    remove_finalizer(client, key, owner, ORPHAN).await?;
    Ok(Next::Wait)
}

/// An object and its reference to an owner.
type Dependent = (Object, Value);

/// The dependent as it is now and its reference to the owner, if it still has one.
fn dependent_of(client: &Client, key: &Key, owner: &Value) -> Result<Option<Dependent>, Status> {
    let object = match client.get(&key.gvr, &key.namespace, &key.name) {
        Err(status) if status.code == 404 => return Ok(None),
        found => found?,
    };
    let references = object::list(&object["metadata"]["ownerReferences"]);
    let reference = references
        .iter()
        .find(|one| one["uid"] == *object::uid(owner))
        .cloned();
    Ok(reference.map(|reference| (object, reference)))
}

async fn remove_finalizer(client: &Client, key: &Key, object: &Value, name: &str) -> Result<(), Status> {
    let left = object::list(&object["metadata"]["finalizers"])
        .iter()
        .filter(|one| *one != name);
    let left: Value = left.cloned().collect();
    let patch = json!({"metadata": {
        "uid": object::uid(object), "resourceVersion": object["metadata"]["resourceVersion"], "finalizers": left,
    }});
    client
        .patch(&key.gvr, &key.namespace, &key.name, Patch::Merge(patch))
        .await
        .map(drop)
}
