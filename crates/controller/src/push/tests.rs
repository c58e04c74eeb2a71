//! From changes to a proxy over loopback sockets: everything of this side but the cluster.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use daemon::{clock, drain};
use resources::{Key, Kind, Resource};
use serde_json::{Value, json};
use snapshot::{Action, Snapshot};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use translate::{Fetched, KeySets, KeySource};
use xds::transport::{DeltaService, Event as ProxyEvent, Settings, follow};

use super::*;
use crate::jwks::Wanted;
use crate::watch::Event;

const DEADLINE: Duration = Duration::from_secs(20);

type Snapshots = watch::Receiver<Option<Arc<Snapshot>>>;

/// A controller without a cluster: changes go in by hand.
struct Controller {
    events: mpsc::Sender<Event>,
    wanted: watch::Receiver<Wanted>,
    fetched: watch::Sender<Arc<KeySets>>,
    pusher: Pusher,
    address: SocketAddr,
    tasks: Tasks,
    _drain: drain::Trigger,
}

async fn controller() -> Controller {
    let (tasks, registry) = (Tasks::new(), Registry::new());
    let (trigger, drain) = drain::channel();
    let (events, changes) = mpsc::channel(EVENTS);
    let (publish, worlds) = watch::channel(None);
    let (wishes, wanted) = watch::channel(Wanted::new());
    let (fetched, keys) = watch::channel(Arc::default());
    let metrics = Metrics::new(&registry);
    let publisher = Publisher {
        worlds: publish,
        debounce: debounce::Settings::default(),
        settings: watch::channel(Some(Arc::default())).1,
        keys: Keys {
            wanted: wishes,
            fetched: keys,
        },
        metrics: metrics.clone(),
        ready: Ready::new(&[publish::SYNCED]),
    };
    tasks.spawn("publisher", publisher.run(changes));
    let pusher = Pusher {
        worlds,
        cache: Arc::default(),
        connections: Connections::default(),
        metrics,
        signer: None,
    };
    let (sessions, taken) = mpsc::channel(4);
    let caller = Caller {
        namespace: "shop".into(),
        service_account: "default".into(),
        pod: None,
        until: None,
    };
    let authenticate = move |_| std::future::ready(Ok(caller.clone()));
    tasks.spawn(
        "sessions",
        pusher.clone().serve(taken, authenticate, tasks.clone(), drain),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder().add_service(DeltaService::new(sessions));
    let serving = server.serve_with_incoming(TcpListenerStream::new(listener));
    tasks.spawn("server", async { serving.await.unwrap() });
    Controller {
        events,
        wanted,
        fetched,
        pusher,
        address,
        tasks,
        _drain: trigger,
    }
}

impl Controller {
    async fn apply(&self, object: Value) {
        let resource = Resource::from_object(&object).unwrap().resource;
        let event = Event::Present {
            key: resource.key(),
            resource: Some(resource),
            problems: Vec::new(),
        };
        self.events.send(event).await.unwrap();
    }

    async fn finish_lists(&self, listed: &[Key]) {
        for kind in Kind::ALL {
            let keys: BTreeSet<_> = listed.iter().filter(|key| key.kind == kind).cloned().collect();
            self.events.send(Event::Listed(kind, keys)).await.unwrap();
        }
    }

    fn proxy(&self, id: &str) -> (Snapshots, mpsc::Receiver<ProxyEvent>) {
        let settings = Settings {
            mark: None,
            address: self.address.to_string(),
            server_name: "istiod".into(),
            trust: None,
            token: None,
            whole: false,
            node: xds::Node {
                id: id.into(),
                agent: xds::Node::AMIME.into(),
                ..xds::Node::default()
            },
        };
        let (snapshots, received) = watch::channel(None);
        let (events, told) = mpsc::channel(16);
        self.tasks.spawn("proxy", follow(settings, snapshots, events));
        (received, told)
    }
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "backend", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"],
                 "ports": [{"name": "http", "port": 9090, "targetPort": 8080}]},
    })
}

fn virtual_service(name: &str) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "backend", "namespace": "shop"},
        "spec": {"hosts": ["backend"], "http": [{"name": name, "route": [{"destination": {"host": "backend"}}]}]},
    })
}

fn token_policy(keys: &str) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1", "kind": "RequestAuthentication",
        "metadata": {"name": "tokens", "namespace": "shop"},
        "spec": {"jwtRules": [{"issuer": "a", "jwksUri": keys}]},
    })
}

/// Names of the routes to the backend.
fn route_names(snapshot: Option<&Arc<Snapshot>>) -> Vec<String> {
    let tables = snapshot.into_iter().flat_map(|snapshot| snapshot.routes.iter());
    let routes = tables
        .flat_map(|table| &table.hosts)
        .flat_map(|host| &host.routes);
    let to_backend = routes.filter(|route| match &route.action {
        Action::Forward(forward) => forward.clusters[0].cluster.as_str().contains("backend"),
        Action::Respond(_) | Action::Redirect(_) => false,
    });
    to_backend.map(|route| route.name.clone()).collect()
}

