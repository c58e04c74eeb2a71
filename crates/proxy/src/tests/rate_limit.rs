//! Limits of policies, as callers, servers of limits, metrics and logs see them. Intervals are an hour, so that nothing
//! comes back while a test runs.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use daemon::{Tasks, clock};
use http::HeaderMap;
use snapshot::chain::RouteSource;
use snapshot::cluster::UpstreamHttp;
use snapshot::rate_limit::{Limit, LimitKey, LimitServer, TOO_MANY_REQUESTS};
use snapshot::{
    AccessLog, Arrival, Chain, ChainMatch, Cluster, Direction, Format, Handler, HeaderOperations, HttpFilter,
    LocalRateLimit, LogFormat, Origin, RateLimit, RouteMatch, Snapshot, Subnet, TransportProtocol,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use xds::rate_limit::{Question, Status, Verdict};
use xds::transport::RateLimitService;

use super::world::{Backend, PATIENCE, World, all_to, cluster, endpoints, nobody};
use crate::active::{Compiled, compile};

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const GRPC: &str =
    "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n";

fn of(user: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: x\r\nx-user: {user}\r\n\r\n")
}

fn limit(name: &str, requests: u32) -> Limit {
    Limit {
        name: name.into(),
        matches: RouteMatch::default(),
        keys: Vec::new(),
        requests,
        interval: Duration::from_secs(3600),
        burst: requests,
        cost: 1,
        global: false,
        dry_run: false,
        origin: Origin {
            resource: "x".into(),
            field: "".into(),
        },
    }
}

fn each(name: &str, requests: u32) -> Limit {
    Limit {
        keys: vec![LimitKey::Header("x-user".into())],
        ..limit(name, requests)
    }
}

fn policy(limits: Vec<Limit>) -> RateLimit {
    RateLimit {
        policy: "shop/backend".into(),
        limits,
        status: TOO_MANY_REQUESTS,
        body: None,
        says_limits: false,
        says_x_limits: false,
        server: None,
    }
}

/// Every chain has the policy.
fn limited(backend: &Backend, policy: &RateLimit) -> Snapshot {
    let mut snapshot = all_to(&[backend.address]);
    change_handlers(&mut snapshot, |handler| {
        handler
            .filters
            .push(HttpFilter::RateLimit(Box::new(policy.clone())));
    });
    snapshot
}

fn change_handlers(snapshot: &mut Snapshot, change: impl Fn(&mut snapshot::HttpHandler)) {
    let listeners: Vec<_> = snapshot.listeners.iter().cloned().collect();
    for listener in listeners {
        let mut listener = listener.as_ref().clone();
        for chain in listener.chains.iter_mut().chain(&mut listener.default_chain) {
            self::change(chain, &change);
        }
        snapshot.listeners.insert(listener);
    }
}

fn change(chain: &mut Chain, change: impl Fn(&mut snapshot::HttpHandler)) {
    if let Handler::Http(handler) = &mut chain.handler {
        change(handler);
    }
}

async fn statuses(world: &World, requests: &[&str]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for request in requests {
        statuses.push(world.call(request).await.status);
    }
    statuses
}

#[tokio::test]
async fn requests_over_a_limit_are_refused_and_nobody_else_hears_of_them() {
    let backend = Backend::saying("hi").await;
    let world = World::start(limited(&backend, &policy(vec![limit("all", 2)]))).await;
    assert_eq!(statuses(&world, &[GET, GET]).await, [200, 200]);
    let answer = world.call(GET).await;
    assert_eq!((answer.status, answer.body.as_str()), (429, "local_rate_limited"));
    assert_eq!(answer.header("x-envoy-ratelimited"), None);
    assert_eq!(answer.header("ratelimit"), None, "off by default");
    let answer = world.call(GRPC).await;
    assert_eq!(
        (answer.status, answer.header("grpc-status")),
        (200, Some("14")),
        "as Envoy"
    );
    assert_eq!(backend.requests(), 2);
    let counted = ["response_code=\"429\"", "response_flags=\"RL\""];
    assert_eq!(world.metric("istio_requests_total", &counted).await, Some(1.0));
    let counted = ["policy=\"shop/backend\"", "limit=\"all\"", "outcome=\"refused\""];
    assert_eq!(
        world.metric("amime_rate_limited_requests_total", &counted).await,
        Some(2.0)
    );
}

#[tokio::test]
async fn each_caller_has_its_own_bucket_over_all_workers() {
    let backend = Backend::saying("hi").await;
    let world = World::with_workers(limited(&backend, &policy(vec![each("each", 5)])), 3).await;
    for user in ["a", "b"] {
        let request = of(user);
        let all = statuses(&world, &[request.as_str(); 12]).await;
        assert_eq!(all.iter().filter(|status| **status == 200).count(), 5, "{user}");
    }
    assert_eq!(statuses(&world, &[GET; 12]).await, [200; 12], "no key, no limit");
}

#[tokio::test]
async fn a_dry_run_lets_pass_and_counts() {
    let backend = Backend::saying("hi").await;
    let dry = Limit {
        dry_run: true,
        ..limit("try", 1)
    };
    let world = World::start(limited(&backend, &policy(vec![dry]))).await;
    assert_eq!(statuses(&world, &[GET; 4]).await, [200; 4]);
    let counted = ["limit=\"try\"", "outcome=\"dry_run\""];
    assert_eq!(
        world.metric("amime_rate_limited_requests_total", &counted).await,
        Some(3.0)
    );
}

#[tokio::test]
async fn responses_tell_limits_where_that_is_wanted() {
    let backend = Backend::saying("hi").await;
    let telling = RateLimit {
        says_limits: true,
        says_x_limits: true,
        status: 503,
        body: Some("busy".into()),
        ..policy(vec![limit("all", 2)])
    };
    let world = World::start(limited(&backend, &telling)).await;
    let first = world.call(GET).await;
    assert_eq!(first.header("ratelimit-policy"), Some("\"all\";q=2;w=3600"));
    assert_eq!(first.header("ratelimit"), Some("\"all\";r=1;t=1800"));
    assert_eq!(first.header("x-ratelimit-remaining"), Some("1"));
    assert_eq!(first.header("retry-after"), None);
    world.call(GET).await;
    let refused = world.call(GET).await;
    assert_eq!((refused.status, refused.body.as_str()), (503, "busy"));
    assert_eq!(refused.header("x-ratelimit-limit"), Some("2"));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1790..=1800).contains(&wait), "{wait}");
}

