//! How a proxy introduces itself ⇄ `config.core.v3.Node`, with Istio's metadata.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::core::v3 as pb;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value};
use snapshot::Locality;

const LABELS: &str = "LABELS";

/// A proxy, as it introduces itself in the first message of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// `sidecar~10.0.0.7~backend-0.shop~shop.svc.cluster.local`.
    pub id: String,
    /// The service that it belongs to, for controllers that ask for it.
    pub cluster: String,
    /// What it is: [`Node::AMIME`], or `envoy`.
    pub agent: String,
    /// Labels of its pod (`LABELS` of the metadata).
    pub labels: BTreeMap<String, String>,
    /// The other metadata that is text: `NAMESPACE`, `SERVICE_ACCOUNT`, `CLUSTER_ID`, `ISTIO_VERSION` …
    pub metadata: BTreeMap<String, String>,
    /// Where it runs.
    pub locality: Locality,
}

impl Node {
    /// How our own proxy calls itself.
    pub const AMIME: &str = "amime";

    /// A value of the metadata; empty when it is not there.
    pub fn text(&self, name: &str) -> &str {
        self.metadata.get(name).map_or("", String::as_str)
    }

    pub(crate) fn to_proto(&self) -> pb::Node {
        let mut metadata = structure(&self.metadata);
        let labels = Kind::StructValue(structure(&self.labels));
        metadata
            .fields
            .insert(LABELS.into(), Value { kind: Some(labels) });
        pb::Node {
            id: self.id.clone(),
            cluster: self.cluster.clone(),
            metadata: Some(metadata),
            locality: Some(pb::Locality {
                region: self.locality.region.clone(),
                zone: self.locality.zone.clone(),
                sub_zone: self.locality.sub_zone.clone(),
            }),
            user_agent_name: self.agent.clone(),
            ..pb::Node::default()
        }
    }

    pub(crate) fn from_proto(node: &pb::Node) -> Self {
        let none = Struct::default();
        let metadata = node.metadata.as_ref().unwrap_or(&none);
        let labels = match metadata
            .fields
            .get(LABELS)
            .and_then(|labels| labels.kind.as_ref())
        {
            Some(Kind::StructValue(labels)) => texts(labels),
            _ => BTreeMap::new(),
        };
        let place = node.locality.clone().unwrap_or_default();
        Self {
            id: node.id.clone(),
            cluster: node.cluster.clone(),
            agent: node.user_agent_name.clone(),
            labels,
            metadata: texts(metadata),
            locality: Locality {
                region: place.region,
                zone: place.zone,
                sub_zone: place.sub_zone,
            },
        }
    }
}

fn structure(texts: &BTreeMap<String, String>) -> Struct {
    let value = |text: &String| Value {
        kind: Some(Kind::StringValue(text.clone())),
    };
    Struct {
        fields: texts
            .iter()
            .map(|(name, text)| (name.clone(), value(text)))
            .collect(),
    }
}

fn texts(fields: &Struct) -> BTreeMap<String, String> {
    let pairs = fields
        .fields
        .iter()
        .filter_map(|(name, value)| match &value.kind {
            Some(Kind::StringValue(text)) => Some((name.clone(), text.clone())),
            _ => None,
        });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_introduction_survives_the_wire() {
        let texts = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
        let node = Node {
            id: "sidecar~10.0.0.7~backend-0.shop~shop.svc.cluster.local".into(),
            cluster: "backend.shop".into(),
            agent: Node::AMIME.into(),
            labels: texts(&[("app", "backend"), ("version", "v0")]),
            metadata: texts(&[("SERVICE_ACCOUNT", "default")]),
            locality: Locality {
                region: "r".into(),
                ..Locality::default()
            },
        };
        assert_eq!(Node::from_proto(&node.to_proto()), node);
    }
}
