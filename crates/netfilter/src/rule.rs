//! What a rule may ask and do, and the vocabulary that builds it.
//!
//! A rule reads from left to right: each expression that does not hold ends it, the last one acts. Expressions name
//! what `nft` calls them in their documentation.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

/// Conditions and, at the end, an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub expressions: Vec<Expression>,
    /// Shown by `nft list ruleset`; at most 120 bytes are kept.
    pub comment: Option<String>,
}

/// One step of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// `iifname`: the interface a packet came in by.
    InputInterface(Is<String>),
    /// `oifname`: the interface a packet goes out by.
    OutputInterface(Is<String>),
    /// `meta l4proto`.
    Protocol(Is<Protocol>),
    /// `ip saddr`, `ip6 saddr`.
    Source(Is<Prefix>),
    /// `ip daddr`, `ip6 daddr`.
    Destination(Is<Prefix>),
    /// `ip saddr . ip daddr { … }`: source and destination are one of these pairs.
    Pair(Vec<(Ipv4Addr, Ipv4Addr)>),
    /// `tcp sport`, `udp sport`.
    SourcePort(Protocol, Is<u16>),
    /// `tcp dport`, `udp dport`.
    DestinationPort(Protocol, Is<u16>),
    /// `meta skuid`: the user that owns the sending socket.
    User(Is<u32>),
    /// `meta skgid`: the group that owns the sending socket.
    Group(Is<u32>),
    /// `meta mark`: also what a socket set by `SO_MARK`.
    Mark(Is<u32>),
    /// `ct state`: one of these.
    ConnectionState(Vec<State>),
    /// `ct status dnat`: the connection's destination was translated.
    DestinationTranslated,
    /// `counter`.
    Counter,
    /// `redirect to :PORT`: to this machine. Nat chains at prerouting and output only.
    Redirect(u16),
    /// `dnat to`: to one of these. Nat chains at prerouting and output only; never empty.
    Dnat(Vec<SocketAddrV4>, Pick),
    /// `masquerade`: the source becomes the outgoing interface's address. Nat chains at postrouting only.
    Masquerade,
    /// `reject`: a TCP reset, or ICMP "port unreachable" for anything else.
    Reject(Protocol),
    /// What becomes of the packet.
    Verdict(Verdict),
}

/// A test on a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Is<T> {
    Equal(T),
    Not(T),
    /// One of several (an anonymous set). Prefixes in it must be single addresses of one family.
    In(Vec<T>),
}

/// How one of several targets is chosen for a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// Each as likely as the other.
    Random,
    /// By the source address: one client stays with one target as long as the list is the same.
    BySource,
}

/// Transport protocols by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp = 6,
    Udp = 17,
}

/// Conntrack's opinion of a packet, by its bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Invalid = 1,
    Established = 2,
    Related = 4,
    New = 8,
}

/// The end of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(String),
}

/// An address and how many of its bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    pub address: IpAddr,
    pub length: u8,
}

impl Prefix {
    /// The addresses that share `length` bits with `address`; more bits than there are mean all.
    pub fn new(address: impl Into<IpAddr>, length: u8) -> Self {
        let address = address.into();
        let bits = if address.is_ipv4() { 32 } else { 128 };
        Self {
            address,
            length: length.min(bits),
        }
    }

    /// Exactly one address.
    pub fn host(address: impl Into<IpAddr>) -> Self {
        Self::new(address, u8::MAX)
    }

    /// Whether it is exactly one address.
    pub fn is_host(self) -> bool {
        self.length == if self.address.is_ipv4() { 32 } else { 128 }
    }
}

impl<A: Into<IpAddr>> From<A> for Prefix {
    fn from(address: A) -> Self {
        Self::host(address)
    }
}

impl Rule {
    pub fn new(expressions: impl IntoIterator<Item = Expression>) -> Self {
        Self {
            expressions: expressions.into_iter().collect(),
            comment: None,
        }
    }

    /// The same with a comment.
    #[must_use]
    pub fn comment(mut self, text: impl Into<String>) -> Self {
        self.comment = Some(text.into());
        self
    }
}

impl Expression {
    pub fn input_interface(name: &str) -> Self {
        Self::InputInterface(Is::Equal(name.to_owned()))
    }

    pub fn output_interface(name: &str) -> Self {
        Self::OutputInterface(Is::Equal(name.to_owned()))
    }

    pub fn protocol(protocol: Protocol) -> Self {
        Self::Protocol(Is::Equal(protocol))
    }

    pub fn source(prefix: impl Into<Prefix>) -> Self {
        Self::Source(Is::Equal(prefix.into()))
    }

    pub fn destination(prefix: impl Into<Prefix>) -> Self {
        Self::Destination(Is::Equal(prefix.into()))
    }

    pub fn not_destination(prefix: impl Into<Prefix>) -> Self {
        Self::Destination(Is::Not(prefix.into()))
    }

    pub fn destination_port(protocol: Protocol, port: u16) -> Self {
        Self::DestinationPort(protocol, Is::Equal(port))
    }

    pub fn destination_ports(protocol: Protocol, ports: impl IntoIterator<Item = u16>) -> Self {
        Self::DestinationPort(protocol, Is::In(ports.into_iter().collect()))
    }

    pub fn user(id: u32) -> Self {
        Self::User(Is::Equal(id))
    }

    pub fn mark(mark: u32) -> Self {
        Self::Mark(Is::Equal(mark))
    }

    pub const fn accept() -> Self {
        Self::Verdict(Verdict::Accept)
    }

    pub const fn drop() -> Self {
        Self::Verdict(Verdict::Drop)
    }

    pub const fn leave() -> Self {
        Self::Verdict(Verdict::Return)
    }

    pub fn jump(chain: impl Into<String>) -> Self {
        Self::Verdict(Verdict::Jump(chain.into()))
    }
}
