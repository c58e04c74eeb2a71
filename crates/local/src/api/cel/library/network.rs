//! Kubernetes' URLs, IP addresses and ranges.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::eval::{Outcome, failed};
use super::super::value::Value;
use super::{Signature, text, yes};

pub(super) const FUNCTIONS: &[Signature] = &[
    ("url", false, 1..=1),
    ("isURL", false, 1..=1),
    ("getScheme", true, 0..=0),
    ("getHost", true, 0..=0),
    ("getHostname", true, 0..=0),
    ("getPort", true, 0..=0),
    ("getEscapedPath", true, 0..=0),
    ("getQuery", true, 0..=0),
    ("ip", false, 1..=1),
    ("ip", true, 0..=0),
    ("isIP", false, 1..=1),
    ("ip.isCanonical", false, 1..=1),
    ("family", true, 0..=0),
    ("isUnspecified", true, 0..=0),
    ("isLoopback", true, 0..=0),
    ("isLinkLocalMulticast", true, 0..=0),
    ("isLinkLocalUnicast", true, 0..=0),
    ("isGlobalUnicast", true, 0..=0),
    ("cidr", false, 1..=1),
    ("isCIDR", false, 1..=1),
    ("containsIP", true, 1..=1),
    ("containsCIDR", true, 1..=1),
    ("masked", true, 0..=0),
    ("prefixLength", true, 0..=0),
];

pub(super) fn call(name: &str, arguments: &[Value]) -> Option<Outcome> {
    use Value::{Cidr, Ip, String, Url};
    Some(match (name, arguments) {
        ("url", [String(given)]) => match url(given) {
            Some(url) => Ok(url),
            None => failed(format!(
                "URL parse error during conversion from string: parse \"{given}\": invalid URI for request"
            )),
        },
        ("isURL", [String(given)]) => yes(url(given).is_some()),
        ("getScheme", [Url(url, _)]) => text(url.scheme_str().unwrap_or_default()),
        ("getHost", [Url(url, _)]) => text(
            url.authority()
                .map_or("", |all| all.as_str().rsplit('@').next().unwrap_or_default()),
        ),
        ("getHostname", [Url(url, _)]) => text(url.host().unwrap_or_default().trim_matches(['[', ']'])),
        ("getPort", [Url(url, _)]) => text(url.port().map(|port| port.to_string()).unwrap_or_default()),
        ("getEscapedPath", [Url(url, given)]) => {
            let root = url.path() == "/" && !given.split('?').next().unwrap_or_default().ends_with('/');
            text(if root { "" } else { url.path() })
        }
        ("getQuery", [Url(url, _)]) => Ok(query(url.query().unwrap_or_default())),
        ("ip", [String(given)]) => match address(given) {
            Some(address) => Ok(Ip(address)),
            None => failed(format!(
                "IP Address {given:?} parse error during conversion from string: ParseAddr({given:?}): unable to parse IP"
            )),
        },
        ("ip", [Cidr(address, _)]) => Ok(Ip(*address)),
        ("isIP", [String(given)]) => yes(address(given).is_some()),
        ("ip.isCanonical", [String(given)]) => match address(given) {
            Some(address) => yes(address.to_string() == **given),
            None => failed(format!(
                "IP Address {given:?} parse error during conversion from string"
            )),
        },
        ("cidr", [String(given)]) => match cidr(given) {
            Some((address, length)) => Ok(Cidr(address, length)),
            None => failed(format!(
                "network address parse error during conversion from string: {given:?}"
            )),
        },
        ("isCIDR", [String(given)]) => yes(cidr(given).is_some()),
        ("prefixLength", [Cidr(_, length)]) => Ok(Value::Int(i64::from(*length))),
        ("masked", [Cidr(address, length)]) => Ok(Cidr(masked(*address, *length), *length)),
        ("containsIP", [Cidr(network, length), other]) => {
            let found = match other {
                Ip(address) => Some(*address),
                String(given) => address(given),
                _ => return None,
            };
            found.map_or_else(
                || failed("IP Address parse error"),
                |one| yes(contains((*network, *length), (one, u8::MAX))),
            )
        }
        ("containsCIDR", [Cidr(network, length), other]) => {
            let found = match other {
                Cidr(address, length) => Some((*address, *length)),
                String(given) => cidr(given),
                _ => return None,
            };
            found.map_or_else(
                || failed("network address parse error"),
                |one| yes(contains((*network, *length), one)),
            )
        }
        (name, [Ip(address)]) => return of_address(name, *address),
        _ => return None,
    })
}

fn of_address(name: &str, address: IpAddr) -> Option<Outcome> {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    Some(match name {
        "family" => Ok(Value::Int(if address.is_ipv4() { 4 } else { 6 })),
        "isUnspecified" => yes(address.is_unspecified()),
        "isLoopback" => yes(address.is_loopback()),
        "isLinkLocalUnicast" => yes(link_local),
        "isLinkLocalMulticast" => yes(match address {
            IpAddr::V4(address) => address.octets()[..3] == [224, 0, 0],
            IpAddr::V6(address) => address.segments()[0] & 0xff0f == 0xff02,
        }),
        "isGlobalUnicast" => {
            let broadcast = address == IpAddr::from([255, 255, 255, 255]);
            let special = address.is_unspecified() || address.is_loopback() || address.is_multicast();
            yes(!special && !link_local && !broadcast)
        }
        _ => return None,
    })
}

fn url(text: &str) -> Option<Value> {
    let uri: http::Uri = text.parse().ok()?;
    let absolute = uri.scheme().is_some() || text.starts_with('/');
    absolute.then(|| Value::Url(Arc::new(uri), Arc::from(text)))
}

/// Each parameter with all of its values.
fn query(text: &str) -> Value {
    let mut entries: Vec<(Value, Vec<Value>)> = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (Value::text(name), Value::text(value));
        match entries.iter_mut().find(|(key, _)| *key == name) {
            Some((_, values)) => values.push(value),
            None => entries.push((name, vec![value])),
        }
    }
    let entries = entries
        .into_iter()
        .map(|(key, values)| (key, Value::list(values)));
    Value::Map(Arc::new(entries.collect()))
}

fn address(text: &str) -> Option<IpAddr> {
    let address: IpAddr = text.parse().ok()?;
    // As in Kubernetes: an IPv4 address in the clothes of IPv6 is refused.
    match address {
        IpAddr::V6(six) if six.to_ipv4_mapped().is_some() => None,
        _ => Some(address),
    }
}

fn cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (start, length) = text.split_once('/')?;
    let start = address(start)?;
    let length: u8 = length.parse().ok()?;
    (length <= bits(start)).then_some((start, length))
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(four) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            IpAddr::from((u32::from(four) & mask).to_be_bytes())
        }
        IpAddr::V6(six) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            IpAddr::from((u128::from(six) & mask).to_be_bytes())
        }
    }
}

fn contains((network, length): (IpAddr, u8), (other, other_length): (IpAddr, u8)) -> bool {
    network.is_ipv4() == other.is_ipv4()
        && length <= other_length
        && masked(network, length) == masked(other, length)
}
