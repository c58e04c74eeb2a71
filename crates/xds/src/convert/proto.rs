//! Protobuf's wrappers, and the check that nothing is skipped silently.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::google::protobuf as wire;
use envoy_types::util::pack_any;
use prost::{Message, Name};

use crate::rejected::Reason;

/// Refuses a message in which one of the listed fields is set, naming that field. The lists are the honest
/// record of what is not done: everything that changes behaviour and is not read belongs into one.
macro_rules! refuse {
    ($message:expr, $name:literal, [$($field:ident),+ $(,)?]) => {
        $(if $crate::convert::proto::Presence::is_set(&$message.$field) {
            return Err($crate::rejected::Reason::unsupported(concat!($name, ".", stringify!($field))));
        })+
    };
}
pub(super) use refuse;

/// Whether a field differs from protobuf's default.
pub(super) trait Presence {
    fn is_set(&self) -> bool;
}

impl<T> Presence for Option<T> {
    fn is_set(&self) -> bool {
        self.is_some()
    }
}
impl<T> Presence for Vec<T> {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}
impl<K, V, S: BuildHasher> Presence for HashMap<K, V, S> {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}
impl Presence for String {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}
impl Presence for bool {
    fn is_set(&self) -> bool {
        *self
    }
}
impl Presence for i32 {
    fn is_set(&self) -> bool {
        *self != 0
    }
}
impl Presence for u32 {
    fn is_set(&self) -> bool {
        *self != 0
    }
}

pub(super) fn yes() -> Option<wire::BoolValue> {
    Some(wire::BoolValue { value: true })
}

pub(super) fn no() -> Option<wire::BoolValue> {
    Some(wire::BoolValue { value: false })
}

pub(super) fn is(value: Option<wire::BoolValue>, default: bool) -> bool {
    value.map_or(default, |value| value.value)
}

pub(super) fn number(value: u32) -> Option<wire::UInt32Value> {
    Some(wire::UInt32Value { value })
}

/// Protobuf's longest duration is 10,000 years; anything beyond means forever and is cut to it.
pub(super) fn duration(value: Duration) -> Option<wire::Duration> {
    const LONGEST: u64 = 315_576_000_000;
    Some(wire::Duration {
        seconds: i64::try_from(value.as_secs().min(LONGEST)).expect("the bound above fits"),
        nanos: i32::try_from(value.subsec_nanos()).expect("less than 10^9"),
    })
}

pub(super) fn to_duration(value: wire::Duration, field: &str) -> Result<Duration, Reason> {
    let seconds = u64::try_from(value.seconds).ok();
    let nanos = u32::try_from(value.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000);
    match (seconds, nanos) {
        (Some(seconds), Some(nanos)) => Ok(Duration::new(seconds, nanos)),
        _ => Err(Reason::new(field, "is not a positive duration")),
    }
}

/// A limit for which Envoy says "none" with zero, and something else (`default`) by leaving it out.
pub(super) fn to_limit(
    value: Option<wire::Duration>,
    default: Duration,
    field: &str,
) -> Result<Option<Duration>, Reason> {
    let limit = value.map_or(Ok(default), |value| to_duration(value, field))?;
    Ok((!limit.is_zero()).then_some(limit))
}

pub(super) fn limit(value: Option<Duration>) -> Option<wire::Duration> {
    duration(value.unwrap_or_default())
}

pub(super) fn pack<M: Message + Name>(message: M) -> wire::Any {
    pack_any(message)
}

pub(super) fn unpack<M: Message + Name + Default>(any: &wire::Any, field: &str) -> Result<M, Reason> {
    if any.type_url != M::type_url() {
        return Err(Reason::new(
            field,
            format!("has the unknown type {:?}", any.type_url),
        ));
    }
    M::decode(any.value.as_slice()).map_err(|error| Reason::new(field, error.to_string()))
}

pub(super) fn socket_address(address: IpAddr, port: u16) -> core::SocketAddress {
    core::SocketAddress {
        address: address.to_string(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port.into())),
        ..Default::default()
    }
}

pub(super) fn address(address: SocketAddr) -> Option<core::Address> {
    Some(core::Address {
        address: Some(core::address::Address::SocketAddress(socket_address(
            address.ip(),
            address.port(),
        ))),
    })
}

pub(super) fn to_socket_address(address: &core::SocketAddress, field: &str) -> Result<SocketAddr, Reason> {
    refuse!(
        address,
        "SocketAddress",
        [protocol, resolver_name, network_namespace_filepath]
    );
    let ip: IpAddr = address
        .address
        .parse()
        .map_err(|_| Reason::new(field, format!("{:?} is not an IP address", address.address)))?;
    let port = match &address.port_specifier {
        None => Some(0),
        Some(core::socket_address::PortSpecifier::PortValue(port)) => u16::try_from(*port).ok(),
        Some(core::socket_address::PortSpecifier::NamedPort(_)) => None,
    };
    let port = port.ok_or_else(|| Reason::new(field, "has no valid port"))?;
    Ok(SocketAddr::new(ip, port))
}

pub(super) fn to_address(address: Option<core::Address>, field: &str) -> Result<SocketAddr, Reason> {
    match address.and_then(|address| address.address) {
        Some(core::address::Address::SocketAddress(address)) => to_socket_address(&address, field),
        Some(_) => Err(Reason::new(field, "is not a socket address")),
        None => Err(Reason::missing(field)),
    }
}

/// The stream that everything else comes over.
pub(super) fn aggregated() -> Option<core::ConfigSource> {
    Some(core::ConfigSource {
        initial_fetch_timeout: duration(Duration::ZERO),
        resource_api_version: core::ApiVersion::V3.into(),
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(
            core::AggregatedConfigSource {},
        )),
        ..Default::default()
    })
}

pub(super) fn check_aggregated(source: Option<core::ConfigSource>, field: &str) -> Result<(), Reason> {
    use core::config_source::ConfigSourceSpecifier::{Ads, Self_};
    match source.and_then(|source| source.config_source_specifier) {
        Some(Ads(_) | Self_(_)) => Ok(()),
        _ => Err(Reason::new(field, "must be ads")),
    }
}