#[tokio::test]
async fn a_bucket_stays_empty_when_something_else_changes_and_fills_when_its_limit_does() {
    let backend = Backend::saying("hi").await;
    let first = policy(vec![limit("all", 1)]);
    let world = World::start(limited(&backend, &first)).await;
    assert_eq!(statuses(&world, &[GET, GET]).await, [200, 429]);

    let mut other = limited(&backend, &first);
    change_handlers(&mut other, |handler| handler.server_name = "other".into());
    world.snapshots.send_replace(Some(Arc::new(other)));
    let changed = async {
        loop {
            let answer = world.call(GET).await;
            assert_eq!(answer.status, 429);
            if answer.header("server") == Some("other") {
                return;
            }
        }
    };
    clock::timeout(PATIENCE, changed).await.unwrap();

    let wider = policy(vec![limit("all", 3)]);
    world
        .snapshots
        .send_replace(Some(Arc::new(limited(&backend, &wider))));
    let filled = async { while world.call(GET).await.status != 200 {} };
    clock::timeout(PATIENCE, filled).await.unwrap();
    assert_eq!(statuses(&world, &[GET; 3]).await, [200, 200, 429]);
}

/// Two ways into the same port: one address has a chain of its own.
fn two_chains(backend: &Backend, policy: &RateLimit) -> Snapshot {
    let mut snapshot = limited(backend, policy);
    let mut listener = (**snapshot.listeners.get("virtualInbound").unwrap()).clone();
    let default = listener.default_chain.clone().unwrap();
    let matches = ChainMatch {
        destination_subnets: vec![Subnet::new(Ipv4Addr::new(10, 0, 0, 2).into(), 32).unwrap()],
        ..ChainMatch::default()
    };
    listener.chains = vec![Chain {
        name: "own".into(),
        matches,
        ..default
    }];
    change(&mut listener.chains[0], |handler| {
        handler.server_name = "own".into();
    });
    snapshot.listeners.insert(listener);
    snapshot
}

