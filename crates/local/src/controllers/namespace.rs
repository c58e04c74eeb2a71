//! Namespaces that are being deleted: their contents go first, in an order that lets pods end well, then they do.

use std::time::{Duration, SystemTime};

use daemon::{Tasks, clock};
use serde_json::{Value, json};

use super::queue::{Backoff, Key};
use super::run::{self, Definition, Next, Source};
use super::{object, write};
use crate::api::client::{Client, Object, Query};
use crate::api::gvr::NAMESPACES;
use crate::api::registry::Type;
use crate::api::{Gvr, Status, time};

/// `kubectl delete -f` deletes a namespace and then, by name, what the same file put into it: that must still be there.
const PAUSE: Duration = Duration::from_secs(2);
/// How often to look whether pods have ended.
const PERIOD: Duration = Duration::from_millis(500);

pub(super) fn start(client: &Client, tasks: &Tasks) {
    let definition = Definition {
        name: "namespace-controller",
        sources: vec![Source::of(NAMESPACES)],
        backoff: Backoff::default(),
        at_once: 4,
    };
    run::start(definition, client, tasks, |client, key| async move {
        reconcile(&client, &key).await
    });
}

async fn reconcile(client: &Client, key: &Key) -> Result<Next, Status> {
    let namespace = match client.get(&NAMESPACES, "", &key.name) {
        Err(status) if status.code == 404 => return Ok(Next::Wait),
        found => found?,
    };
    if !object::is_ending(&namespace) || object::list(&namespace["spec"]["finalizers"]).is_empty() {
        return Ok(Next::Wait);
    }
    let now = clock::wall();
    if let Some(left) = pause_left(&namespace, now) {
        return Ok(Next::After(left));
    }
    let contents = contents(client, &key.name)?;
    let mut failures = Vec::new();
    for (gvr, objects) in wave(&contents) {
        for one in objects.iter().filter(|one| !object::is_ending(one)) {
            failures.extend(write::delete(client, gvr, one, Some("Background")).await.err());
        }
    }
    let contents = self::contents(client, &key.name)?;
    let status =
        json!({"phase": "Terminating", "conditions": conditions(&namespace, &contents, &failures, now)});
    write::status(client, &NAMESPACES, &namespace, status).await?;
    if let Some(failure) = failures.pop() {
        return Err(failure);
    }
    if !contents.is_empty() {
        return Ok(Next::After(PERIOD));
    }
    client
        .finalize(json!({"metadata": {"name": key.name, "uid": namespace["metadata"]["uid"]}}))
        .await?;
    Ok(Next::Wait)
}

fn pause_left(namespace: &Value, now: SystemTime) -> Option<Duration> {
    let since = time::parse(object::text(&namespace["metadata"]["deletionTimestamp"]))?;
    (since + PAUSE)
        .duration_since(now)
        .ok()
        .filter(|left| !left.is_zero())
}

/// What is left of a collection.
type Rest = (Gvr, Vec<Object>);

fn contents(client: &Client, namespace: &str) -> Result<Vec<Rest>, Status> {
    let is_content = |kind: &Type| {
        kind.namespaced
            && kind.gvr == kind.stored_as
            && kind.verbs.contains(&"delete")
            && kind.verbs.contains(&"list")
    };
    let mut contents = Vec::new();
    for kind in client.registry().all().iter().filter(|kind| is_content(kind)) {
        let objects = client.list(&kind.gvr, namespace, &Query::default())?.items;
        if !objects.is_empty() {
            contents.push((kind.gvr.clone(), objects));
        }
    }
    Ok(contents)
}

/// What goes next: whatever makes pods and rules for them, then pods, then what pods need while they end.
fn wave(contents: &[Rest]) -> Vec<&Rest> {
    let first = contents.iter().map(|(gvr, _)| order(gvr)).min();
    contents
        .iter()
        .filter(|(gvr, _)| Some(order(gvr)) == first)
        .collect()
}

fn order(gvr: &Gvr) -> u8 {
    match (&*gvr.group, &*gvr.resource) {
        ("", "pods") => 1,
        (
            "" | "discovery.k8s.io" | "rbac.authorization.k8s.io" | "coordination.k8s.io" | "events.k8s.io",
            _,
        ) => 2,
        _ => 0,
    }
}

/// What could not be deleted, as a condition's reason and message.
fn failed(failures: &[Status]) -> (&'static str, String) {
    if failures.is_empty() {
        let well = "All content successfully deleted, may be waiting on finalization";
        return ("ContentDeleted", well.to_owned());
    }
    let mut messages: Vec<&str> = failures.iter().map(|failure| &*failure.message).collect();
    messages.sort_unstable();
    let message = format!(
        "Failed to delete all resource types, {} remaining: {}",
        failures.len(),
        messages.join(", ")
    );
    ("ContentDeletionFailed", message)
}

