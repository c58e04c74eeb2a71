//! Admission against a webhook on loopback, and the plugins.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use daemon::{Tasks, clock};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use identity::Authority;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{Admission, Lookup, Network, Operation, Review};
use crate::api::client::Object;
use crate::api::registry::Registry;
use crate::api::{Gvr, Status, User, gvr};

#[derive(Default)]
pub(super) struct Cluster {
    objects: HashMap<(String, String, String), Object>,
    definitions: Vec<Value>,
}

impl Cluster {
    pub(super) fn with(mut self, collection: &Gvr, namespace: &str, name: &str, mut object: Value) -> Self {
        object["metadata"]["name"] = json!(name);
        self.objects.insert(
            (collection.to_string(), namespace.to_owned(), name.to_owned()),
            Arc::new(object),
        );
        self
    }

    pub(super) fn namespaced() -> Self {
        Self::default()
            .with(
                &gvr::NAMESPACES,
                "",
                "shop",
                json!({"metadata": {"labels": {"istio-injection": "enabled"}}}),
            )
            .with(&gvr::SERVICE_ACCOUNTS, "shop", "default", json!({}))
    }
}

impl Lookup for Cluster {
    fn find(&self, gvr: &Gvr, namespace: &str, name: &str) -> Option<Object> {
        self.objects
            .get(&(gvr.to_string(), namespace.to_owned(), name.to_owned()))
            .cloned()
    }

    fn all(&self, gvr: &Gvr) -> Vec<Object> {
        let wanted = gvr.to_string();
        self.objects
            .iter()
            .filter(|((collection, ..), _)| *collection == wanted)
            .map(|(_, one)| one.clone())
            .collect()
    }

    fn registry(&self) -> Arc<Registry> {
        Arc::new(Registry::with_crds(&self.definitions))
    }
}

/// What the webhook was asked, and what it answers.
type Asked = Arc<Mutex<Vec<Value>>>;

struct Webhook {
    address: SocketAddr,
    roots: String,
    asked: Asked,
    tasks: Tasks,
}

impl Webhook {
    /// A webhook that answers with `response`, to which the uid is added.
    async fn start(response: Value) -> Self {
        let now = clock::wall();
        let hour = Duration::from_secs(3600);
        let authority = Authority::generate("test", hour, now).expect("randomness");
        let keypair = authority
            .issue_server(&["injector.system.svc"], hour, now)
            .expect("good names");
        let config = identity::tls::server_config(&keypair, None, &[b"http/1.1"]).expect("good keys");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("is bound");
        let (asked, tasks) = (Asked::default(), Tasks::new());
        let (log, acceptor) = (asked.clone(), TlsAcceptor::from(config));
        tasks.spawn("webhook", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let (log, response) = (log.clone(), response.clone());
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let (log, mut response) = (log.clone(), response.clone());
                    async move {
                        let body = request.into_body().collect().await?.to_bytes();
                        let review: Value = serde_json::from_slice(&body).expect("a review");
                        if response["uid"].is_null() {
                            response["uid"] = review["request"]["uid"].clone();
                        }
                        log.lock().expect("no panic").push(review["request"].clone());
                        let answer = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
                            "response": response});
                        Ok::<_, hyper::Error>(http::Response::new(Full::new(Bytes::from(answer.to_string()))))
                    }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        });
        Self {
            address,
            roots: STANDARD.encode(authority.root_pem()),
            asked,
            tasks,
        }
    }

    fn configuration(&self, change: impl FnOnce(&mut Value)) -> Value {
        let mut hook = json!({"name": "namespace.injector.io", "sideEffects": "None", "timeoutSeconds": 5,
            "admissionReviewVersions": ["v1"], "failurePolicy": "Fail", "matchPolicy": "Equivalent",
            "clientConfig": {"caBundle": self.roots, "service":
                {"name": "injector", "namespace": "system", "path": "/inject", "port": 443}},
            "namespaceSelector": {"matchLabels": {"istio-injection": "enabled"}}, "objectSelector": {},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"],
                "scope": "*"}]});
        change(&mut hook);
        json!({"webhooks": [hook]})
    }

    fn cluster(&self, collection: &Gvr, change: impl FnOnce(&mut Value)) -> Cluster {
        Cluster::namespaced()
            .with(
                &gvr::SERVICES,
                "system",
                "injector",
                json!({"spec": {"clusterIP": "10.96.0.9", "ports": [{"port": 443}]}}),
            )
            .with(collection, "", "injector", self.configuration(change))
    }

    fn admission(&self) -> Admission {
        Admission::new(Network::Only(self.address))
    }
}

