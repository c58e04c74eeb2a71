//! Index of PeerAuthentications: which mode counts for each port of a workload.
//!
//! At each level (mesh, namespace, workload) the oldest object counts, and of the levels the narrowest that says anything;
//! ports of the workload's own object come before all. Objects of the root namespace that select workloads select none,
//! as in Istio.

use std::collections::BTreeMap;
use std::sync::Arc;

use resources::istio::peer_authentication::Mode;
use resources::{Key, PeerAuthentication, Resource};

use super::Stored;
use super::oldest_first::{ByNamespace, by_namespace};
use super::selection::{Level, Subject, applies};
use crate::ROOT_NAMESPACE;

/// Whether connections come under mutual TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mutual {
    /// They do not.
    Disabled,
    /// They may.
    #[default]
    Permissive,
    /// They must.
    Strict,
}

impl Mutual {
    /// `None` leaves it to the level above.
    fn of(mode: Mode) -> Option<Self> {
        match mode {
            Mode::Unset => None,
            Mode::Disable => Some(Self::Disabled),
            Mode::Permissive => Some(Self::Permissive),
            Mode::Strict => Some(Self::Strict),
        }
    }

    /// As users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "DISABLE",
            Self::Permissive => "PERMISSIVE",
            Self::Strict => "STRICT",
        }
    }
}

/// A mode, and the object that states it; `None` when nobody states anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stated {
    pub mode: Mutual,
    pub by: Option<Key>,
}

/// The modes of one workload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Modes {
    /// Of ports that are not listed.
    pub(crate) rest: Stated,
    /// By the number that the workload listens on.
    pub(crate) ports: BTreeMap<u16, Stated>,
}

impl Modes {
    /// The mode of a port.
    pub fn at(&self, port: u16) -> &Stated {
        self.ports.get(&port).unwrap_or(&self.rest)
    }

    /// Whether any port may be spoken to under mutual TLS.
    pub(crate) fn any_mutual(&self) -> bool {
        let mut all = self.ports.values().chain([&self.rest]);
        all.any(|stated| stated.mode != Mutual::Disabled)
    }
}

/// All PeerAuthentications that have an effect, oldest first.
#[derive(Debug, Default)]
pub struct PeerAuthentications {
    by_namespace: ByNamespace<PeerAuthentication>,
}

impl PeerAuthentications {
    pub(super) fn derive<'a>(stored: impl Iterator<Item = &'a Stored>) -> Self {
        let mut by_namespace = by_namespace(
            stored,
            |resource| match resource {
                Resource::PeerAuthentication(object) => Some(object),
                _ => None,
            },
            |object| &object.metadata.namespace,
        );
        if let Some(of_mesh) = by_namespace.get_mut(ROOT_NAMESPACE) {
            of_mesh.retain(|indexed| indexed.object.spec.selector().is_none());
        }
        Self { by_namespace }
    }

    /// The modes of a workload.
    pub fn of(&self, workload: Subject<'_>) -> Modes {
        let mut rest = Stated::default();
        for level in [Level::Mesh, Level::Namespace] {
            if let Some(object) = self.oldest(workload, level) {
                rest = rest.under(object);
            }
        }
        let mut ports = BTreeMap::new();
        if let Some(object) = self.oldest(workload, Level::Workload) {
            rest = rest.under(object);
            ports.extend(object.spec.ports().map(|(port, mode)| {
                let stated = Mutual::of(mode).map(|mode| Stated::by(mode, object));
                (port, stated.unwrap_or_else(|| rest.clone()))
            }));
        }
        Modes { rest, ports }
    }

    /// The mode of a namespace, as its clients guess it: workloads may differ.
    pub(crate) fn of_namespace(&self, namespace: &str) -> Mutual {
        let nothing = BTreeMap::new();
        let workload = Subject {
            namespace,
            labels: &nothing,
        };
        self.of(workload).rest.mode
    }

    /// The object that counts at a level.
    fn oldest(&self, workload: Subject<'_>, level: Level) -> Option<&Arc<PeerAuthentication>> {
        let namespace = match level {
            Level::Mesh => ROOT_NAMESPACE,
            Level::Namespace | Level::Workload => workload.namespace,
        };
        let mut objects = self
            .by_namespace
            .get(namespace)?
            .iter()
            .map(|indexed| &indexed.object);
        objects.find(|object| {
            applies(namespace, object.spec.selector(), workload, ROOT_NAMESPACE) == Some(level)
        })
    }
}

