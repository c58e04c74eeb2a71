//! What nodes do not want: a cordoned node has the taint that keeps pods away, and pods that do not bear a node's
//! `NoExecute` taints are deleted, at once or when their time there is over.
//!
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/>

use std::time::{Duration, SystemTime};

use daemon::{Tasks, clock};
use serde_json::{Value, json};

use super::object::{self, list, text};
use super::pods::{self, Owner};
use super::queue::{Backoff, Key};
use super::run::{self, Definition, Next, Source};
use crate::api::client::{Client, Object, Patch, Query};
use crate::api::gvr::{NODES, PODS};
use crate::api::{Status, time};
use crate::scheduler::taints::{UNSCHEDULABLE, may_stay};

const COMPONENT: &str = "taint-eviction-controller";

pub(super) fn start(client: &Client, tasks: &Tasks) {
    let definition = Definition {
        name: COMPONENT,
        sources: vec![
            Source::of(NODES),
            // A pod that is bound, or that bears more than before, may stay or not.
            Source::mapped(PODS, |_, pod| {
                let node = text(&pod["spec"]["nodeName"]);
                let key = || Key::new(&NODES, "", node);
                (!node.is_empty()).then(key).into_iter().collect()
            }),
        ],
        backoff: Backoff::default(),
        at_once: 2,
    };
    run::start(definition, client, tasks, |client, key| async move {
        reconcile(&client, &key).await
    });
}

async fn reconcile(client: &Client, key: &Key) -> Result<Next, Status> {
    let node = match client.get(&NODES, "", &key.name) {
        Err(status) if status.code == 404 => return Ok(Next::Wait),
        found => found?,
    };
    let now = clock::wall();
    if let Some(wanted) = corrected(&node, now) {
        let metadata = json!({"resourceVersion": node["metadata"]["resourceVersion"]});
        let patch = json!({"metadata": metadata, "spec": {"taints": wanted}});
        client.patch(&NODES, "", &key.name, Patch::Merge(patch)).await?;
        // The change comes back as one.
        return Ok(Next::Wait);
    }
    let evicts = |taint: &Value| taint["effect"] == "NoExecute";
    if !list(&node["spec"]["taints"]).iter().any(evicts) {
        return Ok(Next::Wait);
    }
    let there = Query {
        fields: format!("spec.nodeName={}", key.name),
        ..Query::default()
    };
    let mut next: Option<Duration> = None;
    for pod in client.list(&PODS, "", &there)?.items {
        match time_left(&pod, &node, now) {
            None => {}
            Some(left) if left.is_zero() => evict(client, &pod).await?,
            Some(left) => next = Some(next.map_or(left, |earlier| earlier.min(left))),
        }
    }
    Ok(next.map_or(Next::Wait, Next::After))
}

/// The taints as they should be, if they are not: a cordon is a taint too, and what evicts says since when.
fn corrected(node: &Value, now: SystemTime) -> Option<Value> {
    let taints = list(&node["spec"]["taints"]);
    let is_cordon = |taint: &Value| taint["key"] == UNSCHEDULABLE && taint["effect"] == "NoSchedule";
    let is_cordoned = node["spec"]["unschedulable"] == true;
    let mut wanted: Vec<Value> = taints
        .iter()
        .filter(|taint| is_cordoned || !is_cordon(taint))
        .cloned()
        .collect();
    let stamp = time::rfc3339(now);
    if is_cordoned && !taints.iter().any(is_cordon) {
        wanted.push(json!({"key": UNSCHEDULABLE, "effect": "NoSchedule", "timeAdded": stamp}));
    }
    let undated = |taint: &&mut Value| taint["effect"] == "NoExecute" && taint["timeAdded"].is_null();
    for taint in wanted.iter_mut().filter(undated) {
        taint["timeAdded"] = stamp.as_str().into();
    }
    (wanted != taints).then(|| {
        if wanted.is_empty() {
            Value::Null
        } else {
            wanted.into()
        }
    })
}

/// How long a pod may still stay; `None` for ever. Its time runs from the last taint that evicts, or from its own
/// beginning if that was later.
fn time_left(pod: &Object, node: &Value, now: SystemTime) -> Option<Duration> {
    if !pods::is_active(pod) {
        return None;
    }
    let stay = may_stay(list(&pod["spec"]["tolerations"]), node)?;
    let evicting = list(&node["spec"]["taints"])
        .iter()
        .filter(|taint| taint["effect"] == "NoExecute");
    let since = evicting
        .filter_map(|taint| time::parse(text(&taint["timeAdded"])))
        .max()
        .max(time::parse(object::created(pod)))
        .unwrap_or(now);
    Some((since + stay).duration_since(now).unwrap_or_default())
}

async fn evict(client: &Client, pod: &Object) -> Result<(), Status> {
    let (namespace, name) = (object::namespace(pod), object::name(pod));
    let owner = Owner {
        client,
        object: pod,
        component: COMPONENT,
    };
    let message = format!("Marking for deletion Pod {namespace}/{name}");
    owner.tell("TaintManagerEviction", message).await;
    pods::delete(client, pod).await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn at(second: u64) -> SystemTime {
        time::parse("2026-01-01T00:00:00Z").unwrap() + Duration::from_secs(second)
    }

    #[test]
    fn a_cordon_is_a_taint_and_its_end_the_end_of_the_taint() {
        let mut node = json!({"spec": {"unschedulable": true}});
        let taints = corrected(&node, at(0)).unwrap();
        assert_eq!(taints[0]["key"], "node.kubernetes.io/unschedulable");
        node["spec"]["taints"] = taints;
        assert_eq!(corrected(&node, at(1)), None);
        node["spec"]["unschedulable"] = false.into();
        assert_eq!(corrected(&node, at(1)), Some(Value::Null));
    }

    #[test]
    fn a_pod_stays_for_as_long_as_it_bears_the_taint() {
        let node = json!({"spec": {"taints": [
            {"key": "k", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:10Z"}]}});
        let pod = |tolerations: Value| {
            Arc::new(json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"tolerations": tolerations}}))
        };
        assert_eq!(time_left(&pod(json!([])), &node, at(11)), Some(Duration::ZERO));
        assert_eq!(
            time_left(&pod(json!([{"operator": "Exists"}])), &node, at(11)),
            None
        );
        let a_while = pod(json!([{"key": "k", "operator": "Exists", "tolerationSeconds": 5}]));
        assert_eq!(time_left(&a_while, &node, at(11)), Some(Duration::from_secs(4)));
        assert_eq!(time_left(&a_while, &node, at(20)), Some(Duration::ZERO));
    }
}
