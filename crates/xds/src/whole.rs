//! State-of-the-world discovery in terms of delta discovery, for clients (gRPC) and servers that know only the former:
//! messages in, messages out, no IO. Each request names everything that is wanted, each response holds everything there is.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#the-xds-transport-protocol>

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::config::core::v3 as core;
use prost::Message;

use crate::Kind;
use crate::message::{Body, Request, Resource, Response, Status};

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

/// What a server has told us, by kind: the other end of [`Asked`] and [`Told`].
#[derive(Debug, Default)]
pub struct Known(BTreeMap<String, OfKind>);

#[derive(Debug, Default)]
struct OfKind {
    /// Asked for on this stream; none for kinds of which everything is taken.
    names: BTreeSet<String>,
    /// Of the last response on this stream.
    nonce: String,
    /// Of the last response, and of the last one that was accepted.
    offered: String,
    accepted: String,
    /// By name. Without a body: it was refused, and is looked at again when it comes again.
    held: BTreeMap<String, Option<Body>>,
}

/// The name of any resource that we know: in each kind it is the first field.
#[derive(Clone, PartialEq, Message)]
struct NameOnly {
    #[prost(string, tag = "1")]
    name: String,
}

impl Known {
    /// A new stream: what was asked on the last one is forgotten, what was told is not.
    pub fn begin(&mut self) {
        for kind in self.0.values_mut() {
            kind.names.clear();
            kind.nonce.clear();
        }
    }

    /// The same request with everything that is wanted.
    pub fn request(&mut self, request: Request) -> WholeRequest {
        let kind = self.0.entry(request.type_url.clone()).or_default();
        kind.names.extend(request.subscribe);
        for name in &request.unsubscribe {
            kind.names.remove(name);
            kind.held.remove(name);
        }
        match (&request.error, request.response_nonce.is_empty()) {
            (None, false) => kind.accepted.clone_from(&kind.offered),
            (Some(_), false) => kind.held.values_mut().for_each(|body| *body = None),
            (_, true) => {}
        }
        WholeRequest {
            version: kind.accepted.clone(),
            node: request.node,
            names: kind.names.iter().cloned().collect(),
            type_url: request.type_url,
            response_nonce: kind.nonce.clone(),
            error: request.error,
        }
    }

    /// What a response changes. Of clusters and listeners it holds all that there are; of the others, what is not in it
    /// is as it was.
    pub fn response(&mut self, response: WholeResponse) -> Response {
        let all = matches!(
            Kind::from_type_url(&response.type_url),
            Some(Kind::Cluster | Kind::Listener)
        );
        let kind = self.0.entry(response.type_url.clone()).or_default();
        let mut told = BTreeSet::new();
        let mut resources = Vec::new();
        for body in response.resources {
            let name = NameOnly::decode(body.value.clone()).unwrap_or_default().name;
            told.insert(name.clone());
            if !all && !kind.names.contains(&name) || kind.held.get(&name) == Some(&Some(body.clone())) {
                continue;
            }
            kind.held.insert(name.clone(), Some(body.clone()));
            resources.push(Resource {
                version: response.version.clone(),
                body: Some(body),
                name,
            });
        }
        let gone = kind.held.keys().filter(|name| all && !told.contains(*name));
        let removed: Vec<String> = gone.cloned().collect();
        removed.iter().for_each(|name| drop(kind.held.remove(name)));
        kind.nonce.clone_from(&response.nonce);
        kind.offered.clone_from(&response.version);
        Response {
            system_version: response.version,
            resources,
            type_url: response.type_url,
            nonce: response.nonce,
            removed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn cluster(name: &str, version: &str) -> Body {
        let cluster = envoy_types::pb::envoy::config::cluster::v3::Cluster {
            name: name.into(),
            alt_stat_name: version.into(),
            ..Default::default()
        };
        Body {
            type_url: Kind::Cluster.type_url().into(),
            value: cluster.encode_to_vec().into(),
        }
    }

    fn answer(nonce: &str, error: Option<Status>) -> Request {
        Request {
            type_url: Kind::Cluster.type_url().into(),
            response_nonce: nonce.into(),
            error,
            ..Request::default()
        }
    }

    #[test]
    fn a_client_is_told_only_what_changed_and_what_is_gone() {
        let mut known = Known::default();
        let mut told = |nonce: &str, resources: Vec<Body>| {
            let response = known.response(WholeResponse {
                version: nonce.into(),
                resources,
                type_url: Kind::Cluster.type_url().into(),
                nonce: nonce.into(),
            });
            let names = response.resources.into_iter().map(|resource| resource.name);
            let outcome = (names.collect::<Vec<_>>(), response.removed);
            let refused = (nonce == "2").then(Status::default);
            let sent = known.request(answer(nonce, refused));
            (outcome, sent.version, sent.response_nonce)
        };
        let names = |names: &[&str]| -> Vec<String> { names.iter().map(|name| (*name).to_owned()).collect() };
        let (a, b) = (cluster("a", "1"), cluster("b", "1"));
        let first = told("1", vec![a.clone(), b.clone()]);
        assert_eq!(first, ((names(&["a", "b"]), vec![]), "1".into(), "1".into()));
        // Refused: the version stays, and what was in it is looked at again.
        let second = told("2", vec![cluster("a", "2"), b.clone()]);
        assert_eq!(second, ((names(&["a"]), vec![]), "1".into(), "2".into()));
        let third = told("3", vec![cluster("a", "2")]);
        assert_eq!(third, ((names(&["a"]), names(&["b"])), "3".into(), "3".into()));
        let fourth = told("4", vec![cluster("a", "2")]);
        assert_eq!(fourth, ((vec![], vec![]), "4".into(), "4".into()));
    }

    #[test]
    fn a_new_stream_asks_again_with_the_version_that_it_has() {
        let mut known = Known::default();
        known.response(WholeResponse {
            version: "7".into(),
            type_url: Kind::Cluster.type_url().into(),
            nonce: "n".into(),
            ..WholeResponse::default()
        });
        known.request(answer("n", None));
        known.begin();
        let again = known.request(answer("", None));
        assert_eq!((again.version.as_str(), again.response_nonce.as_str()), ("7", ""));
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