fn patch(operations: &Value) -> Value {
    json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(operations.to_string()),
        "warnings": ["look out"]})
}

async fn create_pod(
    admission: &Admission,
    cluster: &Cluster,
    dry_run: bool,
) -> Result<(Value, Vec<String>), Status> {
    let registry = Registry::built_in();
    let kind = registry.find("", "v1", "pods").expect("it is built in");
    let user = User::system("tester");
    let review = Review {
        user: &user,
        kind,
        namespace: "shop",
        name: "p",
        subresource: None,
        operation: Operation::Create,
        old: None,
        dry_run,
    };
    let pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p", "namespace": "shop"},
        "spec": {"containers": [{"name": "a", "image": "echo"}]}});
    let (object, mut warnings) = admission.mutate(cluster, &review, pod).await?;
    warnings.extend(admission.validate(cluster, &review, &object).await?);
    Ok((object, warnings))
}

#[tokio::test]
async fn a_pod_gets_account_token_priority_and_tolerations() {
    let cluster = Cluster::namespaced();
    let (pod, _) = create_pod(&Admission::default(), &cluster, false)
        .await
        .expect("is admitted");
    let spec = &pod["spec"];
    let volume = &spec["volumes"][0];
    let name = volume["name"].as_str().expect("is named");
    assert!(name.starts_with("kube-api-access-") && name.len() == 21, "{name}");
    assert_eq!(
        volume["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"],
        3607
    );
    let mount =
        json!({"name": name, "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"});
    assert_eq!(spec["containers"][0]["volumeMounts"], json!([mount]));
    assert_eq!(
        (&spec["serviceAccountName"], &spec["priority"]),
        (&json!("default"), &json!(0))
    );
    assert_eq!(spec["tolerations"][0]["tolerationSeconds"], 300);
}

#[tokio::test]
async fn a_pod_without_its_account_is_forbidden() {
    let cluster = Cluster::default().with(&gvr::NAMESPACES, "", "shop", json!({}));
    let refused = create_pod(&Admission::default(), &cluster, false)
        .await
        .expect_err("has no account");
    assert_eq!((refused.code, refused.reason), (403, "Forbidden"));
    assert_eq!(
        refused.message,
        "pods \"p\" is forbidden: error looking up service account shop/default: serviceaccount \"default\" not found"
    );
    let quiet = Cluster::namespaced().with(
        &gvr::SERVICE_ACCOUNTS,
        "shop",
        "default",
        json!({"automountServiceAccountToken": false}),
    );
    let (pod, _) = create_pod(&Admission::default(), &quiet, false)
        .await
        .expect("is admitted");
    assert!(pod["spec"]["volumes"].is_null());
}

