//! Webhooks on loopback that do their work, and some that do not: conversion of versions, hostile admission.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use daemon::{Tasks, clock};
use http::{Method, Response};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use identity::Authority;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::tests::{Cluster, cluster};

/// How a webhook configuration names it; it ends with the tasks.
async fn webhook<Answer>(tasks: &Tasks, answer: Answer) -> Value
where
    Answer: Fn(Value) -> Response<Full<Bytes>> + Send + Sync + 'static,
{
    let (now, hour) = (clock::wall(), Duration::from_secs(3600));
    let authority = Authority::generate("test", hour, now).unwrap();
    let keypair = authority.issue_server(&["localhost"], hour, now).unwrap();
    let acceptor = TlsAcceptor::from(identity::tls::server_config(&keypair, None, &[b"http/1.1"]).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    tasks.spawn("test webhook", async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            let answer = answer.clone();
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let answer = answer.clone();
                async move {
                    let body = request.into_body().collect().await?.to_bytes();
                    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
                    Ok::<_, hyper::Error>(answer(review))
                }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    });
    json!({"url": format!("https://localhost:{port}/hook"), "caBundle": STANDARD.encode(authority.root_pem())})
}

fn said(value: &Value) -> Response<Full<Bytes>> {
    Response::new(Full::from(value.to_string()))
}

/// `v1` has one host, `v2` has several.
fn convert(mut review: Value) -> Response<Full<Bytes>> {
    let wanted = review["request"]["desiredAPIVersion"].clone();
    let mut objects = review["request"]["objects"].take();
    for object in objects.as_array_mut().into_iter().flatten() {
        object["spec"] = if wanted == "x.io/v2" {
            json!({"hosts": [object["spec"]["host"]]})
        } else {
            json!({"host": object["spec"]["hosts"][0]})
        };
        object["apiVersion"] = wanted.clone();
    }
    said(
        &json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": {
        "uid": review["request"]["uid"], "result": {"status": "Success"}, "convertedObjects": objects}}),
    )
}

async fn define(cluster: &Cluster, client: &Value) {
    let version = |name: &str, storage: bool, spec: Value| {
        json!({"name": name, "served": true, "storage": storage,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": spec}}}}})
    };
    let text = json!({"type": "string"});
    let definition = json!({"metadata": {"name": "things.x.io"}, "spec": {
        "group": "x.io", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
        "conversion": {"strategy": "Webhook", "webhook": {"clientConfig": client, "conversionReviewVersions": ["v1"]}},
        "versions": [version("v1", true, json!({"host": text})),
            version("v2", false, json!({"hosts": {"type": "array", "items": text}}))]}});
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let (code, answer) = cluster.post(path, definition).await;
    assert_eq!(code, 201, "{answer}");
}

const OLD: &str = "/apis/x.io/v1/namespaces/default/things";
const NEW: &str = "/apis/x.io/v2/namespaces/default/things";

#[tokio::test]
async fn a_webhook_converts_what_is_read_and_what_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let (cluster, tasks) = (cluster(directory.path()).await, Tasks::new());
    define(&cluster, &webhook(&tasks, convert).await).await;
    let (code, made) = cluster
        .post(NEW, json!({"metadata": {"name": "a"}, "spec": {"hosts": ["x"]}}))
        .await;
    assert_eq!((code, &made["spec"]), (201, &json!({"hosts": ["x"]})), "{made}");
    assert_eq!(made["apiVersion"], "x.io/v2");
    let (_, old) = cluster.get(&format!("{OLD}/a")).await;
    assert_eq!(
        (&old["spec"], &old["apiVersion"]),
        (&json!({"host": "x"}), &json!("x.io/v1"))
    );
    assert_eq!(old["metadata"]["uid"], made["metadata"]["uid"]);
    let mut changed = old;
    changed["spec"]["host"] = json!("y");
    assert_eq!(
        cluster
            .call(Method::PUT, &format!("{OLD}/a"), Some(changed))
            .await
            .0,
        200
    );
    let (_, list) = cluster.get(NEW).await;
    assert_eq!(list["items"][0]["spec"], json!({"hosts": ["y"]}));
    let (_, event) = cluster.get(&format!("{NEW}?watch=true&timeoutSeconds=1")).await;
    assert_eq!(
        (&event["type"], &event["object"]["spec"]),
        (&json!("ADDED"), &json!({"hosts": ["y"]})),
        "one event of one line"
    );
    tasks.stop(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_conversion_that_fails_is_an_error_that_names_it_and_others_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let (cluster, tasks) = (cluster(directory.path()).await, Tasks::new());
    let lying = |review: Value| {
        said(
            &json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": {
            "uid": review["request"]["uid"], "result": {"status": "Failed", "message": "no idea"}}}),
        )
    };
    define(&cluster, &webhook(&tasks, lying).await).await;
    let thing = || json!({"metadata": {"name": "a"}, "spec": {"host": "x"}});
    assert_eq!(cluster.post(OLD, thing()).await.0, 201, "nothing to convert");
    let (code, status) = cluster.get(&format!("{NEW}/a")).await;
    assert_eq!(
        (code, &status["message"]),
        (
            500,
            &json!("conversion webhook for x.io/v1, Kind=Thing failed: no idea")
        )
    );
    assert_eq!(cluster.get(NEW).await.0, 500);
    assert_eq!(cluster.get(OLD).await.0, 200);
    assert_eq!(
        cluster.call(Method::DELETE, &format!("{OLD}/a"), None).await.0,
        200
    );
    tasks.stop(Duration::from_secs(1)).await;
}

