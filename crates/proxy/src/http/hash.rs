//! The key of a consistent choice, from a request: the same key chooses the same endpoint, as it does in Envoy.
//!
//! A key is made of all policies of the route that find something; without any, the choice is random. A cookie that
//! is not there is made, if it is to live for some time: the same one for all requests of a connection.

use std::net::{IpAddr, SocketAddr};

use snapshot::load_balancing::HashCookie;
use snapshot::{HashKey, HashPolicy};

use super::codec::Request;
use crate::listen::accept::Ends;
use crate::upstream::load_balancing::xxhash;

/// A key, and what the client must be told to have it again.
#[derive(Debug, Default)]
pub(crate) struct Key {
    pub(crate) value: Option<u64>,
    /// Values of `set-cookie`.
    pub(crate) cookies: Vec<String>,
}

/// The key of a request.
pub(crate) fn key(policies: &[HashPolicy], request: &Request, ends: &Ends) -> Key {
    let mut key = Key::default();
    for policy in policies {
        if let Some(found) = find(&policy.key, request, ends, &mut key.cookies) {
            // Turned, so that the same policy twice does not cancel itself out.
            key.value = Some(key.value.unwrap_or(0).rotate_left(1) ^ found);
        }
        if policy.terminal && key.value.is_some() {
            break;
        }
    }
    key
}

/// The key of a client.
pub(crate) fn of_address(address: IpAddr) -> u64 {
    xxhash::hash(address.to_string().as_bytes())
}

fn find(key: &HashKey, request: &Request, ends: &Ends, cookies: &mut Vec<String>) -> Option<u64> {
    match key {
        HashKey::Header(name) => of_header(name, request),
        HashKey::SourceAddress => Some(of_address(ends.peer.ip())),
        HashKey::QueryParameter(name) => {
            query_parameter(&request.path, name).map(|value| xxhash::hash(value.as_bytes()))
        }
        HashKey::Cookie(cookie) => match cookie_value(request, &cookie.name) {
            Some(value) => Some(xxhash::hash(value)),
            None => {
                let ttl = cookie.ttl?;
                let value = format!("{:016x}", of_ends(ends.peer, ends.destination));
                cookies.push(set_cookie(cookie, &value, ttl.as_secs()));
                Some(xxhash::hash(value.as_bytes()))
            }
        },
    }
}

/// All values of the header, in whatever order they came.
fn of_header(name: &str, request: &Request) -> Option<u64> {
    match name {
        ":authority" | "host" => return Some(xxhash::hash(request.authority.as_bytes())),
        ":path" => return Some(xxhash::hash(request.path.as_bytes())),
        ":method" => return Some(xxhash::hash(request.method.as_str().as_bytes())),
        ":scheme" => return Some(xxhash::hash(request.scheme.as_bytes())),
        _ => {}
    }
    let mut values = request.fields.all(name);
    let first = values.next()?;
    let Some(second) = values.next() else {
        return Some(xxhash::hash(first));
    };
    let mut all = vec![first, second];
    all.extend(values);
    all.sort_unstable();
    Some(all.iter().fold(0, |seed, value| xxhash::seeded(value, seed)))
}

/// The first parameter of that name, as it is written.
fn query_parameter<'r>(path: &'r str, name: &str) -> Option<&'r str> {
    let (_, query) = path.split_once('?')?;
    let query = query.split('#').next().unwrap_or(query);
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

/// The first cookie of that name, without quotes; an empty one is none.
fn cookie_value<'r>(request: &'r Request, name: &str) -> Option<&'r [u8]> {
    let pairs = request
        .fields
        .all("cookie")
        .flat_map(|line| line.split(|byte| *byte == b';'));
    let mut values = pairs.filter_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii());
        (key == name.as_bytes()).then_some(value)
    });
    let value = values.next()?;
    let bare = value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""))
        .unwrap_or(value);
    (!bare.is_empty()).then_some(bare)
}

fn of_ends(peer: SocketAddr, destination: SocketAddr) -> u64 {
    xxhash::hash(format!("{peer}{destination}").as_bytes())
}

fn set_cookie(cookie: &HashCookie, value: &str, seconds: u64) -> String {
    use std::fmt::Write;
    let mut text = format!("{}=\"{value}\"", cookie.name);
    let mut add = |part: std::fmt::Arguments<'_>| text.write_fmt(part).expect("a String takes all");
    if seconds > 0 {
        add(format_args!("; Max-Age={seconds}"));
    }
    if !cookie.path.is_empty() {
        add(format_args!("; Path={}", cookie.path));
    }
    for (name, value) in &cookie.attributes {
        match value.is_empty() {
            true => add(format_args!("; {name}")),
            false => add(format_args!("; {name}={value}")),
        }
    }
    add(format_args!("; HttpOnly"));
    text
}
