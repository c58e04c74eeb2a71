//! Carries bytes both ways between two connections until both sides have said their end.
//!
//! The end of one direction is passed on at once and the other goes on (half-close). Silence in both directions
//! ends the connection. An idle connection holds no buffer: one is taken when bytes are there and given back when
//! they are written. Repeated per connection.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use daemon::clock::{self, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::transport::{ReadHalf, Transport, WriteHalf};

/// Bytes carried at a time.
const BUFFER: usize = 32 * 1024;
/// How often bytes of a long connection are reported, as Istio's proxies do.
const REPORT: Duration = Duration::from_secs(5);

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Both sides were done.
    Finished,
    /// The client's side broke.
    ClientBroke,
    /// The upstream's side broke.
    UpstreamBroke,
    /// Nobody said anything for too long.
    Idle,
}

/// Bytes since the last report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    /// To the client.
    pub(crate) sent: u64,
    /// From the client.
    pub(crate) received: u64,
}

/// Forwards until the end; `report` is called every few seconds with bytes and at the end.
pub(crate) async fn relay(
    client: Transport,
    upstream: Transport,
    idle: Duration,
    report: impl Fn(Carried),
) -> Ended {
    let progress = Progress::new();
    let (client_read, client_write, client_ahead) = client.split();
    let (upstream_read, upstream_write, upstream_ahead) = upstream.split();
    let up = Direction { progress: &progress, carried: &progress.received, from: Ended::ClientBroke, to: Ended::UpstreamBroke };
    let down = Direction { progress: &progress, carried: &progress.sent, from: Ended::UpstreamBroke, to: Ended::ClientBroke };
    let both = async {
        tokio::try_join!(
            up.carry(client_read, upstream_write, client_ahead),
            down.carry(upstream_read, client_write, upstream_ahead),
        )
    };
    let ended = tokio::select! {
        carried = both => carried.err().unwrap_or(Ended::Finished),
        () = progress.watch(idle, &report) => Ended::Idle,
    };
    report(progress.take());
    ended
}

/// What both directions share.
struct Progress {
    last: Cell<Instant>,
    sent: Cell<u64>,
    received: Cell<u64>,
}

impl Progress {
    fn new() -> Self {
        Self { last: Cell::new(clock::now()), sent: Cell::new(0), received: Cell::new(0) }
    }

    fn take(&self) -> Carried {
        Carried { sent: self.sent.take(), received: self.received.take() }
    }

    /// Ends after `idle` without a byte; reports on the way.
    async fn watch(&self, idle: Duration, report: &impl Fn(Carried)) {
        loop {
            let deadline = self.last.get() + idle;
            let now = clock::now();
            if now >= deadline {
                return;
            }
            clock::sleep_until(deadline.min(now + REPORT)).await;
            let carried = self.take();
            if carried != Carried::default() {
                report(carried);
            }
        }
    }
}

/// One way, and who is to blame when an end of it breaks.
struct Direction<'a> {
    progress: &'a Progress,
    carried: &'a Cell<u64>,
    from: Ended,
    to: Ended,
}

impl Direction<'_> {
    async fn carry(&self, mut from: ReadHalf, mut to: WriteHalf, ahead: BytesMut) -> Result<(), Ended> {
        let mut bytes = ahead.freeze();
        loop {
            if !bytes.is_empty() {
                self.write(&mut to, bytes).await.map_err(|_| self.to)?;
            }
            bytes = read(&mut from).await.map_err(|_| self.from)?;
            if bytes.is_empty() {
                // The other side may have closed already; then there is nobody to tell.
                let _ = to.shutdown().await;
                return Ok(());
            }
        }
    }

    async fn write(&self, to: &mut WriteHalf, mut bytes: Bytes) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = to.write_buf(&mut bytes).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.carried.set(self.carried.get() + written as u64);
            self.progress.last.set(clock::now());
        }
        Ok(())
    }
}

