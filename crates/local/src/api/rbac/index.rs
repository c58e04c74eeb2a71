//! Bindings by whom they name, so that a check looks only at what concerns the caller. Pure.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::{Access, GROUP, Rule};
use crate::api::client::Object;
use crate::api::{User, tokens};

/// The objects that rights are made of.
#[derive(Debug, Default)]
pub struct Objects {
    pub cluster_roles: Vec<Object>,
    pub cluster_role_bindings: Vec<Object>,
    pub roles: Vec<Object>,
    pub role_bindings: Vec<Object>,
}

/// Immutable; made anew when one of its objects changes.
#[derive(Debug, Default)]
pub struct Index {
    roles: Roles,
    everywhere: Scope,
    namespaces: HashMap<String, Scope>,
}

/// Rules by kind, namespace and name of their role.
type Roles = HashMap<(String, String, String), Arc<[Rule]>>;

/// The bindings of one place by subject.
#[derive(Debug, Default)]
struct Scope {
    users: HashMap<String, Vec<Entry>>,
    groups: HashMap<String, Vec<Entry>>,
}

/// A binding, seen from one of its subjects.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) grant: Arc<Grant>,
    /// `ServiceAccount "name/namespace"`.
    pub(super) subject: String,
}

/// What a binding gives.
#[derive(Debug)]
pub(super) struct Grant {
    /// `ClusterRoleBinding "x" of ClusterRole "y"`.
    pub(super) by: String,
    rules: Arc<[Rule]>,
    /// The role that it names does not exist.
    missing: Option<String>,
}

impl Index {
    pub fn of(objects: &Objects) -> Self {
        let mut index = Self::default();
        let roles = objects.cluster_roles.iter().map(|role| ("ClusterRole", role));
        for (kind, role) in roles.chain(objects.roles.iter().map(|role| ("Role", role))) {
            let key = (kind.to_owned(), namespace(role), text(&role["metadata"]["name"]));
            index.roles.insert(key, Rule::all_of(role).into());
        }
        for binding in &objects.cluster_role_bindings {
            let grant = index.granted("ClusterRoleBinding", binding);
            index.everywhere.add(binding, &grant);
        }
        for binding in &objects.role_bindings {
            let grant = index.granted("RoleBinding", binding);
            let scope = index.namespaces.entry(namespace(binding)).or_default();
            scope.add(binding, &grant);
        }
        index
    }

    /// The binding that allows it.
    pub(super) fn grant(&self, user: &User, access: &Access<'_>) -> Option<&Entry> {
        let entries = self.entries(user, access.namespace());
        entries
            .into_iter()
            .find(|entry| entry.grant.rules.iter().any(|rule| rule.matches(access)))
    }

    /// All rules that hold for somebody in a namespace, or (empty) everywhere.
    pub fn rules(&self, user: &User, namespace: &str) -> Vec<Rule> {
        let entries = self.entries(user, namespace);
        let rules = entries
            .into_iter()
            .flat_map(|entry| entry.grant.rules.iter().cloned());
        rules.collect()
    }

    /// The rules of the role that a binding names.
    pub(super) fn role(&self, role_ref: &Value, namespace: &str) -> Option<&Arc<[Rule]>> {
        let kind = text(&role_ref["kind"]);
        let namespace = if kind == "Role" { namespace } else { "" };
        self.roles
            .get(&(kind, namespace.to_owned(), text(&role_ref["name"])))
    }

    /// Roles that bindings of this user name in vain: `RBAC: role … not found`.
    pub(super) fn troubles(&self, user: &User, namespace: &str) -> String {
        let entries = self.entries(user, namespace).into_iter();
        let missing: BTreeSet<&str> = entries
            .filter_map(|entry| entry.grant.missing.as_deref())
            .collect();
        let missing: Vec<&str> = missing.into_iter().collect();
        match missing[..] {
            [] => String::new(),
            [one] => format!("RBAC: {one}"),
            _ => format!("RBAC: [{}]", missing.join(", ")),
        }
    }

    fn entries(&self, user: &User, namespace: &str) -> Vec<&Entry> {
        let mut found = Vec::new();
        let own = (!namespace.is_empty())
            .then(|| self.namespaces.get(namespace))
            .flatten();
        for scope in [Some(&self.everywhere), own].into_iter().flatten() {
            found.extend(scope.users.get(&user.name).into_iter().flatten());
            for group in &user.groups {
                found.extend(scope.groups.get(group).into_iter().flatten());
            }
        }
        found
    }

    fn granted(&self, kind: &str, binding: &Value) -> Arc<Grant> {
        let role_ref = &binding["roleRef"];
        let namespace = namespace(binding);
        let rules = self.role(role_ref, &namespace).cloned();
        let (role_kind, role) = (text(&role_ref["kind"]), text(&role_ref["name"]));
        let name = match &*namespace {
            "" => text(&binding["metadata"]["name"]),
            namespace => format!("{}/{namespace}", text(&binding["metadata"]["name"])),
        };
        let missing = rules
            .is_none()
            .then(|| format!("{}.{GROUP} \"{role}\" not found", role_kind.to_lowercase()));
        Arc::new(Grant {
            by: format!("{kind} \"{name}\" of {role_kind} \"{role}\""),
            rules: rules.unwrap_or_else(|| Arc::from([])),
            missing,
        })
    }
}

impl Scope {
    fn add(&mut self, binding: &Value, grant: &Arc<Grant>) {
        for subject in binding["subjects"].as_array().into_iter().flatten() {
            let name = text(&subject["name"]);
            let (map, key, shown) = match subject["kind"].as_str() {
                Some("User") => (&mut self.users, name.clone(), format!("User \"{name}\"")),
                Some("Group") => (&mut self.groups, name.clone(), format!("Group \"{name}\"")),
                Some("ServiceAccount") => {
                    let of = match subject["namespace"].as_str() {
                        None | Some("") => namespace(binding),
                        Some(given) => given.to_owned(),
                    };
                    let shown = format!("ServiceAccount \"{name}/{of}\"");
                    (&mut self.users, tokens::user_name(&of, &name), shown)
                }
                _ => continue,
            };
            map.entry(key).or_default().push(Entry {
                grant: Arc::clone(grant),
                subject: shown,
            });
        }
    }
}

fn namespace(object: &Value) -> String {
    text(&object["metadata"]["namespace"])
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
