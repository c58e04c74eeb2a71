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

impl Key {
    /// Reads what [`Key::path`] writes.
    pub fn from_path(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/apis/")?;
        let (api_version, rest) = rest.split_once("/namespaces/")?;
        let mut steps = rest.split('/');
        let (namespace, kebab, name) = (steps.next()?, steps.next()?, steps.next()?);
        let is_named = |kind: &Kind| kind.kebab() == kebab && kind.api_version() == api_version;
        let kind = Kind::ALL.into_iter().find(is_named)?;
        steps.next().is_none().then(|| Self::new(kind, namespace, name))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_gives_back_its_key() {
        for kind in Kind::ALL {
            let key = Key::new(kind, "shop", "backend");
            assert_eq!(Key::from_path(&key.path()), Some(key));
        }
        let policy = "/apis/security.istio.io/v1/namespaces/shop/authorization-policy/viewers";
        for wrong in [
            "",
            "/apis/v1",
            &policy[1..],
            &format!("{policy}/x"),
            &policy.replace("v1", "v7"),
        ] {
            assert_eq!(Key::from_path(wrong), None, "{wrong}");
        }
    }
}
