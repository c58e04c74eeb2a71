//! The routed pod network: no bridge, one /32 per pod.
//!
//! The node carries 10.244.0.1; each pod has a veth whose node end has a route to the pod's address, and in the pod
//! everything goes to 10.244.0.1 over `eth0`. Links and routes vanish with the pod's network namespace.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::Ipv4Addr;

use super::netlink::{Netlink, Route, index};

/// The node's own address: API server, DNS, and the pods' way out.
pub(crate) const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);

/// Addresses of services: they exist in rules only.
const SERVICES: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 96, 0, 0), 16);

/// How many addresses rest after use, so that nobody's connection ends at a stranger; but never so many that a small
/// range runs dry.
const RESTING: u32 = 4096;

/// Loopback and forwarding of the node's namespace; before anything listens. `others` are addresses of further
/// simulated nodes.
pub(crate) fn prepare_node(others: &[Ipv4Addr]) -> io::Result<()> {
    let netlink = Netlink::open()?;
    let loopback = index("lo")?;
    netlink.set_up(loopback)?;
    netlink.add_address(loopback, NODE_ADDRESS)?;
    for address in others {
        netlink.add_address(loopback, *address)?;
    }
    // Without a route that covers it, `connect` to a service fails before the rules that translate it are asked.
    netlink.add_route(&Route {
        to: SERVICES,
        via: None,
        link: loopback,
        source: Some(NODE_ADDRESS),
    })?;
    sysctl("net.ipv4.ip_forward", "1")
}

/// The node's end of a pod's link; the pod's end arrives in the namespace of process `pid` as `eth0`.
pub(crate) fn connect_pod(address: Ipv4Addr, pid: u32) -> io::Result<()> {
    let netlink = Netlink::open()?;
    let [.., high, low] = address.octets();
    let name = format!("pod{high}-{low}");
    netlink.add_pair(&name, "eth0", pid)?;
    let link = index(&name)?;
    netlink.add_address(link, NODE_ADDRESS)?;
    netlink.set_up(link)?;
    netlink.add_route(&Route {
        to: (address, 32),
        via: None,
        link,
        source: Some(NODE_ADDRESS),
    })
}

/// The pod's end; called in the pod's namespace.
pub(crate) fn configure_pod(address: Ipv4Addr) -> io::Result<()> {
    let netlink = Netlink::open()?;
    netlink.set_up(index("lo")?)?;
    let link = index("eth0")?;
    netlink.add_address(link, address)?;
    netlink.set_up(link)?;
    netlink.add_route(&Route {
        to: (NODE_ADDRESS, 32),
        via: None,
        link,
        source: Some(address),
    })?;
    netlink.add_route(&Route {
        to: (Ipv4Addr::UNSPECIFIED, 0),
        via: Some(NODE_ADDRESS),
        link,
        source: Some(address),
    })
}

/// Sets a kernel parameter of the caller's namespaces.
pub(crate) fn sysctl(name: &str, value: &str) -> io::Result<()> {
    let path = std::path::Path::new("/proc/sys").join(name.replace('.', "/"));
    std::fs::write(path, value)
}

/// Which addresses pods have. One that was given back rests before it is given out again.
#[derive(Debug)]
pub(crate) struct Addresses {
    first: u32,
    last: u32,
    next: u32,
    used: HashSet<Ipv4Addr>,
    resting: VecDeque<Ipv4Addr>,
}

impl Addresses {
    /// All from the first to the last.
    pub(crate) fn of((first, last): (Ipv4Addr, Ipv4Addr)) -> Self {
        let (first, last) = (u32::from(first), u32::from(last));
        Self {
            first,
            last,
            next: first,
            used: HashSet::new(),
            resting: VecDeque::new(),
        }
    }

    /// An address that nobody has or lately had; `None` when there are no more.
    pub(crate) fn take(&mut self) -> Option<Ipv4Addr> {
        for _ in self.first..=self.last {
            let candidate = Ipv4Addr::from(self.next);
            self.next = if self.next == self.last {
                self.first
            } else {
                self.next + 1
            };
            if !self.resting.contains(&candidate) && self.used.insert(candidate) {
                return Some(candidate);
            }
        }
        None
    }

    pub(crate) fn give_back(&mut self, address: Ipv4Addr) {
        if self.used.remove(&address) {
            self.resting.push_back(address);
            let most = RESTING.min((self.last - self.first) / 4);
            if self.resting.len() > most as usize {
                self.resting.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_pods() -> Addresses {
        Addresses::of((Ipv4Addr::new(10, 244, 0, 2), Ipv4Addr::new(10, 244, 255, 254)))
    }

    #[test]
    fn an_address_is_not_given_out_twice_nor_again_at_once() {
        let mut addresses = all_pods();
        let first = addresses.take().unwrap();
        assert_eq!(first, Ipv4Addr::new(10, 244, 0, 2));
        let second = addresses.take().unwrap();
        assert_ne!(first, second);
        addresses.give_back(first);
        let later: Vec<_> = (0..RESTING).map(|_| addresses.take().unwrap()).collect();
        assert!(!later.contains(&first) && !later.contains(&second));
    }

    #[test]
    fn addresses_come_to_an_end_and_back() {
        let mut addresses = all_pods();
        let all: Vec<_> = std::iter::from_fn(|| addresses.take()).collect();
        assert_eq!(all.len(), 65_533);
        for address in &all[..=RESTING as usize] {
            addresses.give_back(*address);
        }
        assert_eq!(addresses.take(), Some(all[0]));
    }
}
