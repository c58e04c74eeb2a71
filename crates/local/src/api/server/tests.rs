//! The API over its real sockets: credentials, errors on the wire, streams, restarts.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use daemon::{Tasks, clock};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use identity::tls::tokio_rustls::TlsConnector;
use identity::{Authority, Keypair};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{Bounds, Limits};
use crate::api::node_link::NodeLink;
use crate::api::start::start_within;
use crate::api::{Server, Settings, start};

/// A server in a directory of its own, and somebody who may call it.
pub(super) struct Cluster {
    pub(super) server: Server,
    pub(super) owner: Keypair,
    pub(super) tasks: Tasks,
}

pub(super) async fn cluster(directory: &Path) -> Cluster {
    cluster_within(directory, Bounds::new(Limits::default())).await
}

pub(super) async fn cluster_within(directory: &Path, bounds: Arc<Bounds>) -> Cluster {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (node, _requests) = NodeLink::new();
    let advertised = "10.244.0.1:6443".parse().unwrap();
    let directory = directory.to_owned();
    let pki = directory.join("pki");
    let settings = Settings {
        directory,
        listener,
        cluster_listeners: Vec::new(),
        advertised,
        node,
    };
    let server = start_within(settings, bounds).await.unwrap();
    let read = |name: &str| std::fs::read_to_string(pki.join(name)).unwrap();
    let authority = Authority::from_pem(&read("ca.crt"), &read("ca.key")).unwrap();
    let hour = Duration::from_secs(3600);
    let owner = authority
        .issue_client("alice", "system:masters", hour, clock::wall())
        .unwrap();
    Cluster {
        server,
        owner,
        tasks: Tasks::new(),
    }
}

impl Cluster {
    /// Sends one request over a connection of its own.
    pub(super) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        shown: Option<&Keypair>,
    ) -> Response<Incoming> {
        let config = identity::tls::client_config(&self.server.ca_certificate, shown, &[]).unwrap();
        let stream = TcpStream::connect(self.server.running.addresses["api"])
            .await
            .unwrap();
        let name = "localhost".to_owned().try_into().unwrap();
        let stream = TlsConnector::from(config).connect(name, stream).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        self.tasks.spawn("test connection", async move {
            let _ = connection.await;
        });
        sender.send_request(request).await.unwrap()
    }

    pub(super) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost");
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.answer(request.body(Full::from(body)).unwrap()).await
    }

    pub(super) async fn answer(&self, request: Request<Full<Bytes>>) -> (u16, Value) {
        let response = self.send(request, Some(&self.owner)).await;
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let value = serde_json::from_slice(&body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
        (code, value)
    }

    pub(super) async fn get(&self, path: &str) -> (u16, Value) {
        self.call(Method::GET, path, None).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::POST, path, Some(body)).await
    }
}

pub(super) fn plain(path: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .uri(path)
        .header("host", "localhost")
        .body(Full::default())
        .unwrap()
}

pub(super) fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

pub(super) const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn without_credentials_only_version_and_health_answer() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = cluster(directory.path()).await;
    for path in ["/version", "/healthz", "/livez", "/readyz"] {
        assert_eq!(cluster.send(plain(path), None).await.status(), 200, "{path}");
    }
    for path in ["/api", "/api/v1/pods", "/nope", "/openapi/v3"] {
        assert_eq!(cluster.send(plain(path), None).await.status(), 403, "{path}");
    }
    let mut forged = plain("/api");
    forged
        .headers_mut()
        .insert("authorization", "Bearer e30.e30.e30".parse().unwrap());
    assert_eq!(
        cluster.send(forged, Some(&cluster.owner)).await.status(),
        401,
        "a bad token is never ignored"
    );
}

