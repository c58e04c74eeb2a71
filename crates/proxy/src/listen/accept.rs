//! Accepts connections of one worker, once for each, and hands them to their chain.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use daemon::clock;
use snapshot::Direction;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::doors::Door;
use super::inspect;
use super::original_dst::OriginalDestination;
use crate::active::compile::{Chain, Listener};
use crate::telemetry::flags::Flag;
use crate::telemetry::format::{Facts, occasion};
use crate::telemetry::metrics::RefusedConnection;
use crate::telemetry::record::Record;
use crate::tls::{TlsError, peer};
use crate::transport::Transport;
use crate::worker::Worker;
use crate::{http, tcp};

/// Connections of one worker and direction at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 65_536;
/// Pause after a failed accept. Usually files have run out; they are closed in time, a tight loop would not help.
const PAUSE: Duration = Duration::from_millis(50);

/// The number of the next connection: the one thing that workers share, touched once a connection.
static CONNECTION: AtomicU64 = AtomicU64::new(0);

/// Accepts until the worker ends. Before a Snapshot is in force only the probe is recognised; the rest waits.
pub(crate) async fn accept(
    worker: Rc<Worker>,
    listener: TcpListener,
    entrance: Entrance,
    destinations: OriginalDestination,
) {
    let Entrance { door, mut shut } = entrance;
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let permit = permits
            .clone()
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = shut.changed() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(ends) = ends(&worker, &door, &destinations, (&stream, peer)) else {
                    tracing::debug!(%peer, "connection to our own listener refused: it would come back to us");
                    continue;
                };
                if worker.settings.probe.recognises(ends.destination) {
                    continue;
                }
                let (server, door) = (worker.clone(), door.clone());
                worker.tasks.spawn_local("connection", async move {
                    serve(server, stream, door, ends).await;
                    drop(permit);
                });
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                clock::sleep(PAUSE).await;
            }
        }
    }
}

/// What a socket is for, and until when it is open.
#[derive(Debug)]
pub(crate) struct Entrance {
    pub(crate) door: Door,
    pub(crate) shut: watch::Receiver<()>,
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    /// Who connected.
    pub(crate) peer: SocketAddr,
    /// Where to.
    pub(crate) destination: SocketAddr,
    pub(crate) direction: Direction,
    /// Number of the connection within the process.
    pub(crate) connection: u64,
    /// Whether its client speaks TLS to us.
    pub(crate) encrypted: bool,
}

impl Ends {
    /// What the client calls the requests of such a connection.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.encrypted { "https" } else { "http" }
    }
}

/// Where a connection was going. `None` for one that was captured on its way to us, and for one that nobody wants.
fn ends(
    worker: &Worker,
    door: &Door,
    destinations: &OriginalDestination,
    (stream, peer): (&TcpStream, SocketAddr),
) -> Option<Ends> {
    let (direction, destination) = match door {
        Door::Captured(direction) => (*direction, destinations.of(*direction, stream, peer)?),
        Door::Own(name) => {
            let active = worker.active()?;
            let listener = active.compiled.bound(name)?;
            let captured = match listener.direct {
                true => None,
                false => destinations.of(listener.direction, stream, peer),
            };
            // What was not captured came for the listener itself.
            let destination = captured.or_else(|| stream.local_addr().ok())?;
            (listener.direction, destination)
        }
    };
    Some(Ends {
        peer: canonical(peer),
        destination: canonical(destination),
        direction,
        connection: CONNECTION.fetch_add(1, Ordering::Relaxed),
        encrypted: false,
    })
}

/// Who came over IPv4 to a socket of both families is called by the IPv4 address, for chains, rules and logs alike.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        four @ IpAddr::V4(_) => SocketAddr::new(four, address.port()),
        // With its scope.
        IpAddr::V6(_) => address,
    }
}

async fn serve(worker: Rc<Worker>, stream: TcpStream, door: Door, mut ends: Ends) {
    let mut transport = Transport::new(stream);
    if worker.active().is_none() {
        worker.wait_for_snapshot().await;
    }
    // The connection keeps the chain that it is given now; its requests follow the routes of their own time.
    let begun = Record::new();
    let (chain, listener, hello) = {
        let Some(active) = worker.active() else { return };
        let compiled = &active.compiled;
        let listener = match &door {
            Door::Captured(direction) => compiled.listener(*direction, ends.destination),
            Door::Own(name) => compiled
                .bound(name)
                .map(|listener| compiled.handed_on(listener, ends.destination)),
        };
        let Some(listener) = listener.cloned() else {
            return;
        };
        drop(active);
        let asked = listener.asked(ends.destination);
        let Some(found) = inspect::inspect(&mut transport, asked).await else {
            tracing::debug!(peer = %ends.peer, "the connection ended, or how it begins does not tell what it is");
            return;
        };
        let chain = found.with_arrival(ends, |arrival| listener.choose(arrival).cloned());
        (chain, listener, found.hello)
    };
    if let Some(tls) = chain.as_ref().and_then(Chain::tls) {
        // Boxed: of a handshake nothing stays.
        match Box::pin(tls.accept(transport, hello, &worker.settings.identity)).await {
            Ok(session) => (transport, ends.encrypted) = (session, true),
            Err(error) => {
                no_session(&worker, ends, &error);
                return;
            }
        }
    } else {
        transport.learn_server_name(hello);
    }
    let served = chain.is_some();
    let _connected = served.then(|| worker.callers.connected(ends, transport.peer()));
    match chain {
        Some(Chain::Http(chain)) => {
            let connection = http::connection::Connection {
                worker,
                chain,
                ends,
                peer: peer::of(&transport),
                label: RefCell::default(),
                server_name: transport.server_name().unwrap_or_default().into(),
            };
            http::connection::serve(Rc::new(connection), transport).await;
        }
        Some(Chain::Tcp(chain)) => tcp::forward::serve(&worker, &chain, ends, transport).await,
        None => {
            tracing::debug!(destination = %ends.destination, "no chain takes the connection");
            untaken(&worker, ends, &listener, begun);
        }
    }
}

/// Says why there is no session with a client. Who only looks whether somebody listens is not worth a line.
fn no_session(worker: &Worker, ends: Ends, error: &TlsError) {
    let (peer, port) = (ends.peer, ends.destination.port());
    let left_out = error.refused_connection().and_then(|why| {
        worker.metrics.refused_connection(why);
        worker.refused_sessions.say(clock::now())
    });
    match left_out {
        Some(left_out) => tracing::warn!(%error, %peer, port, left_out, "no TLS session with a client"),
        None => tracing::debug!(%error, %peer, port, "no TLS session with a client"),
    }
}

/// Writes down that nobody took a connection.
fn untaken(worker: &Worker, ends: Ends, listener: &Listener, mut record: Record) {
    worker.metrics.refused_connection(RefusedConnection::NoChain);
    record.flag(Flag::NoRouteFound);
    record.details = std::borrow::Cow::Borrowed("filter_chain_not_found");
    let facts = Facts {
        worker,
        ends,
        occasion: occasion::NONE,
        version: None,
        request: None,
        response: None,
        route: "",
        record: &record,
    };
    worker.lines.write(&listener.facts.access_log, &facts);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_of_ipv4_has_an_address_of_ipv4() {
        for (seen, is) in [
            ("[::ffff:10.0.0.1]:80", "10.0.0.1:80"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("[fd00::1]:80", "[fd00::1]:80"),
            ("[fe80::1%3]:80", "[fe80::1%3]:80"),
        ] {
            assert_eq!(canonical(seen.parse().unwrap()).to_string(), is);
        }
    }
}
