//! `compat-caller`: a call in a line of JSON on standard input, how it ended in a line of JSON on standard output.
//! `compat-caller wait` does nothing until it is ended: what a pod runs, so that callers can be started in it.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Request, Response, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use super::backend::{fields, version};
use super::call::{Call, Kind, Outcome};
use super::{grpc, tls};
use crate::server::LocalExecutor;

const LARGEST: usize = 32 << 20;
/// A silence after which raw bytes are taken as complete, and a line as not coming.
const SILENCE: Duration = Duration::from_millis(700);
const LINE: Duration = Duration::from_secs(4);

pub(crate) fn run(arguments: Vec<String>) -> Result<ExitCode> {
    if arguments.first().is_some_and(|word| word == "wait") {
        crate::block_on(async {
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?
                .recv()
                .await;
            Ok(())
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    crate::block_on(LocalSet::new().run_until(async {
        let mut lines = standard_input();
        while let Some(line) = lines.recv().await {
            let line = line?;
            let call: Call = serde_json::from_str(&line).with_context(|| format!("not a call: {line}"))?;
            let told = answer(call).await;
            let mut out = std::io::stdout().lock();
            writeln!(out, "{told}")?;
            out.flush()?;
        }
        Ok(())
    }))?;
    Ok(ExitCode::SUCCESS)
}

/// Lines as they come, read by a thread: connections of earlier calls go on meanwhile.
fn standard_input() -> mpsc::Receiver<std::io::Result<String>> {
    let (send, receive) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            // An error means that the program ends.
            if send.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receive
}

/// One outcome, or who answered each repetition.
async fn answer(call: Call) -> Value {
    if call.repeat <= 1 && call.parallel <= 1 {
        return perform(&call.numbered(0)).await.to_json();
    }
    let mut words = Vec::new();
    if call.one_connection {
        words = on_one_connection(&call).await;
    } else if call.parallel > 1 {
        let calls = (0..call.parallel).map(|number| {
            let call = call.numbered(number);
            tokio::task::spawn_local(async move { perform(&call).await.word() })
        });
        for task in calls.collect::<Vec<_>>() {
            words.push(task.await.unwrap_or_else(|_| "panicked".to_owned()));
        }
    } else {
        for number in 0..call.repeat {
            words.push(perform(&call.numbered(number)).await.word());
        }
    }
    json!({ "sequence": words })
}

async fn on_one_connection(call: &Call) -> Vec<String> {
    let mut words = Vec::new();
    let Ok(mut sender) = sender(call).await else {
        return vec!["not connected".to_owned()];
    };
    for number in 0..call.repeat {
        if number > 0 {
            tokio::time::sleep(Duration::from_millis(call.pause_ms)).await;
        }
        let outcome = timed(call, exchange(&mut sender, &call.numbered(number))).await;
        words.push(outcome.word());
    }
    words
}

async fn perform(call: &Call) -> Outcome {
    match call.kind {
        Kind::Http | Kind::Grpc => {
            timed(call, async {
                let mut sender = sender(call).await?;
                exchange(&mut sender, call).await
            })
            .await
        }
        Kind::Upgrade => timed(call, upgrade(call)).await,
        Kind::Tcp => timed(call, lines(call)).await,
        Kind::Raw => timed(call, raw(call)).await,
    }
}

async fn timed(call: &Call, work: impl Future<Output = Result<Outcome>>) -> Outcome {
    let begun = Instant::now();
    let deadline = Duration::from_millis(call.deadline_ms);
    let outcome = match tokio::time::timeout(deadline, work).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => failed(word_for(&error)),
        Err(_) => failed("no end in time".to_owned()),
    };
    let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Outcome {
        milliseconds,
        ..outcome
    }
}

fn failed(error: String) -> Outcome {
    Outcome {
        error: Some(error),
        ..Outcome::default()
    }
}

/// The same word for what a program cannot tell apart.
fn word_for(error: &anyhow::Error) -> String {
    let io = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<std::io::Error>());
    let http = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<hyper::Error>());
    match (io.map(std::io::Error::kind), http) {
        (Some(std::io::ErrorKind::ConnectionRefused), _) => "connection refused".to_owned(),
        (Some(std::io::ErrorKind::TimedOut), _) => "connection timed out".to_owned(),
        (Some(std::io::ErrorKind::InvalidData), _) => format!("{error:#}"),
        (Some(_), _) => "connection ended".to_owned(),
        (None, Some(http)) if http.is_incomplete_message() || http.is_closed() || http.is_canceled() => {
            "connection ended".to_owned()
        }
        _ => format!("{error:#}"),
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

async fn connect(call: &Call) -> Result<Box<dyn Stream>> {
    let stream = TcpStream::connect(&call.address).await?;
    stream.set_nodelay(true)?;
    let Some(name) = &call.sni else {
        return Ok(Box::new(stream));
    };
    let protocol = match (call.kind, call.http.as_str()) {
        (Kind::Grpc, _) | (_, "2") => Some("h2"),
        (Kind::Http | Kind::Upgrade, _) => Some("http/1.1"),
        (Kind::Tcp | Kind::Raw, _) => None,
    };
    let name = rustls::pki_types::ServerName::try_from(name.clone())?;
    Ok(Box::new(tls::connector(protocol)?.connect(name, stream).await?))
}

/// One sender for both versions.
enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

async fn sender(call: &Call) -> Result<Sender> {
    let stream = TokioIo::new(connect(call).await?);
    if call.kind == Kind::Grpc || call.http == "2" {
        let (sender, connection) = http2::handshake(LocalExecutor, stream).await?;
        tokio::task::spawn_local(connection);
        return Ok(Sender::Two(sender));
    }
    let (sender, connection) = http1::handshake(stream).await?;
    tokio::task::spawn_local(connection.with_upgrades());
    Ok(Sender::One(sender))
}

async fn exchange(sender: &mut Sender, call: &Call) -> Result<Outcome> {
    let reply = match sender {
        Sender::One(sender) => sender.send_request(request(call)?).await?,
        Sender::Two(sender) => sender.send_request(request(call)?).await?,
    };
    receive(reply, call).await
}

fn request(call: &Call) -> Result<Request<Full<Bytes>>> {
    let two = call.kind == Kind::Grpc || call.http == "2";
    let scheme = if call.sni.is_some() { "https" } else { "http" };
    let target: Uri = if two && call.method == "CONNECT" {
        call.authority.parse()?
    } else if two {
        format!("{scheme}://{}{}", call.authority, call.target).parse()?
    } else {
        call.target.parse()?
    };
    let body = match call.kind {
        Kind::Grpc => call
            .send
            .iter()
            .flat_map(|message| grpc::frame(message.as_bytes()))
            .collect(),
        _ => Bytes::from(call.body.clone()),
    };
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = call.method.parse()?;
    *request.uri_mut() = target;
    *request.version_mut() = match call.http.as_str() {
        _ if two => Version::HTTP_2,
        "1.0" => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    let headers = request.headers_mut();
    if !two && !call.authority.is_empty() {
        headers.insert("host", HeaderValue::from_str(&call.authority)?);
    }
    if call.kind == Kind::Grpc {
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert("te", HeaderValue::from_static("trailers"));
    }
    for (name, value) in &call.headers {
        headers.append(name.parse::<HeaderName>()?, HeaderValue::from_str(value)?);
    }
    Ok(request)
}

async fn receive(reply: Response<Incoming>, call: &Call) -> Result<Outcome> {
    let mut outcome = Outcome {
        status: Some(reply.status().as_u16()),
        version: Some(version(reply.version())),
        headers: fields(reply.headers()),
        ..Outcome::default()
    };
    let mut body = reply.into_body();
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => outcome.body.extend_from_slice(&data),
            Ok(Err(frame)) => {
                outcome.trailers = frame.trailers_ref().map(fields).unwrap_or_default();
            }
            Err(_) => {
                outcome.error = Some("body ended early".to_owned());
                break;
            }
        }
        if outcome.body.len() > LARGEST {
            bail!("a body of more than {LARGEST} bytes");
        }
    }
    let kind = outcome.headers.get("content-type").map(|values| values.concat());
    let messages = match kind.as_deref() {
        _ if call.kind == Kind::Grpc => Some(outcome.body.clone()),
        Some(kind) if kind.starts_with("application/grpc-web-text") => grpc::from_text(&outcome.body),
        Some(kind) if kind.starts_with("application/grpc-web") => Some(outcome.body.clone()),
        _ => None,
    };
    if let Some(messages) = messages {
        outcome.lines = grpc::take(&mut BytesMut::from(messages.as_slice()));
        outcome.body.clear();
    }
    Ok(outcome)
}

async fn upgrade(call: &Call) -> Result<Outcome> {
    let mut sender = sender(call).await?;
    let reply = match &mut sender {
        Sender::One(sender) => sender.send_request(request(call)?).await?,
        Sender::Two(sender) => sender.send_request(request(call)?).await?,
    };
    let switched = reply.status().as_u16() == 101 || call.method == "CONNECT" && reply.status().is_success();
    if !switched {
        return receive(reply, call).await;
    }
    let head = Outcome {
        status: Some(reply.status().as_u16()),
        version: Some(version(reply.version())),
        headers: fields(reply.headers()),
        ..Outcome::default()
    };
    let stream = TokioIo::new(hyper::upgrade::on(reply).await?);
    Ok(Outcome {
        lines: talk(stream, call).await,
        ..head
    })
}

async fn lines(call: &Call) -> Result<Outcome> {
    let stream = connect(call).await?;
    Ok(Outcome {
        lines: talk(stream, call).await,
        ..Outcome::default()
    })
}

/// Lines out and in; what ended the talk is the last of them.
async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin, call: &Call) -> Vec<String> {
    let mut stream = BufReader::new(stream);
    let mut heard = Vec::new();
    if !call.client_first && !hear(&mut stream, &mut heard).await {
        return heard;
    }
    for line in &call.send {
        if stream.write_all(format!("{line}\n").as_bytes()).await.is_err() {
            heard.push("<ended>".to_owned());
            return heard;
        }
        let _ = stream.flush().await;
        if !hear(&mut stream, &mut heard).await {
            return heard;
        }
    }
    let _ = stream.shutdown().await;
    while hear(&mut stream, &mut heard).await {}
    heard
}