#[tokio::test]
async fn a_limit_counts_the_requests_of_all_chains_of_its_port() {
    let backend = Backend::saying("hi").await;
    let policy = policy(vec![limit("all", 4)]);
    let world = World::start(two_chains(&backend, &policy)).await;
    let call = async |address: &str| {
        world.going_to(address);
        let answer = world.connect_inbound().await.call(GET).await;
        (answer.status, answer.header("server") == Some("own"))
    };
    let (own, other) = ("10.0.0.2:80", "10.0.0.1:80");
    let mut answers = Vec::new();
    for address in [own, other, other, own, other, own] {
        answers.push(call(address).await);
    }
    let passed = [(200, true), (200, false), (200, false), (200, true)];
    assert_eq!(answers[..4], passed);
    assert_eq!(answers[4..], [(429, false), (429, true)]);

    // One way into the port is closed, as when plain text is no longer taken.
    world
        .snapshots
        .send_replace(Some(Arc::new(limited(&backend, &policy))));
    let changed = async {
        loop {
            let (status, is_own) = call(own).await;
            assert_eq!(status, 429, "nothing comes back");
            if !is_own {
                return;
            }
        }
    };
    clock::timeout(PATIENCE, changed).await.unwrap();
}

#[tokio::test]
async fn the_access_log_names_the_limit() {
    let backend = Backend::saying("hi").await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let format = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% \
        %DYNAMIC_METADATA(amime.filters.http.rate_limit:limit)%\n";
    let log = Arc::new(AccessLog {
        path: path.to_str().unwrap().to_owned(),
        format: LogFormat::Text(Format::parse(format).unwrap()),
        only_flags: Vec::new(),
    });
    let mut snapshot = limited(&backend, &policy(vec![limit("all", 1)]));
    change_handlers(&mut snapshot, |handler| handler.access_log = vec![log.clone()]);
    let world = World::start(snapshot).await;
    statuses(&world, &[GET, GET]).await;
    world.running.stop(Duration::ZERO).await;
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "200 - via_upstream -",
            "429 RL local_rate_limited shop/backend all"
        ]
    );
}

/// A server of limits that answers as it is told, and tells what it was asked.
struct Server {
    address: SocketAddr,
    questions: mpsc::Receiver<(HeaderMap, Question)>,
    _tasks: Tasks,
}

impl Server {
    async fn saying(verdict: Verdict) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, questions) = mpsc::channel(64);
        let service = RateLimitService::new(move |headers, _, question| {
            let (tell, verdict) = (tell.clone(), verdict.clone());
            async move {
                tell.send((headers, question)).await.unwrap();
                Ok(verdict)
            }
        });
        let tasks = Tasks::new();
        tasks.spawn("limits", async move {
            let server = tonic::transport::Server::builder().add_service(service);
            server
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self {
            address,
            questions,
            _tasks: tasks,
        }
    }
}

fn shared(name: &str) -> Limit {
    Limit {
        global: true,
        ..each(name, 60)
    }
}

fn asking(backend: &Backend, address: SocketAddr, limits: Vec<Limit>, fails_closed: bool) -> Snapshot {
    let policy = RateLimit {
        server: Some(LimitServer {
            cluster: "limits".into(),
            authority: "limits.infra:8081".into(),
            domain: "shop/backend".into(),
            timeout: Duration::from_secs(2),
            fails_closed,
            own: false,
        }),
        says_limits: true,
        says_x_limits: true,
        ..policy(limits)
    };
    let mut snapshot = limited(backend, &policy);
    snapshot.endpoints.insert(endpoints("limits", &[address]));
    snapshot.clusters.insert(Cluster {
        http: UpstreamHttp::Http2,
        ..cluster("limits")
    });
    snapshot
}

