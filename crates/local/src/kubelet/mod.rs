//! The kubelet: pods as local processes in network namespaces.
//!
//! It watches the pods of its node and gives each a task of its own ([`pod::live`]); everything about a pod happens
//! there. What pods share is in [`node::Node`].

pub(crate) mod container;
pub mod dns;
pub(crate) mod environment;
pub(crate) mod etc;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod fields;
pub mod host_sockets;
pub mod images;
pub(crate) mod logs;
pub(crate) mod netlink;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod pod;
pub(crate) mod probes;
mod requests;
pub(crate) mod sandbox;
pub(crate) mod security;
pub mod service_network;
pub(crate) mod sources;
pub(crate) mod volumes;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use daemon::{Tasks, clock};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use crate::api::Client;
use crate::api::client::{Change, Event, Query};
use crate::api::gvr::PODS;
use crate::api::node_link::NodeRequests;
use crate::nodes::Simulated;
use crate::sys::{mounts, namespaces};
use etc::ClusterDns;
use events::Events;
use images::Layers;
use images::live::Live;
use network::Addresses;
use node::{Node, Paths, Place};
use pod::Wish;

/// What the kubelet is started with.
pub(crate) struct Settings {
    pub(crate) nodes: Vec<Simulated>,
    /// The cluster's state directory.
    pub(crate) home: PathBuf,
    pub(crate) images: Layers,
    /// Where pods find the cluster's DNS.
    pub(crate) dns: ClusterDns,
}

/// A kubelet that runs.
pub(crate) struct Kubelet {
    stop: watch::Sender<bool>,
    /// Closed when the last pod has ended.
    ended: mpsc::Receiver<()>,
}

/// Starts the kubelet and the scheduler, in the node's namespaces.
pub(crate) fn start(
    client: &Client,
    settings: Settings,
    requests: NodeRequests,
    tasks: &Tasks,
) -> anyhow::Result<Kubelet> {
    let client = client.writing_as("kubelet");
    let paths = prepare(&settings.home)?;
    let events = Events::start(client.clone(), settings.nodes[0].name.clone(), tasks);
    let node = Arc::new(Node {
        client: client.clone(),
        tasks: tasks.clone(),
        places: settings.nodes.iter().map(place).collect(),
        users: namespaces::users(),
        events: events.clone(),
        images: Live::new(settings.images),
        dns: settings.dns,
        paths,
        views: std::sync::Mutex::default(),
    });
    let (stop, stopping) = watch::channel(false);
    let (alive, ended) = mpsc::channel(1);
    tasks.spawn(
        "scheduler",
        crate::scheduler::run(client.writing_as("kube-scheduler"), events),
    );
    tasks.spawn("node requests", requests::answer(node.clone(), requests));
    tasks.spawn(
        "kubelet",
        Pods {
            node,
            pods: HashMap::new(),
            _alive: alive,
            stopping,
        }
        .run(),
    );
    Ok(Kubelet { stop, ended })
}

fn place(node: &Simulated) -> (String, Place) {
    let place = Place {
        address: node.address,
        addresses: std::sync::Mutex::new(Addresses::of(node.pods)),
    };
    (node.name.clone(), place)
}

/// What lies in memory goes with the node; what an earlier node left on disk for its pods goes now.
fn prepare(home: &std::path::Path) -> anyhow::Result<Paths> {
    let run = home.join("run");
    let make = |path: &std::path::Path| {
        std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))
    };
    make(&run)?;
    mounts::tmpfs(&run, "mode=0711").context("cannot mount the node's memory")?;
    let _ = std::fs::remove_dir_all(home.join("pods"));
    let paths = Paths {
        home: home.to_owned(),
        binary: std::env::current_exe().context("cannot find this program")?,
        run,
    };
    make(&paths.scratch())?;
    make(&paths.logs())?;
    Ok(paths)
}

impl Kubelet {
    /// Ends all pods, each with its grace (capped), and waits for that; their objects stay as they are.
    pub(crate) async fn stop(mut self, limit: Duration) {
        self.stop.send_replace(true);
        let _ = clock::timeout(limit, self.ended.recv()).await;
    }
}

/// The pods of this node, by uid.
struct Pods {
    node: Arc<Node>,
    pods: HashMap<String, watch::Sender<Wish>>,
    /// Dropped when the last pod has ended.
    _alive: mpsc::Sender<()>,
    stopping: watch::Receiver<bool>,
}

impl Pods {
    async fn run(mut self) {
        let ours = Query {
            fields: "spec.nodeName!=".to_owned(),
            ..Query::default()
        };
        loop {
            // A list first: what went away while nobody watched is in no event.
            match self.node.client.list(&PODS, "", &ours) {
                Ok(list) => {
                    self.compare(&list.items);
                    if self.follow(&ours, list.resource_version).await {
                        break;
                    }
                }
                Err(error) => tracing::warn!(%error, "cannot list pods"),
            }
            clock::sleep(Duration::from_millis(200)).await;
        }
        for wishes in self.pods.values() {
            wishes.send_modify(|wish| wish.node_stops = true);
        }
        for wishes in self.pods.values() {
            wishes.closed().await;
        }
    }

    fn compare(&mut self, items: &[crate::api::client::Object]) {
        let present: HashSet<&str> = items
            .iter()
            .filter_map(|pod| pod["metadata"]["uid"].as_str())
            .collect();
        for (uid, wishes) in &self.pods {
            if !present.contains(uid.as_str()) {
                wishes.send_modify(|wish| wish.gone = true);
            }
        }
        for object in items {
            self.hear(Event {
                change: Change::Modified,
                object: object.clone(),
            });
        }
    }

    /// Follows events; whether the node stops.
    async fn follow(&mut self, ours: &Query, from: u64) -> bool {
        let mut watch = match self.node.client.watch(&PODS, "", ours, from) {
            Ok(watch) => watch,
            Err(error) => {
                tracing::warn!(%error, "cannot watch pods");
                return false;
            }
        };
        let mut stopping = self.stopping.clone();
        loop {
            tokio::select! {
                event = watch.next() => match event {
                    Some(Ok(event)) => self.hear(event),
                    Some(Err(_)) | None => return false,
                },
                _ = stopping.wait_for(|stop| *stop) => return true,
            }
        }
    }

    fn hear(&mut self, event: Event) {
        self.pods.retain(|_, wishes| !wishes.is_closed());
        let node = event.object["spec"]["nodeName"].as_str().unwrap_or_default();
        if !self.node.places.contains_key(node) {
            return;
        }
        let Some(uid) = event.object["metadata"]["uid"].as_str().map(str::to_owned) else {
            return;
        };
        let gone = event.change == Change::Deleted;
        if let Some(wishes) = self.pods.get(&uid) {
            wishes.send_modify(|wish| {
                wish.object = event.object;
                wish.gone |= gone;
            });
        } else if !gone {
            self.begin(uid, &event);
        }
    }

    fn begin(&mut self, uid: String, event: &Event) {
        let pod = match serde_json::from_value::<Pod>(Value::clone(&event.object)) {
            Ok(pod) => pod,
            Err(error) => {
                tracing::warn!(%error, uid, "a pod makes no sense");
                return;
            }
        };
        let wish = Wish {
            object: event.object.clone(),
            gone: false,
            node_stops: false,
        };
        let (wishes, heard) = watch::channel(wish);
        self.node
            .tasks
            .spawn("pod", pod::live(self.node.clone(), pod, heard));
        self.pods.insert(uid, wishes);
    }
}
