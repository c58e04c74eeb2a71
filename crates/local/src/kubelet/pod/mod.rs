//! The life of a pod, on one page: [`live`].
//!
//! One task owns all there is to know of a pod. It hears what the API server wants ([`Wish`]) and what happens in the
//! pod ([`Happening`]), asks the plan what to do next, does it, and writes the status. Nothing else changes a pod.

mod adopt;
mod happen;
pub(crate) mod plan;
#[cfg(test)]
mod plan_tests;
mod start;
pub(crate) mod state;
pub(crate) mod status;
mod stop;
pub(crate) mod view;
mod watch_over;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use daemon::clock;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::container::inside::Program;
use super::etc;
use super::events::{About, Severity};
use super::fields::Fields;
use super::node::{Node, Place};
use super::sandbox::{Sandbox, Sandboxed};
use super::volumes::prepare::{REFRESH, Volumes};
use crate::api::client::{DeleteOptions, Object, Patch};
use crate::api::gvr::PODS;
use happen::Happening;
use plan::{Fate, Plan};
use start::Running;
use state::{Member, RestartPolicy};
use status::Facts;
use view::{PodNetwork, View};

/// How long until something that was missing is looked for again.
const RETRY: Duration = Duration::from_secs(2);
/// The longest that a pod may take to end when the node stops.
const NODE_STOP_GRACE: Duration = Duration::from_secs(10);

/// What the API server and the node want of a pod.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) object: Object,
    /// The object is gone, whatever still runs.
    pub(crate) gone: bool,
    /// The node stops; the pod will live again with it.
    pub(crate) node_stops: bool,
}

/// Runs a pod from its first container to its last breath.
pub(crate) async fn live(node: Arc<Node>, pod: Pod, mut wishes: watch::Receiver<Wish>) {
    let first = wishes.borrow().clone();
    let mut life = Life::new(node, pod, &first);
    loop {
        let wish = wishes.borrow_and_update().clone();
        life.hear(&wish);
        let plan = plan::next(&life.members, life.policy, life.fate, clock::wall());
        life.carry_out(&plan).await;
        life.show();
        life.write_status().await;
        if plan.done.is_some() {
            life.clear().await;
            if life.deleted || wish.gone || wish.node_stops {
                break;
            }
        }
        let wake = life.wake(&plan);
        tokio::select! {
            happening = life.happenings.recv() => if let Some(happening) = happening { life.take(happening) },
            changed = wishes.changed() => if changed.is_err() { break },
            () = clock::sleep(wake) => {}
        }
    }
    let last = wishes.borrow().clone();
    life.bury(&last).await;
}

struct Life {
    node: Arc<Node>,
    pod: Pod,
    object: Object,
    uid: String,
    about: About,
    policy: RestartPolicy,
    fate: Fate,
    deleted: bool,
    /// The node stops, and the pod will live again: its containers' ends are not its own.
    leaving: bool,
    /// How long the pod may take to end, and when that is over.
    grace: Option<(Duration, SystemTime)>,
    members: Vec<Member>,
    facts: Facts,
    sandbox: Option<Sandbox>,
    address: Option<Ipv4Addr>,
    volumes: Volumes,
    /// What runs, by position; and what each container was made of, by name.
    running: BTreeMap<usize, Running>,
    programs: BTreeMap<String, Program>,
    happenings: mpsc::Receiver<Happening>,
    tell: mpsc::Sender<Happening>,
    /// Counts runs of containers, so that news of an earlier one is not taken for the present one's.
    runs: u64,
    retry_at: Option<SystemTime>,
    written: Value,
}

