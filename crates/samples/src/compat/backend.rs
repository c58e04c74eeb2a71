//! `compat-backend`: HTTP/1.1 and h2c on 9090, 9091 (gRPC) and 9093, lines of TCP on 9092 where it speaks first, TLS on
//! 9443 when there are certificates in `/etc/compat`, and on 9099 what arrived. Nothing that comes to 9094 is ever
//! answered, not even by the kernel (with `NET_ADMIN`). `NAME` says who it is.
//!
//! Each answer is JSON: who answers, method, path, authority, headers, length of the body, and what a header of the PROXY
//! protocol said.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;

use super::body::{self, Body};
use super::command::Command;
use super::connection::{self, Connection};
use super::seen::Seen;
use super::{grpc, proxy_protocol, tls};
use crate::server::{self, LocalExecutor, Peer, Stop};
use crate::setting;

const HTTP: [u16; 3] = [9090, 9091, 9093];
const TCP: u16 = 9092;
const TLS: u16 = 9443;
const SILENT: u16 = 9094;
const SEEN: u16 = 9099;
const CERTIFICATES: &str = "/etc/compat";
const LARGEST_BODY: usize = 16 << 20;

struct Backend {
    name: String,
    seen: Seen,
}

pub(crate) fn run(_arguments: Vec<String>) -> anyhow::Result<ExitCode> {
    let name = setting("NAME").unwrap_or_else(|| "backend".to_owned());
    let backend = Rc::new(Backend {
        name,
        seen: Seen::default(),
    });
    server::run(async move {
        let stop = Stop::on_signal()?;
        // Where it may not filter packets, nobody listens there.
        let mut silent = server::listen(&[SILENT]).await?;
        silent.retain(connection::make_deaf);
        let plain = {
            let backend = backend.clone();
            let listeners = server::listen(&[&HTTP[..], &[SEEN]].concat()).await?;
            server::accept(listeners, stop.clone(), move |mut stream, peer: Peer| {
                let backend = backend.clone();
                async move {
                    let Ok(proxied) = proxy_protocol::take(&mut stream).await else {
                        return;
                    };
                    let connection = Connection::plain(&stream, proxied);
                    serve(backend, stream, connection, peer.port == SEEN).await;
                }
            })
        };
        let lines = {
            let backend = backend.clone();
            server::accept(server::listen(&[TCP]).await?, stop.clone(), move |stream, _| {
                let backend = backend.clone();
                async move { drop(echo_lines(&backend.name, stream).await) }
            })
        };
        if Path::new(CERTIFICATES).join("tls.key").exists() {
            let acceptor = tls::acceptor(Path::new(CERTIFICATES))?;
            let listeners = server::listen(&[TLS]).await?;
            let secret = server::accept(listeners, stop, move |stream, _: Peer| {
                let (backend, acceptor) = (backend.clone(), acceptor.clone());
                async move {
                    // A failed handshake is the caller's.
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let connection = Connection::secure(told_of(stream.get_ref().1));
                    serve(backend, stream, connection, false).await;
                }
            });
            tokio::join!(plain, lines, secret);
        } else {
            tokio::join!(plain, lines);
        }
        Ok(())
    })
}

fn told_of(session: &rustls::ServerConnection) -> Value {
    json!({
        "sni": session.server_name(),
        "alpn": session.alpn_protocol().map(String::from_utf8_lossy),
        "client_certificate": session.peer_certificates().is_some(),
    })
}

async fn echo_lines<S: AsyncRead + AsyncWrite + Unpin>(name: &str, stream: S) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(format!("{name}\n").as_bytes()).await?;
    let mut line = Vec::new();
    while stream.read_until(b'\n', &mut line).await? > 0 {
        stream.write_all(&line).await?;
        stream.flush().await?;
        line.clear();
    }
    Ok(())
}

async fn serve<S>(backend: Rc<Backend>, stream: S, connection: Connection, only_seen: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (backend, connection) = (backend.clone(), connection.clone());
        async move {
            if only_seen {
                let after = request.uri().path().trim_start_matches('/').parse().unwrap_or(0);
                return Ok(json_reply(200, &backend.seen.since(after)));
            }
            backend.answer(request, &connection).await
        }
    });
    let http = auto::Builder::new(LocalExecutor);
    // An error is the caller's, or was asked for.
    let _ = http
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .await;
}

/// The connection, or stream, ends here.
#[derive(Debug)]
struct Reset;

impl std::fmt::Display for Reset {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("reset as asked")
    }
}

impl std::error::Error for Reset {}

impl From<Infallible> for Reset {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl Backend {
    async fn answer(
        &self,
        request: Request<Incoming>,
        connection: &Connection,
    ) -> Result<Response<Body>, Reset> {
        let target = request
            .uri()
            .path_and_query()
            .map_or_else(String::new, ToString::to_string);
        let command = Command::of(&self.name, request.headers(), &target);
        let mut told = self.told(&request, &target, connection);
        let attempt = attempt(request.headers());
        self.seen.add(&told);
        let is_fresh = connection.begin_request();
        if is_grpc(request.headers()) {
            if command == Command::Reset || failing(&command, attempt) {
                // When the request is there: what a proxy has received by then is no chance.
                let _ = Limited::new(request.into_body(), LARGEST_BODY).collect().await;
                return Err(Reset);
            }
            if let Command::Headers(pairs) = &command {
                return Ok(with_fields(grpc::head(), pairs));
            }
            let path = request.uri().path().to_owned();
            let body = request.into_body();
            return Ok(grpc::answer(&path, told.to_string(), body, &command).await);
        }
        if request.headers().contains_key("upgrade") && !request.headers().contains_key("http2-settings") {
            return Ok(self.upgraded(request));
        }
        let is_head = request.method() == Method::HEAD;
        let body = Limited::new(request.into_body(), LARGEST_BODY).collect().await;
        let Ok(body) = body else { return Err(Reset) };
        match &command {
            Command::Reset => return Err(Reset),
            Command::ResetFirst(tries) if attempt <= *tries => return Err(Reset),
            _ => {}
        }
        let trailers = body.trailers().map(fields);
        told["body_length"] = json!(body.to_bytes().len());
        if let Some(trailers) = trailers {
            told["trailers"] = json!(trailers);
        }
        let mut reply = match command {
            Command::Fresh if !is_fresh => json_reply(409, &told),
            Command::Deaf(time) => {
                connection.hear_nothing(time).await;
                json_reply(200, &told)
            }
            command => obey(&command, attempt, &told).await,
        };
        if is_head {
            without_body(&mut reply);
        }
        Ok(reply)
    }

