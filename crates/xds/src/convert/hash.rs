//! Keys of consistent choices ⇄ `RouteAction.HashPolicy` and `type.v3.HashPolicy`.

use envoy_types::pb::envoy::config::route::v3::route_action as pb;
use envoy_types::pb::envoy::r#type::v3 as tcp;
use pb::hash_policy::{
    ConnectionProperties, Cookie, CookieAttribute, Header, PolicySpecifier, QueryParameter,
};
use snapshot::load_balancing::HashCookie;
use snapshot::{HashKey, HashPolicy};

use super::proto::{duration, refuse, to_duration};
use crate::rejected::Reason;

pub(super) fn to_proto(policy: &HashPolicy) -> pb::HashPolicy {
    let specifier = match &policy.key {
        HashKey::Header(name) => PolicySpecifier::Header(Header {
            header_name: name.clone(),
            regex_rewrite: None,
        }),
        HashKey::Cookie(cookie) => PolicySpecifier::Cookie(Cookie {
            name: cookie.name.clone(),
            ttl: cookie.ttl.and_then(duration),
            path: cookie.path.clone(),
            attributes: cookie
                .attributes
                .iter()
                .map(|(name, value)| CookieAttribute {
                    name: name.clone(),
                    value: value.clone(),
                })
                .collect(),
        }),
        HashKey::SourceAddress => {
            PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true })
        }
        HashKey::QueryParameter(name) => {
            PolicySpecifier::QueryParameter(QueryParameter { name: name.clone() })
        }
    };
    pb::HashPolicy {
        terminal: policy.terminal,
        policy_specifier: Some(specifier),
    }
}

/// A policy on properties of the connection that names none of them says nothing.
pub(super) fn from_proto(policies: Vec<pb::HashPolicy>) -> Result<Vec<HashPolicy>, Reason> {
    let one = |policy: pb::HashPolicy| {
        let key = match policy.policy_specifier {
            Some(PolicySpecifier::Header(header)) => {
                refuse!(header, "HashPolicy.Header", [regex_rewrite]);
                HashKey::Header(header.header_name.to_ascii_lowercase())
            }
            Some(PolicySpecifier::Cookie(cookie)) => HashKey::Cookie(HashCookie {
                name: cookie.name,
                ttl: cookie
                    .ttl
                    .map(|ttl| to_duration(ttl, "HashPolicy.Cookie.ttl"))
                    .transpose()?,
                path: cookie.path,
                attributes: cookie
                    .attributes
                    .into_iter()
                    .map(|attribute| (attribute.name, attribute.value))
                    .collect(),
            }),
            Some(PolicySpecifier::ConnectionProperties(properties)) if properties.source_ip => {
                HashKey::SourceAddress
            }
            Some(PolicySpecifier::ConnectionProperties(_)) => return Ok(None),
            Some(PolicySpecifier::QueryParameter(query)) => HashKey::QueryParameter(query.name),
            Some(PolicySpecifier::FilterState(_)) => {
                return Err(Reason::unsupported("HashPolicy.filter_state"));
            }
            None => return Err(Reason::missing("HashPolicy.policy_specifier")),
        };
        Ok(Some(HashPolicy {
            key,
            terminal: policy.terminal,
        }))
    };
    policies
        .into_iter()
        .filter_map(|policy| one(policy).transpose())
        .collect()
}

pub(super) fn source_address_to_proto(source_address: bool) -> Vec<tcp::HashPolicy> {
    let policy = source_address.then_some(tcp::HashPolicy {
        policy_specifier: Some(tcp::hash_policy::PolicySpecifier::SourceIp(
            tcp::hash_policy::SourceIp {},
        )),
    });
    policy.into_iter().collect()
}

pub(super) fn source_address_from_proto(policies: &[tcp::HashPolicy]) -> Result<bool, Reason> {
    match policies {
        [] => Ok(false),
        [
            tcp::HashPolicy {
                policy_specifier: Some(tcp::hash_policy::PolicySpecifier::SourceIp(_)),
            },
        ] => Ok(true),
        _ => Err(Reason::unsupported("TcpProxy.hash_policy other than source_ip")),
    }
}