#[tokio::test]
async fn a_certificate_names_the_user() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = cluster(directory.path()).await;
    let (code, review) = cluster
        .post("/apis/authentication.k8s.io/v1/selfsubjectreviews", json!({}))
        .await;
    assert_eq!(code, 201);
    let info = json!({"username": "alice", "groups": ["system:masters", "system:authenticated"]});
    assert_eq!(review["status"]["userInfo"], info);
    let (_, review) = cluster
        .post(
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}),
        )
        .await;
    assert_eq!(review["status"]["allowed"], true);
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_in_kubernetes_words() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = cluster(directory.path()).await;
    assert_eq!(cluster.get("/nope").await, (404, json!("404 page not found\n")));
    let (code, status) = cluster.get("/apis/example.com/v1/things").await;
    assert_eq!((code, &status["reason"]), (404, &json!("NotFound")));
    let (code, status) = cluster.call(Method::PUT, CONFIG_MAPS, None).await;
    assert_eq!((code, &status["reason"]), (405, &json!("MethodNotAllowed")));
    let request = Request::post(CONFIG_MAPS)
        .header("host", "localhost")
        .header("content-type", "text/csv");
    let (code, status) = cluster.answer(request.body(Full::from("a,b")).unwrap()).await;
    assert_eq!((code, &status["reason"]), (415, &json!("UnsupportedMediaType")));
    let request = Request::get(CONFIG_MAPS)
        .header("host", "localhost")
        .header("accept", "image/png");
    let (code, status) = cluster.answer(request.body(Full::default()).unwrap()).await;
    assert_eq!((code, &status["reason"]), (406, &json!("NotAcceptable")));
    let (code, status) = cluster
        .post(CONFIG_MAPS, json!({"data": {"x": "y".repeat(3 << 20)}}))
        .await;
    assert_eq!(
        (code, &status["message"]),
        (413, &json!("Request entity too large: limit is 3145728"))
    );
    let (code, status) = cluster.get("/api/v1/pods?fieldSelector=spec.foo%3Dbar").await;
    assert_eq!(
        (code, &status["message"]),
        (400, &json!("field label not supported: spec.foo"))
    );
}

#[tokio::test]
async fn yaml_is_as_good_as_json() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = cluster(directory.path()).await;
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  key: value\n";
    let request = Request::post(CONFIG_MAPS)
        .header("host", "localhost")
        .header("content-type", "application/yaml");
    let (code, object) = cluster.answer(request.body(Full::from(yaml)).unwrap()).await;
    assert_eq!((code, &object["data"]["key"]), (201, &json!("value")));
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = cluster(directory.path()).await;
    let path = format!("{CONFIG_MAPS}?dryRun=All");
    assert_eq!(cluster.post(&path, config_map("a")).await.0, 201);
    let one = format!("{CONFIG_MAPS}/a");
    assert_eq!(cluster.get(&one).await.0, 404);
    cluster.post(CONFIG_MAPS, config_map("a")).await;
    assert_eq!(cluster.post(&path, config_map("a")).await.0, 409);
    assert_eq!(
        cluster
            .call(Method::DELETE, &format!("{one}?dryRun=All"), None)
            .await
            .0,
        200
    );
    assert_eq!(cluster.get(&one).await.0, 200);
    assert_eq!(cluster.get(&format!("{CONFIG_MAPS}?dryRun=Some")).await.0, 200);
    let (code, status) = cluster
        .post(&format!("{CONFIG_MAPS}?dryRun=Some"), config_map("b"))
        .await;
    assert_eq!(
        (code, &status["message"]),
        (
            422,
            &json!(
                "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Some\"]: supported values: \
                 \"All\""
            )
        )
    );
    let body = json!({"kind": "DeleteOptions", "apiVersion": "v1", "dryRun": ["None"]});
    let (code, status) = cluster.call(Method::DELETE, &one, Some(body)).await;
    assert_eq!((code, &status["details"]["kind"]), (422, &json!("DeleteOptions")));
    assert_eq!(cluster.get(&one).await.0, 200);
}

#[tokio::test]
async fn an_eviction_that_is_only_tried_evicts_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = cluster(directory.path()).await;
    let pods = "/api/v1/namespaces/default/pods";
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    cluster
        .post("/api/v1/namespaces/default/serviceaccounts", account)
        .await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let (code, made) = cluster.post(pods, pod).await;
    assert_eq!(code, 201, "{made}");
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"},
        "deleteOptions": {"dryRun": ["All"]}});
    let (code, answer) = cluster.post(&format!("{pods}/p/eviction"), eviction).await;
    assert_eq!(code, 201, "{answer}");
    assert_eq!(cluster.get(&format!("{pods}/p")).await.0, 200);
}

