//! Asking the host's name servers about names that are not ours: few at a time, none for long.
//!
//! The questions leave from sockets of the host, as the node itself reaches nobody. A server that did not answer rests
//! for a while, so that a host without a network fails at once and not after everybody's patience.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use daemon::clock::{self, Instant};
use hickory_proto::op::{Edns, Message, Query};
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;

use crate::kubelet::host_sockets::{HostSockets, Wanted};

/// Questions that wait for others at the same time; more are answered with a failure.
const AT_ONCE: usize = 128;
/// For one server.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a server rests that did not answer.
const REST: Duration = Duration::from_secs(10);
/// Resolvers look at three.
const MOST_SERVERS: usize = 3;
const LONGEST: usize = 4096;

/// Who is asked.
#[derive(Clone, Debug)]
pub enum Upstreams {
    /// The servers of the host's `resolv.conf`, as it is at the moment.
    OfHost(HostSockets),
    /// For tests, which have servers of their own.
    These(Vec<SocketAddr>),
}

#[derive(Clone, Debug)]
pub(super) struct Forwarder {
    upstreams: Upstreams,
    permits: Arc<Semaphore>,
    /// Until when each server rests.
    resting: Arc<Mutex<[Option<Instant>; MOST_SERVERS]>>,
}

impl Forwarder {
    pub(super) fn new(upstreams: Upstreams) -> Self {
        Self {
            upstreams,
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            resting: Arc::default(),
        }
    }

    /// The first answer that any of the servers gives.
    pub(super) async fn ask(&self, question: &Query) -> Option<Message> {
        let _permit = self.permits.try_acquire().ok()?;
        for position in 0..MOST_SERVERS {
            if self.resting()[position].is_some_and(|until| clock::now() < until) {
                continue;
            }
            let socket = self.socket(position).await?;
            let answered = match &socket {
                Ok(socket) => clock::timeout(PATIENCE, ask_one(socket, question)).await,
                Err(why) => Ok(Err(anyhow::anyhow!("{why}"))),
            };
            match answered {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) => tracing::debug!(position, %error, "upstream DNS failed"),
                Err(_) => tracing::debug!(position, "upstream DNS did not answer"),
            }
            self.resting()[position] = Some(clock::now() + REST);
        }
        None
    }

    fn resting(&self) -> std::sync::MutexGuard<'_, [Option<Instant>; MOST_SERVERS]> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A socket that speaks to the n-th server; `None` when there are no more.
    async fn socket(&self, position: usize) -> Option<std::io::Result<UdpSocket>> {
        match &self.upstreams {
            Upstreams::OfHost(sockets) => match sockets.udp(Wanted::Resolver(position)).await {
                Ok(Ok(socket)) => Some(Ok(socket)),
                Ok(Err(_)) => None,
                Err(error) => Some(Err(error)),
            },
            Upstreams::These(servers) => Some(connect(*servers.get(position)?).await),
        }
    }
}

async fn connect(server: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind("0.0.0.0:0").await?;
    socket.connect(server).await?;
    Ok(socket)
}

async fn ask_one(socket: &UdpSocket, question: &Query) -> anyhow::Result<Message> {
    let mut request = Message::query();
    request.metadata.recursion_desired = true;
    request.add_query(question.clone());
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    request.set_edns(edns);
    socket.send(&request.to_vec()?).await?;
    let mut buffer = vec![0; LONGEST];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Anything else is not the answer to this question: stray, late or forged.
        if let Ok(answer) = Message::from_vec(&buffer[..length])
            && answer.metadata.id == request.metadata.id
            && answer.queries == request.queries
        {
            return Ok(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::{Name, RecordType};

    use super::*;

    fn question() -> Query {
        Query::query(Name::from_ascii("example.com.").unwrap(), RecordType::A)
    }

    #[tokio::test]
    async fn the_second_server_is_asked_when_the_first_refuses_and_the_first_rests() {
        let gone = UdpSocket::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let forwarder = Forwarder::new(Upstreams::These(vec![gone, address]));
        let answering = async {
            let mut buffer = [0; 512];
            let (length, from) = server.recv_from(&mut buffer).await.unwrap();
            let request = Message::from_vec(&buffer[..length]).unwrap();
            let mut answer = Message::response(request.metadata.id, request.metadata.op_code);
            answer.add_queries(request.queries);
            server.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
        };
        let question = question();
        let (answer, ()) = tokio::join!(forwarder.ask(&question), answering);
        assert!(answer.is_some());
        assert!(forwarder.resting()[0].is_some() && forwarder.resting()[1].is_none());
    }

    #[tokio::test]
    async fn without_a_server_the_answer_is_no_at_once() {
        assert!(
            Forwarder::new(Upstreams::These(Vec::new()))
                .ask(&question())
                .await
                .is_none()
        );
    }
}
