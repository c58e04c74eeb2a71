//! PodDisruptionBudgets: how many pods may be evicted now.
//!
//! The eviction itself asks the status that is written here, and takes one away from it.
//! <https://kubernetes.io/docs/concepts/workloads/pods/disruptions/>

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use daemon::{Tasks, clock};
use serde_json::{Map, Value, json};

use super::object::{self, list, text};
use super::queue::{Backoff, Key};
use super::run::{self, Definition, Next, Source};
use super::share::{self, Round};
use super::{pods, selector, write};
use crate::api::client::{Client, Object, Query};
use crate::api::gvr::{DEPLOYMENTS, PODS, REPLICA_SETS, STATEFUL_SETS};
use crate::api::{Gvr, Status, time};

const BUDGETS: Gvr = Gvr::fixed("policy", "v1", "poddisruptionbudgets");

/// An evicted pod that has not gone by then was not evicted after all.
const EVICTION_LIMIT: Duration = Duration::from_secs(120);

pub(super) fn start(client: &Client, tasks: &Tasks) {
    let definition = Definition {
        name: "disruption-controller",
        sources: vec![Source::of(BUDGETS), Source::mapped(PODS, budgets_of)],
        backoff: Backoff::default(),
        at_once: 2,
    };
    run::start(definition, client, tasks, |client, key| async move {
        reconcile(&client, &key).await
    });
}

fn budgets_of(client: &Client, pod: &Value) -> Vec<Key> {
    let budgets = client.list(&BUDGETS, object::namespace(pod), &Query::default());
    let budgets = budgets.map(|list| list.items).unwrap_or_default();
    let covers =
        |budget: &&Object| selector::matches(&budget["spec"]["selector"], &pod["metadata"]["labels"]);
    budgets
        .iter()
        .filter(covers)
        .map(|budget| Key::of(&BUDGETS, budget))
        .collect()
}

async fn reconcile(client: &Client, key: &Key) -> Result<Next, Status> {
    let budget = match client.get(&BUDGETS, &key.namespace, &key.name) {
        Err(status) if status.code == 404 => return Ok(Next::Wait),
        found => found?,
    };
    let all = client.list(&PODS, &key.namespace, &Query::default())?.items;
    let covered = |pod: &&Object| {
        selector::matches(&budget["spec"]["selector"], &pod["metadata"]["labels"]) && !pods::is_ended(pod)
    };
    let pods: Vec<Object> = all.iter().filter(covered).cloned().collect();
    let expected = expected(client, &pods);
    let (status, look_again) = status(&budget, &pods, expected, clock::wall());
    write::status(client, &BUDGETS, &budget, status).await?;
    Ok(look_again.map_or(Next::Wait, Next::After))
}

/// How many pods their owners want: what a share is a share of.
fn expected(client: &Client, pods: &[Object]) -> i64 {
    let mut owners: BTreeMap<String, i64> = BTreeMap::new();
    for pod in pods {
        let (uid, replicas) = scale(client, pod).unwrap_or_else(|| (object::uid(pod).to_owned(), 1));
        owners.insert(uid, replicas);
    }
    owners.values().sum()
}

/// The owner that decides how many pods there are, and how many it wants.
fn scale(client: &Client, pod: &Value) -> Option<(String, i64)> {
    let namespace = object::namespace(pod);
    let find = |of: &Value| {
        let owner = object::controller(of)?;
        let gvr = match text(&owner["kind"]) {
            "ReplicaSet" => REPLICA_SETS,
            "Deployment" => DEPLOYMENTS,
            "StatefulSet" => STATEFUL_SETS,
            _ => return None,
        };
        client.get(&gvr, namespace, text(&owner["name"])).ok()
    };
    let owner = find(pod)?;
    let top = find(&owner).unwrap_or(owner);
    Some((
        object::uid(&top).to_owned(),
        top["spec"]["replicas"].as_i64().unwrap_or(1),
    ))
}

/// The whole status, and when it may change by time alone.
fn status(budget: &Value, pods: &[Object], expected: i64, now: SystemTime) -> (Value, Option<Duration>) {
    let spec = &budget["spec"];
    let count = i64::try_from(pods.len()).unwrap_or(i64::MAX);
    let (expected, desired) = match (&spec["maxUnavailable"], &spec["minAvailable"]) {
        (Value::Null, Value::Null) => (count, 1),
        (Value::Null, least @ Value::String(_)) => (expected, share::of(least, expected, Round::Up)),
        (Value::Null, least) => (count, share::of(least, count, Round::Up)),
        (most, _) => (expected, (expected - share::of(most, expected, Round::Up)).max(0)),
    };
    let (disrupted, look_again) = disrupted(budget, pods, now);
    let is_healthy = |pod: &&Object| {
        pods::is_ready(pod) && !object::is_ending(pod) && !disrupted.contains_key(object::name(pod))
    };
    let healthy = i64::try_from(pods.iter().filter(is_healthy).count()).unwrap_or(i64::MAX);
    let allowed = match expected {
        0 => 0,
        _ => (healthy - desired).max(0),
    };
    let mut status = json!({
        "observedGeneration": budget["metadata"]["generation"],
        "expectedPods": expected, "currentHealthy": healthy, "desiredHealthy": desired,
        "disruptionsAllowed": allowed,
        "conditions": [condition(budget, allowed > 0, now)],
    });
    if !disrupted.is_empty() {
        status["disruptedPods"] = Value::Object(disrupted);
    }
    (status, look_again)
}

