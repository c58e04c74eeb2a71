//! Tables and chains as plain data.

use crate::{Expression, Rule};

/// Everything under one name; applied and removed as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub family: Family,
    pub name: String,
    /// A chain must stand before the first rule that jumps to it is applied; the order among them is free.
    pub chains: Vec<Chain>,
}

/// Rules in order, either at a hook of the kernel or only reached by `jump`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    pub name: String,
    pub hook: Option<Hook>,
    pub rules: Vec<Rule>,
}

/// Where the kernel consults a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    pub kind: Kind,
    pub point: Point,
    /// Lower goes first; translation of destinations is at -100, of sources at 100, filters at 0.
    pub priority: i32,
    /// What becomes of a packet that no rule decided.
    pub policy: Policy,
}

/// Which packets a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet,
    Ipv4,
    Ipv6,
}

/// What a chain may do. A `Nat` chain sees only the first packet of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Filter,
    Nat,
}

/// A station on a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

/// The end of a chain at a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Accept,
    Drop,
}

impl Hook {
    /// Destination translation of packets that arrive.
    pub const NAT_PREROUTING: Self = Self::accepting(Kind::Nat, Point::Prerouting, -100);
    /// Destination translation of packets that this machine sends.
    pub const NAT_OUTPUT: Self = Self::accepting(Kind::Nat, Point::Output, -100);
    /// Source translation.
    pub const NAT_POSTROUTING: Self = Self::accepting(Kind::Nat, Point::Postrouting, 100);

    /// A hook whose policy is to accept.
    pub const fn accepting(kind: Kind, point: Point, priority: i32) -> Self {
        Self {
            kind,
            point,
            priority,
            policy: Policy::Accept,
        }
    }
}

impl Table {
    /// A table without chains.
    pub fn new(family: Family, name: impl Into<String>) -> Self {
        Self {
            family,
            name: name.into(),
            chains: Vec::new(),
        }
    }

    /// The same with one more chain.
    #[must_use]
    pub fn chain(mut self, chain: Chain) -> Self {
        self.chains.push(chain);
        self
    }
}

impl Chain {
    /// A chain at a hook.
    pub fn at(name: impl Into<String>, hook: Hook) -> Self {
        Self {
            name: name.into(),
            hook: Some(hook),
            rules: Vec::new(),
        }
    }

    /// A chain that only `jump` reaches.
    pub fn called(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            hook: None,
            rules: Vec::new(),
        }
    }

    /// The same with one more rule.
    #[must_use]
    pub fn rule(mut self, expressions: impl IntoIterator<Item = Expression>) -> Self {
        self.rules.push(Rule::new(expressions));
        self
    }
}
