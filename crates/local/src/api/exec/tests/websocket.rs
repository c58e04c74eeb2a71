//! Commands over WebSocket.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::{Server, node, server};

type Client = WebSocketStream<TcpStream>;
type Refusal = tokio_tungstenite::tungstenite::Error;

async fn connect(server: &Server, query: &str, protocols: &str) -> Result<Client, Refusal> {
    connect_to(server, "exec", query, protocols).await
}

async fn connect_to(server: &Server, part: &str, query: &str, protocols: &str) -> Result<Client, Refusal> {
    let uri = format!("ws://{}/{part}?stdout=1&{query}", server.address);
    let mut request = uri.into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", protocols.parse().unwrap());
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (client, response) = tokio_tungstenite::client_async(request, stream).await?;
    let chosen = response.headers()["sec-websocket-protocol"].to_str().unwrap();
    assert!(protocols.split(", ").any(|offer| offer == chosen));
    Ok(client)
}

async fn v5(server: &Server, query: &str) -> Client {
    connect(server, query, "v5.channel.k8s.io").await.unwrap()
}

async fn send(client: &mut Client, channel: u8, content: &[u8]) {
    let message = Message::Binary([&[channel], content].concat().into());
    client.send(message).await.unwrap();
}

/// Standard output, standard error and the status; and that the server closes in order.
async fn finish(mut client: Client) -> (Vec<u8>, Vec<u8>, Value) {
    let (mut output, mut status) = ([Vec::new(), Vec::new()], Value::Null);
    while let Some(message) = client.next().await {
        match message.unwrap() {
            Message::Binary(bytes) => match bytes[0] {
                channel @ (1 | 2) => output[usize::from(channel) - 1].extend(&bytes[1..]),
                3 => status = serde_json::from_slice(&bytes[1..]).unwrap(),
                other => panic!("channel {other}"),
            },
            Message::Close(frame) => assert_eq!(frame.unwrap().code, CloseCode::Normal),
            _ => {}
        }
    }
    let [stdout, stderr] = output;
    (stdout, stderr, status)
}

#[tokio::test]
async fn a_command_writes_on_both_channels_and_succeeds() {
    let server = server().await;
    let client = v5(&server, "command=echo&command=hello&stderr=true").await;
    let (stdout, stderr, status) = finish(client).await;
    assert_eq!((&stdout[..], &stderr[..]), (&b"hello"[..], &b"complaint"[..]));
    assert_eq!(status, serde_json::json!({"metadata": {}, "status": "Success"}));
}

#[tokio::test]
async fn what_was_not_asked_for_is_not_sent() {
    let server = server().await;
    let client = v5(&server, "command=echo&command=hello").await;
    let (_, stderr, status) = finish(client).await;
    assert_eq!((stderr.len(), &status["status"]), (0, &Value::from("Success")));
}

#[tokio::test]
async fn an_exit_code_arrives_as_a_status() {
    let server = server().await;
    let client = v5(&server, "command=exit&command=3").await;
    let (_, _, status) = finish(client).await;
    assert_eq!(status["reason"], "NonZeroExitCode");
    let cause = serde_json::json!([{"reason": "ExitCode", "message": "3"}]);
    assert_eq!(status["details"]["causes"], cause);
}

#[tokio::test]
async fn v5_closes_standard_input() {
    let server = server().await;
    let mut client = connect(
        &server,
        "command=cat&stdin=true",
        "v9.x, v5.channel.k8s.io, v4.channel.k8s.io",
    )
    .await
    .unwrap();
    send(&mut client, 0, b"to and ").await;
    send(&mut client, 0, b"fro").await;
    send(&mut client, 255, &[0]).await;
    let (stdout, _, status) = finish(client).await;
    assert_eq!(
        (&stdout[..], &status["status"]),
        (&b"to and fro"[..], &Value::from("Success"))
    );
}

#[tokio::test]
async fn who_is_attached_needs_no_command_and_is_told_of_success() {
    let server = server().await;
    let mut client = connect_to(&server, "attach", "stdin=true", "v5.channel.k8s.io")
        .await
        .unwrap();
    send(&mut client, 0, b"typed").await;
    send(&mut client, 255, &[0]).await;
    let (stdout, _, status) = finish(client).await;
    assert_eq!(
        (&stdout[..], &status["status"]),
        (&b"typed"[..], &Value::from("Success"))
    );
}

#[tokio::test]
async fn v4_speaks_the_same_without_the_close() {
    let server = server().await;
    let mut client = connect(&server, "command=size&tty=true", "v4.channel.k8s.io")
        .await
        .unwrap();
    send(&mut client, 255, &[0]).await;
    client
        .send(Message::text("\u{4}{\"Width\":132,\"Height\":43}"))
        .await
        .unwrap();
    let (stdout, _, _) = finish(client).await;
    assert_eq!(stdout, b"132x43");
}

#[tokio::test]
async fn five_megabytes_arrive_whole() {
    let server = server().await;
    let (stdout, _, _) = finish(v5(&server, "command=big").await).await;
    assert!(stdout == node::big(), "{} bytes", stdout.len());
}

#[tokio::test]
async fn a_vanishing_client_ends_the_command() {
    let mut server = server().await;
    let mut client = v5(&server, "command=forever&stdin=true").await;
    assert_eq!(
        client.next().await.unwrap().unwrap().into_data(),
        &b"\x01started"[..]
    );
    drop(client);
    assert_eq!(server.killed.recv().await.unwrap(), "forever");
}

#[tokio::test]
async fn a_message_beyond_all_measure_ends_the_command() {
    let mut server = server().await;
    let mut client = v5(&server, "command=forever&stdin=true").await;
    let _ = client.send(Message::Binary(Bytes::from(vec![0; 2 << 20]))).await;
    assert_eq!(server.killed.recv().await.unwrap(), "forever");
}

#[tokio::test]
async fn a_ping_is_answered() {
    let server = server().await;
    let mut client = v5(&server, "command=forever").await;
    assert!(client.next().await.unwrap().unwrap().is_binary());
    client
        .send(Message::Ping(Bytes::from_static(b"?")))
        .await
        .unwrap();
    let answer = client.next().await.unwrap().unwrap();
    assert_eq!(answer, Message::Pong(Bytes::from_static(b"?")));
}

#[tokio::test]
async fn a_request_that_cannot_be_served_is_an_ordinary_failure() {
    let server = server().await;
    for (query, protocol, code, message) in [
        (
            "command=refuse",
            "v5.channel.k8s.io",
            500,
            "container not found (\"a\")",
        ),
        ("command=", "v1.x", 400, "none of the subprotocols [v1.x]"),
        ("stdin=1", "v5.channel.k8s.io", 400, "at least one command"),
        (
            "command=x&container=b",
            "v5.channel.k8s.io",
            400,
            "container b is not valid for pod p",
        ),
    ] {
        let refusal = connect(&server, query, protocol).await;
        let Err(Refusal::Http(response)) = refusal else {
            panic!("{query} was served");
        };
        let body = String::from_utf8(response.body().clone().unwrap_or_default()).unwrap();
        assert_eq!(response.status(), code, "{query}");
        assert!(body.contains(message), "{query}: {body}");
        assert!(!body.contains("unable to upgrade"), "kubectl says that itself");
    }
}
