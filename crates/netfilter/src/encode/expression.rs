//! Expressions as the kernel's small register machine wants them: load a field into register 1, then compare it.
//!
//! `nft --debug=netlink` prints the same steps for the same rule.

use std::net::IpAddr;

use super::attribute::Writer;
use super::set::{Set, SetKind};
use crate::{Expression, Family, Is, Pick, Prefix, Protocol, Verdict};

/// Where fields go. Register 1 is 16 bytes; 9 is its second four bytes, which is where a looked-up port lands.
const REGISTER: u32 = 1;
const REGISTER_TWO: u32 = 2;
const REGISTER_SECOND_WORD: u32 = 9;

const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;

/// `enum nft_meta_keys`.
mod meta {
    pub(super) const MARK: u32 = 3;
    pub(super) const INPUT_INTERFACE: u32 = 6;
    pub(super) const OUTPUT_INTERFACE: u32 = 7;
    pub(super) const USER: u32 = 10;
    pub(super) const GROUP: u32 = 11;
    pub(super) const NETWORK_PROTOCOL: u32 = 15;
    pub(super) const TRANSPORT_PROTOCOL: u32 = 16;
}

/// `enum nft_payload_bases`.
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;

/// The writer of one rule's expressions, and the anonymous sets that they need before the rule.
pub(super) struct Expressions<'a> {
    pub(super) out: Writer,
    pub(super) sets: &'a mut Vec<Set>,
    /// How many sets the batch has before this rule.
    pub(super) first_set: usize,
    pub(super) family: Family,
}