/// The next bytes; none at the end. Waits without a buffer.
async fn read(from: &mut ReadHalf) -> io::Result<Bytes> {
    from.readable().await?;
    let mut buffer = BytesMut::with_capacity(BUFFER);
    from.read_buf(&mut buffer).await?;
    Ok(buffer.freeze())
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Two ends of one connection.
    async fn pair() -> (TcpStream, Transport) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, peer) = listener.accept().await.unwrap();
        (stream, Transport::new(accepted, peer))
    }

    /// Runs `talk` with a client and a server that a relay joins; how it ended and what was carried.
    async fn joined(idle: Duration, talk: impl AsyncFnOnce(TcpStream, TcpStream)) -> (Ended, Carried) {
        let ((client, client_side), (server, server_side)) = (pair().await, pair().await);
        let total = Rc::new(Cell::new(Carried::default()));
        let report = |carried: Carried| {
            let before = total.get();
            total.set(Carried { sent: before.sent + carried.sent, received: before.received + carried.received });
        };
        let relay = clock::timeout(Duration::from_secs(20), relay(client_side, server_side, idle, report));
        let (ended, ()) = tokio::join!(relay, talk(client, server));
        (ended.expect("the relay ends in time"), total.get())
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn the_end_of_one_direction_leaves_the_other_open() {
        let talk = async |mut client: TcpStream, mut server: TcpStream| {
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            let mut question = String::new();
            server.read_to_string(&mut question).await.unwrap();
            server.write_all(format!("answer to {question}").as_bytes()).await.unwrap();
            drop(server);
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, "answer to question");
        };
        let (ended, carried) = joined(HOUR, talk).await;
        assert_eq!((ended, carried), (Ended::Finished, Carried { sent: 18, received: 8 }));
    }

    #[tokio::test]
    async fn a_server_may_speak_first_and_much_may_be_said() {
        let much = vec![7; 3_000_000];
        let expected = much.clone();
        let talk = async |mut client: TcpStream, mut server: TcpStream| {
            let write = async {
                server.write_all(&much).await.unwrap();
                server.shutdown().await.unwrap();
            };
            let mut all = Vec::new();
            let (read, ()) = tokio::join!(client.read_to_end(&mut all), write);
            read.unwrap();
            assert!(all == expected);
            drop(client);
        };
        let (ended, carried) = joined(HOUR, talk).await;
        assert_eq!((ended, carried.sent), (Ended::Finished, 3_000_000));
    }

    #[tokio::test]
    async fn silence_ends_a_connection() {
        let talk = async |mut client: TcpStream, server: TcpStream| {
            let mut nothing = Vec::new();
            client.read_to_end(&mut nothing).await.unwrap();
            assert!(nothing.is_empty());
            drop(server);
        };
        let (ended, _) = joined(Duration::from_millis(30), talk).await;
        assert_eq!(ended, Ended::Idle);
    }

    #[tokio::test]
    async fn a_reset_names_the_side_that_broke() {
        let talk = async |client: TcpStream, server: TcpStream| {
            socket2::SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
            drop(server);
            let mut client = client;
            let _ = client.read_to_end(&mut Vec::new()).await;
        };
        let (ended, _) = joined(HOUR, talk).await;
        assert_eq!(ended, Ended::UpstreamBroke);
    }

    #[tokio::test]
    async fn what_was_read_ahead_comes_first() {
        let ((mut client, mut client_side), (mut server, server_side)) = (pair().await, pair().await);
        client.write_all(b"first ").await.unwrap();
        client_side.read_more().await.unwrap();
        client.write_all(b"then").await.unwrap();
        client.shutdown().await.unwrap();
        let talk = async {
            let mut all = String::new();
            server.read_to_string(&mut all).await.unwrap();
            drop(server);
            all
        };
        let (_, all) = tokio::join!(relay(client_side, server_side, HOUR, |_| ()), talk);
        assert_eq!(all, "first then");
    }
}
