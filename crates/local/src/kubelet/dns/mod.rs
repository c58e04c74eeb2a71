//! The cluster's DNS: Services by name, as pods expect it, over UDP and TCP.
//!
//! Names of the cluster are answered from memory. Pods search `NAMESPACE.svc.DOMAIN`, `svc.DOMAIN` and `DOMAIN`, so most
//! questions are for names that do not exist; these are answered as fast as the others.

mod answer;
mod forward;
mod zone;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use daemon::{Tasks, clock};
use hickory_proto::op::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};

use crate::api::Status;
use crate::api::client::{Client, Query};
use crate::api::gvr::{ENDPOINT_SLICES, SERVICES};
use crate::controllers::changes::{self, Changes};
use answer::Outcome;
use forward::Forwarder;
pub use forward::Upstreams;
use zone::Zone;

/// Where it answers and whom it asks.
#[derive(Clone, Debug)]
pub struct Settings {
    /// UDP and TCP; `10.244.0.1:53` in the node's network namespace.
    pub listen: SocketAddr,
    /// The end of every name of the cluster: `cluster.local`.
    pub domain: String,
    /// Asked for names outside the cluster.
    pub upstreams: Upstreams,
}

/// How long changes are collected before the names are read anew.
const COLLECT: Duration = Duration::from_millis(10);
const RETRY: Duration = Duration::from_secs(1);
/// TCP connections at the same time, and how long one may be silent.
const CONNECTIONS: usize = 64;
const SILENCE: Duration = Duration::from_secs(10);
const LONGEST_DATAGRAM: usize = 4096;

/// What every question needs.
#[derive(Clone)]
struct Server {
    zone: watch::Receiver<Arc<Zone>>,
    forwarder: Forwarder,
    tasks: Tasks,
}

/// Starts the server; it answers when this returns the address that it is bound to.
///
/// # Errors
/// When the address cannot be bound or services cannot be listed.
pub async fn start(client: Client, settings: Settings, tasks: &Tasks) -> io::Result<SocketAddr> {
    let Settings {
        listen,
        domain,
        upstreams,
    } = settings;
    let tcp = TcpListener::bind(listen).await?;
    let address = tcp.local_addr()?;
    let udp = UdpSocket::bind(address).await?;
    let first = read(&client, &domain).map_err(io::Error::other)?;
    let (sender, zone) = watch::channel(Arc::new(first));
    let server = Server {
        zone,
        forwarder: Forwarder::new(upstreams),
        tasks: tasks.clone(),
    };
    tasks.spawn("dns names", keep_up(client, domain, sender));
    tasks.spawn("dns over udp", serve_udp(server.clone(), Arc::new(udp)));
    tasks.spawn("dns over tcp", serve_tcp(server, tcp));
    Ok(address)
}

fn read(client: &Client, domain: &str) -> Result<Zone, Status> {
    let services = client.list(&SERVICES, "", &Query::default())?.items;
    let slices = client.list(&ENDPOINT_SLICES, "", &Query::default())?.items;
    Ok(Zone::of(domain, &services, &slices))
}

async fn keep_up(client: Client, domain: String, zone: watch::Sender<Arc<Zone>>) {
    let mut services = Changes::of(&client, &SERVICES);
    let mut slices = Changes::of(&client, &ENDPOINT_SLICES);
    loop {
        changes::collect(&mut services, &mut slices, COLLECT).await;
        loop {
            match read(&client, &domain) {
                Ok(next) => break drop(zone.send_replace(Arc::new(next))),
                Err(status) => tracing::warn!(%status, "DNS names are out of date; trying again"),
            }
            clock::sleep(RETRY).await;
        }
    }
}

async fn serve_udp(server: Server, socket: Arc<UdpSocket>) {
    let mut buffer = vec![0; LONGEST_DATAGRAM];
    loop {
        // An error here is about an earlier answer (its client is gone).
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let Ok(request) = Message::from_vec(&buffer[..length]) else {
            continue;
        };
        match server.decide(&request) {
            None => {}
            Some(Outcome::Answer(answer)) => send(&socket, from, &request, &answer).await,
            Some(Outcome::Ask { question, answer }) => {
                let (forwarder, socket) = (server.forwarder.clone(), socket.clone());
                server.tasks.spawn("dns question", async move {
                    let answer = answer::merge(answer, forwarder.ask(&question).await);
                    send(&socket, from, &request, &answer).await;
                });
            }
        }
    }
}

async fn send(socket: &UdpSocket, to: SocketAddr, request: &Message, answer: &Message) {
    if let Some(datagram) = answer::datagram(request, answer)
        && let Err(error) = socket.send_to(&datagram, to).await
    {
        tracing::debug!(%to, %error, "DNS answer not sent");
    }
}

impl Server {
    fn decide(&self, request: &Message) -> Option<Outcome> {
        let zone = self.zone.borrow().clone();
        answer::answer(&zone, request)
    }
}

async fn serve_tcp(server: Server, listener: TcpListener) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, from)) => {
                let server = server.clone();
                server.tasks.clone().spawn("dns connection", async move {
                    if let Err(error) = converse(&server, stream).await {
                        tracing::debug!(%from, %error, "DNS connection ended");
                    }
                    drop(permit);
                });
            }
            // Out of file descriptors, most likely: others must close first.
            Err(error) => {
                tracing::warn!(%error, "DNS cannot accept connections");
                clock::sleep(RETRY).await;
            }
        }
    }
}

/// Questions and answers, each after its length, until the client is silent.
async fn converse(server: &Server, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let Ok(request) = clock::timeout(SILENCE, read_message(&mut stream)).await else {
            return Ok(());
        };
        let Some(request) = request? else {
            return Ok(());
        };
        let answer = match server.decide(&request) {
            None => return Ok(()),
            Some(Outcome::Answer(answer)) => answer,
            Some(Outcome::Ask { question, answer }) => {
                answer::merge(answer, server.forwarder.ask(&question).await)
            }
        };
        let bytes = answer.to_vec().map_err(io::Error::other)?;
        let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
        let message = [&length.to_be_bytes()[..], &bytes].concat();
        clock::timeout(SILENCE, stream.write_all(&message))
            .await
            .map_err(io::Error::other)??;
    }
}

/// The next question; `None` at the end of the stream.
async fn read_message(stream: &mut TcpStream) -> io::Result<Option<Message>> {
    let length = match stream.read_u16().await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        length => usize::from(length?),
    };
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Message::from_vec(&bytes).map(Some).map_err(io::Error::other)
}