#[tokio::test]
async fn deletion_answers_with_the_object_or_with_its_uid() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = cluster(directory.path()).await;
    let (_, object) = cluster.post(CONFIG_MAPS, config_map("a")).await;
    let (code, status) = cluster
        .call(Method::DELETE, &format!("{CONFIG_MAPS}/a"), None)
        .await;
    assert_eq!((code, &status["status"]), (200, &json!("Success")));
    assert_eq!(status["details"]["uid"], object["metadata"]["uid"]);
    cluster
        .post("/api/v1/namespaces", json!({"metadata": {"name": "n"}}))
        .await;
    let (_, namespace) = cluster.call(Method::DELETE, "/api/v1/namespaces/n", None).await;
    assert_eq!(namespace["status"]["phase"], "Terminating");
}

/// The lines of a stream that ends by itself.
pub(super) async fn lines(cluster: &Cluster, path: &str) -> Vec<Value> {
    let response = cluster.send(plain(path), Some(&cluster.owner)).await;
    assert_eq!(response.status(), 200, "{path}");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = std::str::from_utf8(&body).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn a_streaming_list_ends_its_beginning_with_a_bookmark() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = cluster(directory.path()).await;
    let path = "/api/v1/namespaces?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan\
                &allowWatchBookmarks=true&timeoutSeconds=1";
    let lines = lines(&cluster, path).await;
    let (last, first) = lines.split_last().unwrap();
    assert!(
        first.len() == 4 && first.iter().all(|line| line["type"] == "ADDED"),
        "{lines:?}"
    );
    assert_eq!(last["type"], "BOOKMARK");
    assert_eq!(
        last["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    assert_eq!(last["object"]["kind"], "Namespace");
}

#[tokio::test]
async fn initial_events_without_a_version_match_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = cluster(directory.path()).await;
    let (code, status) = cluster
        .get("/api/v1/namespaces?watch=true&sendInitialEvents=true")
        .await;
    assert_eq!((code, &status["reason"]), (422, &json!("Invalid")));
}

#[tokio::test]
async fn a_watch_tells_changes_as_they_happen_and_in_the_wanted_form() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = cluster(directory.path()).await;
    let (_, list) = cluster.get(CONFIG_MAPS).await;
    let from = list["metadata"]["resourceVersion"].as_str().unwrap();
    let mut request = plain(&format!("{CONFIG_MAPS}?watch=true&resourceVersion={from}"));
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
        .parse()
        .unwrap();
    request.headers_mut().insert("accept", table);
    let mut body = cluster.send(request, Some(&cluster.owner)).await.into_body();
    cluster.post(CONFIG_MAPS, config_map("a")).await;
    let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let event: Value = serde_json::from_slice(&frame).unwrap();
    assert_eq!(
        (&event["type"], &event["object"]["kind"]),
        (&json!("ADDED"), &json!("Table"))
    );
    assert!(event["object"]["columnDefinitions"].is_array());
    cluster
        .call(Method::DELETE, &format!("{CONFIG_MAPS}/a"), None)
        .await;
    let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let event: Value = serde_json::from_slice(&frame).unwrap();
    assert_eq!(event["type"], "DELETED");
    assert!(
        event["object"]["columnDefinitions"].is_null(),
        "the columns are named once"
    );
}

#[tokio::test]
async fn a_watch_from_a_lost_version_is_told_so_inside_of_the_stream() {
    let directory = tempfile::tempdir().unwrap();
    let first = cluster(directory.path()).await;
    first.post(CONFIG_MAPS, config_map("a")).await;
    first.server.running.stop(Duration::from_secs(5)).await;
    drop(first.server.client);
    let second = restarted(directory.path()).await;
    let lines = lines(&second, &format!("{CONFIG_MAPS}?watch=true&resourceVersion=1")).await;
    assert_eq!(lines.len(), 1);
    assert_eq!(
        (&lines[0]["type"], &lines[0]["object"]["code"]),
        (&json!("ERROR"), &json!(410))
    );
    assert_eq!(lines[0]["object"]["reason"], "Expired");
    let (code, object) = second.get(&format!("{CONFIG_MAPS}/a")).await;
    assert_eq!(
        (code, &object["metadata"]["name"]),
        (200, &json!("a")),
        "a restart keeps what was written"
    );
}

