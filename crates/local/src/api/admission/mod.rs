//! What may still change or refuse a write that is otherwise fine: a few built-in plugins, then webhooks.
//!
//! Order as in Kubernetes: ServiceAccount, Priority and DefaultTolerationSeconds, mutating webhooks one after another
//! by name, the plugins again for what the webhooks added, then validation by the caller, then policies, then
//! validating webhooks side by side. Nothing here holds a transaction.

mod call;
mod conditions;
mod pods;
mod policy;
mod review;
mod rules;
mod service_account;
mod webhook;

#[cfg(test)]
mod policy_tests;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::Value;

use super::cel::Budget;
use super::client::Object;
use super::decode::{FieldValidation, decode};
use super::registry::{Registry, Type};
use super::{Gvr, Status, User, defaults, gvr};
use conditions::Programs;
use rules::Matching;
use webhook::Hook;

pub use conditions::declared;
pub use policy::{BINDINGS, POLICIES};

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
}

/// One write, as admission sees it.
#[derive(Debug)]
pub struct Review<'a> {
    pub user: &'a User,
    pub kind: &'a Type,
    /// Empty for cluster-scoped objects.
    pub namespace: &'a str,
    pub name: &'a str,
    pub subresource: Option<&'a str>,
    pub operation: Operation,
    /// What the object was before; none on create.
    pub old: Option<&'a Value>,
    pub dry_run: bool,
}

/// What admission reads of the rest of the cluster; immediate, from memory.
pub trait Lookup: Send + Sync {
    fn find(&self, gvr: &Gvr, namespace: &str, name: &str) -> Option<Object>;
    /// All objects of a cluster-scoped collection.
    fn all(&self, gvr: &Gvr) -> Vec<Object>;
    fn registry(&self) -> Arc<Registry>;
}

/// Which sockets webhooks are reached through.
#[derive(Clone, Copy, Debug)]
pub enum Network {
    /// This process's own, which for the node is the one that pods are in.
    Own,
    /// Whatever is dialled is here: for tests, which may not touch service addresses.
    Only(SocketAddr),
}

/// Admission of all kinds.
#[derive(Debug)]
pub struct Admission {
    network: Network,
    programs: Programs,
}

impl Default for Admission {
    fn default() -> Self {
        Self::new(Network::Own)
    }
}

impl Admission {
    pub fn new(network: Network) -> Self {
        Self {
            network,
            programs: Programs::default(),
        }
    }

    /// The object as it is after all plugins and mutating webhooks, and what the caller should be warned of.
    ///
    /// # Errors
    /// When somebody refuses the write, or cannot be asked and `failurePolicy` is `Fail`.
    pub async fn mutate(
        &self,
        lookup: &dyn Lookup,
        review: &Review<'_>,
        mut object: Value,
    ) -> Result<(Value, Vec<String>), Status> {
        plugins(lookup, review, &mut object)?;
        let hooks = hooks(lookup, review, &gvr::MUTATING_WEBHOOKS);
        let (mut warnings, mut again, mut changed) = (Vec::new(), Vec::new(), false);
        for hook in &hooks {
            let (next, said) = self.mutate_by(hook, lookup, review, object.clone()).await?;
            changed |= next != object;
            object = next;
            warnings.extend(said);
            if hook.reinvoked() {
                again.push((hook, object.clone()));
            }
        }
        if changed {
            plugins(lookup, review, &mut object)?;
        }
        // Who asked for it is called once more when others changed the object afterwards.
        for (hook, left) in again {
            if object != left {
                let (next, said) = self.mutate_by(hook, lookup, review, object).await?;
                object = next;
                warnings.extend(said);
            }
        }
        Ok((object, warnings))
    }

    /// Asks policies and validating webhooks; on a deletion, `object` is null and mutating webhooks may refuse too.
    ///
    /// # Errors
    /// As for [`Admission::mutate`].
    pub async fn validate(
        &self,
        lookup: &dyn Lookup,
        review: &Review<'_>,
        object: &Value,
    ) -> Result<Vec<String>, Status> {
        let mut warnings = Vec::new();
        if review.operation == Operation::Delete {
            for hook in hooks(lookup, review, &gvr::MUTATING_WEBHOOKS) {
                let verdict = self.ask(&hook, lookup, review, object).await?;
                warnings.extend(verdict.into_iter().flat_map(|verdict| verdict.warnings));
            }
        }
        warnings.extend(policy::validate(&self.programs, lookup, review, object)?);
        let hooks = hooks(lookup, review, &gvr::VALIDATING_WEBHOOKS);
        for verdict in join_all(hooks.iter().map(|hook| self.ask(hook, lookup, review, object))).await {
            warnings.extend(verdict?.into_iter().flat_map(|verdict| verdict.warnings));
        }
        Ok(warnings)
    }

    /// The object as one webhook leaves it, and its warnings.
    async fn mutate_by(
        &self,
        hook: &Hook,
        lookup: &dyn Lookup,
        review: &Review<'_>,
        object: Value,
    ) -> Result<(Value, Vec<String>), Status> {
        let Some(verdict) = self.ask(hook, lookup, review, &object).await? else {
            return Ok((object, Vec::new()));
        };
        let Some(patch) = verdict.patch else {
            return Ok((object, verdict.warnings));
        };
        let kind = verdict.kind;
        let patched = webhook::patched(hook, &kind.from_stored(review.kind.to_stored(object)), &patch)?;
        let object = review.kind.from_stored(kind.to_stored(patched));
        let mut decoded = decode(review.kind, object, FieldValidation::Ignore)?.object;
        defaults::default_object(review.kind, &mut decoded);
        Ok((decoded, verdict.warnings))
    }