type Answer = fn(Value) -> Response<Full<Bytes>>;

/// What becomes of a ConfigMap when this webhook is asked.
async fn judged(answer: Answer) -> (u16, String) {
    let directory = tempfile::tempdir().unwrap();
    let (cluster, tasks) = (cluster(directory.path()).await, Tasks::new());
    let client = webhook(&tasks, answer).await;
    let hook = json!({"name": "a.hook.io", "clientConfig": client, "sideEffects": "None", "timeoutSeconds": 1,
        "admissionReviewVersions": ["v1"],
        "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]});
    let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
    let (code, made) = cluster
        .post(path, json!({"metadata": {"name": "hook"}, "webhooks": [hook]}))
        .await;
    assert_eq!(code, 201, "{made}");
    let config = json!({"metadata": {"name": "x"}, "data": {"a": "b"}});
    let (code, status) = cluster
        .post("/api/v1/namespaces/default/configmaps", config)
        .await;
    let secret = json!({"metadata": {"name": "x"}});
    let (other, _) = cluster.post("/api/v1/namespaces/default/secrets", secret).await;
    assert_eq!(other, 201, "what the webhook is not asked about is untouched");
    tasks.stop(Duration::from_secs(1)).await;
    (code, status["message"].as_str().unwrap_or_default().to_owned())
}

fn answering(review: &Value, patch: &Value) -> Response<Full<Bytes>> {
    said(
        &json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": {
        "uid": review["request"]["uid"], "allowed": true, "patchType": "JSONPatch",
        "patch": STANDARD.encode(patch.to_string())}}),
    )
}

#[tokio::test]
async fn hostile_webhooks_fail_the_write_with_kubernetes_words_and_nothing_else() {
    const FAILED: &str = "Internal error occurred: failed calling webhook \"a.hook.io\": ";
    type Answer = fn(Value) -> Response<Full<Bytes>>;
    let cases: [(Answer, u16, &str); 7] = [
        (
            |_| Response::new(Full::from("garbage")),
            500,
            "received invalid webhook response: couldn't get version/kind",
        ),
        (
            |_| {
                said(
                    &json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
                "response": {"uid": "lie", "allowed": true}}),
                )
            },
            500,
            "received invalid webhook response: expected response.uid=",
        ),
        (
            |_| {
                Response::builder()
                    .status(302)
                    .header("location", "https://localhost:1/")
                    .body(Full::default())
                    .unwrap()
            },
            500,
            "failed to call webhook: ",
        ),
        (
            |_| Response::builder().status(503).body(Full::from("no")).unwrap(),
            500,
            "failed to call webhook: an error on the server",
        ),
        (
            |_| Response::new(Full::from(vec![b' '; 20 << 20])),
            500,
            "failed to call webhook: ",
        ),
        (
            |review| {
                answering(
                    &review,
                    &json!([{"op": "replace", "path": "/nothing/there", "value": 1}]),
                )
            },
            500,
            "unable to apply its patch",
        ),
        (
            |review| answering(&review, &json!([{"op": "replace", "path": "/data", "value": 7}])),
            400,
            "",
        ),
    ];
    for (answer, wanted, begin) in cases {
        let (code, message) = judged(answer).await;
        assert_eq!(code, wanted, "{message}");
        if wanted == 500 {
            let rest = message
                .strip_prefix(FAILED)
                .unwrap_or_else(|| panic!("{message}"));
            assert!(rest.contains(begin), "{message}");
        }
    }
}
