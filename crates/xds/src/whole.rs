//! State-of-the-world discovery in terms of delta discovery, for clients that know only the former (gRPC): messages in,
//! messages out, no IO. Each request names everything that is wanted, each response holds everything there is.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#the-xds-transport-protocol>

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::config::core::v3 as core;
use prost::Message;

use crate::message::{Body, Request, Response, Status};

/// `envoy.service.discovery.v3.DiscoveryRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct WholeRequest {
    /// What the client has; the nonce says it better.
    #[prost(string, tag = "1")]
    pub version: String,
    /// Who asks; in the first message of a stream.
    #[prost(message, optional, tag = "2")]
    pub node: Option<core::Node>,
    /// All names wanted; none means all.
    #[prost(string, repeated, tag = "3")]
    pub names: Vec<String>,
    /// What kind this is about.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// The response that this one answers; empty when it answers none.
    #[prost(string, tag = "5")]
    pub response_nonce: String,
    /// Set when the response was refused.
    #[prost(message, optional, tag = "6")]
    pub error: Option<Status>,
}

/// `envoy.service.discovery.v3.DiscoveryResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct WholeResponse {
    /// Repeated by the client when it accepts.
    #[prost(string, tag = "1")]
    pub version: String,
    /// Everything that there is of what was asked for.
    #[prost(message, repeated, tag = "2")]
    pub resources: Vec<Body>,
    /// What kind this is about.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// To be repeated in the answer.
    #[prost(string, tag = "5")]
    pub nonce: String,
}

/// What a client has asked for, by kind.
#[derive(Debug, Default)]
pub struct Asked(BTreeMap<String, BTreeSet<String>>);

impl Asked {
    /// The same request as a change of what was asked for before.
    pub fn delta(&mut self, request: WholeRequest) -> Request {
        let names: BTreeSet<String> = request.names.into_iter().collect();
        let known = self.0.entry(request.type_url.clone()).or_default();
        let delta = Request {
            node: request.node,
            type_url: request.type_url,
            subscribe: names.difference(known).cloned().collect(),
            unsubscribe: known.difference(&names).cloned().collect(),
            response_nonce: request.response_nonce,
            error: request.error,
            ..Request::default()
        };
        *known = names;
        delta
    }
}

/// What a client was told, by kind and name.
#[derive(Debug, Default)]
pub struct Told(BTreeMap<String, BTreeMap<String, Body>>);

impl Told {
    /// A response with everything, from one with what has changed. What the client no longer wants may still be in it;
    /// clients pass over that.
    pub fn whole(&mut self, response: Response) -> WholeResponse {
        let known = self.0.entry(response.type_url.clone()).or_default();
        for resource in response.resources {
            known.extend(resource.body.map(|body| (resource.name, body)));
        }
        response.removed.iter().for_each(|name| drop(known.remove(name)));
        WholeResponse {
            version: response.system_version,
            resources: known.values().cloned().collect(),
            type_url: response.type_url,
            nonce: response.nonce,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Resource;

    fn request(names: &[&str], nonce: &str) -> WholeRequest {
        WholeRequest {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            type_url: "t".into(),
            response_nonce: nonce.into(),
            ..WholeRequest::default()
        }
    }

    #[test]
    fn only_what_is_new_or_no_longer_wanted_is_asked() {
        let mut asked = Asked::default();
        assert_eq!(asked.delta(request(&["a", "b"], "")).subscribe, ["a", "b"]);
        let acknowledged = asked.delta(request(&["a", "b"], "1"));
        assert!(acknowledged.subscribe.is_empty() && acknowledged.unsubscribe.is_empty());
        assert_eq!(acknowledged.response_nonce, "1");
        let changed = asked.delta(request(&["b", "c"], "1"));
        assert_eq!(
            (changed.subscribe, changed.unsubscribe),
            (vec!["c".to_owned()], vec!["a".to_owned()])
        );
    }

    #[test]
    fn each_response_holds_everything() {
        let resource = |name: &str| Resource {
            name: name.into(),
            body: Some(Body {
                type_url: name.into(),
                ..Body::default()
            }),
            ..Resource::default()
        };
        let names = |whole: WholeResponse| -> Vec<_> {
            whole.resources.into_iter().map(|body| body.type_url).collect()
        };
        let mut told = Told::default();
        let response = |resources: Vec<Resource>, removed: &[&str]| Response {
            type_url: "t".into(),
            resources,
            removed: removed.iter().map(|name| (*name).to_owned()).collect(),
            ..Response::default()
        };
        assert_eq!(names(told.whole(response(vec![resource("a")], &[]))), ["a"]);
        assert_eq!(names(told.whole(response(vec![resource("b")], &[]))), ["a", "b"]);
        assert_eq!(names(told.whole(response(vec![], &["a"]))), ["b"]);
    }

    #[test]
    fn messages_are_envoys_on_the_wire() {
        use envoy_types::pb::envoy::service::discovery::v3 as envoy;
        let theirs = envoy::DiscoveryRequest {
            version_info: "1".into(),
            node: Some(core::Node::default()),
            resource_names: vec!["a".into()],
            type_url: "t".into(),
            response_nonce: "n".into(),
            ..Default::default()
        };
        let ours = WholeRequest::decode(theirs.encode_to_vec().as_slice()).unwrap();
        assert_eq!(ours.encode_to_vec(), theirs.encode_to_vec());
        let ours = WholeResponse {
            version: "1".into(),
            resources: vec![Body::default()],
            type_url: "t".into(),
            nonce: "n".into(),
        };
        let theirs = envoy::DiscoveryResponse::decode(ours.encode_to_vec().as_slice()).unwrap();
        assert_eq!(theirs.encode_to_vec(), ours.encode_to_vec());
        assert_eq!((theirs.version_info.as_str(), theirs.nonce.as_str()), ("1", "n"));
    }
}
