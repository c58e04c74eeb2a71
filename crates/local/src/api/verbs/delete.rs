//! Delete: at once, or when grace, finalizers and a namespace's contents are over.

use std::time::{Duration, SystemTime};

use daemon::clock;
use serde_json::{Value, json};

use super::super::client::{DeleteOptions, List, Object, Query};
use super::super::paging::Page;
use super::super::{Status, gvr, status, time};
use super::change::is_over;
use super::{ATTEMPTS, Api, Call, MODIFIED, Target, is_ending, metadata};
use crate::store::{Refused, revision_of};

/// What has become of the object.
#[derive(Clone, Debug)]
pub enum Deleted {
    /// It stays until somebody has cleaned up after it.
    Ending(Object),
    Gone(Object),
}

/// Kinds whose last state is the answer even when they are gone at once.
const ANSWERED_BY_OBJECT: &[&str] = &["namespaces", "pods", "serviceaccounts", "services"];

impl Deleted {
    pub fn object(&self) -> &Object {
        let (Self::Ending(object) | Self::Gone(object)) = self;
        object
    }

    /// What the client gets: the object, or a Status with the uid.
    pub fn answer(&self, call: &Call) -> Value {
        let kind = &call.target.kind;
        match self {
            Self::Gone(object) if !ANSWERED_BY_OBJECT.contains(&kind.gvr.to_string().as_str()) => json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                "details": status::without_empty(json!({"name": call.target.name, "group": kind.gvr.group,
                    "kind": kind.gvr.resource, "uid": object["metadata"]["uid"]})),
            }),
            Self::Gone(object) | Self::Ending(object) => Value::clone(object),
        }
    }
}

impl Api {
    /// Deletes an object, or marks it.
    ///
    /// # Errors
    /// 404; 409 for another uid or version than asked for; what a webhook says.
    pub async fn delete(&self, call: &Call, options: &DeleteOptions) -> Result<Deleted, Status> {
        for _ in 0..ATTEMPTS {
            let current = self.get(&call.target)?;
            check_preconditions(call, &current, options)?;
            check_protected(&call.target)?;
            self.admit_deletion(call, &current).await?;
            // Nothing is done before all that may be wrong with the request has been looked at.
            let marked = mark(&current, options, clock::wall())?;
            let gone = is_over(&marked);
            if call.dry_run {
                return Ok(if gone {
                    Deleted::Gone(current)
                } else {
                    Deleted::Ending(marked.into())
                });
            }
            if call.target.kind.gvr == gvr::CUSTOM_RESOURCE_DEFINITIONS {
                self.delete_instances(&current).await?;
            }
            let next = (!gone).then_some(marked);
            match self.store(&call.target, Some(revision_of(&current)), next).await {
                Ok(object) if gone => return Ok(Deleted::Gone(object)),
                Ok(object) => return Ok(Deleted::Ending(object)),
                Err(Refused::Changed) => {}
                Err(refused) => return Err(call.target.refused(&refused)),
            }
        }
        Err(call.target.conflict(MODIFIED))
    }

    /// Deletes everything that matches, and says what that was.
    ///
    /// # Errors
    /// The first one that could not be deleted.
    pub async fn delete_collection(
        &self,
        call: &Call,
        query: &Query,
        page: &Page,
        options: &DeleteOptions,
    ) -> Result<List, Status> {
        let list = self.list_page(&call.target, query, page)?;
        for object in &list.items {
            let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
            let mut target = call.target.named(&text("name"));
            target.namespace = text("namespace");
            match self
                .delete(
                    &Call {
                        target,
                        ..call.clone()
                    },
                    options,
                )
                .await
            {
                Err(status) if status.code != 404 => return Err(status),
                _ => {}
            }
        }
        Ok(list)
    }

    /// The objects of a kind go with its definition.
    async fn delete_instances(&self, definition: &Value) -> Result<(), Status> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let group = text(&definition["spec"]["group"]);
        let resource = text(&definition["spec"]["names"]["plural"]);
        let kind = self.types.now().preferred(&group, &resource).cloned();
        // A definition that names a built-in kind has no objects of its own.
        let Some(kind) = kind.filter(|kind| kind.is_custom()) else {
            return Ok(());
        };
        let (objects, _) = self.store.list(&kind.stored_as.to_string(), "");
        for object in objects {
            let target = super::Target {
                kind: kind.clone(),
                namespace: text(&object["metadata"]["namespace"]),
                name: text(&object["metadata"]["name"]),
            };
            self.remove(&target, revision_of(&object)).await?;
        }
        Ok(())
    }

    /// Removes an object, whoever has changed it since it was seen in version `seen`.
    pub(super) async fn remove(&self, target: &Target, mut seen: u64) -> Result<(), Status> {
        for _ in 0..ATTEMPTS {
            match self.store(target, Some(seen), None).await {
                Ok(_) | Err(Refused::Missing) => return Ok(()),
                Err(Refused::Changed) => match self.store.get(&target.key()) {
                    Some(newer) => seen = revision_of(&newer),
                    None => return Ok(()),
                },
                Err(refused) => return Err(target.refused(&refused)),
            }
        }
        Err(target.conflict(MODIFIED))
    }
}

