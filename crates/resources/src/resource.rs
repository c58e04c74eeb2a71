//! One object, decoded: what the API or a file gave, as a type.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::kubernetes::{EndpointSlice, Namespace, Node, Pod, Service};
use crate::{
    AuthorizationPolicy, Code, DestinationRule, Key, Kind, Meta, PeerAuthentication, Problem, RateLimit,
    RequestAuthentication, VirtualService,
};

/// One object. Cloning shares it.
#[derive(Clone, Debug, PartialEq)]
pub enum Resource {
    Namespace(Arc<Namespace>),
    Node(Arc<Node>),
    Pod(Arc<Pod>),
    Service(Arc<Service>),
    EndpointSlice(Arc<EndpointSlice>),
    VirtualService(Arc<VirtualService>),
    DestinationRule(Arc<DestinationRule>),
    PeerAuthentication(Arc<PeerAuthentication>),
    AuthorizationPolicy(Arc<AuthorizationPolicy>),
    RequestAuthentication(Arc<RequestAuthentication>),
    RateLimit(Arc<RateLimit>),
}

/// An object, with what was odd about it but did not stop us from reading it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    pub resource: Resource,
    /// Fields of Istio objects that nobody knows. (Kubernetes views are narrow, so unknown fields are the rule.)
    pub warnings: Vec<Problem>,
}

impl Resource {
    /// Decodes an object as the API returns it. Unknown fields are warnings, because a newer client may have
    /// written them.
    pub fn from_object(object: &Value) -> Result<Decoded, Problem> {
        let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
        let (api_version, kind_name) = (text("apiVersion"), text("kind"));
        let Some(kind) = Kind::from_object(api_version, kind_name) else {
            return Err(Problem {
                code: Code::UnknownKind,
                key: None,
                field: String::new(),
                line: None,
                message: format!("kind {kind_name:?} of {api_version:?} is not read by the mesh"),
            });
        };
        let key = key_of(kind, object);
        let kubernetes = |resource| Decoded {
            resource,
            warnings: Vec::new(),
        };
        Ok(match kind {
            Kind::Namespace => kubernetes(Self::Namespace(narrow(&key, object)?)),
            Kind::Node => kubernetes(Self::Node(narrow(&key, object)?)),
            Kind::Pod => kubernetes(Self::Pod(narrow(&key, object)?)),
            Kind::Service => kubernetes(Self::Service(narrow(&key, object)?)),
            Kind::EndpointSlice => kubernetes(Self::EndpointSlice(narrow(&key, object)?)),
            Kind::VirtualService => {
                let (object, warnings) = complete(&key, object)?;
                Decoded {
                    resource: Self::VirtualService(object),
                    warnings,
                }
            }
            Kind::DestinationRule => {
                let (object, warnings) = complete(&key, object)?;
                Decoded {
                    resource: Self::DestinationRule(object),
                    warnings,
                }
            }
            Kind::PeerAuthentication => {
                let (object, warnings) = complete(&key, object)?;
                Decoded {
                    resource: Self::PeerAuthentication(object),
                    warnings,
                }
            }
            Kind::AuthorizationPolicy => {
                let (object, warnings) = complete(&key, object)?;
                Decoded {
                    resource: Self::AuthorizationPolicy(object),
                    warnings,
                }
            }
            Kind::RequestAuthentication => {
                let (object, warnings) = complete(&key, object)?;
                Decoded {
                    resource: Self::RequestAuthentication(object),
                    warnings,
                }
            }
            Kind::RateLimit => {
                let (object, warnings) = complete(&key, object)?;
                Decoded {
                    resource: Self::RateLimit(object),
                    warnings,
                }
            }
        })
    }

    pub fn kind(&self) -> Kind {
        match self {
            Self::Namespace(_) => Kind::Namespace,
            Self::Node(_) => Kind::Node,
            Self::Pod(_) => Kind::Pod,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::VirtualService(_) => Kind::VirtualService,
            Self::DestinationRule(_) => Kind::DestinationRule,
            Self::PeerAuthentication(_) => Kind::PeerAuthentication,
            Self::AuthorizationPolicy(_) => Kind::AuthorizationPolicy,
            Self::RequestAuthentication(_) => Kind::RequestAuthentication,
            Self::RateLimit(_) => Kind::RateLimit,
        }
    }

