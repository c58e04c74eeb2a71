//! The messages of delta discovery, wire-compatible with Envoy's.
//!
//! They are our own for one reason: resource bodies are [`Bytes`], so that one encoding is shared by every proxy
//! that gets the resource. Fields that neither end uses are left out; protobuf skips them.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#incremental-xds>

use std::collections::HashMap;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3 as core;
use prost::Message;

use crate::{Kind, Node, Rejected, rejected::Reason};

/// `envoy.service.discovery.v3.DeltaDiscoveryRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    /// Who asks; in the first message of a stream.
    #[prost(message, optional, tag = "1")]
    pub node: Option<core::Node>,
    /// What kind this is about.
    #[prost(string, tag = "2")]
    pub type_url: String,
    /// Names wanted from now on; none in the first message means all, as does `*`.
    #[prost(string, repeated, tag = "3")]
    pub subscribe: Vec<String>,
    /// Names no longer wanted.
    #[prost(string, repeated, tag = "4")]
    pub unsubscribe: Vec<String>,
    /// What the client has from an earlier stream, in the first message of a kind.
    #[prost(map = "string, string", tag = "5")]
    pub initial_versions: HashMap<String, String>,
    /// The response that this one answers; empty when it answers none.
    #[prost(string, tag = "6")]
    pub response_nonce: String,
    /// Set when the response was refused, wholly or in part.
    #[prost(message, optional, tag = "7")]
    pub error: Option<Status>,
}

/// `envoy.service.discovery.v3.DeltaDiscoveryResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct Response {
    /// For people; the protocol does not use it.
    #[prost(string, tag = "1")]
    pub system_version: String,
    /// New and changed.
    #[prost(message, repeated, tag = "2")]
    pub resources: Vec<Resource>,
    /// What kind this is about.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// To be repeated in the answer.
    #[prost(string, tag = "5")]
    pub nonce: String,
    /// Gone, or asked for and not there.
    #[prost(string, repeated, tag = "6")]
    pub removed: Vec<String>,
}

/// `envoy.service.discovery.v3.Resource`.
#[derive(Clone, PartialEq, Message)]
pub struct Resource {
    /// Hash of its content.
    #[prost(string, tag = "1")]
    pub version: String,
    /// The message.
    #[prost(message, optional, tag = "2")]
    pub body: Option<Body>,
    /// Its name.
    #[prost(string, tag = "3")]
    pub name: String,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Body {
    /// The type of the encoded message.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The encoded message.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// What is encoded may be a private key, which no log should have.
impl std::fmt::Debug for Body {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut told = formatter.debug_struct("Body");
        told.field("type_url", &self.type_url).finish_non_exhaustive()
    }
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    /// A gRPC code.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// For people.
    #[prost(string, tag = "2")]
    pub message: String,
    /// For programs.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Body>,
}

/// Which resources of a push were refused: Envoy can only say it in words, our proxy says it exactly, so that
/// the rest of the push counts as accepted.
#[derive(Clone, PartialEq, Message)]
pub struct Refusals {
    /// The refused ones.
    #[prost(message, repeated, tag = "1")]
    pub refused: Vec<Refusal>,
}

/// One refused resource.
#[derive(Clone, PartialEq, Message)]
pub struct Refusal {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The field at fault.
    #[prost(string, tag = "2")]
    pub field: String,
    /// What is wrong with it.
    #[prost(string, tag = "3")]
    pub problem: String,
}

impl Request {
    /// Who asks, in the first message of a stream.
    pub fn introduction(&self) -> Option<Node> {
        self.node.as_ref().map(Node::from_proto)
    }
}

const REFUSALS: &str = "type.googleapis.com/amime.xds.v1.Refusals";
const INVALID_ARGUMENT: i32 = 3;

impl Status {
    /// A NACK that names what was refused.
    pub fn of(rejected: &[Rejected]) -> Self {
        let refusals = Refusals {
            refused: rejected.iter().map(Refusal::of).collect(),
        };
        let lines: Vec<_> = rejected.iter().map(ToString::to_string).collect();
        Self {
            code: INVALID_ARGUMENT,
            message: lines.join("\n"),
            details: vec![Body {
                type_url: REFUSALS.into(),
                value: refusals.encode_to_vec().into(),
            }],
        }
    }

    /// What was refused, if the client says it exactly.
    pub fn rejected(&self, kind: Kind) -> Option<Vec<Rejected>> {
        let details = self.details.iter().find(|detail| detail.type_url == REFUSALS)?;
        let refusals = Refusals::decode(details.value.clone()).ok()?;
        Some(
            refusals
                .refused
                .into_iter()
                .map(|refusal| refusal.rejected(kind))
                .collect(),
        )
    }
}

impl Refusal {
    fn of(rejected: &Rejected) -> Self {
        Self {
            name: rejected.name.clone(),
            field: rejected.reason.field.clone(),
            problem: rejected.reason.problem.clone(),
        }
    }

    fn rejected(self, kind: Kind) -> Rejected {
        Rejected {
            kind,
            name: self.name,
            reason: Reason::new(self.field, self.problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::service::discovery::v3 as envoy;
    use envoy_types::pb::google::rpc;

    use super::*;

    #[test]
    fn requests_and_responses_are_envoys_on_the_wire() {
        let theirs = envoy::DeltaDiscoveryRequest {
            node: Some(core::Node::default()),
            type_url: "t".into(),
            resource_names_subscribe: vec!["a".into()],
            resource_names_unsubscribe: vec!["b".into()],
            initial_resource_versions: HashMap::from([("c".into(), "1".into())]),
            response_nonce: "n".into(),
            error_detail: Some(rpc::Status {
                code: 3,
                message: "m".into(),
                details: Vec::new(),
            }),
            ..Default::default()
        };
        let ours = Request::decode(theirs.encode_to_vec().as_slice()).unwrap();
        assert_eq!(ours.encode_to_vec(), theirs.encode_to_vec());
        assert_eq!(
            (ours.subscribe, ours.unsubscribe),
            (vec!["a".into()], vec!["b".into()])
        );

        let resource = Resource {
            version: "1".into(),
            name: "a".into(),
            body: Some(Body {
                type_url: "t".into(),
                value: Bytes::from_static(b"x"),
            }),
        };
        let ours = Response {
            system_version: "1".into(),
            resources: vec![resource],
            type_url: "t".into(),
            nonce: "n".into(),
            removed: vec!["b".into()],
        };
        let theirs = envoy::DeltaDiscoveryResponse::decode(ours.encode_to_vec().as_slice()).unwrap();
        assert_eq!(
            (theirs.nonce.as_str(), theirs.removed_resources.as_slice()),
            ("n", ["b".to_owned()].as_slice())
        );
        assert_eq!(theirs.encode_to_vec(), ours.encode_to_vec());
    }

    #[test]
    fn a_refusal_names_its_resources_exactly() {
        let rejected = vec![Rejected {
            kind: Kind::Routes,
            name: "9090".into(),
            reason: Reason::unsupported("RouteAction.cors"),
        }];
        let status = Status::of(&rejected);
        assert_eq!(status.message, "RDS 9090: RouteAction.cors: is not supported");
        assert_eq!(status.rejected(Kind::Routes), Some(rejected));
    }
}
