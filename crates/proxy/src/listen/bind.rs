//! Binds listening sockets: one for one worker, one each with `SO_REUSEPORT` for several.
//!
//! Sockets stay open until the process exits: closing one of a reuse-port group resets what waits in its queue.

use std::net::{SocketAddr, TcpListener};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted; the kernel caps it at `somaxconn`.
const BACKLOG: i32 = 4096;

/// `workers` sockets on one address. Port 0 means one free port for all.
pub(crate) fn bind(address: SocketAddr, workers: usize) -> Result<Vec<TcpListener>> {
    let first = socket(address, workers > 1).with_context(|| format!("cannot listen on {address}"))?;
    let bound = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(socket(bound, true).with_context(|| format!("cannot listen on {bound}"))?);
    }
    Ok(sockets)
}

fn socket(address: SocketAddr, shared: bool) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_one_port() {
        let sockets = bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let ports: Vec<_> = sockets
            .iter()
            .map(|socket| socket.local_addr().unwrap().port())
            .collect();
        assert_eq!(ports.len(), 3);
        assert!(ports.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn a_taken_port_is_named() {
        let taken = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let address = taken[0].local_addr().unwrap();
        assert_eq!(
            bind(address, 1).unwrap_err().to_string(),
            format!("cannot listen on {address}")
        );
    }
}