fn verdict(over: bool) -> Verdict {
    Verdict {
        over,
        statuses: vec![Status {
            over,
            rate: Some((60, Duration::from_secs(60))),
            remaining: 7,
            reset: Duration::from_millis(1500),
        }],
        response_fields: vec![
            ("x-server".into(), "told".into()),
            ("content-length".into(), "0".into()),
        ],
        request_fields: vec![("x-quota".into(), "gold".into())],
        body: "too much".into(),
    }
}

#[tokio::test]
async fn a_server_is_asked_and_its_yes_lets_the_request_pass_with_its_fields() {
    let backend = Backend::start(super::world::ok).await;
    let mut server = Server::saying(verdict(false)).await;
    let world = World::start(asking(&backend, server.address, vec![shared("each")], true)).await;
    let answer = world.call(&of("bob")).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("x-quota: gold"), "{}", answer.body);
    assert_eq!(answer.header("x-server"), Some("told"));
    assert_eq!(answer.header("ratelimit"), Some("\"each\";r=7;t=2"));
    assert_eq!(answer.header("x-ratelimit-limit"), Some("60, 60;w=60"));
    let (headers, question) = server.questions.recv().await.unwrap();
    assert!(!headers.contains_key("authorization"), "no business of others");
    assert_eq!(question.domain, "shop/backend");
    let entries = [("limit", "each"), ("header:x-user", "bob")];
    let entries = entries.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(question.descriptors[0].entries, entries);
    assert_eq!(world.call(GET).await.status, 200);
    assert!(
        server.questions.try_recv().is_err(),
        "without a key there is no question"
    );
}

