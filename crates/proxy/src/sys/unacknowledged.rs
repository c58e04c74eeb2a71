//! How many of the bytes written to a connection its peer has not confirmed (tcp(7): `SIOCOUTQ`).
#![allow(unsafe_code, reason = "no crate of ours has this request")]

use std::ffi::c_int;
use std::os::fd::AsFd;

use rustix::ioctl::{Getter, Opcode, ioctl};

/// `SIOCOUTQ`, which is `TIOCOUTQ`.
const SIOCOUTQ: Opcode = 0x5411;

/// Bytes that the peer's kernel has not confirmed; still known after the connection has failed. 0 when the kernel
/// does not say.
pub(crate) fn unacknowledged(socket: impl AsFd) -> u64 {
    // SAFETY: the kernel writes one int for this request.
    let counted = unsafe { ioctl(socket, Getter::<SIOCOUTQ, c_int>::new()) };
    counted.map_or(0, |bytes| u64::try_from(bytes).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn what_arrives_before_the_peer_is_gone_is_confirmed_and_what_arrives_after_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        stream.write_all(b"four").unwrap();
        let mut read = [0; 4];
        peer.read_exact(&mut read).unwrap();
        peer.write_all(b"x").unwrap();
        stream.read_exact(&mut read[..1]).unwrap();
        assert_eq!(unacknowledged(&stream), 0);
        drop(peer);
        assert_eq!(stream.read(&mut read).unwrap(), 0, "the end arrives first");
        stream.write_all(b"seven!!").unwrap();
        assert_eq!(unacknowledged(&stream), 7);
    }
}