    fn told(&self, request: &Request<Incoming>, target: &str, connection: &Connection) -> Value {
        let authority = request.uri().authority().map(ToString::to_string);
        let host = || {
            request
                .headers()
                .get("host")
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        json!({
            "name": self.name,
            "method": request.method().as_str(),
            "path": target,
            "authority": authority.or_else(host),
            "version": version(request.version()),
            "tls": connection.tls,
            "proxy_protocol": connection.proxy_protocol,
            "headers": fields(request.headers()),
        })
    }

    /// Takes any protocol, tells the name in a line, and echoes what comes.
    fn upgraded(&self, request: Request<Incoming>) -> Response<Body> {
        let name = self.name.clone();
        let protocol = request.headers().get("upgrade").cloned();
        tokio::task::spawn_local(async move {
            if let Ok(stream) = hyper::upgrade::on(request).await {
                let _ = echo_lines(&name, TokioIo::new(stream)).await;
            }
        });
        let mut reply = Response::new(body::whole(""));
        *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        reply
            .headers_mut()
            .insert("connection", HeaderValue::from_static("Upgrade"));
        if let Some(protocol) = protocol {
            reply.headers_mut().insert("upgrade", protocol);
        }
        reply
    }
}

fn failing(command: &Command, attempt: u64) -> bool {
    matches!(command, Command::FailFirst(tries) | Command::ResetFirst(tries) if attempt <= *tries)
}

/// Which try this is, as the proxy says.
fn attempt(headers: &HeaderMap) -> u64 {
    let text = headers
        .get("x-envoy-attempt-count")
        .and_then(|value| value.to_str().ok());
    text.and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers
        .get("content-type")
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    kind == b"application/grpc" || kind.starts_with(b"application/grpc+")
}

pub(super) fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

pub(super) fn fields(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        all.entry(name.to_string()).or_default().push(value);
    }
    all
}

async fn obey(command: &Command, attempt: u64, told: &Value) -> Response<Body> {
    match command {
        Command::Status(status) => json_reply(*status, told),
        Command::FailFirst(_) if failing(command, attempt) => json_reply(503, told),
        Command::Delay(delay) => {
            tokio::time::sleep(*delay).await;
            json_reply(200, told)
        }
        Command::Headers(pairs) => with_fields(json_reply(200, told), pairs),
        Command::Close => with_fields(
            json_reply(200, told),
            &[("connection".to_owned(), "close".to_owned())],
        ),
        Command::Bytes(count) => Response::new(body::whole(vec![b'x'; *count])),
        Command::SlowBody(delay) => {
            let (delay, text) = (*delay, told.to_string());
            in_pieces(move |send| async move {
                tokio::time::sleep(delay).await;
                let _ = send.send(Ok(Frame::data(text.into()))).await;
            })
        }
        Command::ResetInBody => in_pieces(|send| async move {
            let _ = send
                .send(Ok(Frame::data(Bytes::from_static(b"the first part"))))
                .await;
            // Time for it to be seen: what breaks at once may take the head with it.
            tokio::time::sleep(Duration::from_millis(100)).await;
            let _ = send.send(Err(std::io::Error::other("reset as asked"))).await;
        }),
        Command::Trailers => {
            let text = told.to_string();
            in_pieces(move |send| async move {
                let trailers = HeaderMap::from_iter([(
                    HeaderName::from_static("x-trailer"),
                    HeaderValue::from_static("at the end"),
                )]);
                let _ = send.send(Ok(Frame::data(text.into()))).await;
                let _ = send.send(Ok(Frame::trailers(trailers))).await;
            })
        }
        _ => json_reply(200, told),
    }
}

/// What is left of an answer to HEAD: the length that the body would have had.
fn without_body(reply: &mut Response<Body>) {
    let length = hyper::body::Body::size_hint(reply.body()).exact();
    *reply.body_mut() = body::whole("");
    if let Some(length) = length {
        let fields = reply.headers_mut();
        fields.insert("content-length", length.into());
    }
}

fn in_pieces<F>(write: impl FnOnce(mpsc::Sender<body::Piece>) -> F) -> Response<Body>
where
    F: Future<Output = ()> + 'static,
{
    let (send, receive) = mpsc::channel(4);
    tokio::task::spawn_local(write(send));
    Response::new(body::of_pieces(receive))
}

fn json_reply(status: u16, value: &Value) -> Response<Body> {
    let mut reply = Response::new(body::whole(value.to_string()));
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    reply
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("application/json"));
    reply
}

fn with_fields(mut reply: Response<Body>, pairs: &[(String, String)]) -> Response<Body> {
    for (name, value) in pairs {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            reply.headers_mut().append(name, value);
        }
    }
    reply
}
