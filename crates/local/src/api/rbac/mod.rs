//! Who may do what: roles and bindings, compiled into an [`Index`] that is replaced when one of them changes.
//!
//! A check reads the index in force and takes no lock. Members of `system:masters` may do everything, whatever the
//! roles say, so that nobody can lock the owner out.
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/>

pub mod aggregate;
mod bootstrap;
mod default_roles;
mod escalation;
mod index;
mod rule;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use serde_json::{Map, Value, json};

use super::{Gvr, Status, User};
pub(super) use bootstrap::run as bootstrap;
pub use index::{Index, Objects};
pub use rule::Rule;

/// Whoever is in this group may do everything.
pub const MASTERS: &str = "system:masters";

/// The collections that rights are made of; a change of one of them makes a new index.
pub const COLLECTIONS: [Gvr; 4] = [CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS, ROLES, ROLE_BINDINGS];

pub const CLUSTER_ROLES: Gvr = Gvr::fixed(GROUP, "v1", "clusterroles");
pub const CLUSTER_ROLE_BINDINGS: Gvr = Gvr::fixed(GROUP, "v1", "clusterrolebindings");
pub const ROLES: Gvr = Gvr::fixed(GROUP, "v1", "roles");
pub const ROLE_BINDINGS: Gvr = Gvr::fixed(GROUP, "v1", "rolebindings");

const GROUP: &str = "rbac.authorization.k8s.io";

/// Something that somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    pub verb: &'a str,
    pub what: What<'a>,
}

/// What it is to be done with.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    Resource(Resource<'a>),
    /// A URL that names no object: `/healthz`, `/apis/apps`.
    Path(&'a str),
}

/// A collection, an object or a part of one; what does not apply is empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resource<'a> {
    pub group: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
}

/// Whether it may be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    /// Which binding allows it; or which role a binding names in vain.
    pub reason: String,
}

/// The rights in force.
#[derive(Debug, Default)]
pub struct Rights {
    index: ArcSwap<Index>,
    /// Held from reading roles to replacing the index, so that an older reading never wins.
    replacing: Mutex<()>,
}

impl Rights {
    /// The index in force; keep it for the whole request.
    pub fn now(&self) -> Arc<Index> {
        self.index.load_full()
    }

    /// Compiles what `read` finds.
    pub fn replace(&self, read: impl FnOnce() -> Objects) {
        let _held = self
            .replacing
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        self.index.store(Arc::new(Index::of(&read())));
    }

    pub fn allows(&self, user: &User, access: &Access<'_>) -> bool {
        is_master(user) || self.index.load().grant(user, access).is_some()
    }

    /// The same with the reason, for those who ask.
    pub fn decide(&self, user: &User, access: &Access<'_>) -> Decision {
        if is_master(user) {
            return Decision {
                allowed: true,
                reason: String::new(),
            };
        }
        let index = self.index.load();
        match index.grant(user, access) {
            Some(entry) => Decision {
                allowed: true,
                reason: format!("RBAC: allowed by {} to {}", entry.grant.by, entry.subject),
            },
            None => Decision {
                allowed: false,
                reason: index.troubles(user, access.namespace()),
            },
        }
    }

    /// # Errors
    /// 403 in Kubernetes' words, when it may not be done.
    pub fn require(&self, user: &User, access: &Access<'_>) -> Result<(), Status> {
        if self.allows(user, access) {
            return Ok(());
        }
        Err(forbidden(user, access, &self.decide(user, access).reason))
    }
}

impl Access<'_> {
    fn namespace(&self) -> &str {
        match self.what {
            What::Resource(resource) => resource.namespace,
            What::Path(_) => "",
        }
    }
}

pub(super) fn is_master(user: &User) -> bool {
    user.groups.iter().any(|group| group == MASTERS)
}

/// 403: who cannot do what where.
fn forbidden(user: &User, access: &Access<'_>, reason: &str) -> Status {
    let verb = access.verb;
    let name = &user.name;
    let why = if reason.is_empty() {
        String::new()
    } else {
        format!(": {reason}")
    };
    // A path may hold anything, and messages end up in browsers.
    let plain = |text: String| {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
    };
    match access.what {
        What::Path(path) => {
            let message = plain(format!("User \"{name}\" cannot {verb} path \"{path}\""));
            Status {
                details: json!({}),
                ..Status::new(403, "Forbidden", format!("forbidden: {message}{why}"))
            }
        }
        What::Resource(of) => {
            let resource = match of.subresource {
                "" => of.resource.to_owned(),
                part => format!("{}/{part}", of.resource),
            };
            let place = match of.namespace {
                "" => "at the cluster scope".to_owned(),
                namespace => format!("in the namespace \"{namespace}\""),
            };
            let message = plain(format!(
                "User \"{name}\" cannot {verb} resource \"{resource}\" in API group \"{}\" {place}",
                of.group
            ));
            refused(of.group, of.resource, of.name, &format!("{message}{why}"))
        }
    }
}

/// `clusterroles.rbac.authorization.k8s.io "x" is forbidden: WHY`.
pub(super) fn refused(group: &str, resource: &str, name: &str, why: &str) -> Status {
    let mut kind = resource.to_owned();
    if !group.is_empty() {
        kind = format!("{resource}.{group}");
    }
    let message = if name.is_empty() {
        format!("{kind} is forbidden: {why}")
    } else {
        format!("{kind} \"{name}\" is forbidden: {why}")
    };
    let fields = [("name", name), ("group", group), ("kind", resource)];
    let details: Map<String, Value> = fields
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(field, value)| (field.to_owned(), value.into()))
        .collect();
    Status {
        details: Value::Object(details),
        ..Status::new(403, "Forbidden", message)
    }
}
