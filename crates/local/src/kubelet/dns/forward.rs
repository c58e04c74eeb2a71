//! Asking other servers about names that are not ours: few at a time, none for long.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use daemon::clock;
use hickory_proto::op::{Edns, Message, Query};
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;

/// Questions that wait for others at the same time; more are answered with a failure.
const AT_ONCE: usize = 128;
/// For one server.
const PATIENCE: Duration = Duration::from_secs(2);
const LONGEST: usize = 4096;

#[derive(Clone, Debug)]
pub(super) struct Forwarder {
    upstreams: Arc<[SocketAddr]>,
    permits: Arc<Semaphore>,
}

impl Forwarder {
    pub(super) fn new(upstreams: Vec<SocketAddr>) -> Self {
        Self {
            upstreams: upstreams.into(),
            permits: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Whether there is anybody to ask.
    pub(super) fn has_upstreams(&self) -> bool {
        !self.upstreams.is_empty()
    }

    /// The first answer that any of the servers gives.
    pub(super) async fn ask(&self, question: &Query) -> Option<Message> {
        let _permit = self.permits.try_acquire().ok()?;
        for upstream in self.upstreams.iter() {
            match clock::timeout(PATIENCE, ask_one(*upstream, question)).await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) => tracing::debug!(%upstream, %error, "upstream DNS failed"),
                Err(_) => tracing::debug!(%upstream, "upstream DNS did not answer"),
            }
        }
        None
    }
}

async fn ask_one(upstream: SocketAddr, question: &Query) -> anyhow::Result<Message> {
    let any: SocketAddr = match upstream {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let mut request = Message::query();
    request.metadata.recursion_desired = true;
    request.add_query(question.clone());
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    request.set_edns(edns);
    let socket = UdpSocket::bind(any).await?;
    socket.connect(upstream).await?;
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
