//! Both ends of the delta protocol against each other: random snapshots, lost streams, refused resources.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use snapshot::route::{DirectResponse, Forward};
use snapshot::*;

use crate::message::{Request, Response};
use crate::{Client, Dialect, Encoded, Kind, Server};

const NAMES: usize = 6;
/// A path that `from_proto` refuses.
const BAD_PATTERN: &str = "a(";

/// The world of one run. `bad` holds names of route tables that the client refuses.
struct Run {
    random: StdRng,
    server: Server,
    client: Client,
    to_server: VecDeque<Request>,
    to_client: VecDeque<Response>,
    history: Vec<Arc<Snapshot>>,
    encoded: Option<Arc<Encoded>>,
    published: Option<Arc<Snapshot>>,
    ever_bad: BTreeSet<String>,
    seed: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut run = Self {
            random: StdRng::seed_from_u64(seed),
            server: Server::new(),
            client: Client::new(Default::default()),
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            history: Vec::new(),
            encoded: None,
            published: None,
            ever_bad: BTreeSet::new(),
            seed,
        };
        run.reconnect();
        run
    }

    fn reconnect(&mut self) {
        self.server = Server::new();
        if let Some(encoded) = &self.encoded {
            self.server.update(encoded.clone());
        }
        self.to_client.clear();
        self.to_server = self.client.open().into();
    }

    fn change(&mut self, allow_bad: bool) {
        let snapshot = Arc::new(world(&mut self.random, allow_bad, &mut self.ever_bad));
        let encoded = Arc::new(Encoded::new(
            snapshot.clone(),
            Dialect::Amime,
            self.encoded.as_deref(),
        ));
        self.history.push(snapshot);
        self.encoded = Some(encoded.clone());
        self.server.update(encoded);
    }

    /// One message, one way or the other. Whether there was one.
    fn step(&mut self) -> bool {
        if let Some(response) = self.server.poll() {
            self.to_client.push_back(response);
        }
        let to_client = match (self.to_client.is_empty(), self.to_server.is_empty()) {
            (true, true) => return false,
            (empty, other_empty) => !empty && (other_empty || self.random.random_bool(0.5)),
        };
        if to_client {
            let response = self.to_client.pop_front().unwrap();
            let step = self.client.response(&response);
            self.to_server.extend(step.send);
            if let Some(snapshot) = step.snapshot {
                self.check(&snapshot);
                self.published = Some(snapshot);
            }
        } else {
            let request = self.to_server.pop_front().unwrap();
            self.server.request(&request);
        }
        true
    }

    /// No route names a cluster that is missing although the snapshot that the route came from defines it.
    fn check(&self, snapshot: &Snapshot) {
        for cluster in snapshot.clusters.iter() {
            let closed =
                cluster.discovery != Discovery::Endpoints || snapshot.endpoints.get(cluster.name()).is_some();
            assert!(closed, "seed {}: {} has no endpoints", self.seed, cluster.name);
        }
        for listener in snapshot.listeners.iter() {
            for table in crate::encoded::tables_of(listener) {
                assert!(
                    snapshot.routes.get(&table).is_some(),
                    "seed {}: no table {table}",
                    self.seed
                );
            }
        }
        for table in snapshot.routes.iter() {
            let latest = self.history.last().unwrap();
            // A table that is kept because its successor was refused may outlive its clusters.
            if self.ever_bad.contains(table.name.as_str()) {
                continue;
            }
            for cluster in clusters_of(table) {
                let defined =
                    latest.clusters.get(&cluster).is_some() && latest.routes.get(table.name()) == Some(table);
                let present = snapshot.clusters.get(&cluster).is_some();
                assert!(
                    present || !defined,
                    "seed {}: {} names the missing {cluster}",
                    self.seed,
                    table.name
                );
                assert!(
                    present,
                    "seed {}: {} still names {cluster}, which is gone",
                    self.seed, table.name
                );
            }
        }
    }

    fn settle(&mut self) {
        let mut left = 10_000;
        while self.step() {
            left -= 1;
            assert!(left > 0, "seed {}: never settles", self.seed);
        }
        assert!(
            self.server.in_sync(),
            "seed {}: stuck, waits: {}",
            self.seed,
            self.server.waits()
        );
    }
}

fn clusters_of(table: &RouteTable) -> BTreeSet<String> {
    let routes = table.hosts.iter().flat_map(|host| &host.routes);
    let forwards = routes.filter_map(|route| match &route.action {
        Action::Forward(forward) => Some(forward),
        Action::Respond(_) | Action::Redirect(_) => None,
    });
    forwards
        .flat_map(|forward| &forward.clusters)
        .map(|weighted| weighted.cluster.to_string())
        .collect()
}

fn cluster(name: &str, random: &mut StdRng) -> Cluster {
    let discovery = match random.random_range(0..5) {
        0 => Discovery::OriginalDestination,
        _ => Discovery::Endpoints,
    };
    Cluster {
        connect_timeout: Duration::from_secs(random.random_range(1..4)),
        ..Cluster::new(name.into(), discovery)
    }
}

