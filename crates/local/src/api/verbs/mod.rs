//! What can be done with objects, whoever asks: over HTTP or in process.
//!
//! A write goes: decode, defaults, mutating admission, defaults again, validation, validating admission, store.
//! Nothing is locked meanwhile; the store compares versions at the end, and a write that lost the race starts over
//! with the newer object, unless the caller insisted on a version.

mod admit;
mod apply_body;
mod change;
mod create;
mod delete;
mod follow;
pub(super) mod metadata;
mod node_ports;
mod ownership;
mod read;
mod service_address;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::{Value, json};

use super::admission::Admission;
use super::client::Object;
use super::decode::FieldValidation;
use super::rbac::{self, Rights};
use super::registry::{Registry, Type, Types};
use super::tokens::Tokens;
use super::{Gvr, Status, User, gvr};
use crate::store::{Key, Refused, Store, Write};

pub use change::Part;
pub use follow::{compiled_from, follow};

/// How often a write starts over because its object changed in between.
const ATTEMPTS: usize = 16;

/// The API, without its sockets.
pub struct Api {
    pub(super) store: Store,
    pub(super) types: Types,
    pub(super) tokens: Tokens,
    pub(super) rights: Rights,
    pub(super) admission: Admission,
    /// Held while a Service gets its address, so that no two get the same.
    addresses: tokio::sync::Mutex<()>,
}

/// The collection or object that a call is about.
#[derive(Clone, Debug)]
pub struct Target {
    pub kind: Arc<Type>,
    /// Empty: cluster-scoped, or all namespaces.
    pub namespace: String,
    /// Empty: the collection.
    pub name: String,
}

/// One write: who asks, about what, and how it is meant.
#[derive(Clone, Debug)]
pub struct Call {
    pub user: Arc<User>,
    pub target: Target,
    /// Everything but storing.
    pub dry_run: bool,
    pub validation: FieldValidation,
    /// Who owns the fields (`fieldManager`), for server-side apply.
    pub manager: String,
    pub force: bool,
}

/// The outcome of a write.
#[derive(Clone, Debug)]
pub struct Written {
    pub object: Object,
    /// For the `Warning` header.
    pub warnings: Vec<String>,
    pub created: bool,
}

impl Api {
    /// The API over what the store holds.
    pub fn new(store: Store, tokens: Tokens) -> Self {
        let api = Self {
            types: Types::new(Registry::built_in()),
            admission: Admission::default(),
            addresses: tokio::sync::Mutex::default(),
            rights: Rights::default(),
            store,
            tokens,
        };
        api.refresh_types();
        api.refresh_rights();
        api
    }

    /// The type of a collection.
    ///
    /// # Errors
    /// 404 when nothing like it is served.
    pub fn kind(&self, gvr: &Gvr) -> Result<Arc<Type>, Status> {
        self.types
            .now()
            .find(&gvr.group, &gvr.version, &gvr.resource)
            .cloned()
            .ok_or_else(|| {
                Status::new(
                    404,
                    "NotFound",
                    "the server could not find the requested resource",
                )
            })
    }

    /// Reads the CustomResourceDefinitions again; whoever asks next finds the new set.
    fn refresh_types(&self) {
        self.types.replace(|| {
            let (definitions, _) = self.store.list(&gvr::CUSTOM_RESOURCE_DEFINITIONS.to_string(), "");
            Registry::with_crds(definitions.iter().map(|definition| &**definition))
        });
    }

    /// Reads roles and bindings again; whoever asks next has the new rights.
    fn refresh_rights(&self) {
        let all = |gvr: &Gvr| self.store.list(&gvr.to_string(), "").0;
        self.rights.replace(|| rbac::Objects {
            cluster_roles: all(&rbac::CLUSTER_ROLES),
            cluster_role_bindings: all(&rbac::CLUSTER_ROLE_BINDINGS),
            roles: all(&rbac::ROLES),
            role_bindings: all(&rbac::ROLE_BINDINGS),
        });
    }

    /// Brings up to date what is compiled from that collection, if anything is.
    fn compile(&self, collection: &Gvr) {
        if *collection == gvr::CUSTOM_RESOURCE_DEFINITIONS {
            self.refresh_types();
        }
        if rbac::COLLECTIONS.contains(collection) {
            self.refresh_rights();
        }
    }

    /// Stores an object (`None`: removes it) of the served version; the stored result in that version.
    async fn store(
        &self,
        target: &Target,
        expected: Option<u64>,
        object: Option<Value>,
    ) -> Result<Object, Refused> {
        let requires =
            (expected.is_none() && target.kind.namespaced).then(|| namespace_key(&target.namespace));
        let object = object.map(|object| target.kind.to_stored(object));
        let stored = self
            .store
            .write(Write {
                key: target.key(),
                expected,
                object,
                requires,
            })
            .await?;
        self.compile(&target.kind.gvr);
        Ok(target.kind.served(&stored))
    }
}

impl Target {
    /// Where the store keeps it.
    pub fn key(&self) -> Key {
        Key {
            collection: self.kind.stored_as.to_string(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }

    /// The same collection's object of that name.
    #[must_use]
    pub fn named(&self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..self.clone()
        }
    }

    fn not_found(&self) -> Status {
        Status::not_found(&self.kind.gvr, &self.name)
    }

    fn conflict(&self, why: &str) -> Status {
        Status::conflict(&self.kind.gvr, &self.name, why)
    }

    /// What the store's refusal means to the caller.
    fn refused(&self, refused: &Refused) -> Status {
        match refused {
            Refused::Exists => Status::already_exists(&self.kind.gvr, &self.name),
            Refused::Missing => self.not_found(),
            Refused::Changed => self.conflict(MODIFIED),
            Refused::RequiredMissing => Status::not_found(&gvr::NAMESPACES, &self.namespace),
            Refused::RequiredEnding => self.namespace_ending(),
            Refused::TooDeep => Status::bad_request(refused.to_string()),
            Refused::TooLarge => Status::new(500, "", refused.to_string()),
            Refused::Storage(_) => Status::internal(format!("Internal error occurred: {refused}")),
        }
    }

    fn namespace_ending(&self) -> Status {
        let Self {
            kind,
            namespace,
            name,
        } = self;
        Status {
            details: json!({"name": name, "group": kind.gvr.group, "kind": kind.gvr.resource, "causes": [{
                "reason": "NamespaceTerminating",
                "message": format!("namespace {namespace} is being terminated"),
                "field": "metadata.namespace",
            }]}),
            ..Status::new(
                403,
                "Forbidden",
                format!(
                    "{} \"{name}\" is forbidden: unable to create new content in namespace {namespace} because it is \
                     being terminated",
                    kind.gvr
                ),
            )
        }
    }
}

const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

impl Type {
    /// A stored object in this version, without a copy when it is stored that way.
    pub(super) fn served(&self, stored: &Object) -> Object {
        if self.is_stored(stored) || self.webhook().is_some() {
            stored.clone()
        } else {
            Arc::new(self.from_stored(Value::clone(stored)))
        }
    }
}

fn namespace_key(name: &str) -> Key {
    Key {
        collection: gvr::NAMESPACES.to_string(),
        namespace: String::new(),
        name: name.to_owned(),
    }
}

/// Whether an object is on its way out.
fn is_ending(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}