/// The store's thread lets go of the file a moment after its last user.
pub(super) async fn restarted(directory: &Path) -> Cluster {
    for _ in 0..100 {
        match crate::store::Store::open(&directory.join("cluster.db")) {
            Ok(store) => {
                drop(store);
                break;
            }
            Err(crate::store::OpenError::InUse(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    // The trial above is let go of in the same way.
    cluster(directory).await
}

#[tokio::test]
async fn a_list_does_not_wait_for_ever_for_the_future() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = cluster(directory.path()).await;
    let (code, status) = cluster.get("/api/v1/namespaces?resourceVersion=1000000").await;
    assert_eq!((code, &status["details"]["retryAfterSeconds"]), (504, &json!(1)));
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .starts_with("Timeout: Too large resource version: 1000000, current: ")
    );
}

#[tokio::test]
async fn discovery_says_in_its_content_type_which_form_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = cluster(directory.path()).await;
    let wanted = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let mut request = plain("/apis");
    request
        .headers_mut()
        .insert("accept", format!("{wanted},application/json").parse().unwrap());
    let response = cluster.send(request, Some(&cluster.owner)).await;
    assert_eq!(response.headers()["content-type"], wanted);
    assert_eq!(cluster.get("/apis").await.1["kind"], "APIGroupList");
    assert_eq!(cluster.get("/openapi/v2").await.0, 404);
}

#[tokio::test]
async fn a_token_lives_as_long_as_its_pod_and_only_for_its_audience() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = cluster(directory.path()).await;
    let account = json!({"metadata": {"name": "sa"}});
    cluster
        .post("/api/v1/namespaces/default/serviceaccounts", account)
        .await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {
        "serviceAccountName": "sa", "containers": [{"name": "c", "image": "i"}]}});
    let (code, pod) = cluster.post("/api/v1/namespaces/default/pods", pod).await;
    assert_eq!(code, 201, "{pod}");
    let bound = json!({"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": pod["metadata"]["uid"]});
    let request =
        json!({"spec": {"audiences": ["istio-ca"], "expirationSeconds": 3600, "boundObjectRef": bound}});
    let path = "/api/v1/namespaces/default/serviceaccounts/sa/token";
    let (code, issued) = cluster.post(path, request).await;
    assert_eq!(code, 201, "{issued}");
    let token = &issued["status"]["token"];
    let review = async |audience: &str| {
        let body = json!({"spec": {"token": token, "audiences": [audience]}});
        cluster
            .post("/apis/authentication.k8s.io/v1/tokenreviews", body)
            .await
            .1["status"]
            .clone()
    };
    let good = review("istio-ca").await;
    assert_eq!(
        (&good["authenticated"], &good["audiences"]),
        (&json!(true), &json!(["istio-ca"]))
    );
    assert_eq!(good["user"]["username"], "system:serviceaccount:default:sa");
    assert_eq!(
        good["user"]["extra"]["authentication.kubernetes.io/pod-name"],
        json!(["p"])
    );
    assert_ne!(review("other").await["authenticated"], true);
    let mut request = plain("/api/v1/pods");
    let bearer = format!("Bearer {}", token.as_str().unwrap());
    request
        .headers_mut()
        .insert("authorization", bearer.parse().unwrap());
    assert_eq!(
        cluster.send(request, None).await.status(),
        401,
        "it is not meant for the API server"
    );
    cluster
        .call(Method::DELETE, "/api/v1/namespaces/default/pods/p", None)
        .await;
    let gone = review("istio-ca").await;
    assert_ne!(gone["authenticated"], true);
    assert!(
        gone["error"].as_str().unwrap().contains("no longer exists"),
        "{gone}"
    );
}

#[tokio::test]
async fn a_token_for_the_server_is_a_credential() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Arc::new(cluster(directory.path()).await);
    cluster
        .post(
            "/api/v1/namespaces/default/serviceaccounts",
            json!({"metadata": {"name": "sa"}}),
        )
        .await;
    let issued = cluster
        .server
        .client
        .request_token("default", "sa", json!({}))
        .unwrap();
    let bearer = format!("Bearer {}", issued["status"]["token"].as_str().unwrap());
    for (path, code) in [("/apis", 200), ("/api/v1/pods", 403)] {
        let mut request = plain(path);
        request
            .headers_mut()
            .insert("authorization", bearer.parse().unwrap());
        assert_eq!(cluster.send(request, None).await.status(), code, "{path}");
    }
    let short = json!({"spec": {"expirationSeconds": 10}});
    let refused = cluster
        .server
        .client
        .request_token("default", "sa", short)
        .unwrap_err();
    assert!(
        refused
            .message
            .ends_with("may not specify a duration less than 10 minutes"),
        "{}",
        refused.message
    );
}

