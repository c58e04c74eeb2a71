//! Bytes against the layouts of `linux/netfilter/nf_tables.h`, written out by hand. Little-endian machines only:
//! lengths and kinds are in host order.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::*;
use crate::{Pick, Protocol};

/// The expressions of one rule in an IPv4 table, as hex words of four bytes.
fn words(expressions: impl IntoIterator<Item = Expression>) -> String {
    let mut sets = Vec::new();
    let mut writer = Expressions {
        out: Writer::default(),
        sets: &mut sets,
        first_set: 0,
        family: Family::Ipv4,
    };
    for expression in expressions {
        writer.add(&expression);
    }
    hex(&writer.out.bytes)
}

fn hex(bytes: &[u8]) -> String {
    let words = bytes
        .chunks(4)
        .map(|word| word.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_redirect_loads_the_port_and_names_its_register() {
    let expected = "2c000180 0e000100 696d6d65 64696174 65000000 18000280 08000100 00000001 \
                    0c000280 06000100 3a990000 \
                    2c000180 0a000100 72656469 72000000 1c000280 08000100 00000001 \
                    08000200 00000001 08000300 00000002";
    assert_eq!(words([Expression::Redirect(15001)]), expected);
}

#[test]
fn a_return_is_an_immediate_verdict() {
    let expected = "30000180 0e000100 696d6d65 64696174 65000000 1c000280 08000100 00000000 \
                    10000280 0c000280 08000100 fffffffb";
    assert_eq!(words([Expression::leave()]), expected);
}

#[test]
fn a_prefix_is_masked_before_it_is_compared() {
    let prefix = crate::Prefix::new(Ipv4Addr::new(127, 1, 2, 3), 9);
    let text = words([Expression::destination(prefix)]);
    assert!(
        text.contains("08000300 00000010 08000400 00000004"),
        "offset 16, 4 bytes: {text}"
    );
    assert!(
        text.contains("0c000480 08000100 ff800000 0c000580 08000100 00000000"),
        "mask: {text}"
    );
    assert!(
        text.ends_with("08000200 00000000 0c000380 08000100 7f000000"),
        "network: {text}"
    );
}

#[test]
fn an_address_in_a_table_of_both_families_asks_for_the_family_first() {
    let mut sets = Vec::new();
    let mut writer = Expressions {
        out: Writer::default(),
        sets: &mut sets,
        first_set: 0,
        family: Family::Inet,
    };
    writer.add(&Expression::source(Ipv4Addr::LOCALHOST));
    let text = hex(&writer.out.bytes);
    assert!(text.starts_with("24000180 09000100 6d657461"), "meta: {text}");
    assert!(text.contains("08000200 0000000f"), "nfproto: {text}");
}

#[test]
fn targets_become_a_map_from_numbers_to_address_and_port() {
    let targets = [8080, 8081].map(|port| SocketAddrV4::new(Ipv4Addr::new(10, 244, 0, 2), port));
    let table = Table::new(Family::Ipv4, "t")
        .chain(Chain::at("c", Hook::NAT_PREROUTING).rule([Expression::Dnat(targets.to_vec(), Pick::Random)]));
    let text = hex(&Batch::replace(&table).finish().0);
    for (number, port) in [("00000000", "1f90"), ("01000000", "1f91")] {
        let element = format!("0c000180 08000100 {number} 10000280 0c000100 0af40002 {port}0000");
        assert!(text.contains(&element), "{element} in {text}");
    }
    let nat = "08000100 00000001 08000200 00000002 08000300 00000001 08000500 00000009";
    assert!(
        text.contains(nat),
        "address from register 1, port from register 9: {text}"
    );
}

#[test]
fn only_the_last_message_before_the_end_asks_for_an_answer() {
    let (bytes, parts) = Batch::removal(Family::Ipv4, "t").finish();
    let mut flags = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        flags.push(u16::from_ne_bytes([bytes[at + 6], bytes[at + 7]]));
        at += u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    }
    assert_eq!(flags, [REQUEST, REQUEST | CREATE, REQUEST | ACKNOWLEDGE, REQUEST]);
    assert_eq!(parts.len(), 4);
}

#[test]
fn tables_print_as_nft_prints_them() {
    let table = Table::new(Family::Inet, "mesh").chain(
        Chain::at("output", Hook::NAT_OUTPUT)
            .rule([
                Expression::output_interface("lo"),
                Expression::source(Ipv4Addr::new(127, 0, 0, 6)),
                Expression::leave(),
            ])
            .rule([
                Expression::destination_ports(Protocol::Tcp, [53, 54]),
                Expression::Redirect(15001),
            ]),
    );
    let expected = "table inet mesh {\n  chain output {\n    type nat hook output priority -100; policy accept;\n    \
                    oifname lo ip saddr 127.0.0.6 return\n    tcp dport { 53, 54 } redirect to :15001\n  }\n}\n";
    assert_eq!(table.to_string(), expected);
}