fn conditions(namespace: &Value, contents: &[Rest], failures: &[Status], now: SystemTime) -> Value {
    let (failure, said) = failed(failures);
    let rest: Vec<String> = contents
        .iter()
        .map(|(gvr, objects)| format!("{gvr}. has {} resource instances", objects.len()))
        .collect();
    let waiting = finalizers(contents);
    let conditions = [
        (
            "NamespaceDeletionDiscoveryFailure",
            "ResourcesDiscovered",
            "All resources successfully discovered".to_owned(),
            false,
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".to_owned(),
            false,
        ),
        (
            "NamespaceDeletionContentFailure",
            failure,
            said,
            !failures.is_empty(),
        ),
        match rest.is_empty() {
            true => (
                "NamespaceContentRemaining",
                "ContentRemoved",
                "All content successfully removed".to_owned(),
                false,
            ),
            false => (
                "NamespaceContentRemaining",
                "SomeResourcesRemain",
                format!("Some resources are remaining: {}", rest.join(", ")),
                true,
            ),
        },
        match waiting.is_empty() {
            true => (
                "NamespaceFinalizersRemaining",
                "ContentHasNoFinalizers",
                "All content-preserving finalizers finished".to_owned(),
                false,
            ),
            false => (
                "NamespaceFinalizersRemaining",
                "SomeFinalizersRemain",
                format!(
                    "Some content in the namespace has finalizers remaining: {}",
                    waiting.join(", ")
                ),
                true,
            ),
        },
    ];
    let now = time::rfc3339(now);
    conditions
        .iter()
        .map(|(kind, reason, message, bad)| {
            let status = if *bad { "True" } else { "False" };
            let since = object::condition(namespace, kind)
                .filter(|condition| condition["status"] == status)
                .map_or(&*now, |condition| object::text(&condition["lastTransitionTime"]));
            json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since})
        })
        .collect()
}

/// Which finalizers are waited for, and in how many objects.
fn finalizers(contents: &[Rest]) -> Vec<String> {
    let mut counts = std::collections::BTreeMap::new();
    for object in contents.iter().flat_map(|(_, objects)| objects) {
        for finalizer in object::list(&object["metadata"]["finalizers"]) {
            *counts.entry(object::text(finalizer)).or_insert(0) += 1;
        }
    }
    counts
        .into_iter()
        .map(|(name, count)| format!("{name} in {count} resource instances"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::api::gvr::{DEPLOYMENTS, PODS, SECRETS};

    #[test]
    fn what_makes_pods_goes_before_them_and_what_they_need_after() {
        let one = || vec![Arc::new(json!({"metadata": {"finalizers": ["a/b"]}}))];
        let mut contents = vec![(SECRETS, one()), (PODS, one()), (DEPLOYMENTS, one())];
        for expected in [DEPLOYMENTS, PODS, SECRETS] {
            let next: Vec<Gvr> = wave(&contents).iter().map(|(gvr, _)| gvr.clone()).collect();
            assert_eq!(next, std::slice::from_ref(&expected));
            contents.retain(|(gvr, _)| *gvr != expected);
        }
    }

    #[test]
    fn conditions_count_what_is_left() {
        let contents = vec![(PODS, vec![Arc::new(json!({"metadata": {"finalizers": ["a/b"]}}))])];
        let refused = Status::new(500, "InternalError", "no");
        let conditions = conditions(&Value::Null, &contents, &[refused], SystemTime::UNIX_EPOCH);
        assert_eq!(
            (&conditions[2]["reason"], &conditions[2]["message"]),
            (
                &json!("ContentDeletionFailed"),
                &json!("Failed to delete all resource types, 1 remaining: no")
            )
        );
        assert_eq!(
            conditions[3]["message"],
            "Some resources are remaining: pods. has 1 resource instances"
        );
        assert_eq!(
            conditions[4]["message"],
            "Some content in the namespace has finalizers remaining: a/b in 1 resource instances"
        );
        assert_eq!(conditions[3]["status"], "True");
    }

    #[test]
    fn contents_stay_for_a_moment() {
        let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let at = |text: &str| time::parse(text).unwrap();
        assert_eq!(pause_left(&deleted, at("2026-01-01T00:00:00Z")), Some(PAUSE));
        assert_eq!(pause_left(&deleted, at("2026-01-01T00:00:02Z")), None);
    }
}
