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