    pub fn meta(&self) -> &Meta {
        match self {
            Self::Namespace(object) => &object.metadata,
            Self::Node(object) => &object.metadata,
            Self::Pod(object) => &object.metadata,
            Self::Service(object) => &object.metadata,
            Self::EndpointSlice(object) => &object.metadata,
            Self::VirtualService(object) => &object.metadata,
            Self::DestinationRule(object) => &object.metadata,
            Self::PeerAuthentication(object) => &object.metadata,
            Self::AuthorizationPolicy(object) => &object.metadata,
            Self::RequestAuthentication(object) => &object.metadata,
            Self::RateLimit(object) => &object.metadata,
        }
    }

    pub fn key(&self) -> Key {
        Key::new(self.kind(), &self.meta().namespace, &self.meta().name)
    }

    /// What is wrong with the object by itself, as Istio's validation webhook judges.
    pub fn validate(&self) -> Vec<Problem> {
        match self {
            Self::VirtualService(object) => object.validate(),
            Self::DestinationRule(object) => object.validate(),
            Self::PeerAuthentication(object) => object.validate(),
            Self::AuthorizationPolicy(object) => object.validate(),
            Self::RequestAuthentication(object) => object.validate(),
            Self::RateLimit(object) => object.validate(),
            Self::Namespace(_) | Self::Node(_) | Self::Pod(_) | Self::Service(_) | Self::EndpointSlice(_) => {
                Vec::new()
            }
        }
    }
}

fn key_of(kind: Kind, object: &Value) -> Key {
    let meta = |field: &str| {
        object
            .pointer(&format!("/metadata/{field}"))
            .and_then(Value::as_str)
    };
    Key::new(
        kind,
        meta("namespace").unwrap_or_default(),
        meta("name").unwrap_or_default(),
    )
}

/// A view of a Kubernetes object.
fn narrow<T: DeserializeOwned>(key: &Key, object: &Value) -> Result<Arc<T>, Problem> {
    serde_path_to_error::deserialize(object)
        .map(Arc::new)
        .map_err(|error| undecodable(key, &error.path().to_string(), &error.into_inner()))
}

/// An object, and warnings about its unknown fields.
type Complete<T> = (Arc<T>, Vec<Problem>);

/// An Istio object, with its unknown fields. `null` is as good as absent, except as the value of a map, where
/// protobuf's JSON has no meaning for it.
fn complete<T: DeserializeOwned>(key: &Key, object: &Value) -> Result<Complete<T>, Problem> {
    let mut object = object.clone();
    remove_nulls(&mut object);
    let mut unknown = Vec::new();
    let mut note_unknown = |path: serde_ignored::Path<'_>| unknown.push(field_path(&path));
    let known = serde_ignored::Deserializer::new(&object, &mut note_unknown);
    let decoded = serde_path_to_error::deserialize(known)
        .map_err(|error| undecodable(key, &error.path().to_string(), &error.into_inner()))?;
    let warnings = unknown
        .into_iter()
        .filter(|field| field.starts_with("spec"))
        .map(|field| {
            let message = format!("unknown field {field:?}");
            Problem::new(Code::UnknownField, key, field, message)
        })
        .collect();
    Ok((Arc::new(decoded), warnings))
}

fn undecodable(key: &Key, field: &str, error: &serde_json::Error) -> Problem {
    let field = if field == "." { "" } else { field };
    Problem::new(Code::SchemaValidationError, key, field, error.to_string())
}

fn remove_nulls(value: &mut Value) {
    const MAPS: [&str; 3] = ["headers", "withoutHeaders", "queryParams"];
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            for (name, value) in fields {
                if !MAPS.contains(&name.as_str()) {
                    remove_nulls(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// `spec.http[0].route` from the path of an ignored field.
fn field_path(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", field_path(parent)),
        Path::Map { parent, key } => match field_path(parent).as_str() {
            "" => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            field_path(parent)
        }
    }
}
