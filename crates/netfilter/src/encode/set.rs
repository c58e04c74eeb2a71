//! Anonymous sets and maps: they belong to one rule and vanish with it.

use std::net::SocketAddrV4;

use super::attribute::Writer;

/// What a set's keys are; nf_tables' number for it only serves `nft list`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetKind {
    Interface,
    Number,
    Protocol,
    Port,
    Ipv4,
    Ipv6,
    AddressPair,
    /// A map from 0, 1, 2 … to address and port.
    Targets,
}

/// A set that the rule refers to by its id in the batch.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) id: u32,
    kind: SetKind,
    elements: Vec<Element>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Element {
    key: Vec<u8>,
    /// In a map only.
    value: Option<Vec<u8>>,
}

/// Elements in one message: far below the 64 KiB that one attribute holds.
const CHUNK: usize = 500;

const ANONYMOUS: u32 = 1;
const CONSTANT: u32 = 2;
const MAP: u32 = 8;

impl Set {
    pub(super) fn of_keys(index: usize, kind: SetKind, keys: Vec<Vec<u8>>) -> Self {
        let mut elements: Vec<_> = keys.into_iter().map(|key| Element { key, value: None }).collect();
        // The kernel refuses a batch that adds a key twice to one set.
        elements.sort();
        elements.dedup();
        Self::new(index, kind, elements)
    }

    pub(super) fn numbered(index: usize, targets: &[SocketAddrV4]) -> Self {
        let elements = (0u32..).zip(targets).map(|(number, target)| {
            let port = target.port().to_be_bytes();
            // Each part of a value starts at a register, that is at four bytes.
            let value = [&target.ip().octets()[..], &port, &[0; 2]].concat();
            Element {
                key: number.to_ne_bytes().to_vec(),
                value: Some(value),
            }
        });
        Self::new(index, SetKind::Targets, elements.collect())
    }

    fn new(index: usize, kind: SetKind, elements: Vec<Element>) -> Self {
        let id = u32::try_from(index + 1).expect("a batch has far fewer than 2^32 sets");
        Self { id, kind, elements }
    }

    /// The kernel puts a number of its own in place of `%d`.
    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            SetKind::Targets => "__map%d",
            _ => "__set%d",
        }
    }

    /// The body of the message that declares it.
    pub(super) fn declare(&self, table: &str, out: &mut Writer) {
        let (key_type, key_length) = match self.kind {
            SetKind::Interface => (41, 16),
            SetKind::Number => (19, 4),
            SetKind::Protocol => (12, 1),
            SetKind::Port => (13, 2),
            SetKind::Ipv4 => (7, 4),
            SetKind::Ipv6 => (8, 16),
            SetKind::AddressPair => ((7 << 6) | 7, 8),
            SetKind::Targets => (4, 4),
        };
        let is_map = self.kind == SetKind::Targets;
        out.string(1, table);
        out.string(2, self.name());
        out.u32(3, ANONYMOUS | CONSTANT | if is_map { MAP } else { 0 });
        out.u32(4, key_type);
        out.u32(5, key_length);
        if is_map {
            out.u32(6, (7 << 6) | 13);
            out.u32(7, 8);
        }
        out.u32(10, self.id);
    }

    /// The bodies of the messages that fill it.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &[Element]> {
        self.elements.chunks(CHUNK)
    }

    pub(super) fn fill(&self, table: &str, chunk: &[Element], out: &mut Writer) {
        out.string(1, table);
        out.string(2, self.name());
        out.u32(4, self.id);
        out.nested(3, |list| {
            for Element { key, value } in chunk {
                list.nested(1, |element| {
                    element.nested(1, |data| data.raw(1, key));
                    if let Some(value) = value {
                        element.nested(2, |data| data.raw(1, value));
                    }
                });
            }
        });
    }
}