/// Pods that are being evicted and have not begun to go.
fn disrupted(budget: &Value, pods: &[Object], now: SystemTime) -> (Map<String, Value>, Option<Duration>) {
    let mut kept = Map::new();
    let mut next: Option<Duration> = None;
    for (name, since) in budget["status"]["disruptedPods"]
        .as_object()
        .into_iter()
        .flatten()
    {
        let is_there = pods
            .iter()
            .any(|pod| object::name(pod) == name && !object::is_ending(pod));
        let end = time::parse(text(since)).map(|since| since + EVICTION_LIMIT);
        let left = end.and_then(|end| end.duration_since(now).ok());
        if let Some(left) = left.filter(|left| is_there && !left.is_zero()) {
            kept.insert(name.clone(), since.clone());
            next = Some(next.map_or(left, |earlier| earlier.min(left)));
        }
    }
    (kept, next)
}

fn condition(budget: &Value, allows: bool, now: SystemTime) -> Value {
    let (status, reason) = match allows {
        true => ("True", "SufficientPods"),
        false => ("False", "InsufficientPods"),
    };
    let known = list(&budget["status"]["conditions"])
        .iter()
        .find(|one| one["type"] == "DisruptionAllowed" && one["status"] == status);
    known.cloned().unwrap_or_else(|| {
        json!({
            "type": "DisruptionAllowed", "status": status, "reason": reason, "message": "",
            "lastTransitionTime": time::rfc3339(now), "observedGeneration": budget["metadata"]["generation"],
        })
    })
}

#[cfg(test)]
#[allow(
    clippy::needless_pass_by_value,
    reason = "values are written where they are passed"
)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn pod(name: &str, ready: bool) -> Object {
        let ready = if ready { "True" } else { "False" };
        Arc::new(
            json!({"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}),
        )
    }

    fn allowed(spec: Value, pods: &[Object], expected: i64) -> (i64, i64) {
        let budget = json!({"metadata": {"generation": 1}, "spec": spec});
        let now = time::parse("2026-01-01T00:00:00Z").unwrap();
        let (status, _) = status(&budget, pods, expected, now);
        (
            object::number(&status["desiredHealthy"]),
            object::number(&status["disruptionsAllowed"]),
        )
    }

    #[test]
    fn what_may_go_is_what_is_healthy_beyond_what_is_needed() {
        let pods = [pod("a", true), pod("b", true), pod("c", false)];
        assert_eq!(allowed(json!({"minAvailable": 1}), &pods, 3), (1, 1));
        assert_eq!(allowed(json!({"minAvailable": "50%"}), &pods, 4), (2, 0));
        assert_eq!(allowed(json!({"maxUnavailable": 1}), &pods, 3), (2, 0));
        assert_eq!(allowed(json!({"maxUnavailable": "100%"}), &pods, 3), (0, 2));
        assert_eq!(allowed(json!({"maxUnavailable": 1}), &[], 0), (0, 0));
    }

    #[test]
    fn a_pod_that_is_being_evicted_counts_no_more_until_it_turns_out_that_it_stays() {
        let budget = json!({"metadata": {"generation": 1}, "spec": {"minAvailable": 1},
            "status": {"disruptedPods": {"a": "2026-01-01T00:00:00Z", "gone": "2026-01-01T00:00:00Z"}}});
        let pods = [pod("a", true), pod("b", true)];
        let at = |second| time::parse("2026-01-01T00:00:00Z").unwrap() + Duration::from_secs(second);
        let (early, again) = status(&budget, &pods, 2, at(20));
        assert_eq!(
            (&early["currentHealthy"], again),
            (&json!(1), Some(Duration::from_secs(100)))
        );
        assert_eq!(early["disruptedPods"], json!({"a": "2026-01-01T00:00:00Z"}));
        let (late, again) = status(&budget, &pods, 2, at(120));
        assert_eq!((&late["currentHealthy"], again), (&json!(2), None));
    }
}