impl Life {
    fn new(node: Arc<Node>, pod: Pod, wish: &Wish) -> Self {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let (namespace, name, uid) = (
            text(&pod.metadata.namespace),
            text(&pod.metadata.name),
            text(&pod.metadata.uid),
        );
        let (tell, happenings) = mpsc::channel(64);
        let node_address = place(&node, &pod).address.to_string();
        let mut life = Self {
            about: About {
                namespace,
                pod: name,
                uid: uid.clone(),
                field_path: None,
            },
            policy: state::restart_policy(&pod),
            fate: Fate::Live,
            deleted: false,
            leaving: false,
            grace: None,
            members: state::members(&pod),
            facts: Facts {
                node_address,
                ..Facts::default()
            },
            sandbox: None,
            address: None,
            volumes: Volumes::default(),
            running: BTreeMap::new(),
            programs: BTreeMap::new(),
            happenings,
            tell,
            runs: 0,
            retry_at: None,
            written: Value::Null,
            object: wish.object.clone(),
            node,
            pod,
            uid,
        };
        life.adopt();
        life
    }

    /// Takes in what is wanted.
    fn hear(&mut self, wish: &Wish) {
        if version(&wish.object) >= version(&self.object) {
            self.object = wish.object.clone();
        }
        self.deleted = wish.object["metadata"]["deletionTimestamp"].is_string();
        self.leaving = wish.node_stops && !self.deleted;
        self.follow_changes();
        let late = self.out_of_time();
        if late && self.facts.failure.is_none() && self.facts.done.is_none() {
            let message = "Pod was active on the node longer than the specified deadline".to_owned();
            self.event(Severity::Normal, "DeadlineExceeded", message.clone());
            self.facts.failure = Some(("DeadlineExceeded", message));
        }
        if self.deleted || late || wish.gone || wish.node_stops {
            self.fate = Fate::End;
        }
        let grace = if wish.gone {
            Some(Duration::ZERO)
        } else if wish.node_stops {
            Some(self.own_grace().min(NODE_STOP_GRACE))
        } else {
            let seconds = wish.object["metadata"]["deletionGracePeriodSeconds"].as_u64();
            seconds.filter(|_| self.deleted).map(Duration::from_secs)
        };
        self.set_grace(grace);
    }

    /// Labels and annotations may change, and images; a container with a new image is started again.
    fn follow_changes(&mut self) {
        if let Ok(metadata) = serde_json::from_value(self.object["metadata"].clone()) {
            self.pod.metadata = metadata;
        }
        for position in 0..self.members.len() {
            let member = &mut self.members[position];
            let list = if member.role == state::Role::Main {
                "containers"
            } else {
                "initContainers"
            };
            let listed = self.object["spec"][list].as_array();
            let wanted = listed.and_then(|list| list.iter().find(|one| one["name"] == member.name()));
            let image = wanted.and_then(|one| one["image"].as_str());
            if image.is_some() && image != member.spec.image.as_deref() {
                member.spec.image = image.map(str::to_owned);
                member.not_before = None;
                let why = format!(
                    "Container {} definition changed, will be restarted",
                    member.name()
                );
                if member.run().is_some() && member.role != state::Role::Init {
                    self.stop(position, Some(why));
                }
            }
        }
    }

