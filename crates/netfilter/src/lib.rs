//! Packet rules of the Linux kernel (nf_tables), by netlink alone: no `nft` or `iptables` binary.
//!
//! A [`Table`] is plain data; [`apply`] makes it the kernel's in one transaction, so that a packet sees either the
//! old rules or the new ones and never half of both. Everything concerns the network namespace of the calling thread.
//! `Display` prints a table as `nft` would.
//!
//! This crate is the only one that speaks nf_tables (`linux/netfilter/nf_tables.h`).

mod encode;
mod error;
mod kernel;
mod rule;
mod table;
mod text;

pub use error::{Error, Hint};
pub use kernel::{TableName, apply, exists, list, remove};
pub use rule::{Expression, Is, Pick, Prefix, Protocol, Rule, State, Verdict};
pub use table::{Chain, Family, Hook, Kind, Point, Policy, Table};
