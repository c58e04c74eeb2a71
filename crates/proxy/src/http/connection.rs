//! One downstream connection: HTTP/1.1 or HTTP/2 by its first bytes, then exchange after exchange until it ends.
//!
//! While the proxy drains (inbound) or after the listener has gone, HTTP/1.1 responses say `connection: close` and
//! HTTP/2 connections are told GOAWAY; nothing that a client has begun is cut off.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use daemon::clock;
use snapshot::{Cluster, Direction};

use super::codec::{self, CodecError, Reply, Source, Version, h1, h2};
use super::exchange;
use crate::active::compile::HttpChain;
use crate::listen::accept::Ends;
use crate::tcp::authorization::Caller;
use crate::telemetry::metrics::Label;
use crate::telemetry::record::Record;
use crate::tls::peer::Peer;
use crate::transport::{DRAIN, SILENCE, Transport};
use crate::worker::Worker;

/// Time for a head, from its first byte.
pub(crate) const HEAD: Duration = Duration::from_secs(60);
/// Time and bytes for the rest of a request whose response is complete.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// What the exchanges of one downstream connection share.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) worker: Rc<Worker>,
    pub(crate) chain: Arc<HttpChain>,
    pub(crate) ends: Ends,
    /// Who sends the requests, as a certificate says.
    pub(crate) peer: Option<Arc<Peer>>,
    /// Where requests of such a client went last, for metrics.
    pub(crate) label: RefCell<Option<Labelled>>,
    /// The server name of the client's TLS; empty without one.
    pub(crate) server_name: Rc<str>,
}

/// The label of requests that go to that cluster.
type Labelled = (Arc<Cluster>, Label);

impl Connection {
    /// Whether it should end after what it serves now. A workload that terminates keeps its own calls to the end.
    pub(crate) fn is_draining(&self) -> bool {
        self.chain.retired.is_retired()
            || (self.chain.direction == Direction::Inbound && self.worker.drain.began())
    }
}

/// Serves a connection to its end.
pub(crate) async fn serve(connection: Rc<Connection>, mut transport: Transport) {
    // Boxed: of the decision nothing stays, and few connections need one.
    if !connection.chain.network.is_empty() && !Box::pin(passes(&connection)).await {
        return;
    }
    match speaks_http2(&connection, &mut transport).await {
        Some(true) => http2(&connection, transport).await,
        Some(false) => http1(&connection, transport).await,
        None => {}
    }
}

/// Whether those let the client in who decide about connections.
async fn passes(connection: &Connection) -> bool {
    let caller = Caller {
        peer: connection.peer.as_deref(),
        server_name: &connection.server_name,
    };
    let Connection {
        worker, chain, ends, ..
    } = connection;
    let mut record = Record::new();
    let passes = chain.network.pass(worker, *ends, caller, &mut record).await;
    if !passes {
        let reason = record.termination.as_deref().unwrap_or(&record.details);
        tracing::debug!(reason, peer = %ends.peer, "connection refused");
    }
    passes
}

/// Whether the client speaks HTTP/2: as agreed, or else by how it begins; `None` when it says nothing.
async fn speaks_http2(connection: &Connection, transport: &mut Transport) -> Option<bool> {
    // Between proxies of a mesh the name may say no more than that they are such.
    match transport.agreed_protocol() {
        Some(b"h2" | b"istio-h2") => return Some(true),
        Some(b"istio" | b"istio-peer-exchange") | None => {}
        Some(_) => return Some(false),
    }
    first_comes(connection, transport).await?;
    let compare = async {
        loop {
            let read = transport.read_ahead();
            let compared = read.len().min(h2::PREFACE.len());
            if read[..compared] != h2::PREFACE[..compared] {
                return Some(false);
            }
            if compared == h2::PREFACE.len() {
                return Some(true);
            }
            transport.read_more().await.ok().filter(|more| *more > 0)?;
        }
    };
    clock::timeout(HEAD, compare).await.ok().flatten()
}

/// Waits for the first byte. A silent connection ends in the drain time of its listener, as an idle one does.
async fn first_comes(connection: &Connection, transport: &mut Transport) -> Option<()> {
    let begun = clock::now();
    loop {
        match clock::timeout(DRAIN, transport.readable()).await {
            Ok(waited) => return waited.ok(),
            Err(_) if connection.chain.retired.is_retired() || clock::now() - begun >= SILENCE => {
                return None;
            }
            Err(_) => {}
        }
    }
}

async fn http1(connection: &Connection, transport: Transport) {
    let (read, write, read_ahead) = transport.split();
    let (mut reader, mut writer) = (h1::Reader::new(read, read_ahead), h1::Writer::new(write));
    loop {
        if !next_comes(connection, &mut reader).await {
            break;
        }
        // The response before may have taken long, and said nothing of a close.
        if connection.chain.retired.is_over(clock::now()) {
            writer.close().await;
            break linger(&mut reader).await;
        }
        let request = match clock::timeout(HEAD, reader.request()).await {
            Ok(Ok(Some(request))) => request,
            Ok(Ok(None)) | Err(_) => break,
            Ok(Err(error)) => {
                refuse(connection, &mut writer, &error).await;
                break linger(&mut reader).await;
            }
        };
        let mut keep_alive = reader.keep_alive() && !connection.is_draining();
        let method = request.method.clone();
        let reply = Reply::Http1 {
            writer: &mut writer,
            method,
            keep_alive: &mut keep_alive,
        };
        // Boxed: a connection that waits for its next request owns nothing of the last one.
        Box::pin(exchange::serve(
            connection,
            request,
            Source::Http1(&mut reader),
            reply,
        ))
        .await;
        if !keep_alive || !rest_is_read(&mut reader).await {
            // A close with unread bytes would be a reset, and might overtake the response.
            writer.close().await;
            break linger(&mut reader).await;
        }
    }
}

