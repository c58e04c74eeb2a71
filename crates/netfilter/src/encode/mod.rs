//! A table as one netlink batch: either all of it happens, or nothing.

mod attribute;
mod expression;
mod set;
#[cfg(test)]
mod tests;

pub(crate) use attribute::{Head, Writer, attributes};
use expression::Expressions;

use crate::{Chain, Expression, Family, Hook, Kind, Point, Policy, Rule, Table};

/// nf_tables' half of a message type.
pub(crate) const SUBSYSTEM: u16 = 10;
pub(crate) const GET_TABLE: u16 = 1;
const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const NEW_SET: u16 = 9;
const NEW_ELEMENTS: u16 = 12;

const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;

pub(crate) const REQUEST: u16 = 1;
pub(crate) const DUMP: u16 = 0x300;
const ACKNOWLEDGE: u16 = 4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

/// Messages, and for each of them which part of the table it carries.
#[derive(Debug)]
pub(crate) struct Batch {
    writer: Writer,
    family: u8,
    /// By sequence number.
    pub(crate) parts: Vec<Part>,
}

/// What a refused message was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) name: String,
    /// The kernel module that brings it, if it is not nf_tables itself.
    pub(crate) module: Option<&'static str>,
}

impl Batch {
    /// Replaces the table: the first message makes sure that there is one to delete.
    pub(crate) fn replace(table: &Table) -> Self {
        let mut batch = Self::removal(table.family, &table.name);
        batch.table_message(NEW_TABLE, &table.name);
        for chain in &table.chains {
            batch.chain(&table.name, chain);
        }
        let mut sets = 0;
        for chain in &table.chains {
            for (index, rule) in chain.rules.iter().enumerate() {
                let name = format!(
                    "table {}, chain {}, rule {} ({rule})",
                    table.name,
                    chain.name,
                    index + 1
                );
                batch.rule(RulePlace { table, chain, name }, rule, &mut sets);
            }
        }
        batch
    }

    /// Deletes the table, whether or not it exists.
    pub(crate) fn removal(family: Family, name: &str) -> Self {
        let mut batch = Self {
            writer: Writer::default(),
            family: family_number(family),
            parts: Vec::new(),
        };
        batch.bracket(BATCH_BEGIN);
        batch.table_message(NEW_TABLE, name);
        batch.table_message(DELETE_TABLE, name);
        batch
    }

    /// The bytes to send. Only the last message asks for an answer, and failures answer unasked: silence plus this one
    /// acknowledgement is success.
    pub(crate) fn finish(mut self) -> (Vec<u8>, Vec<Part>) {
        self.bracket(BATCH_END);
        let last = last_but_one(&self.writer.bytes);
        let flags =
            u16::from_ne_bytes([self.writer.bytes[last + 6], self.writer.bytes[last + 7]]) | ACKNOWLEDGE;
        self.writer.bytes[last + 6..last + 8].copy_from_slice(&flags.to_ne_bytes());
        (self.writer.bytes, self.parts)
    }

    fn bracket(&mut self, kind: u16) {
        let head = Head {
            kind,
            flags: REQUEST,
            sequence: self.next("the transaction".to_owned(), Some("nf_tables")),
            family: 0,
            resource: SUBSYSTEM,
        };
        self.writer.message(head, |_| {});
    }

    fn next(&mut self, name: String, module: Option<&'static str>) -> u32 {
        self.parts.push(Part { name, module });
        u32::try_from(self.parts.len() - 1).expect("a batch has far fewer than 2^32 messages")
    }

    fn message(&mut self, kind: u16, flags: u16, part: Part, content: impl FnOnce(&mut Writer)) {
        let head = Head {
            kind: (SUBSYSTEM << 8) | kind,
            flags: REQUEST | flags,
            sequence: self.next(part.name, part.module),
            family: self.family,
            resource: 0,
        };
        self.writer.message(head, content);
    }

    fn table_message(&mut self, kind: u16, name: &str) {
        let flags = if kind == NEW_TABLE { CREATE } else { 0 };
        let part = Part {
            name: format!("table {name}"),
            module: Some("nf_tables"),
        };
        self.message(kind, flags, part, |out| out.string(1, name));
    }