fn table(name: &str, clusters: &[String], bad: bool, random: &mut StdRng) -> RouteTable {
    let forward = |random: &mut StdRng| {
        let picked = &clusters[random.random_range(0..clusters.len())];
        Action::Forward(Forward::to(vec![Weighted::new(picked.as_str().into(), 1)]))
    };
    let action = match clusters.is_empty() {
        true => Action::Respond(DirectResponse {
            status: 404,
            body: String::new(),
        }),
        false => forward(random),
    };
    let path = bad.then(|| snapshot::route::StringMatch::Regex(BAD_PATTERN.into()));
    let route = Route {
        name: random.random_range(0..3u8).to_string(),
        matches: RouteMatch {
            path,
            ..RouteMatch::default()
        },
        ..Route::new(action)
    };
    RouteTable {
        match_ports: false,
        name: name.into(),
        hosts: vec![VirtualHost {
            name: "all".into(),
            without_attempt_count: false,
            domains: vec!["*".into()],
            routes: vec![route],
        }],
    }
}

fn listener(name: &str, table: &str) -> Listener {
    let http = HttpHandler::new("s".into(), RouteSource::Named(table.into()), "envoy");
    Listener {
        chains: vec![Chain {
            name: "c".into(),
            matches: ChainMatch::default(),
            tls: None,
            filters: Vec::new(),
            handler: Handler::Http(http),
        }],
        ..Listener::new(name.into(), "0.0.0.0:80".parse().unwrap(), Direction::Outbound)
    }
}

/// A closed snapshot of up to a few clusters, tables and listeners.
fn world(random: &mut StdRng, allow_bad: bool, ever_bad: &mut BTreeSet<String>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let clusters: Vec<_> = (0..NAMES)
        .filter(|_| random.random_bool(0.6))
        .map(|n| format!("cluster-{n}"))
        .collect();
    for name in &clusters {
        let cluster = cluster(name, random);
        if cluster.discovery == Discovery::Endpoints {
            snapshot.endpoints.insert(Endpoints {
                cluster: cluster.name.clone(),
                localities: vec![LocalityEndpoints {
                    weight: random.random_range(1..4),
                    ..LocalityEndpoints::default()
                }],
            });
        }
        snapshot.clusters.insert(cluster);
    }
    let tables: Vec<_> = (0..NAMES)
        .filter(|_| random.random_bool(0.6))
        .map(|n| format!("table-{n}"))
        .collect();
    for name in &tables {
        let bad = allow_bad && random.random_bool(0.2);
        if bad {
            ever_bad.insert(name.clone());
        }
        snapshot.routes.insert(table(name, &clusters, bad, random));
        // Each table has a user; some have two.
        for listeners in 0..random.random_range(1..3) {
            snapshot
                .listeners
                .insert(listener(&format!("{name}-{listeners}"), name));
        }
    }
    // Sometimes a listener of a fixed name moves from table to table.
    if let Some(table) = tables.get(random.random_range(0..NAMES)) {
        snapshot.listeners.insert(listener("mover", table));
    }
    snapshot
}

fn run(seed: u64, allow_bad: bool) -> Run {
    let mut run = Run::new(seed);
    for _ in 0..12 {
        run.change(allow_bad);
        for _ in 0..run.random.random_range(0..40) {
            run.step();
            if run.random.random_bool(0.02) {
                run.reconnect();
            }
        }
    }
    run.settle();
    run
}

#[test]
fn a_client_always_ends_with_the_servers_snapshot_and_never_breaks_before_it_makes() {
    for seed in 0..400 {
        let run = run(seed, false);
        assert_eq!(run.published.as_ref(), run.history.last(), "seed {seed}");
    }
}

#[test]
fn a_refused_table_keeps_its_old_version_and_everything_else_moves_on() {
    let mut refusals = 0;
    for seed in 0..400 {
        let mut run = run(seed, true);
        let (got, target) = (
            run.published.clone().unwrap(),
            run.history.last().unwrap().clone(),
        );
        assert_eq!(
            (&got.clusters, &got.listeners),
            (&target.clusters, &target.listeners),
            "seed {seed}"
        );
        for table in target.routes.iter() {
            let path = &table.hosts[0].routes[0].matches.path;
            match path {
                Some(_) => refusals += 1,
                None => assert_eq!(got.routes.get(table.name()), Some(table), "seed {seed}"),
            }
        }
        run.change(false);
        run.settle();
        assert_eq!(
            run.published.as_ref(),
            run.history.last(),
            "seed {seed}: good again"
        );
    }
    assert!(refusals > 50, "the runs refuse something: {refusals}");
}

#[test]
fn a_reconnecting_client_is_sent_nothing_that_it_has() {
    let mut run = run(7, false);
    run.reconnect();
    let mut sent = 0;
    while let Some(request) = run.to_server.pop_front() {
        run.server.request(&request);
        sent += usize::from(run.server.poll().is_some());
    }
    assert_eq!(sent, 0);
    assert!(run.server.in_sync());
}