impl Expressions<'_> {
    pub(super) fn add(&mut self, expression: &Expression) {
        match expression {
            Expression::InputInterface(is) => self.interface(meta::INPUT_INTERFACE, is),
            Expression::OutputInterface(is) => self.interface(meta::OUTPUT_INTERFACE, is),
            Expression::Protocol(is) => self.transport(is),
            Expression::Source(is) => self.address(is, 12, 8),
            Expression::Destination(is) => self.address(is, 16, 24),
            Expression::Pair(pairs) => {
                self.network_protocol(true);
                self.load_payload(NETWORK_HEADER, 12, 8);
                let keys = pairs
                    .iter()
                    .map(|(from, to)| [from.octets(), to.octets()].concat());
                self.in_set(SetKind::AddressPair, keys.collect());
            }
            Expression::SourcePort(protocol, is) => self.port(*protocol, is, 0),
            Expression::DestinationPort(protocol, is) => self.port(*protocol, is, 2),
            Expression::User(is) => self.number(meta::USER, is),
            Expression::Group(is) => self.number(meta::GROUP, is),
            Expression::Mark(is) => self.number(meta::MARK, is),
            Expression::ConnectionState(states) => {
                self.conntrack_bits(0, states.iter().fold(0, |bits, state| bits | *state as u32));
            }
            Expression::DestinationTranslated => self.conntrack_bits(2, 0x20),
            Expression::Counter => self.step("counter", |_| {}),
            Expression::Redirect(port) => self.redirect(*port),
            Expression::Dnat(targets, pick) => self.dnat(targets, *pick),
            Expression::Masquerade => self.step("masq", |_| {}),
            Expression::Reject(protocol) => self.reject(*protocol),
            Expression::Verdict(verdict) => self.verdict(verdict),
        }
    }

    fn step(&mut self, name: &str, content: impl FnOnce(&mut Writer)) {
        self.out.nested(1, |element| {
            element.string(1, name);
            element.nested(2, content);
        });
    }

    fn load_meta(&mut self, key: u32) {
        self.step("meta", |out| {
            out.u32(1, REGISTER);
            out.u32(2, key);
        });
    }

    fn load_payload(&mut self, base: u32, offset: u32, length: u32) {
        self.step("payload", |out| {
            out.u32(1, REGISTER);
            out.u32(2, base);
            out.u32(3, offset);
            out.u32(4, length);
        });
    }

    fn load_immediate(&mut self, register: u32, value: &[u8]) {
        self.step("immediate", |out| {
            out.u32(1, register);
            out.nested(2, |data| data.raw(1, value));
        });
    }

    fn compare(&mut self, operator: u32, value: &[u8]) {
        self.step("cmp", |out| {
            out.u32(1, REGISTER);
            out.u32(2, operator);
            out.nested(3, |data| data.raw(1, value));
        });
    }

    fn keep_bits(&mut self, mask: &[u8]) {
        self.step("bitwise", |out| {
            out.u32(1, REGISTER);
            out.u32(2, REGISTER);
            out.u32(3, u32::try_from(mask.len()).expect("masks are at most 16 bytes"));
            out.nested(4, |data| data.raw(1, mask));
            out.nested(5, |data| data.raw(1, &vec![0; mask.len()]));
        });
    }

    fn in_set(&mut self, kind: SetKind, keys: Vec<Vec<u8>>) {
        let set = Set::of_keys(self.first_set + self.sets.len(), kind, keys);
        self.step("lookup", |out| {
            out.string(1, set.name());
            out.u32(2, REGISTER);
            out.u32(4, set.id);
        });
        self.sets.push(set);
    }

    /// Compares register 1 with what `bytes` makes of the wanted values.
    fn test<T>(&mut self, is: &Is<T>, kind: SetKind, bytes: impl Fn(&T) -> Vec<u8>) {
        match is {
            Is::Equal(value) => self.compare(EQUAL, &bytes(value)),
            Is::Not(value) => self.compare(NOT_EQUAL, &bytes(value)),
            Is::In(values) => self.in_set(kind, values.iter().map(bytes).collect()),
        }
    }

    fn interface(&mut self, key: u32, is: &Is<String>) {
        self.load_meta(key);
        self.test(is, SetKind::Interface, |name| {
            let mut bytes = name.as_bytes().to_vec();
            bytes.resize(16, 0);
            bytes
        });
    }

    fn number(&mut self, key: u32, is: &Is<u32>) {
        self.load_meta(key);
        self.test(is, SetKind::Number, |number| number.to_ne_bytes().to_vec());
    }

    fn transport(&mut self, is: &Is<Protocol>) {
        self.load_meta(meta::TRANSPORT_PROTOCOL);
        self.test(is, SetKind::Protocol, |protocol| vec![*protocol as u8]);
    }

    fn port(&mut self, protocol: Protocol, is: &Is<u16>, offset: u32) {
        self.transport(&Is::Equal(protocol));
        self.load_payload(TRANSPORT_HEADER, offset, 2);
        self.test(is, SetKind::Port, |port| port.to_be_bytes().to_vec());
    }

    /// In a table for both families, a test on an address must first ask which family the packet has.
    fn network_protocol(&mut self, is_ipv4: bool) {
        if self.family == Family::Inet {
            self.load_meta(meta::NETWORK_PROTOCOL);
            self.compare(EQUAL, &[if is_ipv4 { 2 } else { 10 }]);
        }
    }

    fn address(&mut self, is: &Is<Prefix>, offset_ipv4: u32, offset_ipv6: u32) {
        let first = match is {
            Is::Equal(prefix) | Is::Not(prefix) => Some(prefix),
            Is::In(prefixes) => prefixes.first(),
        };
        let Some(first) = first else {
            // One of none: no packet is that, whatever it is asked.
            return self.transport(&Is::In(Vec::new()));
        };
        let is_ipv4 = first.address.is_ipv4();
        self.network_protocol(is_ipv4);
        match is_ipv4 {
            true => self.load_payload(NETWORK_HEADER, offset_ipv4, 4),
            false => self.load_payload(NETWORK_HEADER, offset_ipv6, 16),
        }
        if !first.is_host() {
            self.keep_bits(&mask(*first));
        }
        let kind = if is_ipv4 { SetKind::Ipv4 } else { SetKind::Ipv6 };
        self.test(is, kind, |prefix| network(*prefix));
    }

    fn conntrack_bits(&mut self, key: u32, bits: u32) {
        self.step("ct", |out| {
            out.u32(1, REGISTER);
            out.u32(2, key);
        });
        self.keep_bits(&bits.to_ne_bytes());
        self.compare(NOT_EQUAL, &[0; 4]);
    }

    fn redirect(&mut self, port: u16) {
        self.load_immediate(REGISTER, &port.to_be_bytes());
        self.step("redir", |out| {
            out.u32(1, REGISTER);
            out.u32(2, REGISTER);
            out.u32(3, 2);
        });
    }

    fn dnat(&mut self, targets: &[std::net::SocketAddrV4], pick: Pick) {
        let port_register = match targets {
            [target] => {
                self.load_immediate(REGISTER, &target.ip().octets());
                self.load_immediate(REGISTER_TWO, &target.port().to_be_bytes());
                REGISTER_TWO
            }
            _ => {
                self.pick_number(pick, targets.len());
                let set = Set::numbered(self.first_set + self.sets.len(), targets);
                self.step("lookup", |out| {
                    out.string(1, set.name());
                    out.u32(2, REGISTER);
                    out.u32(3, REGISTER);
                    out.u32(4, set.id);
                });
                self.sets.push(set);
                REGISTER_SECOND_WORD
            }
        };
        self.step("nat", |out| {
            out.u32(1, 1);
            out.u32(2, 2);
            out.u32(3, REGISTER);
            out.u32(5, port_register);
        });
    }

    /// A number below `count` in register 1.
    fn pick_number(&mut self, pick: Pick, count: usize) {
        let count = u32::try_from(count).expect("there are fewer endpoints than addresses");
        match pick {
            Pick::Random => self.step("numgen", |out| {
                out.u32(1, REGISTER);
                out.u32(2, count);
                out.u32(3, 1);
                out.u32(4, 0);
            }),
            Pick::BySource => {
                self.load_payload(NETWORK_HEADER, 12, 4);
                self.step("hash", |out| {
                    out.u32(1, REGISTER);
                    out.u32(2, REGISTER);
                    out.u32(3, 4);
                    out.u32(4, count);
                    out.u32(5, 0);
                    out.u32(7, 0);
                });
            }
        }
    }

    fn reject(&mut self, protocol: Protocol) {
        self.transport(&Is::Equal(protocol));
        // A reset, or "port unreachable" in the words of either family.
        let (kind, code) = match (protocol, self.family) {
            (Protocol::Tcp, _) => (1, 0),
            (Protocol::Udp, Family::Inet) => (2, 1),
            (Protocol::Udp, Family::Ipv4) => (0, 3),
            (Protocol::Udp, Family::Ipv6) => (0, 4),
        };
        self.step("reject", |out| {
            out.u32(1, kind);
            out.raw(2, &[code]);
        });
    }

    fn verdict(&mut self, verdict: &Verdict) {
        let (code, chain) = match verdict {
            Verdict::Drop => (0, None),
            Verdict::Accept => (1, None),
            Verdict::Jump(chain) => (-3, Some(chain)),
            Verdict::Return => (-5, None),
        };
        self.step("immediate", |out| {
            out.u32(1, 0);
            out.nested(2, |data| {
                data.nested(2, |verdict| {
                    verdict.i32(1, code);
                    if let Some(chain) = chain {
                        verdict.string(2, chain);
                    }
                });
            });
        });
    }
}

/// The bits of a prefix that count.
fn mask(prefix: Prefix) -> Vec<u8> {
    let bytes = if prefix.address.is_ipv4() { 4 } else { 16 };
    (0..bytes)
        .map(|byte| {
            let bits = prefix.length.saturating_sub(byte * 8).min(8);
            u8::MAX.checked_shl(u32::from(8 - bits)).unwrap_or(0)
        })
        .collect()
}

/// The address with the bits that do not count cleared: the kernel compares all of them.
fn network(prefix: Prefix) -> Vec<u8> {
    let octets = match prefix.address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    octets
        .iter()
        .zip(mask(prefix))
        .map(|(octet, mask)| octet & mask)
        .collect()
}
