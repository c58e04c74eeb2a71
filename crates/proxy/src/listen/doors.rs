//! Which sockets are open, and whose connections come in through them.
//!
//! A sidecar has two doors from its start to its end: what capture redirects comes in there, whatever listeners its
//! Snapshot has. A proxy that runs from a bootstrap file opens one for each listener that wants a socket, when its
//! Snapshot names it, and shuts it when the Snapshot no longer does; connections that came in stay.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::Result;
use snapshot::{Direction, ListenerName, Snapshot};
use tokio::sync::{mpsc, watch};

use super::bind::bind;
use crate::active::Compiled;

/// Whose connections come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// Those that capture redirected; the original destination selects the listener.
    Captured(Direction),
    /// Those of one listener.
    Own(ListenerName),
}

/// An open door, as one worker gets it.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) door: Door,
    pub(crate) socket: TcpListener,
    /// Ends when the door is shut.
    pub(crate) shut: watch::Receiver<()>,
}

/// The doors of a proxy, and who keeps them open.
#[derive(Debug)]
pub(crate) struct Doors {
    workers: usize,
    open: BTreeMap<String, (SocketAddr, watch::Sender<()>)>,
    /// What has been opened and not given away yet: one list for each worker.
    fresh: Vec<Vec<Open>>,
}

impl Doors {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            workers,
            open: BTreeMap::new(),
            fresh: (0..workers).map(|_| Vec::new()).collect(),
        }
    }

    /// Opens a door. Where it is.
    pub(crate) fn open(&mut self, name: &str, door: &Door, address: SocketAddr) -> Result<SocketAddr> {
        let sockets = bind(address, self.workers)?;
        let bound = sockets[0].local_addr()?;
        let (hold, shut) = watch::channel(());
        for (list, socket) in self.fresh.iter_mut().zip(sockets) {
            list.push(Open {
                door: door.clone(),
                socket,
                shut: shut.clone(),
            });
        }
        self.open.insert(name.to_owned(), (address, hold));
        Ok(bound)
    }

    /// Opens and shuts doors so that each listener with a socket has one. Those that cannot be opened.
    pub(crate) fn follow(&mut self, snapshot: &Snapshot) -> Vec<(ListenerName, anyhow::Error)> {
        let wanted = |name: &str, address: SocketAddr| {
            let listener = snapshot.listeners.get(name);
            listener.is_some_and(|listener| listener.bind && listener.address == address)
        };
        self.open.retain(|name, (address, _)| wanted(name, *address));
        let listeners = snapshot.listeners.iter().filter(|listener| listener.bind);
        let mut failed = Vec::new();
        for listener in listeners {
            let name = listener.name.as_str();
            if self.open.contains_key(name) {
                continue;
            }
            if let Err(error) = self.open(name, &Door::Own(listener.name.clone()), listener.address) {
                failed.push((listener.name.clone(), error));
            }
        }
        failed
    }

    /// What was opened since it was asked last; one list for each worker.
    pub(crate) fn fresh(&mut self) -> Vec<Vec<Open>> {
        self.fresh.iter_mut().map(std::mem::take).collect()
    }

    /// Keeps the doors as they are until the end.
    pub(crate) async fn keep(self) {
        std::future::pending::<()>().await;
        drop(self);
    }

    /// Follows each Snapshot.
    pub(crate) async fn keep_following(
        mut self,
        mut compiled: watch::Receiver<Option<Arc<Compiled>>>,
        workers: Vec<mpsc::Sender<Open>>,
    ) {
        loop {
            let latest = compiled.borrow_and_update().clone();
            for (name, error) in latest
                .map(|latest| self.follow(&latest.snapshot))
                .unwrap_or_default()
            {
                tracing::error!(listener = %name, error = format!("{error:#}"), "cannot open a listener");
            }
            for (list, worker) in self.fresh().into_iter().zip(&workers) {
                for open in list {
                    let _ = worker.send(open).await;
                }
            }
            if compiled.changed().await.is_err() {
                return self.keep().await;
            }
        }
    }
}