#[test]
fn removals_come_last_and_users_go_before_what_they_use() {
    let mut run = Run::new(1);
    let mut random = StdRng::seed_from_u64(1);
    let clusters = vec!["cluster-0".to_owned()];
    let mut first = Snapshot::default();
    first.clusters.insert(cluster("cluster-0", &mut random));
    first.endpoints.insert(Endpoints {
        cluster: "cluster-0".into(),
        localities: Vec::new(),
    });
    first
        .routes
        .insert(table("table-0", &clusters, false, &mut random));
    first.listeners.insert(listener("listener-0", "table-0"));
    let mut second = Snapshot::default();
    second.clusters.insert(cluster("cluster-1", &mut random));
    let mut order = Vec::new();
    for snapshot in [first, second] {
        let snapshot = Arc::new(snapshot);
        run.history.push(snapshot.clone());
        run.server
            .update(Arc::new(Encoded::new(snapshot, Dialect::Amime, None)));
        loop {
            while let Some(request) = run.to_server.pop_front() {
                run.server.request(&request);
            }
            let Some(response) = run.server.poll() else { break };
            let kind = Kind::from_type_url(&response.type_url).unwrap().short();
            order.push(format!(
                "{kind}+{}-{}",
                response.resources.len(),
                response.removed.len()
            ));
            run.to_server.extend(run.client.response(&response).send);
        }
    }
    // `cluster-1` has no endpoints that the server knows of: the question is answered with "none".
    assert_eq!(
        order,
        [
            "CDS+1-0", "EDS+1-0", "LDS+1-0", "RDS+1-0", "CDS+1-0", "EDS+0-1", "LDS+0-1", "CDS+0-1"
        ]
    );
}

fn one_cluster(seconds: u64, dialect: Dialect) -> Arc<Encoded> {
    let mut snapshot = Snapshot::default();
    let mut cluster = cluster("cluster-0", &mut StdRng::seed_from_u64(5));
    cluster.discovery = Discovery::Endpoints;
    cluster.connect_timeout = Duration::from_secs(seconds);
    snapshot.clusters.insert(cluster);
    snapshot.endpoints.insert(Endpoints {
        cluster: "cluster-0".into(),
        localities: Vec::new(),
    });
    Arc::new(Encoded::new(Arc::new(snapshot), dialect, None))
}

fn ask(kind: Kind, names: &[&str]) -> Request {
    Request {
        type_url: kind.type_url().into(),
        subscribe: names.iter().map(ToString::to_string).collect(),
        ..Request::default()
    }
}

fn accept(response: Response) -> Request {
    Request {
        type_url: response.type_url,
        response_nonce: response.nonce,
        ..Request::default()
    }
}

#[test]
fn envoy_is_sent_the_endpoints_of_a_changed_cluster_again() {
    let mut random = StdRng::seed_from_u64(3);
    let mut server = Server::new();
    server.request(&ask(Kind::Cluster, &[]));
    server.request(&ask(Kind::Endpoints, &["cluster-0"]));
    server.request(&ask(Kind::Listener, &[]));
    let mut sent = BTreeMap::<&str, usize>::new();
    for seconds in [random.random_range(1..5u64), 9] {
        server.update(one_cluster(seconds, Dialect::Envoy));
        while let Some(response) = server.poll() {
            let kind = Kind::from_type_url(&response.type_url).unwrap();
            *sent.entry(kind.short()).or_default() += response.resources.len();
            assert_eq!(
                server.request(&accept(response)).map(|answer| answer.rejected),
                Some(Vec::new())
            );
        }
    }
    assert_eq!(sent, BTreeMap::from([("CDS", 2), ("EDS", 2), ("LDS", 0)]));
}

/// Envoy holds its answer back until the clusters are warm, new ones too, and they are warm once they have endpoints.
#[test]
fn endpoints_do_not_wait_for_envoys_answer_about_their_clusters() {
    let mut server = Server::new();
    server.update(one_cluster(1, Dialect::Envoy));
    server.request(&ask(Kind::Cluster, &[]));
    for seconds in [1, 2] {
        server.update(one_cluster(seconds, Dialect::Envoy));
        let clusters = server.poll().unwrap();
        if seconds == 1 {
            assert_eq!(server.poll(), None, "nobody asked for endpoints");
            server.request(&ask(Kind::Endpoints, &["cluster-0"]));
        }
        let endpoints = server.poll().unwrap();
        assert_eq!(endpoints.type_url, Kind::Endpoints.type_url());
        assert_eq!(server.poll(), None, "listeners wait for clusters");
        server.request(&accept(endpoints)).unwrap();
        assert_eq!(server.poll(), None, "clusters are not warm yet");
        assert!(!server.in_sync() && !server.waits());
        server.request(&accept(clusters)).unwrap();
        assert!(server.in_sync());
    }
}

#[test]
fn endpoints_wait_for_our_own_proxys_answer_about_their_clusters() {
    let mut server = Server::new();
    server.update(one_cluster(1, Dialect::Amime));
    server.request(&ask(Kind::Cluster, &[]));
    server.request(&ask(Kind::Endpoints, &["cluster-0"]));
    let clusters = server.poll().unwrap();
    assert_eq!(server.poll(), None);
    server.request(&accept(clusters)).unwrap();
    assert_eq!(server.poll().unwrap().type_url, Kind::Endpoints.type_url());
}
