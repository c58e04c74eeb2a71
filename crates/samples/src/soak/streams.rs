//! `soak-load streams COUNT AUTHORITY`: that many streams of gRPC, each of which sends a message a second and must get it
//! back, for as long as the program lives. A stream that ends is a failure, and is not opened again.
//!
//! The same lines as the other loads: one for each failure, and one a second with the sums. What fails before its first
//! answer is tried again: a program may begin before its proxy.

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::BytesMut;
use http::Request;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::{STREAM, frame};
use crate::compat::body::{self, Piece};
use crate::server::LocalExecutor;

const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(1);

struct Streams {
    authority: String,
    /// Messages that came back.
    answered: Cell<u64>,
    open: Cell<u64>,
    failed: Cell<u64>,
}

pub(super) fn run(count: &str, authority: &str) -> Result<ExitCode> {
    let count: u32 = count.parse().context("COUNT is a number of streams")?;
    ensure!((1..=1000).contains(&count), "COUNT is from 1 to 1000");
    let streams = Rc::new(Streams {
        authority: authority.to_owned(),
        answered: Cell::new(0),
        open: Cell::new(0),
        failed: Cell::new(0),
    });
    crate::block_on(LocalSet::new().run_until(async move {
        for number in 0..count {
            tokio::task::spawn_local(streams.clone().keep(PAUSE * number / count));
        }
        let mut second = tokio::time::interval(PAUSE);
        let mut terminate = signal(SignalKind::terminate())?;
        loop {
            tokio::select! {
                _ = second.tick() => streams.tell(),
                _ = terminate.recv() => break,
            }
        }
        streams.tell();
        Ok(())
    }))?;
    Ok(ExitCode::SUCCESS)
}

impl Streams {
    fn tell(&self) {
        let Self {
            answered,
            open,
            failed,
            ..
        } = self;
        println!(
            "{}",
            json!({"answered": answered.get(), "failed": failed.get(), "open": open.get()})
        );
    }

    async fn keep(self: Rc<Self>, first: Duration) {
        tokio::time::sleep(first).await;
        loop {
            let begun = Instant::now();
            let answered = Cell::new(false);
            let Err(error) = self.converse(&answered).await;
            if answered.get() {
                self.open.set(self.open.get() - 1);
                self.failed.set(self.failed.get() + 1);
                let failure = format!("{error:#}");
                println!(
                    "{}",
                    json!({"failure": failure, "milliseconds": begun.elapsed().as_millis()})
                );
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// One stream on a connection of its own; it only ends by going wrong.
    async fn converse(&self, answered: &Cell<bool>) -> Result<std::convert::Infallible> {
        let stream = TcpStream::connect(&self.authority).await.context("connect")?;
        stream.set_nodelay(true)?;
        let (mut requests, connection) = http2::handshake(LocalExecutor, TokioIo::new(stream)).await?;
        tokio::task::spawn_local(connection);
        let (send, receive) = mpsc::channel::<Piece>(1);
        let request = Request::post(format!("http://{}{STREAM}", self.authority))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(body::of_pieces(receive))?;
        let mut said = None;
        let mut heard = BytesMut::new();
        let mut turn = tokio::time::interval(PAUSE);
        // The head of the answer may come no earlier than the first message.
        let mut answer = std::pin::pin!(requests.send_request(request));
        for number in 0_u64.. {
            turn.tick().await;
            let message = frame(number.to_string().as_bytes());
            let sent = send.send(Ok(Frame::data(message.clone()))).await;
            sent.ok().context("the request ended")?;
            if said.is_none() {
                let head = timeout(PATIENCE, answer.as_mut())
                    .await
                    .context("no head in time")??;
                let status = head.headers().get("grpc-status");
                ensure!(
                    head.status() == 200 && status.is_none(),
                    "status {}, grpc-status {status:?}",
                    head.status()
                );
                said = Some(head.into_body());
            }
            let body = said.as_mut().expect("it has just come, if it was not there");
            timeout(PATIENCE, hear(body, &mut heard, &message))
                .await
                .context("no message in time")??;
            self.answered.set(self.answered.get() + 1);
            if !answered.replace(true) {
                self.open.set(self.open.get() + 1);
            }
        }
        bail!("there are no more numbers")
    }
}

/// Reads until a message has come back.
async fn hear(body: &mut Incoming, heard: &mut BytesMut, message: &[u8]) -> Result<()> {
    while heard.len() < message.len() {
        let Some(frame) = body.frame().await else {
            bail!("the stream ended");
        };
        match frame.context("the stream broke")?.into_data() {
            Ok(data) => heard.extend_from_slice(&data),
            Err(frame) => bail!("the stream ended: {:?}", frame.trailers_ref()),
        }
    }
    let came = heard.split_to(message.len());
    ensure!(came == message, "another message came back: {came:?}");
    Ok(())
}
