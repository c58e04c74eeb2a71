//! Commands through real sockets: both transports against a node that only pretends to run something.

mod node;
mod spdy;
mod websocket;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use daemon::Tasks;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::super::node_link::NodeLink;
use super::super::pod_log::Body;

/// What the tests' node writes for the command `big`.
const BIG: usize = 5 << 20;

/// A server with nothing but exec, and its node.
struct Server {
    address: SocketAddr,
    /// Commands that were dropped before they ended.
    killed: mpsc::Receiver<String>,
    _tasks: Tasks,
}

fn pod() -> Value {
    json!({"metadata": {"name": "p", "namespace": "n"},
        "spec": {"nodeName": "local", "containers": [{"name": "a"}]}})
}

async fn server() -> Server {
    let tasks = Tasks::new();
    let (link, requests) = NodeLink::new();
    let (killed_one, killed) = mpsc::channel(8);
    tasks.spawn("node", node::run(requests, killed_one, tasks.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (link, owner) = (Arc::new(link), tasks.clone());
    tasks.spawn("server", async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (link, tasks) = (link.clone(), owner.clone());
            let service = service_fn(move |request| {
                let (link, tasks) = (link.clone(), tasks.clone());
                async move { Ok::<_, Infallible>(answer(request, &link, &tasks).await) }
            });
            owner.spawn("connection", async move {
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades();
                let _ = connection.await;
            });
        }
    });
    Server {
        address,
        killed,
        _tasks: tasks,
    }
}

async fn answer(request: Request<Incoming>, link: &NodeLink, tasks: &Tasks) -> Response<Body> {
    let query = request.uri().query().unwrap_or_default();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let parameters: Vec<_> = pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let answer = match request.uri().path() {
        "/attach" => super::attach(&pod(), &parameters, request, link, tasks).await,
        _ => super::exec(&pod(), &parameters, request, link, tasks).await,
    };
    answer.unwrap_or_else(|status| {
        let mut response = Response::new(Full::from(status.message).boxed_unsync());
        *response.status_mut() = http::StatusCode::from_u16(status.code).unwrap();
        response
    })
}
