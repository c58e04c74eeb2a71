//! Client shell against server shell, over loopback sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use snapshot::{Cluster, Discovery, Endpoints, Snapshot};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::TcpListenerStream;

use super::*;
use crate::{Dialect, Encoded, Server};

const DEADLINE: Duration = Duration::from_secs(20);

fn world(seconds: u64) -> Arc<Snapshot> {
    let mut snapshot = Snapshot::default();
    snapshot.clusters.insert(Cluster {
        connect_timeout: Duration::from_secs(seconds),
        ..Cluster::new("c".into(), Discovery::Endpoints)
    });
    snapshot.endpoints.insert(Endpoints {
        cluster: "c".into(),
        localities: Vec::new(),
    });
    Arc::new(snapshot)
}

/// Serves stream after stream, telling the token of each; a stream ends once it is in sync.
async fn serve(mut sessions: mpsc::Receiver<Session>, snapshot: Arc<Snapshot>, tokens: mpsc::Sender<String>) {
    while let Some(mut session) = sessions.recv().await {
        let token = session
            .headers
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        let _ = tokens.send(token.unwrap_or_default().to_owned()).await;
        let mut server = Server::new();
        server.update(Arc::new(Encoded::new(snapshot.clone(), Dialect::Amime, None)));
        while let Ok(Some(request)) = session.requests.message().await {
            server.request(&request);
            if let Some(response) = server.poll() {
                session.responses.send(Ok(response)).await.unwrap();
            }
            if server.in_sync() && server.serves(crate::Kind::Listener) {
                break;
            }
        }
    }
}

async fn listen(sessions: mpsc::Sender<Session>) -> (SocketAddr, impl Future<Output = ()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tonic::transport::Server::builder()
        .add_service(DeltaService::new(sessions))
        .serve_with_incoming(TcpListenerStream::new(listener));
    (address, async move { serving.await.unwrap() })
}

#[tokio::test]
async fn a_client_gets_its_snapshot_and_presents_a_fresh_token_at_each_connect() {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "first\n").unwrap();
    let (sessions, taken) = mpsc::channel(4);
    let (address, serving) = listen(sessions).await;
    let (tokens, mut presented) = mpsc::channel(4);
    let settings = Settings {
        mark: None,
        address: address.to_string(),
        server_name: "istiod.istio-system.svc".into(),
        trust: None,
        token: Some(token.clone()),
        node: Default::default(),
        whole: false,
    };
    let (snapshots, mut received) = watch::channel(None);
    let (events, _events) = mpsc::channel(16);
    let scenario = async {
        let first = received.wait_for(Option::is_some).await.unwrap().clone();
        assert_eq!(first, Some(world(3)));
        assert_eq!(presented.recv().await.as_deref(), Some("Bearer first"));
        std::fs::write(&token, "second").unwrap();
        while presented.recv().await.as_deref() != Some("Bearer second") {}
        assert_eq!(*received.borrow(), Some(world(3)), "the last snapshot stays");
    };
    tokio::select! {
        () = serving => panic!("the server ended"),
        () = serve(taken, world(3), tokens) => panic!("the sessions ended"),
        () = follow(settings, snapshots, events) => panic!("the client ended"),
        done = tokio::time::timeout(DEADLINE, scenario) => done.unwrap(),
    }
}

#[tokio::test]
async fn a_controller_that_is_not_there_is_an_event_and_not_the_end() {
    let unused = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let settings = Settings {
        mark: None,
        address: unused.to_string(),
        server_name: "istiod".into(),
        trust: None,
        token: None,
        node: Default::default(),
        whole: false,
    };
    let (snapshots, received) = watch::channel(None);
    let (events, mut told) = mpsc::channel(16);
    let scenario = async {
        for _ in 0..2 {
            let Some(Event::Disconnected { reason, .. }) = told.recv().await else {
                panic!("another event");
            };
            assert!(reason.contains("refused"), "{reason}");
        }
        drop(received);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = follow(settings, snapshots, events) => {}
        _ = tokio::time::timeout(DEADLINE, scenario) => panic!("the client goes on without a receiver"),
    }
}

/// The body of a call; without bytes it must not be read.
struct Sent(Option<bytes::Bytes>);

impl http_body::Body for Sent {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        let bytes = self.0.take().expect("nothing more of it is read");
        std::task::Poll::Ready(Some(Ok(http_body::Frame::data(bytes))))
    }
}

/// The gRPC status that a call for a certificate ends with at once, and how many were taken.
async fn asked_for_a_certificate(known: bool, body: Sent) -> (i32, usize) {
    let (calls, mut taken) = mpsc::channel(1);
    let admit = move |_, _| {
        let stranger = tonic::Status::unauthenticated("who are you?");
        std::future::ready(if known { Ok(()) } else { Err(stranger) })
    };
    let mut service = certificates::CertificateService::new(admit, calls);
    let request = http::Request::post("/istio.v1.auth.IstioCertificateService/CreateCertificate")
        .body(body)
        .unwrap();
    let Ok(answer) = tower::Service::call(&mut service, request).await;
    let status = answer.headers()["grpc-status"].to_str().unwrap().parse();
    (status.unwrap(), usize::from(taken.try_recv().is_ok()))
}

#[tokio::test]
async fn a_stranger_is_refused_before_its_message_is_read() {
    assert_eq!(asked_for_a_certificate(false, Sent(None)).await, (16, 0));
}

#[tokio::test]
async fn a_request_for_a_certificate_is_bounded() {
    let length = u32::try_from((128 << 10) + 1).unwrap();
    let head = [&[0][..], &length.to_be_bytes()].concat();
    assert_eq!(
        asked_for_a_certificate(true, Sent(Some(head.into()))).await,
        (11, 0)
    );
}
