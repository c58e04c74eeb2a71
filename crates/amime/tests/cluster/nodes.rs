//! Several simulated nodes, and what runs on them: StatefulSets, DaemonSets, Jobs.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Local, said, wait};

const LIMIT: Duration = Duration::from_secs(30);

fn nodes_of_pods(local: &Local, app: &str) -> Vec<String> {
    let list = local.get(&["pods", "-l", &format!("app={app}")]);
    let pods = list["items"].as_array().cloned().unwrap_or_default();
    let node = |pod: &Value| pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
    pods.iter().map(node).collect()
}

const WORKLOADS: &str = "
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, image: curl, command: [sleep, '3600']}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: web
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, image: curl, command: [sleep, '3600']}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: indexed}
spec:
  completions: 3
  parallelism: 2
  completionMode: Indexed
  template:
    spec: {restartPolicy: Never, containers: [{name: c, image: curl, command: [sh, -c, 'test $JOB_COMPLETION_INDEX -lt 3']}]}
";

#[test]
fn workloads_spread_over_nodes_with_zones_and_a_later_up_may_have_fewer() {
    let local = Local::up(&["--nodes", "3", "--zones", "a,b,c"]);
    let applied = local.apply(WORKLOADS);
    assert!(applied.status.success(), "{}", said(&applied));
    let all: BTreeSet<String> = ["local", "local-2", "local-3"].map(str::to_owned).into();
    for (app, what) in [
        ("agent", "a pod on each node"),
        ("web", "three pods in three zones"),
    ] {
        wait(what, LIMIT, || {
            let nodes = nodes_of_pods(&local, app);
            (nodes.len() == 3 && nodes.into_iter().collect::<BTreeSet<_>>() == all).then_some(())
        });
    }
    wait("the job", LIMIT, || {
        (local.get(&["job", "indexed"])["status"]["succeeded"] == 3).then_some(())
    });
    let zone = local.get(&["node", "local-2"])["metadata"]["labels"]["topology.kubernetes.io/zone"].clone();
    assert_eq!(zone, "b");

    local.down();
    local.start(&["--nodes", "1"]);
    wait("one node", LIMIT, || {
        let nodes = local.get(&["nodes"])["items"].as_array().map_or(0, Vec::len);
        let web: BTreeSet<String> = nodes_of_pods(&local, "web").into_iter().collect();
        (nodes == 1 && web == BTreeSet::from(["local".to_owned()]) && nodes_of_pods(&local, "web").len() == 3)
            .then_some(())
    });
}