#[tokio::test]
async fn a_mutating_webhook_adds_a_container_that_gets_defaults_and_token() {
    let added = json!([{"op": "add", "path": "/spec/containers/-", "value": {"name": "istio-proxy", "image": "proxy"}}]);
    let webhook = Webhook::start(patch(&added)).await;
    let cluster = webhook.cluster(&gvr::MUTATING_WEBHOOKS, |_| {});
    let (pod, warnings) = create_pod(&webhook.admission(), &cluster, false)
        .await
        .expect("is admitted");
    let sidecar = &pod["spec"]["containers"][1];
    assert_eq!(
        (&sidecar["name"], &sidecar["terminationMessagePolicy"]),
        (&json!("istio-proxy"), &json!("File"))
    );
    assert_eq!(
        sidecar["volumeMounts"][0]["name"],
        pod["spec"]["volumes"][0]["name"]
    );
    assert_eq!(pod["spec"]["volumes"].as_array().map(Vec::len), Some(1));
    assert_eq!(warnings, ["look out"]);
    let asked = webhook.asked.lock().expect("no panic").remove(0);
    assert_eq!(
        (&asked["operation"], &asked["namespace"]),
        (&json!("CREATE"), &json!("shop"))
    );
    assert_eq!(asked["userInfo"]["username"], "tester");
    assert_eq!(
        asked["kind"],
        json!({"group": "", "version": "v1", "kind": "Pod"})
    );
    webhook.tasks.stop(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_webhook_hears_only_of_what_its_rules_and_selectors_name() {
    let webhook = Webhook::start(json!({"allowed": false})).await;
    for change in [
        |hook: &mut Value| {
            hook["namespaceSelector"] = json!({"matchLabels": {"istio-injection": "disabled"}})
        },
        |hook: &mut Value| {
            hook["objectSelector"] = json!({"matchExpressions": [{"key": "x", "operator": "Exists"}]})
        },
        |hook: &mut Value| hook["rules"][0]["operations"] = json!(["UPDATE", "DELETE"]),
        |hook: &mut Value| hook["rules"][0]["resources"] = json!(["pods/status", "services"]),
        |hook: &mut Value| hook["rules"][0]["scope"] = json!("Cluster"),
        |hook: &mut Value| hook["rules"] = json!([]),
    ] {
        let cluster = webhook.cluster(&gvr::VALIDATING_WEBHOOKS, change);
        assert!(create_pod(&webhook.admission(), &cluster, false).await.is_ok());
    }
    assert!(webhook.asked.lock().expect("no panic").is_empty());
    webhook.tasks.stop(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_denial_is_passed_on_with_the_name_of_the_webhook() {
    for (status, code, wanted) in [
        (
            json!({"message": "no", "code": 403, "reason": "Forbidden"}),
            403,
            ": no",
        ),
        (json!({"message": "no"}), 400, ": no"),
        (Value::Null, 400, " without explanation"),
    ] {
        let webhook = Webhook::start(json!({"allowed": false, "status": status})).await;
        let cluster = webhook.cluster(&gvr::VALIDATING_WEBHOOKS, |_| {});
        let refused = create_pod(&webhook.admission(), &cluster, false)
            .await
            .expect_err("is denied");
        assert_eq!(refused.code, code);
        let wanted = format!("admission webhook \"namespace.injector.io\" denied the request{wanted}");
        assert_eq!(refused.message, wanted);
        webhook.tasks.stop(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn a_webhook_that_cannot_be_asked_fails_the_write_or_is_ignored() {
    let webhook = Webhook::start(json!({"allowed": true, "uid": "another"})).await;
    let start = "Internal error occurred: failed calling webhook \"namespace.injector.io\": ";
    let post = "failed to call webhook: Post \"https://injector.system.svc:443/inject?timeout=5s\": ";
    let message = async |admission: &Admission, cluster: &Cluster| {
        let refused = create_pod(admission, cluster, false).await.expect_err("fails");
        assert_eq!((refused.code, refused.reason), (500, "InternalError"));
        refused.message
    };
    let cluster = webhook.cluster(&gvr::MUTATING_WEBHOOKS, |_| {});
    assert!(
        message(&webhook.admission(), &cluster)
            .await
            .contains("received invalid webhook response: expected response.uid=")
    );

    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback")
        .local_addr()
        .expect("is bound");
    let down = Admission::new(Network::Only(closed));
    assert_eq!(
        message(&down, &cluster).await,
        format!("{start}{post}dial tcp 10.96.0.9:443: connect: connection refused")
    );
    let stranger =
        Authority::generate("stranger", Duration::from_secs(3600), clock::wall()).expect("randomness");
    let distrusted = webhook.cluster(&gvr::MUTATING_WEBHOOKS, |hook| {
        hook["clientConfig"]["caBundle"] = json!(STANDARD.encode(stranger.root_pem()));
    });
    assert_eq!(
        message(&webhook.admission(), &distrusted).await,
        format!(
            "{start}{post}tls: failed to verify certificate: x509: certificate signed by unknown authority"
        )
    );
    let lost = webhook.cluster(&gvr::MUTATING_WEBHOOKS, |hook| {
        hook["clientConfig"]["service"]["name"] = json!("gone")
    });
    assert!(
        message(&down, &lost)
            .await
            .ends_with("service \"gone\" not found")
    );
    let ignored = webhook.cluster(&gvr::MUTATING_WEBHOOKS, |hook| {
        hook["failurePolicy"] = json!("Ignore")
    });
    assert!(create_pod(&down, &ignored, false).await.is_ok());
    webhook.tasks.stop(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_webhook_that_hangs_runs_into_its_deadline() {
    let webhook = Webhook::start(json!({"allowed": true})).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let admission = Admission::new(Network::Only(silent.local_addr().expect("is bound")));
    let cluster = webhook.cluster(&gvr::MUTATING_WEBHOOKS, |hook| hook["timeoutSeconds"] = json!(1));
    let refused = create_pod(&admission, &cluster, false).await.expect_err("hangs");
    assert!(
        refused
            .message
            .ends_with("?timeout=1s\": context deadline exceeded"),
        "{}",
        refused.message
    );
    webhook.tasks.stop(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_dry_run_asks_only_webhooks_without_side_effects() {
    let webhook = Webhook::start(json!({"allowed": true})).await;
    let safe = webhook.cluster(&gvr::MUTATING_WEBHOOKS, |_| {});
    assert!(create_pod(&webhook.admission(), &safe, true).await.is_ok());
    assert_eq!(webhook.asked.lock().expect("no panic")[0]["dryRun"], true);
    let unsafe_hook = webhook.cluster(&gvr::MUTATING_WEBHOOKS, |hook| {
        hook["sideEffects"] = json!("Some")
    });
    let refused = create_pod(&webhook.admission(), &unsafe_hook, true)
        .await
        .expect_err("has side effects");
    assert_eq!(
        refused.message,
        "admission webhook \"namespace.injector.io\" does not support dry run"
    );
    webhook.tasks.stop(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn another_version_of_the_object_is_shown_to_a_webhook_that_knows_only_that() {
    let webhook = Webhook::start(json!({"allowed": true})).await;
    let version = |name: &str, stored: bool| {
        json!({"name": name, "served": true, "storage": stored, "schema": {"openAPIV3Schema":
            {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
    };
    let mut cluster = webhook.cluster(&gvr::VALIDATING_WEBHOOKS, |hook| {
        hook["rules"][0]["apiGroups"] = json!(["networking.istio.io"]);
        hook["rules"][0]["resources"] = json!(["*"]);
    });
    cluster.definitions.push(
        json!({"spec": {"group": "networking.istio.io", "scope": "Namespaced",
        "names": {"kind": "VirtualService", "plural": "virtualservices"},
        "versions": [version("v1", true), version("v1alpha3", false)]}}),
    );
    let registry = cluster.registry();
    let kind = registry
        .find("networking.istio.io", "v1alpha3", "virtualservices")
        .expect("is served");
    let user = User::default();
    let review = Review {
        user: &user,
        kind,
        namespace: "shop",
        name: "v",
        subresource: None,
        operation: Operation::Create,
        old: None,
        dry_run: false,
    };
    let object =
        json!({"apiVersion": "networking.istio.io/v1alpha3", "kind": "VirtualService", "metadata": {}});
    assert_eq!(
        webhook.admission().validate(&cluster, &review, &object).await,
        Ok(Vec::new())
    );
    let asked = webhook.asked.lock().expect("no panic").remove(0);
    assert_eq!(asked["object"]["apiVersion"], "networking.istio.io/v1");
    assert_eq!(
        (&asked["kind"]["version"], &asked["requestKind"]["version"]),
        (&json!("v1"), &json!("v1alpha3"))
    );
    webhook.tasks.stop(Duration::from_secs(1)).await;
}
