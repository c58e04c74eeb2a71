//! Rollouts against a small simulated cluster, and the exact words of conditions.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::plan::{Action, Plan, plan};
use super::view::{DESIRED, Deployment, MOST, REVISION, ReplicaSet};
use super::{object, template};

/// A Deployment and its ReplicaSets, with pods that become ready whenever the simulation likes.
struct Cluster {
    deployment: Value,
    sets: Vec<Value>,
    now: SystemTime,
    created: u64,
}

impl Cluster {
    fn new(spec: &Value) -> Self {
        let mut deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "d", "namespace": "n", "uid": "d", "generation": 1}, "spec": spec,
        });
        deployment["spec"]["selector"] = json!({"matchLabels": {"app": "d"}});
        let mut cluster = Self {
            deployment,
            sets: Vec::new(),
            now: UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            created: 0,
        };
        cluster.set_version("0");
        cluster
    }

    fn set_version(&mut self, version: &str) {
        self.deployment["spec"]["template"] = json!({
            "metadata": {"labels": {"app": "d"}},
            "spec": {"containers": [{"name": "c", "image": version}]},
        });
    }

    fn step(&mut self) -> Plan {
        let deployment = Deployment::of(&Arc::new(self.deployment.clone()));
        let sets: Vec<ReplicaSet> = self
            .sets
            .iter()
            .map(|set| ReplicaSet::of(&Arc::new(set.clone())))
            .collect();
        let current = template::find_current(&deployment, &sets);
        let is_old = |index: &usize| Some(*index) != current;
        let old_pods_run = (0..sets.len()).filter(is_old).any(|index| sets[index].actual > 0);
        let plan = plan(&deployment, &sets, old_pods_run, self.now);
        for action in plan.actions.clone() {
            self.perform(action);
        }
        self.deployment["status"] = plan.status.clone();
        plan
    }

    fn perform(&mut self, action: Action) {
        let patched = |sets: &mut Vec<Value>, name: &str, patch: &Value| {
            let set = sets
                .iter_mut()
                .find(|set| object::name(set) == name)
                .expect("it exists");
            json_patch::merge(set, patch);
        };
        match action {
            Action::Create(mut set) => {
                self.created += 1;
                set["metadata"]["uid"] = self.created.into();
                set["metadata"]["creationTimestamp"] = format!("{:04}", self.created).into();
                self.sets.push(set);
            }
            Action::Change { name, patch } => patched(&mut self.sets, &name, &patch),
            Action::Scale(scaling) => {
                let patch = json!({"metadata": {"annotations": scaling.annotations}, "spec": {"replicas": scaling.to}});
                patched(&mut self.sets, &scaling.name, &patch);
            }
            Action::Delete { name, .. } => self.sets.retain(|set| object::name(set) != name),
            Action::Number(revision) => {
                self.deployment["metadata"]["annotations"][REVISION] = revision.into()
            }
        }
    }

    /// One pod of one ReplicaSet takes one step: appears, becomes available, or goes (as ReplicaSets do it: those that
    /// are not available first). Whether there was one.
    fn pod_step(&mut self, chance: usize) -> bool {
        let moving: Vec<usize> = (0..self.sets.len())
            .filter(|index| {
                let numbers = numbers(&self.sets[*index]);
                numbers.0 != numbers.1 || numbers.1 != numbers.2
            })
            .collect();
        let Some(index) = moving.get(chance % moving.len().max(1)) else {
            return false;
        };
        let (wanted, actual, available) = numbers(&self.sets[*index]);
        let (actual, available) = match wanted < actual {
            true => (actual - 1, available.min(actual - 1)),
            false if actual < wanted => (actual + 1, available),
            false => (actual, available + 1),
        };
        self.sets[*index]["status"] =
            json!({"replicas": actual, "readyReplicas": available, "availableReplicas": available});
        true
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            let quiet = self.step().actions.is_empty();
            if !self.pod_step(0) && quiet {
                return;
            }
        }
        panic!("never settles: {:#?}", self.sets);
    }

    fn total(&self, field: fn(&Numbers) -> i64) -> i64 {
        self.sets.iter().map(|set| field(&numbers(set))).sum()
    }

    fn condition(&self, kind: &str) -> String {
        let condition = object::condition(&self.deployment, kind).expect("a condition");
        let text = |field: &str| object::text(&condition[field]).to_owned();
        format!("{} {}: {}", text("status"), text("reason"), text("message"))
    }

    fn sizes(&self) -> Vec<i64> {
        self.sets.iter().map(|set| numbers(set).0).collect()
    }
}