/// Waits for the next request. An idle connection ends in the drain time of its listener.
async fn next_comes(connection: &Connection, reader: &mut h1::Reader) -> bool {
    let begun = clock::now();
    loop {
        match clock::timeout(DRAIN, reader.wait()).await {
            Ok(waited) => return waited.is_ok(),
            Err(_) if connection.chain.retired.is_retired() || clock::now() - begun >= SILENCE => {
                return false;
            }
            Err(_) => {}
        }
    }
}

/// Answers a request that is not HTTP as we accept it.
async fn refuse(connection: &Connection, writer: &mut h1::Writer, error: &CodecError) {
    let CodecError::Refused(refusal) = error else {
        return;
    };
    let local = exchange::refused(connection, Version::Http1, *refusal);
    writer.response(&local.response, &http::Method::GET, false);
    let _ = writer.data(local.body).await;
    let _ = writer.end().await;
    writer.close().await;
}

/// Reads what is left of a request whose response is complete, if it is little. Whether the end was reached.
async fn rest_is_read(reader: &mut h1::Reader) -> bool {
    reader.is_between_messages() || clock::timeout(LINGER, drop_frames(reader)).await == Ok(true)
}

async fn drop_frames(reader: &mut h1::Reader) -> bool {
    let mut left = LINGER_BYTES;
    while left > 0 {
        match reader.frame().await {
            Ok(Some(codec::Frame::Data(data))) => left = left.saturating_sub(data.len()),
            Ok(Some(codec::Frame::Trailers(_))) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
    false
}

/// Lets a client that still sends see our last response before it sees the close.
async fn linger(reader: &mut h1::Reader) {
    reader.become_opaque();
    let _ = clock::timeout(LINGER, drop_frames(reader)).await;
}

async fn http2(connection: &Rc<Connection>, transport: Transport) {
    let streams = connection.chain.handler.options.max_streams;
    let Ok(Ok(mut server)) = clock::timeout(HEAD, h2::accept(transport, streams)).await else {
        return;
    };
    let mut drain = connection.worker.drain.clone();
    let mut draining = connection.chain.direction == Direction::Outbound;
    let (mut last, mut ending) = (clock::now(), false);
    let resets = Rc::<h2::Resets>::default();
    // Held by each stream that is served.
    let (serving, mut refused) = (Rc::new(()), false);
    loop {
        tokio::select! {
            accepted = server.accept() => match accepted {
                Some(Ok(_)) if resets.another_is_too_many() => {
                    tracing::debug!(peer = %connection.ends.peer, "HTTP/2 connection opens streams to reset them");
                    server.abrupt_shutdown(::h2::Reason::ENHANCE_YOUR_CALM);
                }
                // Rules and mutual TLS are other ones now, and the client does not heed GOAWAY.
                Some(Ok((_, mut respond))) if connection.chain.retired.is_over(clock::now()) => {
                    respond.send_reset(::h2::Reason::REFUSED_STREAM);
                    // The first is told so before the connection ends.
                    if refused && Rc::strong_count(&serving) == 1 {
                        server.abrupt_shutdown(::h2::Reason::NO_ERROR);
                    }
                    refused = true;
                }
                Some(Ok((request, respond))) => {
                    last = clock::now();
                    if connection.is_draining() || resets.is_worn_out() {
                        server.graceful_shutdown();
                    }
                    serve_stream(connection, request, respond, &resets, serving.clone());
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, "HTTP/2 connection failed");
                    return;
                }
                None => return,
            },
            () = drain.wait(), if !draining => {
                draining = true;
                server.graceful_shutdown();
            }
            // Streams that are still open finish before the connection ends.
            () = clock::sleep(DRAIN) => {
                let idle = !server.has_streams();
                if idle && ending {
                    // Said goodbye one round ago, and cannot even be told so: the peer does not read.
                    return;
                }
                if connection.is_draining() || idle && clock::now() - last >= SILENCE {
                    ending = idle;
                    server.graceful_shutdown();
                }
            }
        }
    }
}

fn serve_stream(
    connection: &Rc<Connection>,
    request: http::Request<::h2::RecvStream>,
    mut respond: ::h2::server::SendResponse<Bytes>,
    resets: &Rc<h2::Resets>,
    serving: Rc<()>,
) {
    let (request, body) = match h2::request_from(request, resets) {
        Ok(parts) => parts,
        Err(refusal) => {
            let local = exchange::refused(connection, Version::Http2, refusal);
            if let Ok(mut stream) =
                respond.send_response(h2::response_to(&local.response), local.body.is_empty())
                && !local.body.is_empty()
            {
                let _ = stream.send_data(local.body, true);
            }
            return;
        }
    };
    let (connection, resets) = (connection.clone(), resets.clone());
    let tasks = connection.worker.tasks.clone();
    tasks.spawn_local("stream", async move {
        let reply = Reply::Http2 {
            respond,
            body: None,
            resets,
            begun: clock::now(),
        };
        exchange::serve(&connection, request, Source::Http2(body), reply).await;
        drop(serving);
    });
}