#[tokio::test]
async fn a_no_of_the_server_is_answered_as_envoy_does() {
    let backend = Backend::saying("hi").await;
    let server = Server::saying(verdict(true)).await;
    let world = World::start(asking(&backend, server.address, vec![shared("each")], false)).await;
    let answer = world.call(&of("bob")).await;
    assert_eq!((answer.status, answer.body.as_str()), (429, "too much"));
    assert_eq!(answer.header("x-envoy-ratelimited"), Some("true"));
    assert_eq!(answer.header("retry-after"), Some("2"));
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn a_dry_run_takes_no_no_for_an_answer() {
    let backend = Backend::saying("hi").await;
    let server = Server::saying(verdict(true)).await;
    let dry = Limit {
        dry_run: true,
        ..shared("each")
    };
    let world = World::start(asking(&backend, server.address, vec![dry], true)).await;
    let answer = world.call(&of("bob")).await;
    assert_eq!((answer.status, answer.header("ratelimit")), (200, None));
}

#[tokio::test]
async fn a_server_that_is_not_there_refuses_or_lets_pass_as_the_policy_says() {
    let backend = Backend::saying("hi").await;
    let world = World::start(asking(&backend, nobody().await, vec![shared("each")], false)).await;
    assert_eq!(world.call(&of("bob")).await.status, 200);
    let counted = ["limit=\"each\"", "outcome=\"failed_open\""];
    assert_eq!(
        world.metric("amime_rate_limited_requests_total", &counted).await,
        Some(1.0)
    );
    let world = World::start(asking(&backend, nobody().await, vec![shared("each")], true)).await;
    let answer = world.call(&of("bob")).await;
    assert_eq!((answer.status, answer.body.as_str()), (500, ""));
    let counted = ["response_code=\"500\"", "response_flags=\"RLSE\""];
    assert_eq!(world.metric("istio_requests_total", &counted).await, Some(1.0));
    assert_eq!(backend.requests(), 1);
}

#[tokio::test]
async fn a_server_that_says_nothing_costs_no_more_than_its_time() {
    let backend = Backend::saying("hi").await;
    // It accepts, and that is all.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let mut snapshot = asking(&backend, address, vec![shared("each")], false);
    change_handlers(&mut snapshot, |handler| {
        for filter in &mut handler.filters {
            if let HttpFilter::RateLimit(policy) = filter
                && let Some(server) = &mut policy.server
            {
                server.timeout = Duration::from_millis(30);
            }
        }
    });
    let world = World::start(snapshot).await;
    let begun = clock::now();
    assert_eq!(world.call(&of("bob")).await.status, 200);
    let took = clock::now() - begun;
    assert!(
        (Duration::from_millis(30)..Duration::from_secs(2)).contains(&took),
        "{took:?}"
    );
}

/// The same table in a new place is what a listener has that was told anew because of something else.
#[test]
fn a_limit_of_a_route_holds_on_when_its_listener_is_told_anew() {
    let own = LocalRateLimit {
        stat_prefix: "x".into(),
        status: TOO_MANY_REQUESTS,
        max_tokens: 1,
        tokens_per_fill: 1,
        fill_interval: Duration::from_secs(3600),
        enabled: snapshot::local_rate_limit::ALL,
        enforced: snapshot::local_rate_limit::ALL,
        response_headers: HeaderOperations::default(),
        request_headers: HeaderOperations::default(),
        says_limits: false,
        resource_exhausted: false,
    };
    let told = || {
        let mut snapshot = all_to(&["127.0.0.1:9".parse().unwrap()]);
        let mut table = snapshot.routes.get("80").unwrap().as_ref().clone();
        table.hosts[0].routes[0].local_rate_limit = Some(own.clone());
        change_handlers(&mut snapshot, |handler| {
            handler.filters.push(HttpFilter::LocalRateLimit(None));
            handler.routes = RouteSource::Inline(Arc::new(table.clone()));
        });
        Arc::new(snapshot)
    };
    let before = Compiled::next(&told(), None);
    let after = Compiled::next(&told(), Some(&before));
    let listener = after.listener(Direction::Inbound, "127.0.0.1:9".parse().unwrap());
    let arrival = Arrival {
        destination: "127.0.0.1:9".parse().unwrap(),
        server_name: "",
        transport_protocol: TransportProtocol::RawBuffer,
        application_protocols: &[],
    };
    let Some(compile::Chain::Http(chain)) = listener.unwrap().choose(&arrival) else {
        panic!("it serves HTTP");
    };
    let route = &after.routes(chain).unwrap().table().hosts[0].routes[0];
    assert!(chain.limit(&after, route).is_some());
}

/// What the server of limits in the mesh's controller is asked: a question for each limit.
#[tokio::test]
async fn questions_about_several_limits_take_no_longer_than_one() {
    let backend = Backend::saying("hi").await;
    // It accepts, and that is all.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    // Much less than the sum of all their times, and much more than one.
    let limits = ["a"; 20].map(shared);
    let mut snapshot = asking(&backend, address, limits.into(), false);
    change_handlers(&mut snapshot, |handler| {
        for filter in &mut handler.filters {
            if let HttpFilter::RateLimit(policy) = filter
                && let Some(server) = &mut policy.server
            {
                server.timeout = Duration::from_millis(300);
                server.own = true;
            }
        }
    });
    let world = World::start(snapshot).await;
    let begun = clock::now();
    assert_eq!(world.call(&of("bob")).await.status, 200);
    let took = clock::now() - begun;
    assert!(
        (Duration::from_millis(300)..Duration::from_secs(5)).contains(&took),
        "{took:?}"
    );
    let counted = ["limit=\"a\"", "outcome=\"failed_open\""];
    assert_eq!(
        world.metric("amime_rate_limited_requests_total", &counted).await,
        Some(20.0)
    );
}

/// As envoyproxy/ratelimit with `SHADOW_MODE`.
#[tokio::test]
async fn a_server_that_only_watches_refuses_nothing() {
    let backend = Backend::saying("hi").await;
    let watching = Verdict {
        over: false,
        ..verdict(true)
    };
    let server = Server::saying(watching).await;
    let world = World::start(asking(&backend, server.address, vec![shared("each")], true)).await;
    let answer = world.call(&of("bob")).await;
    assert_eq!((answer.status, answer.header("retry-after")), (200, None));
}