async fn soon<F: Future>(future: F) -> F::Output {
    clock::timeout(DEADLINE, future)
        .await
        .expect("it happens in time")
}

const ID: &str = "sidecar~10.0.0.7~client-0.shop~shop.svc.cluster.local";

#[tokio::test]
async fn a_proxy_gets_nothing_before_the_lists_are_complete_and_follows_changes_afterwards() {
    let controller = controller().await;
    let (mut received, mut told) = controller.proxy(ID);
    assert!(matches!(soon(told.recv()).await, Some(ProxyEvent::Connected)));
    controller.apply(service()).await;
    assert_eq!(*received.borrow(), None);
    let key = Key::new(Kind::Service, "shop", "backend");
    controller.finish_lists(&[key]).await;
    let routed =
        |name: &'static str| move |snapshot: &Option<Arc<Snapshot>>| route_names(snapshot.as_ref()) == [name];
    soon(received.wait_for(routed("default"))).await.unwrap();
    for name in ["first", "second"] {
        controller.apply(virtual_service(name)).await;
        soon(received.wait_for(routed(name))).await.unwrap();
    }
    let connection = controller.pusher.connections.find("client-0.shop").unwrap();
    assert_eq!(
        connection.target.map(|target| target.snapshot().clone()),
        received.borrow().clone()
    );
    controller.tasks.stop(DEADLINE).await;
}

#[tokio::test]
async fn proxies_with_the_same_view_share_one_encoding() {
    let controller = controller().await;
    controller.apply(service()).await;
    controller
        .finish_lists(&[Key::new(Kind::Service, "shop", "backend")])
        .await;
    let mut proxies = Vec::new();
    for number in 0..5 {
        let id = format!("sidecar~10.0.0.{number}~client-{number}.shop~shop.svc.cluster.local");
        proxies.push(controller.proxy(&id));
    }
    for (received, _) in &mut proxies {
        soon(received.wait_for(Option::is_some)).await.unwrap();
    }
    let all = controller.pusher.connections.all();
    let targets: Vec<_> = all
        .iter()
        .filter_map(|connection| connection.target.as_ref())
        .collect();
    assert_eq!(targets.len(), 5);
    assert!(targets.iter().all(|target| Arc::ptr_eq(target, targets[0])));
    assert_eq!(controller.pusher.cache.len(), 1);
    controller.tasks.stop(DEADLINE).await;
}

#[tokio::test]
async fn a_proxy_of_another_namespace_than_its_token_is_refused_with_a_reason() {
    let controller = controller().await;
    controller.finish_lists(&[]).await;
    let (_received, mut told) = controller.proxy("sidecar~10.0.0.7~thief.bank~bank.svc.cluster.local");
    let reason = soon(async {
        loop {
            if let Some(ProxyEvent::Disconnected { reason, .. }) = told.recv().await {
                return reason;
            }
        }
    });
    let reason = reason.await;
    assert!(
        reason.contains("shop/default may not ask for sidecar~10.0.0.7~thief.bank"),
        "{reason}"
    );
    assert_eq!(controller.pusher.connections.count(), 0);
    controller.tasks.stop(DEADLINE).await;
}

#[tokio::test]
async fn the_keys_in_force_are_wanted_until_a_policy_with_others_takes_its_place() {
    let controller = controller().await;
    let (mut wanted, mut worlds) = (controller.wanted.clone(), controller.pusher.worlds.clone());
    let [old, new] = ["https://a.example/old", "https://a.example/new"];
    let source = |keys: &str| KeySource::Uri(keys.to_owned());
    let tried = |all: &[&str]| -> Arc<KeySets> {
        let all = all.iter().map(|&keys| (source(keys), Fetched::default()));
        Arc::new(all.collect())
    };
    controller.fetched.send_replace(tried(&[old]));
    controller.apply(token_policy(old)).await;
    let key = Key::new(Kind::RequestAuthentication, "shop", "tokens");
    controller.finish_lists(&[key]).await;
    soon(worlds.wait_for(Option::is_some)).await.unwrap();
    controller.apply(token_policy(new)).await;
    let waits = soon(wanted.wait_for(|wanted| wanted.contains_key(&source(new)))).await;
    let waits: Vec<KeySource> = waits.unwrap().keys().cloned().collect();
    assert_eq!(waits, [source(new), source(old)]);
    controller.fetched.send_replace(tried(&[old, new]));
    let gone = soon(wanted.wait_for(|wanted| !wanted.contains_key(&source(old)))).await;
    let gone: Vec<KeySource> = gone.unwrap().keys().cloned().collect();
    assert_eq!(gone, [source(new)]);
    controller.tasks.stop(DEADLINE).await;
}
