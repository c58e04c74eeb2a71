//! Nobody gives away more than they have: a role may only hold, and a binding may only give, what its writer may do;
//! unless the writer has the verb `escalate` on the role, or `bind` on the role that is bound.

use serde_json::Value;

use super::{Access, CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, GROUP, ROLE_BINDINGS, ROLES, Resource};
use super::{Rights, Rule, What, is_master, refused, rule};
use crate::api::{Gvr, Status, User};

impl Rights {
    /// Judges a role or binding that is about to be stored; other kinds pass.
    ///
    /// # Errors
    /// 403 with the rights that the writer lacks; 404 for a binding to a role that does not exist.
    pub fn check_escalation(
        &self,
        user: &User,
        gvr: &Gvr,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        let is_role = *gvr == CLUSTER_ROLES || *gvr == ROLES;
        let is_binding = *gvr == CLUSTER_ROLE_BINDINGS || *gvr == ROLE_BINDINGS;
        if !(is_role || is_binding) || is_master(user) {
            return Ok(());
        }
        // The garbage collector and finalizers must be able to do their work. Labels count: they aggregate.
        if old.is_some_and(|old| without_owners(old) == without_owners(object)) {
            return Ok(());
        }
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let rules = if is_role {
            if self.may(user, "escalate", (&gvr.resource, namespace, name)) {
                return Ok(());
            }
            Rule::all_of(object)
        } else {
            match self.bound(user, object, namespace)? {
                None => return Ok(()),
                Some(rules) => rules,
            }
        };
        let refuse = |why: &str| refused(GROUP, &gvr.resource, name, why);
        if let Some(why) = self.lacking(user, namespace, &rules) {
            return Err(refuse(&why));
        }
        if object["aggregationRule"].is_object()
            && self.lacking(user, namespace, &Rule::everything()).is_some()
        {
            return Err(refuse(
                "must have cluster-admin privileges to use the aggregationRule",
            ));
        }
        Ok(())
    }

    /// The rules that a binding gives; none when its writer may bind that role anyway.
    fn bound(&self, user: &User, binding: &Value, namespace: &str) -> Result<Option<Vec<Rule>>, Status> {
        let role_ref = &binding["roleRef"];
        let role = role_ref["name"].as_str().unwrap_or_default();
        let kind = if role_ref["kind"] == "Role" {
            ROLES
        } else {
            CLUSTER_ROLES
        };
        if self.may(user, "bind", (&kind.resource, namespace, role)) {
            return Ok(None);
        }
        match self.now().role(role_ref, namespace) {
            Some(rules) => Ok(Some(rules.to_vec())),
            None => Err(Status::not_found(&kind, role)),
        }
    }

    fn may(&self, user: &User, verb: &str, (resource, namespace, name): (&str, &str, &str)) -> bool {
        let of = Resource {
            group: GROUP,
            resource,
            namespace,
            name,
            ..Resource::default()
        };
        let what = What::Resource(of);
        self.allows(user, &Access { verb, what })
    }

    /// What the writer would give without having it.
    fn lacking(&self, user: &User, namespace: &str, wanted: &[Rule]) -> Option<String> {
        let held = self.now().rules(user, namespace);
        let missing = rule::missing(&held, wanted);
        if missing.is_empty() {
            return None;
        }
        let mut texts: Vec<String> = missing.iter().map(Rule::describe).collect();
        texts.sort();
        texts.dedup();
        Some(format!(
            "user \"{}\" (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            user.name,
            rule::go_list(&user.groups),
            texts.join("\n")
        ))
    }
}

/// The object without what the garbage collector changes, and without what every write changes.
fn without_owners(object: &Value) -> Value {
    const FREE: [&str; 5] = [
        "ownerReferences",
        "finalizers",
        "managedFields",
        "resourceVersion",
        "generation",
    ];
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|field, _| !FREE.contains(&field.as_str()));
    }
    object
}
