//! The webhooks over TLS on loopback, called as the API server calls them.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use daemon::admin::Server;
use daemon::{Tasks, clock, drain};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use identity::Authority;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::*;
use crate::ca::serving::Serving;
use crate::ca::standing::{Source, Standing};

const NAME: &str = "istiod.istio-system.svc";

struct Started {
    address: SocketAddr,
    root: String,
    tasks: Tasks,
    metrics: Registry,
    _trigger: drain::Trigger,
}

async fn start() -> Started {
    let now = clock::wall();
    let authority = Authority::generate("cluster.local", Duration::from_secs(3600), now).unwrap();
    let standing = Standing::new(authority, Source::Own).unwrap();
    let serving = Serving::new(&standing, "istio-system", now).unwrap();
    let (tasks, metrics) = (Tasks::new(), Registry::new());
    let (trigger, drain) = drain::channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes = routes(&crate::live::known(), &metrics);
    Server::secure(routes, serving.webhook).start("webhook", listener, &tasks, drain);
    Started {
        address,
        root: standing.roots().to_owned(),
        tasks,
        metrics,
        _trigger: trigger,
    }
}

impl Started {
    async fn send(&self, request: Request<Full<Bytes>>) -> Response<Bytes> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let tls = identity::tls::client_config(&self.root, None, &[b"http/1.1"]).unwrap();
        let stream = TlsConnector::from(tls)
            .connect(NAME.try_into().unwrap(), stream)
            .await
            .unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        self.tasks.spawn("client", async move { drop(connection.await) });
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    }

    async fn ask(&self, path: &str, object: &Value) -> Value {
        let review = json!({"request": {"uid": "1", "namespace": "shop", "object": object}});
        let answer = self
            .send(post(path, "application/json", review.to_string()))
            .await;
        assert_eq!(answer.status(), StatusCode::OK);
        serde_json::from_slice::<Value>(answer.body()).unwrap()["response"].take()
    }
}

fn post(path: &str, content_type: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let request = Request::post(path)
        .header("host", NAME)
        .header("content-type", content_type);
    request.body(Full::new(body.into())).unwrap()
}

fn pod() -> Value {
    json!({"metadata": {"name": "cart"}, "spec": {"containers": [{"name": "app", "image": "x"}]}})
}

#[tokio::test]
async fn a_pod_comes_back_with_a_patch_that_injects_it() {
    let started = start().await;
    for path in ["/inject", "/inject?timeout=10s", "/inject/cluster/east/net/one"] {
        let response = started.ask(path, &pod()).await;
        assert_eq!(response["allowed"], true);
        let patch = STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
        let mut patched = pod();
        json_patch::patch(
            &mut patched,
            &serde_json::from_slice::<json_patch::Patch>(&patch).unwrap(),
        )
        .unwrap();
        let expected = inject::inject(&pod(), "shop", &crate::live::known().load())
            .unwrap()
            .pod;
        assert_eq!(patched, expected);
    }
    assert!(
        started
            .metrics
            .text()
            .contains("sidecar_injection_success_total 3\n")
    );
}

#[tokio::test]
async fn a_pod_that_refuses_comes_back_as_it_is() {
    let mut refusing = pod();
    refusing["metadata"]["labels"] = json!({"sidecar.istio.io/inject": "false"});
    assert_eq!(
        start().await.ask("/inject", &refusing).await,
        json!({"uid": "1", "allowed": true})
    );
}

#[tokio::test]
async fn unsupported_annotations_are_warnings_and_broken_ones_are_refused() {
    let started = start().await;
    let mut annotated = pod();
    annotated["metadata"]["annotations"] = json!({"sidecar.istio.io/bootstrapOverride": "x"});
    let response = started.ask("/inject", &annotated).await;
    assert!(
        response["warnings"][0]
            .as_str()
            .unwrap()
            .contains("bootstrapOverride")
    );
    annotated["metadata"]["annotations"] = json!({"sidecar.istio.io/nativeSidecar": "x"});
    let response = started.ask("/inject", &annotated).await;
    assert_eq!(response["allowed"], false);
    assert!(
        response["status"]["message"]
            .as_str()
            .unwrap()
            .starts_with("injection failed: ")
    );
}

#[tokio::test]
async fn what_is_no_review_gets_a_client_error() {
    let started = start().await;
    for (content_type, body, status) in [
        ("text/plain", "{}", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("application/json", "", StatusCode::BAD_REQUEST),
        ("application/json", "{", StatusCode::BAD_REQUEST),
    ] {
        let answer = started.send(post("/validate", content_type, body)).await;
        assert_eq!(answer.status(), status, "{content_type} {body:?}");
    }
}

#[tokio::test]
async fn a_client_that_trusts_another_root_is_not_served() {
    let started = start().await;
    let other = Authority::generate("other", Duration::from_secs(60), clock::wall()).unwrap();
    let tls = identity::tls::client_config(other.root_pem(), None, &[]).unwrap();
    let stream = TcpStream::connect(started.address).await.unwrap();
    assert!(
        TlsConnector::from(tls)
            .connect(NAME.try_into().unwrap(), stream)
            .await
            .is_err()
    );
}
