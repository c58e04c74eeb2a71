//! What travels beside a resource for people and metrics: origins, services and workloads, in Istio's words
//! (`filter_metadata: istio`). The field path of an origin is ours alone and has our own name.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{ListValue, Struct, Value};
use snapshot::endpoint::Workload;
use snapshot::{Endpoint, Origin, cluster::ServiceRef};

const ISTIO: &str = "istio";
const AMIME: &str = "amime";
/// By this Envoy chooses the way to a member.
const WAY: &str = "envoy.transport_socket_match";
const TLS_MODE: &str = "tlsMode";

/// The metadata of a route or cluster.
pub(super) fn of(origin: Option<&Origin>, service: Option<&ServiceRef>) -> Option<Metadata> {
    let mut istio = Vec::new();
    let mut amime = Vec::new();
    if let Some(origin) = origin {
        istio.push(("config", text(&origin.resource)));
        if !origin.field.is_empty() {
            amime.push(("field", text(&origin.field)));
        }
    }
    if let Some(service) = service {
        let fields = [
            ("host", text(&service.host)),
            ("name", text(&service.name)),
            ("namespace", text(&service.namespace)),
        ];
        let values = vec![Value {
            kind: Some(Kind::StructValue(structure(fields))),
        }];
        let list = Value {
            kind: Some(Kind::ListValue(ListValue { values })),
        };
        istio.push(("services", list));
    }
    metadata([(ISTIO, istio), (AMIME, amime)])
}

/// The rule that made a route or cluster.
pub(super) fn origin(metadata: Option<&Metadata>) -> Option<Origin> {
    let resource = string(field(metadata, ISTIO, "config")?)?;
    let path = field(metadata, AMIME, "field")
        .and_then(string)
        .unwrap_or_default();
    Some(Origin {
        resource: resource.into(),
        field: path.into(),
    })
}

/// The service that a cluster stands for; Istio lists several where clusters are shared, the first counts.
pub(super) fn service(metadata: Option<&Metadata>) -> Option<ServiceRef> {
    let Some(Kind::ListValue(list)) = &field(metadata, ISTIO, "services")?.kind else {
        return None;
    };
    let Some(Kind::StructValue(first)) = &list.values.first()?.kind else {
        return None;
    };
    let part = |name: &str| {
        first
            .fields
            .get(name)
            .and_then(string)
            .unwrap_or_default()
            .to_owned()
    };
    Some(ServiceRef {
        host: part("host"),
        name: part("name"),
        namespace: part("namespace"),
    })
}

/// The metadata of an endpoint: who it is, and which of the ways to members fits it.
pub(super) fn of_endpoint(endpoint: &Endpoint) -> Option<Metadata> {
    let istio = match endpoint.workload.is_empty() {
        true => Vec::new(),
        false => vec![("workload", text(&joined(&endpoint.workload)))],
    };
    let way = match endpoint.mutual {
        true => vec![(TLS_MODE, text(ISTIO))],
        false => Vec::new(),
    };
    metadata([(ISTIO, istio), (WAY, way)])
}

/// What the metadata of members say that take mutual TLS of the mesh.
pub(super) fn mutual() -> Struct {
    structure([(TLS_MODE, text(ISTIO))])
}

/// Whether a member takes mutual TLS of the mesh.
pub(super) fn is_mutual(metadata: Option<&Metadata>) -> bool {
    field(metadata, WAY, TLS_MODE).and_then(string) == Some(ISTIO)
}

/// `name;namespace;canonical-name;canonical-revision;cluster`.
fn joined(workload: &Workload) -> String {
    let parts = [
        &workload.name,
        &workload.namespace,
        &workload.canonical_name,
        &workload.canonical_revision,
        &workload.cluster,
    ];
    parts.map(String::as_str).join(";")
}

/// The workload behind an endpoint; parts that are not said are empty.
pub(super) fn workload(metadata: Option<&Metadata>) -> Workload {
    let joined = field(metadata, ISTIO, "workload")
        .and_then(string)
        .unwrap_or_default();
    let mut parts = joined.split(';').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    Workload {
        name: next(),
        namespace: next(),
        canonical_name: next(),
        canonical_revision: next(),
        cluster: next(),
    }
}

type Fields = Vec<(&'static str, Value)>;

fn metadata(parts: impl IntoIterator<Item = (&'static str, Fields)>) -> Option<Metadata> {
    let filter_metadata: HashMap<_, _> = parts
        .into_iter()
        .filter(|(_, fields)| !fields.is_empty())
        .map(|(name, fields)| (name.to_owned(), structure(fields)))
        .collect();
    (!filter_metadata.is_empty()).then(|| Metadata {
        filter_metadata,
        ..Default::default()
    })
}

fn structure<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Struct {
    Struct {
        fields: fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    }
}

fn text(value: &str) -> Value {
    Value {
        kind: Some(Kind::StringValue(value.to_owned())),
    }
}

fn string(value: &Value) -> Option<&str> {
    match &value.kind {
        Some(Kind::StringValue(text)) => Some(text),
        _ => None,
    }
}

fn field<'a>(metadata: Option<&'a Metadata>, part: &str, name: &str) -> Option<&'a Value> {
    metadata?.filter_metadata.get(part)?.fields.get(name)
}
