//! The accept loop of one worker and one listening socket.
//!
//! Bounded in connections; out of descriptors it waits instead of spinning; a connection aimed at the proxy's own
//! ports is refused, because it would come back forever. The socket stays open while it drains and closes last:
//! closing it would reset what waits in its queue.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use daemon::{Drain, Tasks, clock};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::original_dst::Destinations;
use crate::transport::Transport;

/// Connections waiting to be accepted; the kernel lowers it to `somaxconn`.
const BACKLOG: i32 = 4096;
/// Rest after the system had no descriptor or memory for a connection.
const REST: Duration = Duration::from_millis(50);
/// Connections of one worker at once, unless set otherwise.
pub(crate) const MOST: usize = 65_536;

/// A listening socket; `shared` lets several workers bind the same address, each with a queue of its own.
pub(crate) fn bind(address: SocketAddr, shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What an accept loop needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Who knows where connections were going.
    pub(crate) destinations: Destinations,
    /// The capture ports of this proxy: never a destination.
    pub(crate) own_ports: [u16; 2],
    /// Connections open at once, over all listeners of the worker.
    pub(crate) open: Open,
}

/// Open connections of a worker, and their bound. Clones share the count.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    count: Rc<Cell<usize>>,
    most: usize,
}

impl Open {
    pub(crate) fn new(most: usize) -> Self {
        Self { count: Rc::default(), most }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count.get()
    }

    fn permit(&self) -> Option<Permit> {
        let count = self.count.get();
        (count < self.most).then(|| {
            self.count.set(count + 1);
            Permit(self.count.clone())
        })
    }
}

/// Counts one open connection until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit(Rc<Cell<usize>>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A connection, and where it was going.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) transport: Transport,
    pub(crate) destination: SocketAddr,
}

/// Accepts until the drain begins and `tasks` stop; each connection becomes a task of `serve`.
pub(crate) async fn run<F>(
    listener: std::net::TcpListener,
    rules: Rules,
    drain: Drain,
    tasks: Tasks,
    serve: impl Fn(Accepted) -> F,
) where
    F: Future<Output = ()> + 'static,
{
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "cannot watch a listening socket"),
    };
    let mut draining = drain.clone();
    // The loop takes no part in the drain's wait for work in flight.
    drop(drain);
    loop {
        let accepted = tokio::select! {
            biased;
            () = draining.wait() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => admit(stream, peer, &rules, &tasks, &serve),
            Err(error) if is_clients_doing(&error) => tracing::debug!(%error, "a client left before it was accepted"),
            Err(error) => {
                tracing::warn!(%error, open = rules.open.count(), "cannot accept a connection");
                clock::sleep(REST).await;
            }
        }
    }
    drop(draining);
    // What the kernel has completed already is in the queue; it is served to its end.
    while let Some(Ok((stream, peer))) = poll_once(listener.accept()).await {
        admit(stream, peer, &rules, &tasks, &serve);
    }
    // The socket closes with the process.
    tasks.stopping().await;
}

fn admit<F>(stream: TcpStream, peer: SocketAddr, rules: &Rules, tasks: &Tasks, serve: &impl Fn(Accepted) -> F)
where
    F: Future<Output = ()> + 'static,
{
    let Some(permit) = rules.open.permit() else {
        return tracing::warn!(%peer, open = rules.open.count(), "too many connections: one is refused");
    };
    let Some(destination) = rules.destinations.of(&stream, peer) else {
        return tracing::debug!(%peer, "the destination of a connection is not known");
    };
    if rules.own_ports.contains(&destination.port()) {
        return tracing::debug!(%peer, %destination, "a connection to the proxy itself is refused");
    }
    let connection = serve(Accepted { transport: Transport::new(stream, peer), destination });
    tasks.spawn_local("connection", async move {
        connection.await;
        drop(permit);
    });
}