/// Wanted, there, available.
type Numbers = (i64, i64, i64);

fn numbers(set: &Value) -> Numbers {
    let status = &set["status"];
    (
        object::number(&set["spec"]["replicas"]),
        object::number(&status["replicas"]),
        object::number(&status["availableReplicas"]),
    )
}

proptest::proptest! {
    /// Whatever order pods move in, a rollout keeps both fence posts and comes to its end.
    #[test]
    fn a_rollout_never_leaves_its_fence_posts(
        replicas in 1i64..12, surge in 0i64..4, unavailable in 0i64..4,
        chances in proptest::collection::vec((0usize..100, proptest::bool::ANY), 1..400),
    ) {
        let rolling = json!({"maxSurge": surge, "maxUnavailable": unavailable});
        let mut cluster = Cluster::new(&json!({"replicas": replicas, "strategy": {"rollingUpdate": rolling}}));
        cluster.settle();
        let least = replicas - if (surge, unavailable) == (0, 0) { 1 } else { unavailable };
        let mut version = 0;
        for (chance, controller_moves) in chances {
            if chance == 0 {
                version += 1;
                cluster.set_version(&version.to_string());
            }
            match controller_moves {
                true => drop(cluster.step()),
                false => drop(cluster.pod_step(chance)),
            }
            proptest::prop_assert!(cluster.total(|set| set.0) <= replicas + surge, "{:?}", cluster.sizes());
            proptest::prop_assert!(cluster.total(|set| set.2) >= least, "{:#?}", cluster.sets);
        }
        cluster.settle();
        proptest::prop_assert_eq!(cluster.total(|set| set.2), replicas);
        let status = &cluster.deployment["status"];
        proptest::prop_assert_eq!(&status["updatedReplicas"], &json!(replicas));
    }
}

#[test]
fn a_new_deployment_gets_its_first_replica_set() {
    let mut cluster = Cluster::new(&json!({"replicas": 3}));
    cluster.step();
    let set = &cluster.sets[0].clone();
    let hash = object::label(set, "pod-template-hash");
    assert_eq!(object::name(set), format!("d-{hash}"));
    assert_eq!(
        set["spec"]["selector"]["matchLabels"],
        json!({"app": "d", "pod-template-hash": hash})
    );
    assert_eq!(object::annotation(set, REVISION), "1");
    assert_eq!(
        (object::annotation(set, DESIRED), object::annotation(set, MOST)),
        ("3", "4")
    );
    assert_eq!(
        cluster.condition("Progressing"),
        format!("True NewReplicaSetCreated: Created new replica set \"d-{hash}\"")
    );
    assert_eq!(
        cluster.condition("Available"),
        "False MinimumReplicasUnavailable: Deployment does not have minimum availability."
    );
    cluster.settle();
    assert_eq!(
        cluster.condition("Progressing"),
        format!("True NewReplicaSetAvailable: ReplicaSet \"d-{hash}\" has successfully progressed.")
    );
    assert_eq!(
        cluster.condition("Available"),
        "True MinimumReplicasAvailable: Deployment has minimum availability."
    );
    assert!(cluster.deployment["status"]["unavailableReplicas"].is_null());
    assert_eq!(cluster.deployment["metadata"]["annotations"][REVISION], "1");
}