    /// The webhook's verdict; none when it is not asked, or could not be and that is to be ignored.
    async fn ask(
        &self,
        hook: &Hook,
        lookup: &dyn Lookup,
        review: &Review<'_>,
        object: &Value,
    ) -> Result<Option<webhook::Verdict>, Status> {
        let Some(kind) = rules::kind(&Matching::of_hook(hook), lookup, review, object) else {
            return Ok(None);
        };
        if kind.gvr != review.kind.gvr && kind.webhook().is_some() {
            return Self::not_shown(hook, review, &kind);
        }
        if !self.meets_conditions(hook, lookup, review, (&kind, object))? {
            return Ok(None);
        }
        if review.dry_run && !hook.allows_dry_run() {
            let name = hook.name();
            return Err(Status::bad_request(format!(
                "admission webhook \"{name}\" does not support dry run"
            )));
        }
        match webhook::ask(hook, lookup, self.network, review, (&kind, object)).await {
            Ok((patch, warnings)) => Ok(Some(webhook::Verdict {
                kind,
                patch,
                warnings,
            })),
            Err(webhook::Trouble::Denied(status)) => Err(status),
            Err(webhook::Trouble::Failed(why)) if hook.ignores_failure() => {
                tracing::warn!(
                    webhook = hook.name(),
                    why,
                    "admission goes on without this webhook"
                );
                Ok(None)
            }
            Err(webhook::Trouble::Failed(why)) => Err(Status::internal(format!(
                "Internal error occurred: failed calling webhook \"{}\": {why}",
                hook.name()
            ))),
        }
    }
}

impl Admission {
    /// Asks a webhook something else than admission: conversion of custom resources.
    pub async fn post(&self, lookup: &dyn Lookup, client: &Value, question: String) -> Result<Bytes, String> {
        let hook = Hook(serde_json::json!({"clientConfig": client, "timeoutSeconds": 30}));
        webhook::post(&hook, lookup, self.network, question).await
    }

    /// A webhook that knows only a version that another webhook would have to make.
    fn not_shown(hook: &Hook, review: &Review<'_>, kind: &Type) -> Result<Option<webhook::Verdict>, Status> {
        let why = format!(
            "objects that a webhook converts are not shown in another version ({})",
            kind.gvr.version
        );
        if hook.ignores_failure() {
            tracing::warn!(
                webhook = hook.name(),
                why,
                "admission goes on without this webhook"
            );
            return Ok(None);
        }
        Err(forbidden(
            review,
            &format!("admission webhook \"{}\": {why}", hook.name()),
        ))
    }

    /// Whether the webhook's `matchConditions` hold; when that cannot be said, `failurePolicy` decides.
    fn meets_conditions(
        &self,
        hook: &Hook,
        lookup: &dyn Lookup,
        review: &Review<'_>,
        (kind, object): (&Type, &Value),
    ) -> Result<bool, Status> {
        let conditions = hook.conditions();
        if conditions.as_array().is_none_or(Vec::is_empty) {
            return Ok(true);
        }
        let seen = conditions::variables(lookup, review, (kind, object));
        match conditions::hold(&self.programs, conditions, &seen, &mut Budget::default()) {
            Ok(hold) => Ok(hold),
            Err(why) if hook.ignores_failure() => {
                tracing::warn!(
                    webhook = hook.name(),
                    why,
                    "admission goes on without this webhook"
                );
                Ok(false)
            }
            Err(why) => Err(forbidden(review, &why)),
        }
    }
}

/// What Kubernetes always has switched on; may run twice.
fn plugins(lookup: &dyn Lookup, review: &Review<'_>, object: &mut Value) -> Result<(), Status> {
    let pod = review.kind.gvr == gvr::PODS && review.subresource.is_none();
    if !pod || review.operation != Operation::Create {
        return Ok(());
    }
    service_account::admit(lookup, review, object)?;
    pods::priority(lookup, review, object)?;
    pods::tolerations(object);
    Ok(())
}

/// All webhooks of a kind of configuration, by the names of their configurations.
fn hooks(lookup: &dyn Lookup, review: &Review<'_>, collection: &Gvr) -> Vec<Hook> {
    // Else a broken webhook could not be removed.
    if review.kind.gvr.group == gvr::MUTATING_WEBHOOKS.group {
        return Vec::new();
    }
    let mut configurations = lookup.all(collection);
    configurations.sort_by(|left, right| {
        left["metadata"]["name"]
            .as_str()
            .cmp(&right["metadata"]["name"].as_str())
    });
    configurations
        .iter()
        .flat_map(|configuration| {
            configuration["webhooks"]
                .as_array()
                .into_iter()
                .flatten()
                .cloned()
        })
        .map(Hook)
        .collect()
}

/// `pods "x" is forbidden: WHY`.
fn forbidden(review: &Review<'_>, why: &str) -> Status {
    Status {
        details: serde_json::json!({"name": review.name, "group": review.kind.gvr.group, "kind": review.kind.gvr.resource}),
        ..Status::new(
            403,
            "Forbidden",
            format!("{} \"{}\" is forbidden: {why}", review.kind.gvr, review.name),
        )
    }
}
