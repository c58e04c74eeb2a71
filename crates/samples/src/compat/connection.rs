//! The connection of a request: what is told of it, how many requests it brought, and deafness. With a packet filter the
//! kernel drops what comes in, so that neither pings nor probes of keepalive are answered; that needs `NET_ADMIN`.

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;
use socket2::{SockFilter, SockRef};

/// `BPF_RET`: of each packet nothing is kept.
const DROP_ALL: SockFilter = SockFilter::new(6, 0, 0, 0);

#[derive(Clone)]
pub(super) struct Connection {
    pub(super) tls: Option<Value>,
    /// What came before everything else.
    pub(super) proxy_protocol: Option<String>,
    requests: Rc<Cell<u32>>,
    /// Of connections in plain text.
    socket: Option<Rc<OwnedFd>>,
}

impl Connection {
    pub(super) fn plain(stream: &impl AsFd, proxy_protocol: Option<String>) -> Self {
        Self {
            tls: None,
            proxy_protocol,
            requests: Rc::default(),
            socket: stream.as_fd().try_clone_to_owned().ok().map(Rc::new),
        }
    }

    pub(super) fn secure(tls: Value) -> Self {
        Self {
            tls: Some(tls),
            proxy_protocol: None,
            requests: Rc::default(),
            socket: None,
        }
    }

    /// Whether this is the first.
    pub(super) fn begin_request(&self) -> bool {
        self.requests.replace(self.requests.get() + 1) == 0
    }

    pub(super) async fn hear_nothing(&self, time: Duration) {
        let socket = self.socket.as_deref().filter(make_deaf);
        tokio::time::sleep(time).await;
        if let Some(socket) = socket {
            let _ = SockRef::from(socket).detach_filter();
        }
    }
}

/// Whether it could be done.
pub(super) fn make_deaf(socket: &impl AsFd) -> bool {
    SockRef::from(socket).attach_filter(&[DROP_ALL]).is_ok()
}