#[tokio::test]
async fn a_directory_in_use_is_one_clear_line() {
    let directory = tempfile::tempdir().unwrap();
    let _first = cluster(directory.path()).await;
    let (node, _requests) = NodeLink::new();
    let second = Settings {
        directory: directory.path().to_owned(),
        listener: std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
        cluster_listeners: Vec::new(),
        advertised: "10.244.0.1:6443".parse().unwrap(),
        node,
    };
    let error = start(second).await.unwrap_err().to_string();
    assert!(
        error.contains("is in use by another process: stop that cluster first"),
        "{error}"
    );
}

/// A GET on behalf of somebody else.
fn as_somebody(path: &str, headers: &[(&'static str, &str)]) -> Request<Full<Bytes>> {
    let mut request = plain(path);
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn a_binding_gives_rights_at_once_and_its_deletion_takes_them() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = cluster(directory.path()).await;
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    let bob = || as_somebody(CONFIG_MAPS, &[("impersonate-user", "bob")]);
    let (code, status) = cluster.answer(bob()).await;
    assert_eq!(
        (code, &status["message"]),
        (
            403,
            &json!(
                "configmaps is forbidden: User \"bob\" cannot list resource \"configmaps\" in API group \"\" in \
                 the namespace \"default\""
            )
        )
    );
    let binding = json!({"metadata": {"name": "bob"}, "subjects": [{"kind": "User", "name": "bob"}],
        "roleRef": {"kind": "ClusterRole", "name": "view", "apiGroup": "rbac.authorization.k8s.io"}});
    assert_eq!(cluster.post(bindings, binding).await.0, 201);
    assert_eq!(cluster.answer(bob()).await.0, 200);
    cluster
        .call(Method::DELETE, &format!("{bindings}/bob"), None)
        .await;
    assert_eq!(cluster.answer(bob()).await.0, 403);
}

#[tokio::test]
async fn who_speaks_for_others_must_be_allowed_to() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = cluster(directory.path()).await;
    let me = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let mut request = Request::post(me)
        .header("host", "localhost")
        .body(Full::from("{}"))
        .unwrap();
    let headers = request.headers_mut();
    for (name, value) in [
        ("content-type", "application/json"),
        ("impersonate-user", "system:serviceaccount:n:robot"),
        ("impersonate-uid", "7"),
        ("impersonate-extra-example.com%2fwhy", "test"),
    ] {
        headers.insert(name, value.parse().unwrap());
    }
    let (code, review) = cluster.answer(request).await;
    assert_eq!(code, 201, "{review}");
    assert_eq!(
        review["status"]["userInfo"],
        json!({"username": "system:serviceaccount:n:robot", "uid": "7", "extra": {"example.com/why": ["test"]},
            "groups": ["system:serviceaccounts", "system:serviceaccounts:n", "system:authenticated"]})
    );
    let token = cluster
        .server
        .client
        .create(
            &crate::api::gvr::SERVICE_ACCOUNTS,
            "default",
            json!({"metadata": {"name": "sa"}}),
        )
        .await
        .and_then(|_| cluster.server.client.request_token("default", "sa", json!({})))
        .unwrap();
    let bearer = format!("Bearer {}", token["status"]["token"].as_str().unwrap());
    let claims = [("authorization", bearer.as_str()), ("impersonate-user", "root")];
    let (code, status) = cluster.answer(as_somebody("/apis", &claims)).await;
    assert_eq!(
        (code, &status["message"]),
        (
            403,
            &json!(
                "users \"root\" is forbidden: User \"system:serviceaccount:default:sa\" cannot impersonate resource \
                 \"users\" in API group \"\" at the cluster scope"
            )
        )
    );
    let nobody = as_somebody("/apis", &[("impersonate-group", "system:masters")]);
    assert_eq!(cluster.answer(nobody).await.0, 500);
}
