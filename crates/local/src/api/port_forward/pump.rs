//! One forwarded connection: dials the pod and carries bytes both ways.
//!
//! Each direction can end before the other. What comes from the pod waits for room at the client, so that one connection
//! that nobody reads holds up only itself.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use daemon::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::node_link::NodeLink;

/// Read from the pod at once.
const PIECE: usize = 16 << 10;
/// Pieces on their way to the pod.
const QUEUE: usize = 4;

/// Where connections go.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub(super) link: NodeLink,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// What happens to connection `number`, as its session called it.
#[derive(Debug)]
pub(super) struct Event<Number> {
    pub(super) number: Number,
    pub(super) what: What,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum What {
    /// From the pod; the session says [`Pump::sent`] when it has gone out.
    Data(Bytes),
    /// The pod will send no more.
    End,
    /// Both directions have ended.
    Over,
    /// There is no connection, and why.
    Failed(String),
}

/// A session's end of a connection. Dropping it ends the connection.
#[derive(Debug)]
pub(super) struct Pump {
    /// To the pod; none once the client has ended its direction.
    pub(super) to_pod: Option<mpsc::Sender<Bytes>>,
    room: Arc<Semaphore>,
    _alive: DropGuard,
}

impl Pump {
    /// Begins a connection, which tells `events` what happens to it.
    pub(super) fn start<Number: Copy + Send + Sync + 'static>(
        pod: &Pod,
        port: u16,
        number: Number,
        events: &mpsc::Sender<Event<Number>>,
        tasks: &Tasks,
    ) -> Self {
        let (to_pod, from_client) = mpsc::channel(QUEUE);
        let room = Arc::new(Semaphore::new(1));
        let alive = CancellationToken::new();
        let (pod, taking, ended) = (pod.clone(), room.clone(), alive.clone());
        let session = Session {
            number,
            events: events.clone(),
        };
        tasks.spawn("forwarded connection", async move {
            let life = async {
                match pod.link.dial(&pod.namespace, &pod.name, port).await {
                    Ok(connection) => {
                        carry(connection, from_client, &taking, &session).await;
                        session.tell(What::Over).await
                    }
                    Err(status) => session.tell(What::Failed(status.message)).await,
                }
            };
            tokio::select! {
                _ = life => {}
                () = ended.cancelled() => {}
            }
        });
        Self {
            to_pod: Some(to_pod),
            room,
            _alive: alive.drop_guard(),
        }
    }

    /// A piece has gone out: there is room for the next.
    pub(super) fn sent(&self) {
        self.room.add_permits(1);
    }
}

/// Whom a connection tells.
struct Session<Number> {
    number: Number,
    events: mpsc::Sender<Event<Number>>,
}

impl<Number: Copy> Session<Number> {
    /// Whether anybody listens.
    async fn tell(&self, what: What) -> bool {
        let number = self.number;
        self.events.send(Event { number, what }).await.is_ok()
    }
}

async fn carry<Number: Copy>(
    connection: TcpStream,
    mut from_client: mpsc::Receiver<Bytes>,
    room: &Semaphore,
    session: &Session<Number>,
) {
    let (mut reader, mut writer) = connection.into_split();
    let up = async move {
        while let Some(bytes) = from_client.recv().await {
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = writer.shutdown().await;
    };
    let down = async {
        loop {
            match room.acquire().await {
                Ok(permit) => permit.forget(),
                Err(_) => return,
            }
            let mut piece = BytesMut::with_capacity(PIECE);
            match reader.read_buf(&mut piece).await {
                Ok(1..) if session.tell(What::Data(piece.freeze())).await => {}
                _ => break,
            }
        }
        session.tell(What::End).await;
    };
    tokio::join!(up, down);
}
