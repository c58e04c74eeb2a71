//! The controllers over the real API server, with a kubelet that only pretends: pods become ready as soon as they are
//! seen, and go as soon as they are told to.

mod workloads;

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use daemon::{Tasks, clock};
use hickory_proto::op::{Message, Query as Question};
use hickory_proto::rr::{Name, RecordType};
use local::api::client::{Change, Client, DeleteOptions, Object, Patch, Query};
use local::api::gvr::{
    CONFIG_MAPS, DEPLOYMENTS, ENDPOINT_SLICES, EVENTS, NAMESPACES, NODES, PODS, REPLICA_SETS,
    SERVICE_ACCOUNTS, SERVICES,
};
use local::api::node_link::NodeLink;
use local::api::{Gvr, Server};
use local::{api, controllers};
use serde_json::{Value, json};

/// A cluster without a node worth the name.
struct Cluster {
    client: Client,
    _server: Server,
    _directory: tempfile::TempDir,
    tasks: Tasks,
}

impl Cluster {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (node, _) = NodeLink::new();
        let server = api::start(api::Settings {
            directory: directory.path().join("home"),
            listener: TcpListener::bind("127.0.0.1:0").expect("bind"),
            cluster_listeners: Vec::new(),
            advertised: SocketAddr::from((Ipv4Addr::LOCALHOST, 6443)),
            node,
        })
        .await
        .expect("the API server starts");
        let (client, tasks) = (server.client.clone(), Tasks::new());
        let settings = controllers::Settings {
            nodes: local::nodes::Layout::default().nodes(),
            node_address: Ipv4Addr::new(10, 244, 0, 1),
            ca_certificate: server.ca_certificate.clone(),
            version: "v1.33.0".to_owned(),
        };
        controllers::start(client.clone(), settings, &tasks)
            .await
            .expect("the controllers start");
        tasks.spawn("pretended kubelet", pretend(client.clone()));
        Self {
            client,
            _server: server,
            _directory: directory,
            tasks,
        }
    }

    fn list(&self, gvr: &Gvr, namespace: &str) -> Vec<Object> {
        self.client
            .list(gvr, namespace, &Query::default())
            .expect("a list")
            .items
    }

    async fn apply(&self, gvr: &Gvr, object: Value) -> Object {
        let namespace = object["metadata"]["namespace"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        self.client
            .create(gvr, &namespace, object)
            .await
            .expect("created")
    }

    async fn delete(&self, gvr: &Gvr, namespace: &str, name: &str, propagation: &str) {
        let options = DeleteOptions {
            propagation: Some(propagation.to_owned()),
            ..DeleteOptions::default()
        };
        self.client
            .delete(gvr, namespace, name, options)
            .await
            .expect("deleted");
    }

    async fn patch(&self, gvr: &Gvr, namespace: &str, name: &str, patch: Value) {
        self.client
            .patch(gvr, namespace, name, Patch::Merge(patch))
            .await
            .expect("patched");
    }

    /// Waits until all of a Deployment's pods are of its current template and ready.
    async fn rolled_out(&self, name: &str) {
        eventually("the rollout", || {
            let deployment = self.client.get(&DEPLOYMENTS, "default", name).expect("it exists");
            let (spec, status) = (&deployment["spec"], &deployment["status"]);
            ["replicas", "updatedReplicas", "availableReplicas"]
                .iter()
                .all(|field| status[*field] == spec["replicas"])
                && status["observedGeneration"] == deployment["metadata"]["generation"]
        })
        .await;
    }
}

/// Waits for something to become true; the test fails after ten seconds.
async fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    within(what, async {
        while !is_true() {
            clock::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match clock::timeout(Duration::from_secs(10), future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} does not come"),
    }
}

async fn pretend(client: Client) {
    let mut watch = client.watch(&PODS, "", &Query::default(), 0).expect("a watch");
    let mut last = 1;
    while let Some(Ok(event)) = watch.next().await {
        let pod = &event.object;
        let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
        let (namespace, name) = (text("namespace"), text("name"));
        if event.change == Change::Deleted {
            continue;
        }
        if pod["metadata"]["deletionTimestamp"].is_string() {
            let now = DeleteOptions {
                grace_seconds: Some(0),
                ..DeleteOptions::default()
            };
            let _ = client.delete(&PODS, namespace, name, now).await;
        } else if pod["status"]["podIP"].is_null() {
            last += 1;
            let node = Patch::Merge(json!({"spec": {"nodeName": "local"}}));
            let _ = client.patch(&PODS, namespace, name, node).await;
            // A pod that is not to run for ever has done what it was to do as soon as it is seen.
            let (phase, ready) = match pod["spec"]["restartPolicy"].as_str() {
                Some("Never") => ("Succeeded", "False"),
                _ => ("Running", "True"),
            };
            let status = json!({"status": {"phase": phase, "podIP": format!("10.244.1.{last}"),
                "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
            let _ = client
                .patch_status(&PODS, namespace, name, Patch::Merge(status))
                .await;
        }
    }
}

fn deployment(name: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [
                    {"name": "c", "image": "i", "ports": [{"name": "web", "containerPort": 8080}]},
                ]},
            },
        },
    })
}

fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": "web"}]},
    })
}

fn endpoints(cluster: &Cluster, service: &str) -> Vec<Value> {
    let query = Query {
        labels: format!("kubernetes.io/service-name={service}"),
        ..Query::default()
    };
    let slices = cluster
        .client
        .list(&ENDPOINT_SLICES, "default", &query)
        .expect("a list")
        .items;
    slices
        .iter()
        .flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default())
        .collect()
}

#[tokio::test]
async fn a_deployment_rolls_out_scales_rolls_over_and_goes() {
    let cluster = Cluster::start().await;
    cluster.apply(&SERVICES, service("web")).await;
    cluster.apply(&DEPLOYMENTS, deployment("web", 3)).await;
    cluster.rolled_out("web").await;
    eventually("three endpoints", || endpoints(&cluster, "web").len() == 3).await;

    cluster
        .patch(&DEPLOYMENTS, "default", "web", json!({"spec": {"replicas": 5}}))
        .await;
    cluster.rolled_out("web").await;
    assert_eq!(cluster.list(&PODS, "default").len(), 5);

    let version = json!({"spec": {"template": {"metadata": {"annotations": {"restarted": "now"}}}}});
    cluster.patch(&DEPLOYMENTS, "default", "web", version).await;
    cluster.rolled_out("web").await;
    let mut sizes: Vec<i64> = cluster
        .list(&REPLICA_SETS, "default")
        .iter()
        .filter_map(|set| set["spec"]["replicas"].as_i64())
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [0, 5]);
    eventually("new endpoints only", || {
        endpoints(&cluster, "web")
            .iter()
            .filter(|one| one["conditions"]["ready"] == true)
            .count()
            == 5
    })
    .await;

    cluster.delete(&DEPLOYMENTS, "default", "web", "Background").await;
    eventually("the end of all pods", || {
        cluster.list(&PODS, "default").is_empty() && cluster.list(&REPLICA_SETS, "default").is_empty()
    })
    .await;
    eventually("no endpoints", || endpoints(&cluster, "web").is_empty()).await;
    cluster.tasks.stop(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn nothing_is_written_once_everything_is_as_wanted() {
    let cluster = Cluster::start().await;
    cluster.apply(&SERVICES, service("web")).await;
    cluster.apply(&DEPLOYMENTS, deployment("web", 2)).await;
    cluster.rolled_out("web").await;
    eventually("two endpoints", || endpoints(&cluster, "web").len() == 2).await;
    let versions = || {
        let kinds = [
            &DEPLOYMENTS,
            &REPLICA_SETS,
            &ENDPOINT_SLICES,
            &PODS,
            &SERVICE_ACCOUNTS,
            &CONFIG_MAPS,
            &EVENTS,
        ];
        let versions = kinds.iter().flat_map(|gvr| cluster.list(gvr, ""));
        versions
            .map(|object| object["metadata"]["resourceVersion"].to_string())
            .collect::<Vec<_>>()
    };
    // Controllers answer within milliseconds; half a second without a write is rest.
    within("rest", async {
        loop {
            let before = versions();
            clock::sleep(Duration::from_millis(500)).await;
            if before == versions() {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn owners_in_the_foreground_go_last_and_orphans_stay() {
    let cluster = Cluster::start().await;
    cluster.apply(&DEPLOYMENTS, deployment("one", 2)).await;
    cluster.rolled_out("one").await;
    cluster.delete(&DEPLOYMENTS, "default", "one", "Foreground").await;
    eventually("the end of the owner", || {
        cluster.client.get(&DEPLOYMENTS, "default", "one").is_err()
    })
    .await;
    assert_eq!(cluster.list(&REPLICA_SETS, "default").len(), 0);

    cluster.apply(&DEPLOYMENTS, deployment("two", 2)).await;
    cluster.rolled_out("two").await;
    cluster.delete(&DEPLOYMENTS, "default", "two", "Orphan").await;
    eventually("the end of the owner", || {
        cluster.client.get(&DEPLOYMENTS, "default", "two").is_err()
    })
    .await;
    let sets = cluster.list(&REPLICA_SETS, "default");
    assert_eq!(sets.len(), 1);
    assert!(
        sets[0]["metadata"]["ownerReferences"]
            .as_array()
            .is_none_or(Vec::is_empty)
    );
    cluster.apply(&DEPLOYMENTS, deployment("two", 2)).await;
    eventually("adoption", || {
        let set = cluster.list(&REPLICA_SETS, "default").remove(0);
        set["metadata"]["ownerReferences"][0]["name"] == "two"
    })
    .await;
    assert_eq!(cluster.list(&PODS, "default").len(), 2);
}

#[tokio::test]
async fn a_namespace_goes_with_all_that_is_in_it() {
    let cluster = Cluster::start().await;
    cluster
        .apply(
            &NAMESPACES,
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}),
        )
        .await;
    eventually("its ServiceAccount", || {
        cluster.client.get(&SERVICE_ACCOUNTS, "n", "default").is_ok()
    })
    .await;
    eventually("its certificate", || {
        let map = cluster.client.get(&CONFIG_MAPS, "n", "kube-root-ca.crt");
        map.is_ok_and(|map| {
            map["data"]["ca.crt"]
                .as_str()
                .is_some_and(|text| text.contains("BEGIN CERTIFICATE"))
        })
    })
    .await;
    let mut deployment = deployment("web", 2);
    deployment["metadata"]["namespace"] = "n".into();
    cluster.apply(&DEPLOYMENTS, deployment).await;
    eventually("its pods", || cluster.list(&PODS, "n").len() == 2).await;
    cluster.delete(&NAMESPACES, "", "n", "Background").await;
    assert_eq!(cluster.list(&PODS, "n").len(), 2, "contents stay for a moment");
    eventually("its end", || cluster.client.get(&NAMESPACES, "", "n").is_err()).await;
    assert!(cluster.list(&PODS, "n").is_empty() && cluster.list(&CONFIG_MAPS, "n").is_empty());
}

#[tokio::test]
async fn refused_pods_are_tried_again_and_reported() {
    let cluster = Cluster::start().await;
    let mut deployment = deployment("web", 1);
    deployment["spec"]["template"]["spec"]["serviceAccountName"] = "robot".into();
    cluster.apply(&DEPLOYMENTS, deployment).await;
    eventually("an event", || {
        cluster
            .list(&EVENTS, "default")
            .iter()
            .any(|event| event["reason"] == "FailedCreate")
    })
    .await;
    eventually("a condition", || {
        let deployment = cluster
            .client
            .get(&DEPLOYMENTS, "default", "web")
            .expect("it exists");
        let conditions = deployment["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        conditions
            .iter()
            .any(|one| one["type"] == "ReplicaFailure" && one["reason"] == "FailedCreate")
    })
    .await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "robot", "namespace": "default"}});
    cluster.apply(&SERVICE_ACCOUNTS, account).await;
    cluster.rolled_out("web").await;
}

#[tokio::test]
async fn the_node_is_ready_and_dns_has_its_service() {
    let cluster = Cluster::start().await;
    let node = cluster.client.get(&NODES, "", "local").expect("a node");
    let ready = node["status"]["conditions"]
        .as_array()
        .expect("conditions")
        .iter()
        .any(|one| one["type"] == "Ready" && one["status"] == "True");
    assert!(ready, "{node:#}");
    let service = cluster
        .client
        .get(&SERVICES, "kube-system", "kube-dns")
        .expect("a service");
    assert_eq!(service["spec"]["clusterIP"], "10.96.0.10");
}

#[tokio::test]
async fn dns_knows_a_new_service_at_once() {
    let cluster = Cluster::start().await;
    let settings = local::kubelet::dns::Settings {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        domain: "cluster.local".to_owned(),
        upstreams: local::kubelet::dns::Upstreams::These(Vec::new()),
    };
    let address = local::kubelet::dns::start(cluster.client.clone(), settings, &cluster.tasks)
        .await
        .expect("dns");
    let created = cluster.apply(&SERVICES, service("web")).await;
    let expected = created["spec"]["clusterIP"]
        .as_str()
        .expect("an address")
        .to_owned();
    within("the name", async {
        while lookup(address, "web.default.svc.cluster.local.").await.first() != Some(&expected) {
            clock::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(
        lookup_over_tcp(address, "web.default.svc.cluster.local.").await,
        [expected]
    );
}

fn question(name: &str) -> Message {
    let mut message = Message::query();
    message.add_query(Question::query(
        Name::from_ascii(name).expect("a name"),
        RecordType::A,
    ));
    message
}

fn answers(bytes: &[u8]) -> Vec<String> {
    let message = Message::from_vec(bytes).expect("an answer");
    message
        .answers
        .iter()
        .map(|entry| entry.data.to_string())
        .collect()
}

async fn lookup(server: SocketAddr, name: &str) -> Vec<String> {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    socket.set_nonblocking(true).expect("non-blocking");
    let socket = tokio::net::UdpSocket::from_std(socket).expect("a socket");
    socket
        .send_to(&question(name).to_vec().expect("a message"), server)
        .await
        .expect("sent");
    let mut buffer = [0; 1500];
    let length = within("an answer", socket.recv(&mut buffer))
        .await
        .expect("received");
    answers(&buffer[..length])
}

async fn lookup_over_tcp(server: SocketAddr, name: &str) -> Vec<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(server).await.expect("connected");
    let request = question(name).to_vec().expect("a message");
    stream
        .write_u16(u16::try_from(request.len()).expect("short"))
        .await
        .expect("sent");
    stream.write_all(&request).await.expect("sent");
    let length = within("an answer", stream.read_u16()).await.expect("received");
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await.expect("received");
    answers(&bytes)
}
