//! Probes of a real server.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{HOST, HeaderMap, HeaderValue, LOCATION};
use http::{Response, StatusCode};
use tokio::net::{TcpListener, TcpStream};

use super::{Get, LONGEST, check};
use crate::admin::{Reply, Routes, Server, text};
use crate::{Tasks, drain};

/// Redirects `/to/N` to `/to/N-1` and `/to/0` to the end; `/long` has more than is looked at.
async fn server(tasks: &Tasks) -> (SocketAddr, drain::Trigger) {
    let routes = Routes::new()
        .get("/to/*", |call| async move {
            let left = call.request.uri().path().trim_start_matches("/to/");
            redirect(match left.parse::<u32>() {
                Ok(left) if left > 0 => format!("/to/{}", left - 1),
                _ => "/end".to_owned(),
            })
        })
        .get("/end", |call| async move {
            let host = call.request.headers()[HOST].to_str().unwrap().to_owned();
            text(StatusCode::IM_A_TEAPOT, host)
        })
        .get("/long", |_| async {
            text(StatusCode::OK, vec![b'x'; 3 * LONGEST])
        });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (trigger, drain) = drain::channel();
    Server::plain(routes).start("server", listener, tasks, drain);
    (address, trigger)
}

fn redirect(to: String) -> Reply {
    let response = Response::builder().status(StatusCode::FOUND).header(LOCATION, to);
    response.body(Bytes::new()).unwrap()
}

async fn connect(at: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(at).await.map_err(|error| error.to_string())
}

async fn get(at: SocketAddr, path: &str) -> Result<Response<Bytes>, String> {
    let get = Get {
        at,
        secure: false,
        path: path.to_owned(),
        headers: HeaderMap::from_iter([(HOST, HeaderValue::from_static("backend"))]),
    };
    get.ask(connect).await
}

#[tokio::test]
async fn redirects_are_followed_with_their_host_and_not_for_ever() {
    let tasks = Tasks::new();
    let (at, _running) = server(&tasks).await;
    // Ten requests: nine redirects and the end.
    let answer = get(at, "/to/8").await.unwrap();
    assert_eq!(answer.status(), 418);
    assert_eq!(answer.body(), "backend");
    assert_eq!(get(at, "/to/9").await.unwrap_err(), "stopped after 10 redirects");
}

#[tokio::test]
async fn of_a_long_answer_the_beginning_is_looked_at() {
    let tasks = Tasks::new();
    let (at, _running) = server(&tasks).await;
    assert_eq!(get(at, "/long").await.unwrap().body().len(), LONGEST);
}

#[tokio::test]
async fn a_server_without_grpc_is_not_serving() {
    let tasks = Tasks::new();
    let (at, _running) = server(&tasks).await;
    let stream = connect(at).await.unwrap();
    let checked = check(stream, at, "", HeaderValue::from_static("test")).await;
    assert!(checked.is_err());
}