    fn own_grace(&self) -> Duration {
        let stated = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.termination_grace_period_seconds);
        Duration::from_secs(
            stated
                .and_then(|seconds| u64::try_from(seconds).ok())
                .unwrap_or(30),
        )
    }

    fn deadline(&self) -> Option<SystemTime> {
        let seconds = self.pod.spec.as_ref()?.active_deadline_seconds?;
        Some(self.facts.started? + Duration::from_secs(u64::try_from(seconds).ok()?))
    }

    fn out_of_time(&self) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= clock::wall())
    }

    async fn carry_out(&mut self, plan: &Plan) {
        let now = clock::wall();
        if self.facts.started.is_none() && self.fate == Fate::Live {
            self.facts.started = Some(now);
            self.report_not_enforced();
        }
        for position in &plan.backing_off {
            self.say_backing_off(*position);
        }
        for position in &plan.stop {
            self.stop(*position, None);
        }
        let due = self.retry_at.is_none_or(|time| time <= now);
        if due && !plan.start.is_empty() {
            self.retry_at = None;
            if self.prepare().await {
                for position in &plan.start {
                    self.start(*position).await;
                }
            }
        } else if due && self.sandbox.is_some() {
            // A failure now is one of an update: the old content stays.
            let _ = self.refresh_volumes();
        }
        if plan.done.is_some() && self.facts.done.is_none() {
            self.facts.done = plan.done;
        }
    }

    /// Volumes, files and namespaces: what must be there before the first container. Whether it is.
    async fn prepare(&mut self) -> bool {
        if let Err(failed) = self.refresh_volumes() {
            let message = format!(
                "MountVolume.SetUp failed for volume \"{}\" : {}",
                failed.volume, failed.why
            );
            self.event(Severity::Warning, "FailedMount", message);
            self.retry_at = Some(clock::wall() + RETRY);
            return false;
        }
        if self.facts.address.is_some() {
            return true;
        }
        match self.make_sandbox().await {
            Ok(()) => true,
            Err(error) => {
                self.give_address_back();
                let message = format!("Failed to create pod sandbox: {error:#}");
                self.event(Severity::Warning, "FailedCreatePodSandBox", message);
                self.retry_at = Some(clock::wall() + RETRY);
                false
            }
        }
    }

    fn refresh_volumes(&mut self) -> Result<(), super::volumes::prepare::Failed> {
        let address = self.facts.address.clone().unwrap_or_default();
        let fields = Fields {
            pod: &self.pod,
            pod_address: &address,
            node_address: &self.facts.node_address,
        };
        self.volumes.refresh(&self.node, &self.pod, fields)
    }

    async fn make_sandbox(&mut self) -> anyhow::Result<()> {
        let etc = self.etc();
        let of_node = self
            .pod
            .spec
            .as_ref()
            .is_some_and(|spec| spec.host_network == Some(true));
        let address = if of_node {
            place(&self.node, &self.pod).address
        } else {
            self.take_address()?
        };
        etc::write(&etc, &self.pod, &address.to_string(), &self.node.dns)?;
        if !of_node {
            let context = self
                .pod
                .spec
                .as_ref()
                .and_then(|spec| spec.security_context.as_ref());
            let sysctls = context
                .into_iter()
                .flat_map(|context| context.sysctls.iter().flatten());
            let sysctls = sysctls
                .map(|sysctl| (sysctl.name.clone(), sysctl.value.clone()))
                .collect();
            let sandboxed = Sandboxed {
                hostname: etc::hostname(&self.pod),
                address,
                sysctls,
            };
            self.sandbox = Some(Sandbox::make(&sandboxed).await?);
        }
        self.facts.address = Some(address.to_string());
        Ok(())
    }

    fn etc(&self) -> PathBuf {
        self.node.paths.of_pod(&self.uid).join("etc")
    }

    fn logs(&self) -> PathBuf {
        let About {
            namespace, pod, uid, ..
        } = &self.about;
        self.node.paths.logs().join(format!("{namespace}_{pod}_{uid}"))
    }

    fn take_address(&mut self) -> anyhow::Result<Ipv4Addr> {
        let taken = Node::lock(&place(&self.node, &self.pod).addresses).take();
        self.address = taken;
        taken.ok_or_else(|| anyhow::anyhow!("no pod address is left"))
    }

    fn give_address_back(&mut self) {
        if let Some(address) = self.address.take() {
            Node::lock(&place(&self.node, &self.pod).addresses).give_back(address);
        }
    }

    /// How long nothing needs to be done if nothing happens.
    fn wake(&self, plan: &Plan) -> Duration {
        let active = self.facts.done.is_none();
        let refresh = (active && self.facts.address.is_some()).then(|| clock::wall() + REFRESH);
        let deadline = self.deadline().filter(|_| active);
        let next = [plan.wake, self.retry_at, refresh, deadline]
            .into_iter()
            .flatten()
            .min();
        let wait = next.map(|time| time.duration_since(clock::wall()).unwrap_or_default());
        wait.unwrap_or(Duration::from_secs(3600))
            .max(Duration::from_millis(5))
    }

    /// Lets clients look in.
    fn show(&self) {
        let key = (self.about.namespace.clone(), self.about.pod.clone());
        let network = match &self.sandbox {
            Some(sandbox) => Some(PodNetwork::Own(sandbox.sockets())),
            None => self.facts.address.as_ref().map(|_| PodNetwork::Node),
        };
        let about = (self.uid.as_str(), self.logs());
        let view = View::of(about, network, &self.members, &self.programs, &self.running);
        Node::lock(&self.node.views).insert(key, view);
    }

    async fn write_status(&mut self) {
        if self.leaving {
            return;
        }
        let status = status::derive(
            &self.pod,
            &self.members,
            &self.facts,
            &self.object["status"],
            clock::wall(),
        );
        if status == self.written {
            return;
        }
        let patch = Patch::Merge(json!({"status": status}));
        match self
            .node
            .client
            .patch_status(&PODS, &self.about.namespace, &self.about.pod, patch)
            .await
        {
            Ok(object) => {
                if object["metadata"]["uid"] == self.uid.as_str() {
                    self.object = object;
                }
                self.written = status;
            }
            Err(error) if error.code == 404 => self.written = status,
            Err(error) => {
                tracing::warn!(pod = self.about.pod, %error, "cannot write the pod's status");
                self.retry_at = Some(clock::wall() + RETRY);
            }
        }
    }

    /// Gives up what only a running pod needs; logs stay.
    async fn clear(&mut self) {
        if let Some(sandbox) = self.sandbox.take() {
            sandbox.remove().await;
        }
        self.give_address_back();
        std::mem::take(&mut self.volumes).remove(&self.node.paths, &self.uid);
    }

    /// The end: the object goes with its logs, unless the pod will live again.
    async fn bury(mut self, wish: &Wish) {
        self.clear().await;
        let key = (self.about.namespace.clone(), self.about.pod.clone());
        self.hide(&key);
        if wish.node_stops && !self.deleted && !wish.gone {
            return;
        }
        if !wish.gone {
            let options = DeleteOptions {
                grace_seconds: Some(0),
                uid: Some(self.uid.clone()),
                ..DeleteOptions::default()
            };
            let deleted = self
                .node
                .client
                .delete(&PODS, &self.about.namespace, &self.about.pod, options)
                .await;
            if let Err(error) = deleted.map_err(|error| (error.code != 404).then_some(error)) {
                tracing::debug!(pod = self.about.pod, ?error, "the pod's end was not confirmed");
            }
        }
        let _ = std::fs::remove_dir_all(self.logs());
    }

    fn hide(&self, key: &(String, String)) {
        let mut views = Node::lock(&self.node.views);
        if views.get(key).is_some_and(|view| view.uid == self.uid) {
            views.remove(key);
        }
    }

    fn event(&self, severity: Severity, reason: &'static str, message: String) {
        self.node.events.record(&self.about, severity, reason, message);
    }

    /// An event about one container.
    fn event_of(&self, position: usize, severity: Severity, reason: &'static str, message: String) {
        let member = &self.members[position];
        let list = if member.role == state::Role::Main {
            "containers"
        } else {
            "initContainers"
        };
        let field_path = Some(format!("spec.{list}{{{}}}", member.name()));
        self.node.events.record(
            &About {
                field_path,
                ..self.about.clone()
            },
            severity,
            reason,
            message,
        );
    }

    /// `name_namespace(uid)`, as kubelet's messages have it.
    fn full_name(&self) -> String {
        format!("{}_{}({})", self.about.pod, self.about.namespace, self.uid)
    }
}

/// The simulated node that a pod is bound to; pods of others get no life.
fn place<'a>(node: &'a Node, pod: &Pod) -> &'a Place {
    let name = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
    name.and_then(|name| node.places.get(name))
        .expect("only pods of these nodes are begun, and a pod never moves")
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}
