//! The Mesh: an immutable picture of everything known, with indexes.
//!
//! A change makes the next Mesh; indexes whose inputs did not change are shared with the one before. An object that
//! is written again without saying anything new is no change.
//!
//! | index | derived from |
//! | --- | --- |
//! | services | Service |
//! | endpoints | EndpointSlice, Pod, Node, PeerAuthentication |
//! | routes | VirtualService |
//! | policies | DestinationRule |
//! | authorization policies | AuthorizationPolicy |
//! | peer authentications | PeerAuthentication |
//! | request authentications | RequestAuthentication |
//! | rate limits | RateLimit |

pub mod authorization_policies;
pub(crate) mod delegate;
pub mod endpoints;
pub mod key_sets;
pub mod oldest_first;
pub mod peer_authentications;
pub mod policies;
pub mod rate_limits;
pub mod request_authentications;
pub mod routes;
pub mod selection;
pub mod services;
pub mod settings;
#[cfg(test)]
mod tests;
pub mod visibility;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use resources::kubernetes::{Node, Pod};
use resources::{Key, Kind, Resource};

use authorization_policies::AuthorizationPolicies;
use endpoints::EndpointIndex;
use key_sets::KeySets;
use peer_authentications::PeerAuthentications;
use policies::Policies;
use rate_limits::RateLimits;
use request_authentications::RequestAuthentications;
use routes::Routes;
use services::Services;
use settings::MeshSettings;

/// One resource is new, different, or gone (`None`).
#[derive(Clone, Debug)]
pub struct Change {
    pub key: Key,
    pub resource: Option<Resource>,
}

impl From<Resource> for Change {
    fn from(resource: Resource) -> Self {
        Self {
            key: resource.key(),
            resource: Some(resource),
        }
    }
}

/// A resource, with the number of the Mesh that brought it in this form.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) resource: Resource,
    pub(crate) revision: u64,
}

pub(crate) type Resources = BTreeMap<Key, Stored>;

/// Everything known. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Mesh {
    revision: u64,
    resources: BTreeMap<Kind, Arc<Resources>>,
    pub(crate) services: Arc<Services>,
    pub(crate) endpoints: Arc<EndpointIndex>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) policies: Arc<Policies>,
    pub(crate) authorization_policies: Arc<AuthorizationPolicies>,
    pub(crate) peer_authentications: Arc<PeerAuthentications>,
    pub(crate) request_authentications: Arc<RequestAuthentications>,
    pub(crate) key_sets: Arc<KeySets>,
    pub(crate) rate_limits: Arc<RateLimits>,
    pub(crate) settings: Arc<MeshSettings>,
    /// The number of the Mesh that brought the settings in this form.
    pub(crate) settings_revision: u64,
}

impl Mesh {
    /// A mesh of these resources.
    pub fn of(resources: impl IntoIterator<Item = Resource>) -> Self {
        let changes: Vec<_> = resources.into_iter().map(Change::from).collect();
        Self::default().next(&changes)
    }

    /// The mesh after these changes.
    #[must_use]
    pub fn next(&self, changes: &[Change]) -> Self {
        let mut next = self.clone();
        next.revision += 1;
        let changed: BTreeSet<Kind> = changes
            .iter()
            .filter(|change| next.store(change))
            .map(|change| change.key.kind)
            .collect();
        let any = |kinds: &[Kind]| kinds.iter().any(|kind| changed.contains(kind));
        if any(&[Kind::Service]) {
            next.services = Arc::new(Services::derive(next.kind(Kind::Service)));
        }
        if any(&[Kind::PeerAuthentication]) {
            let objects = next.kind(Kind::PeerAuthentication);
            next.peer_authentications = Arc::new(PeerAuthentications::derive(objects));
        }
        // What a member takes is a matter of its workload's PeerAuthentication.
        if any(&[
            Kind::EndpointSlice,
            Kind::Pod,
            Kind::Node,
            Kind::PeerAuthentication,
        ]) {
            next.endpoints = Arc::new(EndpointIndex::derive(&next));
        }
        if any(&[Kind::VirtualService]) {
            next.routes = Arc::new(Routes::derive(next.resources.get(&Kind::VirtualService)));
        }
        if any(&[Kind::DestinationRule]) {
            next.policies = Arc::new(Policies::derive(next.kind(Kind::DestinationRule)));
        }
        if any(&[Kind::AuthorizationPolicy]) {
            let objects = next.kind(Kind::AuthorizationPolicy);
            next.authorization_policies = Arc::new(AuthorizationPolicies::derive(objects));
        }
        if any(&[Kind::RequestAuthentication]) {
            let all = next.kind(Kind::RequestAuthentication);
            next.request_authentications = Arc::new(RequestAuthentications::derive(all));
        }
        if any(&[Kind::RateLimit]) {
            next.rate_limits = Arc::new(RateLimits::derive(next.kind(Kind::RateLimit)));
        }
        next
    }

    /// The mesh under these settings.
    #[must_use]
    pub fn with_settings(&self, settings: Arc<MeshSettings>) -> Self {
        let mut next = self.clone();
        if *next.settings != *settings {
            next.revision += 1;
            next.settings_revision = next.revision;
            next.settings = settings;
        }
        next
    }

    /// The mesh with these keys of issuers.
    #[must_use]
    pub fn with_key_sets(&self, key_sets: Arc<KeySets>) -> Self {
        let mut next = self.clone();
        if *next.key_sets != *key_sets {
            next.revision += 1;
            next.key_sets = key_sets;
        }
        next
    }

    /// The keys of issuers, as far as they were fetched.
    pub fn key_sets(&self) -> &KeySets {
        &self.key_sets
    }

    /// Who asks for tokens of whom.
    pub fn request_authentications(&self) -> &RequestAuthentications {
        &self.request_authentications
    }

    /// Services by their hosts.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// The settings in force.
    pub fn settings(&self) -> &MeshSettings {
        &self.settings
    }

    /// Whether the change says anything new.
    fn store(&mut self, change: &Change) -> bool {
        let resources = self.resources.entry(change.key.kind).or_default();
        let known = resources.get(&change.key).map(|stored| &stored.resource);
        if known == change.resource.as_ref() {
            return false;
        }
        let resources = Arc::make_mut(resources);
        match &change.resource {
            Some(resource) => {
                let stored = Stored {
                    resource: resource.clone(),
                    revision: self.revision,
                };
                resources.insert(change.key.clone(), stored);
            }
            None => {
                resources.remove(&change.key);
            }
        }
        true
    }

    pub(crate) fn kind(&self, kind: Kind) -> impl Iterator<Item = &Stored> {
        self.resources
            .get(&kind)
            .into_iter()
            .flat_map(|resources| resources.values())
    }

    /// The resource with that key.
    pub fn get(&self, key: &Key) -> Option<&Resource> {
        self.resources
            .get(&key.kind)?
            .get(key)
            .map(|stored| &stored.resource)
    }

    /// All resources, in the order of their keys.
    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.resources
            .values()
            .flat_map(|resources| resources.values())
            .map(|stored| &stored.resource)
    }

    /// How often the mesh has changed.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn node(&self, name: &str) -> Option<&Node> {
        match self.get(&Key::new(Kind::Node, "", name)) {
            Some(Resource::Node(node)) => Some(node),
            _ => None,
        }
    }

    pub(crate) fn pod(&self, namespace: &str, name: &str) -> Option<&Arc<Pod>> {
        match self.get(&Key::new(Kind::Pod, namespace, name)) {
            Some(Resource::Pod(pod)) => Some(pod),
            _ => None,
        }
    }
}
