//! What identifies a resource.

use std::fmt;
use std::sync::Arc;

use crate::Kind;

/// Kind, namespace and name. The namespace of a cluster-wide kind is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub kind: Kind,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl Key {
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// Istio's path of a resource, as it stands in the metadata of routes and clusters:
    /// `/apis/networking.istio.io/v1/namespaces/shop/virtual-service/backend`.
    pub fn path(&self) -> String {
        let Self {
            kind,
            namespace,
            name,
        } = self;
        format!(
            "/apis/{}/namespaces/{namespace}/{}/{name}",
            kind.api_version(),
            kind.kebab()
        )
    }
}

impl fmt::Display for Key {
    /// `VirtualService shop/backend`, `Namespace shop`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.namespace {
            "" => write!(out, "{} {}", self.kind, self.name),
            namespace => write!(out, "{} {namespace}/{}", self.kind, self.name),
        }
    }
}
