//! A network namespace for the calling thread, and for what it starts, with loopback up and nothing else.

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sched::{CloneFlags, unshare};

pub(crate) fn enter() {
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace of its own needs root");
    bring_loopback_up();
}

fn bring_loopback_up() {
    const NEW_LINK: u16 = 16;
    const REQUEST_AND_ACKNOWLEDGE: u16 = 5;
    let mut message = Vec::new();
    message.extend(32u32.to_ne_bytes());
    message.extend(NEW_LINK.to_ne_bytes());
    message.extend(REQUEST_AND_ACKNOWLEDGE.to_ne_bytes());
    message.extend([0; 8]);
    // ifinfomsg: index 1 is always loopback; flag 1 is IFF_UP, and only it changes.
    message.extend([0; 4]);
    for word in [1u32, 1, 1] {
        message.extend(word.to_ne_bytes());
    }
    let socket = Socket::new(NETLINK_ROUTE).expect("a routing socket");
    socket.send_to(&message, &SocketAddr::new(0, 0), 0).expect("send");
    let (answer, _) = socket.recv_from_full().expect("an answer");
    assert_eq!(answer[16..20], [0; 4], "loopback did not come up");
}
