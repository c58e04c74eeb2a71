//! A service over gRPC that answers by hand, well or not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use daemon::Tasks;
use envoy_types::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse};
use http::{HeaderMap, Request, Response};
use prost::Message;
use tokio::net::TcpListener;

/// What it does with a question.
pub(super) enum Does {
    Answers(Box<CheckResponse>),
    /// These bytes, whatever they are.
    Sends(Vec<u8>),
    /// A status of gRPC, without a message.
    Fails(u16),
    Hangs,
    Resets,
}

pub(super) struct Service {
    pub(super) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _tasks: Tasks,
}

impl Service {
    pub(super) async fn start(decide: impl Fn(CheckRequest) -> Does + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, tasks) = (listener.local_addr().unwrap(), Tasks::new());
        let connections = Arc::new(AtomicUsize::new(0));
        let (owner, decide, counter) = (tasks.clone(), Arc::new(decide), connections.clone());
        tasks.spawn("service", async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let (streams, decide) = (owner.clone(), decide.clone());
                owner.spawn("service connection", async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        let decide = decide.clone();
                        streams.spawn("service stream", async move {
                            answer(request, respond, &*decide).await;
                        });
                    }
                });
            }
        });
        Self {
            address,
            connections,
            _tasks: tasks,
        }
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn answer(
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    decide: &(impl Fn(CheckRequest) -> Does + ?Sized),
) {
    assert_eq!(request.uri().path(), "/envoy.service.auth.v3.Authorization/Check");
    assert_eq!(request.headers()["content-type"], "application/grpc");
    assert_eq!(request.headers()["te"], "trailers");
    let mut body = request.into_body();
    let mut question = BytesMut::new();
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        question.extend_from_slice(&data);
    }
    let question = CheckRequest::decode(&question[5..]).unwrap();
    let (message, status) = match decide(question) {
        Does::Answers(answer) => (framed(&answer.encode_to_vec()), 0),
        Does::Sends(bytes) => (bytes.into(), 0),
        Does::Fails(status) => (Bytes::new(), status),
        Does::Hangs => return std::future::pending().await,
        Does::Resets => return respond.send_reset(h2::Reason::INTERNAL_ERROR),
    };
    let mut response = Response::new(());
    response
        .headers_mut()
        .insert("content-type", "application/grpc".parse().unwrap());
    let mut send = respond.send_response(response, false).unwrap();
    send.send_data(message, false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.into());
    let _ = send.send_trailers(trailers);
}

fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap());
    framed.extend_from_slice(message);
    framed.freeze()
}