impl Stated {
    fn by(mode: Mutual, object: &PeerAuthentication) -> Self {
        let meta = &object.metadata;
        let key = Key::new(resources::Kind::PeerAuthentication, &meta.namespace, &meta.name);
        Self { mode, by: Some(key) }
    }

    /// What counts once a narrower object is known.
    fn under(&self, narrower: &PeerAuthentication) -> Self {
        match narrower.spec.mode().and_then(Mutual::of) {
            Some(mode) => Self::by(mode, narrower),
            None => self.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mesh;

    fn modes(objects: &str, namespace: &str, app: &str) -> Modes {
        let read = resources::yaml::read(objects);
        assert_eq!(read.problems, []);
        let labels = BTreeMap::from([("app".to_owned(), app.to_owned())]);
        let workload = Subject {
            namespace,
            labels: &labels,
        };
        Mesh::of(read.resources).peer_authentications.of(workload)
    }

    fn object(namespace: &str, name: &str, second: u8, spec: &str) -> String {
        format!(
            "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: {name}, namespace: {namespace}, \
             creationTimestamp: '2024-01-01T00:00:{second:02}Z'}}\nspec: {spec}\n---\n"
        )
    }

    /// `MODE of NAME` for a port.
    fn at(modes: &Modes, port: u16) -> String {
        let Stated { mode, by } = modes.at(port);
        let name = by.as_ref().map_or("nobody", |key| &*key.name);
        format!("{} of {name}", mode.as_str())
    }

    #[test]
    fn without_any_object_both_are_taken() {
        assert_eq!(at(&modes("", "shop", "web"), 80), "PERMISSIVE of nobody");
    }

    #[test]
    fn the_narrowest_level_that_says_anything_counts() {
        let mesh = object("istio-system", "mesh", 0, "{mtls: {mode: STRICT}}");
        let shop = object("shop", "shop", 0, "{mtls: {mode: DISABLE}}");
        let web = object(
            "shop",
            "web",
            0,
            "{selector: {matchLabels: {app: web}}, mtls: {mode: PERMISSIVE}}",
        );
        let all = [mesh.as_str(), &shop, &web].concat();
        assert_eq!(at(&modes(&all, "shop", "web"), 80), "PERMISSIVE of web");
        assert_eq!(at(&modes(&all, "shop", "db"), 80), "DISABLE of shop");
        assert_eq!(at(&modes(&all, "far", "web"), 80), "STRICT of mesh");
        let unset = object("shop", "unset", 0, "{mtls: {mode: UNSET}}");
        assert_eq!(
            at(&modes(&[mesh, unset].concat(), "shop", "web"), 80),
            "STRICT of mesh"
        );
    }

    #[test]
    fn ports_count_before_their_workload_and_may_leave_it_to_it() {
        let spec = "{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}, \
                    portLevelMtls: {80: {mode: DISABLE}, 81: {mode: UNSET}}}";
        let modes = modes(&object("shop", "web", 0, spec), "shop", "web");
        assert_eq!(at(&modes, 80), "DISABLE of web");
        assert_eq!(at(&modes, 81), "STRICT of web");
        assert_eq!(at(&modes, 82), "STRICT of web");
        assert_eq!(modes.ports.len(), 2, "listed, whatever it says");
    }

    #[test]
    fn of_two_at_one_level_the_oldest_counts() {
        let young = object("shop", "a", 9, "{mtls: {mode: STRICT}}");
        let old = object("shop", "b", 1, "{mtls: {mode: DISABLE}}");
        assert_eq!(
            at(&modes(&[young, old].concat(), "shop", "web"), 80),
            "DISABLE of b"
        );
        let silent = object("shop", "a", 1, "{selector: {matchLabels: {app: web}}}");
        let loud = object(
            "shop",
            "b",
            9,
            "{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}}",
        );
        let both = modes(&[silent, loud].concat(), "shop", "web");
        assert_eq!(at(&both, 80), "PERMISSIVE of nobody", "even if it says nothing");
    }

    #[test]
    fn the_root_namespace_selects_no_workloads() {
        let spec = "{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}}";
        let object = object("istio-system", "web", 0, spec);
        assert_eq!(at(&modes(&object, "shop", "web"), 80), "PERMISSIVE of nobody");
        assert_eq!(
            at(&modes(&object, "istio-system", "web"), 80),
            "PERMISSIVE of nobody"
        );
    }
}