    fn chain(&mut self, table: &str, chain: &Chain) {
        let part = Part {
            name: format!("table {table}, chain {}", chain.name),
            module: chain.hook.and_then(|hook| match hook.kind {
                Kind::Nat => Some("nft_chain_nat"),
                Kind::Filter => None,
            }),
        };
        self.message(NEW_CHAIN, CREATE, part, |out| {
            out.string(1, table);
            out.string(3, &chain.name);
            if let Some(hook) = chain.hook {
                write_hook(hook, out);
            }
        });
    }

    fn rule(&mut self, place: RulePlace<'_>, rule: &Rule, sets_before: &mut usize) {
        let RulePlace { table, chain, name } = place;
        // Ids count on through the batch, so that sets of earlier rules keep theirs.
        let mut sets = Vec::new();
        let mut expressions = Expressions {
            out: Writer::default(),
            sets: &mut sets,
            first_set: *sets_before,
            family: table.family,
        };
        for expression in &rule.expressions {
            expressions.add(expression);
        }
        let body = expressions.out.bytes;
        *sets_before += sets.len();
        let part = Part {
            name,
            module: rule.expressions.iter().find_map(module),
        };
        for set in &sets {
            self.message(NEW_SET, CREATE, part.clone(), |out| set.declare(&table.name, out));
            for chunk in set.chunks() {
                self.message(NEW_ELEMENTS, CREATE, part.clone(), |out| {
                    set.fill(&table.name, chunk, out)
                });
            }
        }
        self.message(NEW_RULE, CREATE | APPEND, part, |out| {
            out.string(1, &table.name);
            out.string(2, &chain.name);
            out.nested(4, |list| list.bytes.extend(&body));
            if let Some(comment) = &rule.comment {
                out.raw(7, &comment_bytes(comment));
            }
        });
    }
}

struct RulePlace<'a> {
    table: &'a Table,
    chain: &'a Chain,
    name: String,
}

fn write_hook(hook: Hook, out: &mut Writer) {
    let point = match hook.point {
        Point::Prerouting => 0,
        Point::Input => 1,
        Point::Forward => 2,
        Point::Output => 3,
        Point::Postrouting => 4,
    };
    out.nested(4, |inner| {
        inner.u32(1, point);
        inner.i32(2, hook.priority);
    });
    out.u32(5, u32::from(hook.policy == Policy::Accept));
    out.string(
        7,
        match hook.kind {
            Kind::Filter => "filter",
            Kind::Nat => "nat",
        },
    );
}

/// The kernel module that an expression needs beyond nf_tables.
fn module(expression: &Expression) -> Option<&'static str> {
    match expression {
        Expression::ConnectionState(_) | Expression::DestinationTranslated => Some("nft_ct"),
        Expression::Redirect(_) => Some("nft_redir"),
        Expression::Dnat(targets, crate::Pick::Random) if targets.len() > 1 => Some("nft_numgen"),
        Expression::Dnat(targets, crate::Pick::BySource) if targets.len() > 1 => Some("nft_hash"),
        Expression::Dnat(..) => Some("nft_nat"),
        Expression::Masquerade => Some("nft_masq"),
        Expression::Reject(_) => Some("nft_reject_inet"),
        _ => None,
    }
}

pub(crate) fn family_number(family: Family) -> u8 {
    match family {
        Family::Inet => 1,
        Family::Ipv4 => 2,
        Family::Ipv6 => 10,
    }
}

pub(crate) fn family_of_number(number: u8) -> Option<Family> {
    [Family::Inet, Family::Ipv4, Family::Ipv6]
        .into_iter()
        .find(|family| family_number(*family) == number)
}

/// Type 0 (a comment), length, and the text with its NUL, as `nft` keeps it in a rule's user data.
fn comment_bytes(comment: &str) -> Vec<u8> {
    let mut end = comment.len().min(120);
    while !comment.is_char_boundary(end) {
        end -= 1;
    }
    let text = &comment.as_bytes()[..end];
    let length = u8::try_from(text.len() + 1).expect("at most 121");
    [&[0, length], text, &[0]].concat()
}

/// Where the message before the last one starts.
fn last_but_one(bytes: &[u8]) -> usize {
    let (mut before, mut at) = (0, 0);
    loop {
        let length = u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
        if at + length >= bytes.len() {
            return before;
        }
        (before, at) = (at, at + length);
    }
}