/// The value of a future that is ready now.
async fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|task| {
        std::task::Poll::Ready(match future.as_mut().poll(task) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

fn is_clients_doing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::LocalSet;

    use super::*;

    struct Trial {
        address: SocketAddr,
        tasks: Tasks,
        trigger: daemon::drain::Trigger,
        open: Open,
    }

    /// A server that greets with the destination and closes after it has read to the end.
    fn start(destinations: Destinations, most: usize) -> Trial {
        let listener = bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let address = listener.local_addr().unwrap();
        let (tasks, (trigger, drain), open) = (Tasks::new(), daemon::drain::channel(), Open::new(most));
        let rules = Rules { destinations, own_ports: [15001, 15006], open: open.clone() };
        let serve = |accepted: Accepted| async move {
            let mut transport = accepted.transport;
            transport.write_all(accepted.destination.to_string().as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            let _ = transport.read_to_end(&mut rest).await;
        };
        tasks.spawn_local("accept", run(listener, rules, drain, tasks.clone(), serve));
        Trial { address, tasks, trigger, open }
    }

    async fn greeting(address: SocketAddr) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut bytes = [0; 64];
        let length = stream.read(&mut bytes).await.unwrap_or(0);
        (stream, String::from_utf8(bytes[..length].to_vec()).unwrap())
    }

    async fn until(condition: impl Fn() -> bool) {
        let wait = async {
            while !condition() {
                tokio::task::yield_now().await;
            }
        };
        clock::timeout(Duration::from_secs(5), wait).await.expect("the condition comes true");
    }

    #[tokio::test]
    async fn a_connection_is_served_with_its_destination() {
        let work = async {
            let trial = start(Destinations::all_to("10.96.0.7:9090".parse().unwrap()), 10);
            let (stream, text) = greeting(trial.address).await;
            assert_eq!(text, "10.96.0.7:9090");
            assert_eq!(trial.open.count(), 1);
            drop(stream);
            until(|| trial.open.count() == 0).await;
        };
        LocalSet::new().run_until(work).await;
    }

    #[tokio::test]
    async fn a_connection_to_the_proxys_own_port_is_refused() {
        let work = async {
            let trial = start(Destinations::all_to("192.0.2.1:15001".parse().unwrap()), 10);
            let (_stream, text) = greeting(trial.address).await;
            assert_eq!(text, "");
            until(|| trial.open.count() == 0).await;
        };
        LocalSet::new().run_until(work).await;
    }

    #[tokio::test]
    async fn connections_beyond_the_bound_are_refused_and_the_others_go_on() {
        let work = async {
            let trial = start(Destinations::all_to("10.0.0.1:80".parse().unwrap()), 1);
            let (first, text) = greeting(trial.address).await;
            assert_eq!(text, "10.0.0.1:80");
            let (_second, text) = greeting(trial.address).await;
            assert_eq!(text, "");
            drop(first);
            until(|| trial.open.count() == 0).await;
            let (_third, text) = greeting(trial.address).await;
            assert_eq!(text, "10.0.0.1:80");
        };
        LocalSet::new().run_until(work).await;
    }

    #[tokio::test]
    async fn without_capture_the_kernel_names_the_address_that_was_reached() {
        let work = async {
            let trial = start(Destinations::Kernel, 10);
            let (_stream, text) = greeting(trial.address).await;
            assert_eq!(text, trial.address.to_string());
        };
        LocalSet::new().run_until(work).await;
    }

    #[tokio::test]
    async fn a_drain_serves_what_was_accepted_and_resets_nobody() {
        let work = async {
            let trial = start(Destinations::all_to("10.0.0.1:80".parse().unwrap()), 10);
            let (mut open, _) = greeting(trial.address).await;
            trial.trigger.begin();
            tokio::task::yield_now().await;
            open.write_all(b"still here").await.unwrap();
            assert_eq!(trial.open.count(), 1);
            drop(open);
            until(|| trial.open.count() == 0).await;
            assert!(trial.tasks.stop(Duration::from_secs(5)).await);
        };
        LocalSet::new().run_until(work).await;
    }
}
