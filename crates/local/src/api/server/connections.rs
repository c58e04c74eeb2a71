//! The connections that are open, over all listeners: bounded, and the idle ones give way to new ones.
//!
//! A connection counts until its socket is closed, whatever it has become meanwhile (an `exec` session, for one).

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use daemon::clock::{self, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, watch};

/// For a client that has left HTTP behind: somebody may be reading the output page by page.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);
/// How often to look again for an idle connection when all were busy.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Connections {
    limit: usize,
    open: Mutex<HashMap<u64, Arc<Line>>>,
    count: watch::Sender<usize>,
    next: AtomicU64,
}

impl Connections {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            open: Mutex::default(),
            count: watch::Sender::new(0),
            next: AtomicU64::new(0),
        })
    }

    /// Waits until there is room for one more; the connection that has been idle longest makes it.
    pub(super) async fn enter(self: &Arc<Self>) -> Entry {
        let mut count = self.count.subscribe();
        loop {
            if let Some(entry) = self.try_enter() {
                return entry;
            }
            self.dismiss_one();
            // A timeout: none was idle, perhaps one is now.
            let _ = clock::timeout(AGAIN, count.wait_for(|count| *count < self.limit)).await;
        }
    }

    /// Follows how many are open.
    #[cfg(test)]
    pub(super) fn count(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }

    fn try_enter(self: &Arc<Self>) -> Option<Entry> {
        let mut open = self.lock();
        if open.len() >= self.limit {
            return None;
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let line = Arc::new(Line::new());
        open.insert(id, line.clone());
        self.count.send_replace(open.len());
        Some(Entry {
            id,
            line,
            connections: self.clone(),
        })
    }

    fn dismiss_one(&self) {
        let open = self.lock();
        let idle = open.values().filter_map(|line| Some((line.idle_since()?, line)));
        if let Some((_, line)) = idle.min_by_key(|(since, _)| *since) {
            line.dismissed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Line>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of one connection.
#[derive(Debug)]
pub(super) struct Line {
    use_of: Mutex<Use>,
    dismissed: Notify,
    /// It has left HTTP behind.
    upgraded: AtomicBool,
}

#[derive(Debug)]
struct Use {
    /// Requests whose answers are not through yet.
    requests: usize,
    /// When that number moved last.
    since: Instant,
}

impl Line {
    fn new() -> Self {
        let now = Use {
            requests: 0,
            since: clock::now(),
        };
        Self {
            use_of: Mutex::new(now),
            dismissed: Notify::new(),
            upgraded: AtomicBool::new(false),
        }
    }

    /// Becomes ready when this connection is idle and has been so for `limit`, or others need its room.
    pub(super) async fn over(&self, limit: Duration) {
        loop {
            let wakes = self.idle_since().unwrap_or_else(clock::now) + limit;
            tokio::select! {
                () = self.dismissed.notified() => {}
                () = clock::sleep_until(wakes) => {
                    if self.idle_since().is_none_or(|since| since + limit > clock::now()) {
                        continue;
                    }
                }
            }
            if self.idle_since().is_some() {
                return;
            }
        }
    }

    /// A request has come; it counts until what this answers is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.count(|requests| requests + 1);
        Busy(self.clone())
    }

    pub(super) fn upgrade(&self) {
        self.upgraded.store(true, Ordering::Relaxed);
        // Never idle again: whoever took the connection over decides on its end.
        self.count(|requests| requests + 1);
    }

    fn idle_since(&self) -> Option<Instant> {
        let now = self.lock();
        (now.requests == 0).then_some(now.since)
    }

    fn count(&self, change: impl FnOnce(usize) -> usize) {
        let mut now = self.lock();
        now.requests = change(now.requests);
        now.since = clock::now();
    }

    fn lock(&self) -> MutexGuard<'_, Use> {
        self.use_of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Busy(Arc<Line>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.count(|requests| requests - 1);
    }
}

/// The place of a connection, for as long as its socket is open.
#[derive(Debug)]
pub(super) struct Entry {
    id: u64,
    line: Arc<Line>,
    connections: Arc<Connections>,
}

impl Entry {
    pub(super) fn line(&self) -> &Arc<Line> {
        &self.line
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        open.remove(&self.id);
        self.connections.count.send_replace(open.len());
    }
}

type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A socket that fails when its peer takes nothing for too long, and that holds its connection's place.
pub(super) struct Socket<S> {
    stream: S,
    entry: Entry,
    limit: Duration,
    /// Runs while the peer takes nothing.
    stuck: Option<Timer>,
}

impl<S> Socket<S> {
    pub(super) fn new(stream: S, entry: Entry, limit: Duration) -> Self {
        Self {
            stream,
            entry,
            limit,
            stuck: None,
        }
    }

    /// Passes on what happened, unless nothing has for too long.
    fn patiently<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stuck = None;
            return outcome;
        }
        let limit = if self.entry.line.upgraded.load(Ordering::Relaxed) {
            PATIENCE.max(self.limit)
        } else {
            self.limit
        };
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(clock::sleep(limit)));
        ready!(stuck.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.patiently(context, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.patiently(context, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.patiently(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn the_connection_that_has_been_idle_longest_makes_room_and_no_busy_one() {
        let connections = Connections::new(3);
        let busy = connections.enter().await;
        let request = busy.line().begin();
        clock::sleep(MINUTE).await;
        let older = connections.enter().await;
        clock::sleep(MINUTE).await;
        let newer = connections.enter().await;
        drop(newer.line().begin());
        let line = older.line().clone();
        let leaves = async move {
            line.over(10 * MINUTE).await;
            drop(older);
        };
        let (fourth, ()) = tokio::join!(connections.enter(), leaves);
        assert_eq!(*connections.count().borrow(), 3);
        drop((busy, request, newer, fourth));
        assert_eq!(*connections.count().borrow(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_ends_and_a_busy_one_stays() {
        let connections = Connections::new(1);
        let entry = connections.enter().await;
        let line = entry.line().clone();
        let request = line.begin();
        assert!(clock::timeout(5 * MINUTE, line.over(MINUTE)).await.is_err());
        drop(request);
        let before = clock::now();
        line.over(MINUTE).await;
        assert_eq!(clock::now() - before, MINUTE);
        line.upgrade();
        assert!(clock::timeout(5 * MINUTE, line.over(MINUTE)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_cut_and_one_that_takes_a_little_is_not() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (ours, mut theirs) = tokio::io::duplex(64);
        let entry = Connections::new(1).enter().await;
        let mut socket = Socket::new(ours, entry, MINUTE);
        let slow = async {
            for _ in 0..10 {
                clock::sleep(MINUTE / 2).await;
                theirs.read_exact(&mut [0; 16]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(socket.write_all(&[0; 200]), slow);
        written.unwrap();
        let before = clock::now();
        let error = socket.write_all(&[0; 200]).await.unwrap_err();
        assert_eq!(
            (error.kind(), clock::now() - before),
            (io::ErrorKind::TimedOut, MINUTE)
        );
    }
}