async fn hear(stream: &mut (impl AsyncBufReadExt + Unpin), heard: &mut Vec<String>) -> bool {
    let mut line = String::new();
    let told = match tokio::time::timeout(LINE, stream.read_line(&mut line)).await {
        Ok(Ok(0) | Err(_)) => "<ended>".to_owned(),
        Ok(Ok(_)) => line.trim_end().to_owned(),
        Err(_) => "<silence>".to_owned(),
    };
    let goes_on = !told.starts_with('<');
    heard.push(told);
    goes_on
}

async fn raw(call: &Call) -> Result<Outcome> {
    let mut stream = connect(call).await?;
    stream.write_all(call.body.as_bytes()).await?;
    let mut got = Vec::new();
    let mut closed = false;
    while got.len() < LARGEST {
        match tokio::time::timeout(SILENCE, stream.read_buf(&mut got)).await {
            Ok(Ok(0) | Err(_)) => {
                closed = true;
                break;
            }
            Ok(Ok(_)) => {}
            Err(_) => break,
        }
    }
    let mut outcome = parsed(&String::from_utf8_lossy(&got));
    outcome.lines = vec![if closed { "<ended>" } else { "<silence>" }.to_owned()];
    Ok(outcome)
}

/// The first answer taken apart, as far as it is one; everything after its head is body.
fn parsed(text: &str) -> Outcome {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let mut outcome = Outcome {
        status,
        body: body.as_bytes().to_vec(),
        ..Outcome::default()
    };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let values = outcome.headers.entry(name.to_ascii_lowercase()).or_default();
        values.push(value.trim().to_owned());
    }
    outcome
}