#[test]
fn going_back_to_an_old_template_revives_its_replica_set() {
    let mut cluster = Cluster::new(&json!({"replicas": 1}));
    cluster.settle();
    cluster.set_version("1");
    cluster.settle();
    assert_eq!(cluster.sizes(), [0, 1]);
    cluster.set_version("0");
    cluster.settle();
    assert_eq!(cluster.sizes(), [1, 0]);
    assert_eq!(object::annotation(&cluster.sets[0], REVISION), "3");
    assert_eq!(
        object::annotation(&cluster.sets[0], "deployment.kubernetes.io/revision-history"),
        "1"
    );
}

#[test]
fn recreate_waits_for_the_end_of_the_old_pods() {
    let mut cluster = Cluster::new(&json!({"replicas": 2, "strategy": {"type": "Recreate"}}));
    cluster.settle();
    cluster.set_version("1");
    cluster.step();
    assert_eq!(cluster.sizes(), [0]);
    cluster.step();
    assert_eq!(cluster.sizes(), [0], "old pods are still there");
    cluster.settle();
    assert_eq!(cluster.sizes(), [0, 2]);
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll_out() {
    let mut cluster = Cluster::new(&json!({"replicas": 2}));
    cluster.settle();
    cluster.deployment["spec"]["paused"] = true.into();
    cluster.set_version("1");
    cluster.deployment["spec"]["replicas"] = 4.into();
    cluster.settle();
    assert_eq!(cluster.sizes(), [4]);
    assert_eq!(
        cluster.condition("Progressing"),
        "Unknown DeploymentPaused: Deployment is paused"
    );
    cluster.deployment["spec"]["paused"] = false.into();
    cluster.settle();
    assert_eq!(cluster.sizes(), [0, 4]);
}

#[test]
fn a_canary_keeps_its_share_when_the_whole_is_scaled() {
    let mut cluster = Cluster::new(
        &json!({"replicas": 10, "strategy": {"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}}),
    );
    cluster.settle();
    cluster.set_version("1");
    for _ in 0..3 {
        cluster.step();
    }
    // As in the documentation of proportional scaling: 8 and 5 of 10, scaled to 15.
    assert_eq!(cluster.sizes(), [8, 5]);
    cluster.deployment["spec"]["replicas"] = 15.into();
    cluster.step();
    assert_eq!(cluster.sizes(), [11, 7]);
}

#[test]
fn a_rollout_that_does_not_move_times_out() {
    let mut cluster = Cluster::new(&json!({"replicas": 1, "progressDeadlineSeconds": 60}));
    cluster.step();
    let hash = object::name(&cluster.sets[0]).to_owned();
    cluster.now += Duration::from_secs(59);
    assert_eq!(cluster.step().look_again, Some(Duration::from_secs(1)));
    cluster.now += Duration::from_secs(1);
    assert_eq!(cluster.step().look_again, None);
    assert_eq!(
        cluster.condition("Progressing"),
        format!("False ProgressDeadlineExceeded: ReplicaSet \"{hash}\" has timed out progressing.")
    );
    cluster.settle();
    assert!(
        cluster
            .condition("Progressing")
            .starts_with("True NewReplicaSetAvailable"),
        "late is better than never"
    );
}

#[test]
fn history_is_cut_to_its_limit() {
    let mut cluster = Cluster::new(&json!({"replicas": 1, "revisionHistoryLimit": 2}));
    for version in 0..6 {
        cluster.set_version(&version.to_string());
        cluster.settle();
    }
    let revisions: Vec<&str> = cluster
        .sets
        .iter()
        .map(|set| object::annotation(set, REVISION))
        .collect();
    assert_eq!(revisions, ["4", "5", "6"]);
}

#[test]
fn nothing_is_written_when_nothing_changes() {
    let mut cluster = Cluster::new(&json!({"replicas": 2}));
    cluster.settle();
    let before = cluster.deployment["status"].clone();
    cluster.now += Duration::from_secs(100);
    let plan = cluster.step();
    assert_eq!(
        (plan.actions, plan.status, plan.look_again),
        (Vec::new(), before, None)
    );
}