/// The object with the marks of a deletion that begins `now`.
fn mark(current: &Value, options: &DeleteOptions, now: SystemTime) -> Result<Value, Status> {
    let mut next = current.clone();
    let finalizers = finalizers(current, options)?;
    let grace = grace(current, options);
    let metadata = metadata::of(&mut next);
    if finalizers.is_empty() {
        metadata.shift_remove("finalizers");
    } else {
        metadata.insert("finalizers".to_owned(), finalizers.into());
    }
    let before = metadata.get("deletionGracePeriodSeconds").and_then(Value::as_i64);
    // A second deletion may only shorten the wait.
    if is_ending(current) && before.is_none_or(|before| before <= grace) {
        return Ok(next);
    }
    let ends = now + Duration::from_secs(grace.unsigned_abs());
    metadata.insert("deletionTimestamp".to_owned(), time::rfc3339(ends).into());
    metadata.insert("deletionGracePeriodSeconds".to_owned(), grace.into());
    if !is_ending(current)
        && let Some(generation) = metadata.get("generation").and_then(Value::as_i64)
    {
        metadata.insert("generation".to_owned(), (generation + 1).into());
    }
    if next["kind"] == "Namespace" {
        next["status"]["phase"] = "Terminating".into();
    }
    Ok(next)
}

/// Seconds that a pod has to end; nothing else has grace.
fn grace(object: &Value, options: &DeleteOptions) -> i64 {
    let runs = object["kind"] == "Pod"
        && object["spec"]["nodeName"]
            .as_str()
            .is_some_and(|node| !node.is_empty())
        && !matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if !runs {
        return 0;
    }
    let own = object["spec"]["terminationGracePeriodSeconds"].as_i64();
    match options.grace_seconds.or(own).unwrap_or(30) {
        negative if negative < 0 => 1,
        seconds => seconds,
    }
}

/// The finalizers with those that the propagation policy asks for.
fn finalizers(object: &Value, options: &DeleteOptions) -> Result<Vec<String>, Status> {
    const ORPHAN: &str = "orphan";
    const FOREGROUND: &str = "foregroundDeletion";
    let have = || {
        metadata::texts(object, "finalizers")
            .into_iter()
            .map(str::to_owned)
    };
    let wanted = match options.propagation.as_deref() {
        None | Some("") => return Ok(have().collect()),
        Some("Background") => None,
        Some("Foreground") => Some(FOREGROUND),
        Some("Orphan") => Some(ORPHAN),
        Some(other) => {
            return Err(Status::new(
                422,
                "Invalid",
                format!(
                    "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"{other}\": \
                     supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
                ),
            ));
        }
    };
    let others = have().filter(|one| one != ORPHAN && one != FOREGROUND);
    Ok(others.chain(wanted.map(str::to_owned)).collect())
}

/// Namespaces without which there is no cluster.
fn check_protected(target: &Target) -> Result<(), Status> {
    const PROTECTED: &[&str] = &["default", "kube-system", "kube-public"];
    if target.kind.gvr != gvr::NAMESPACES || !PROTECTED.contains(&&*target.name) {
        return Ok(());
    }
    Err(Status {
        details: json!({"name": target.name, "kind": "namespaces"}),
        ..Status::new(
            403,
            "Forbidden",
            format!(
                "namespaces \"{}\" is forbidden: this namespace may not be deleted",
                target.name
            ),
        )
    })
}

fn check_preconditions(call: &Call, current: &Value, options: &DeleteOptions) -> Result<(), Status> {
    let have = |field: &str| current["metadata"][field].as_str().unwrap_or_default();
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != have("uid")) {
        return Err(call.target.conflict(&format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been \
             deleted and then recreated",
            have("uid")
        )));
    }
    let version = options.resource_version.as_deref();
    if let Some(version) = version.filter(|version| *version != have("resourceVersion")) {
        return Err(call.target.conflict(&format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). \
             The object might have been modified",
            have("resourceVersion")
        )));
    }
    Ok(())
}
