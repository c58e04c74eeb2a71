//! The API server without the wire: same verbs, same admission, same errors as over HTTP.
//! Controllers and kubelet use it, so that they can do nothing that any other client could not.
//!
//! A namespace of `""` means a cluster-scoped object, or all namespaces where a collection is meant.
//! Reads come from memory and are immediate; writes return when they would survive `kill -9`.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::decode::FieldValidation;
use super::paging::Rest;
use super::patch::PatchKind;
use super::registry::Registry;
use super::verbs::{Api, Call, Part, Target};
use super::{Gvr, Status, User, gvr};

pub use super::watch::Watch;

/// An object as it is in the store, kind and apiVersion included.
pub type Object = Arc<Value>;

/// Which objects of a collection are meant; empty means all.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// `app=backend,version in (0,1)`.
    pub labels: String,
    /// `spec.nodeName=node,status.phase!=Failed`.
    pub fields: String,
}

/// A consistent list.
#[derive(Clone, Debug)]
pub struct List {
    pub items: Vec<Object>,
    /// Where a watch goes on without a gap.
    pub resource_version: u64,
    /// What is left when only a page was asked for.
    pub rest: Option<Rest>,
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Added,
    Modified,
    Deleted,
}

/// One event of a watch; a deleted object carries its last state and the version of the deletion.
#[derive(Clone, Debug)]
pub struct Event {
    pub change: Change,
    pub object: Object,
}

/// How an object is changed in place.
#[derive(Clone, Debug)]
pub enum Patch {
    Merge(Value),
    Json(Value),
    Strategic(Value),
    /// Server-side apply: makes the object when there is none, and takes fields from others where they conflict.
    Apply(Value),
}

/// How an object is deleted.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    pub grace_seconds: Option<i64>,
    /// Only if the object still has this uid.
    pub uid: Option<String>,
    /// Only if it still has this version.
    pub resource_version: Option<String>,
    /// `Background` (default), `Foreground` or `Orphan`.
    pub propagation: Option<String>,
}

/// A caller inside the process. Cloning is cheap.
#[derive(Clone)]
pub struct Client {
    api: Arc<Api>,
    user: Arc<User>,
    /// Whose writes these are, in `managedFields`.
    manager: Arc<str>,
}

impl Client {
    pub(super) fn new(api: Arc<Api>, user: User) -> Self {
        Self {
            api,
            manager: user.name.trim_start_matches("system:").into(),
            user: Arc::new(user),
        }
    }

    /// The same caller, whose writes go by another name in `managedFields`: one process has many parts.
    #[must_use]
    pub fn writing_as(&self, manager: &str) -> Self {
        Self {
            manager: manager.into(),
            ..self.clone()
        }
    }

    /// The same server, seen by somebody else.
    #[must_use]
    pub fn for_user(&self, user: User) -> Self {
        Self::new(self.api.clone(), user)
    }

    /// The kinds that are served at the moment.
    pub fn registry(&self) -> Arc<Registry> {
        self.api.types.now()
    }

    /// On whose behalf it calls.
    pub fn user(&self) -> &User {
        &self.user
    }

    pub fn get(&self, gvr: &Gvr, namespace: &str, name: &str) -> Result<Object, Status> {
        self.api.get(&self.target(gvr, namespace, name)?)
    }

    pub fn list(&self, gvr: &Gvr, namespace: &str, query: &Query) -> Result<List, Status> {
        self.api.list(&self.target(gvr, namespace, "")?, query)
    }

    /// Events after version `from`; with 0 first an `Added` for all there is.
    pub fn watch(&self, gvr: &Gvr, namespace: &str, query: &Query, from: u64) -> Result<Watch, Status> {
        self.api.watch(&self.target(gvr, namespace, "")?, query, from)
    }

    pub async fn create(&self, gvr: &Gvr, namespace: &str, object: Value) -> Result<Object, Status> {
        let call = self.call(gvr, namespace, "")?;
        Ok(self.api.create(&call, object).await?.object)
    }

    /// Replaces an object, named by its metadata; its `resourceVersion`, if any, must be the current one.
    pub async fn update(&self, gvr: &Gvr, namespace: &str, object: Value) -> Result<Object, Status> {
        let call = self.call(gvr, namespace, name_of(&object))?;
        Ok(self.api.update(&call, Part::Whole, object).await?.object)
    }

    /// Like `update`, but only `status` counts.
    pub async fn update_status(&self, gvr: &Gvr, namespace: &str, object: Value) -> Result<Object, Status> {
        let call = self.call(gvr, namespace, name_of(&object))?;
        Ok(self.api.update(&call, Part::Status, object).await?.object)
    }

    /// Replaces the finalizers of a Namespace's spec: with none left it goes.
    pub async fn finalize(&self, namespace: Value) -> Result<Object, Status> {
        let call = self.call(&gvr::NAMESPACES, "", name_of(&namespace))?;
        Ok(self.api.update(&call, Part::Finalize, namespace).await?.object)
    }

    /// Changes an object in place, retried when it changed in between (unless the patch names a version).
    pub async fn patch(
        &self,
        gvr: &Gvr,
        namespace: &str,
        name: &str,
        patch: Patch,
    ) -> Result<Object, Status> {
        self.patch_part(&self.call(gvr, namespace, name)?, Part::Whole, patch)
            .await
    }

    /// Like `patch`, but only `status` counts.
    pub async fn patch_status(
        &self,
        gvr: &Gvr,
        namespace: &str,
        name: &str,
        patch: Patch,
    ) -> Result<Object, Status> {
        self.patch_part(&self.call(gvr, namespace, name)?, Part::Status, patch)
            .await
    }

    /// Deletes, or begins to: the object in its last state, or as it stays until finalizers and grace are over.
    /// The kubelet ends a pod with `grace_seconds: Some(0)`.
    pub async fn delete(
        &self,
        gvr: &Gvr,
        namespace: &str,
        name: &str,
        options: DeleteOptions,
    ) -> Result<Object, Status> {
        let call = self.call(gvr, namespace, name)?;
        Ok(self.api.delete(&call, &options).await?.object().clone())
    }

    /// `serviceaccounts/NAME/token`: answers a `TokenRequest` (only its `spec` counts) with `status.token`.
    pub fn request_token(&self, namespace: &str, account: &str, request: Value) -> Result<Value, Status> {
        self.api
            .issue_token(&self.target(&gvr::SERVICE_ACCOUNTS, namespace, account)?, request)
    }

    async fn patch_part(&self, call: &Call, part: Part, patch: Patch) -> Result<Object, Status> {
        let (kind, body) = match patch {
            Patch::Merge(body) => (PatchKind::Merge, body),
            Patch::Json(body) => (PatchKind::Json, body),
            Patch::Strategic(body) => (PatchKind::Strategic, body),
            Patch::Apply(body) => (PatchKind::Apply, body),
        };
        Ok(self
            .api
            .patch(call, part, kind, body.to_string().as_bytes())
            .await?
            .object)
    }

    fn target(&self, gvr: &Gvr, namespace: &str, name: &str) -> Result<Target, Status> {
        Ok(Target {
            kind: self.api.kind(gvr)?,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }

    fn call(&self, gvr: &Gvr, namespace: &str, name: &str) -> Result<Call, Status> {
        Ok(Call {
            user: self.user.clone(),
            target: self.target(gvr, namespace, name)?,
            dry_run: false,
            validation: FieldValidation::Strict,
            manager: self.manager.to_string(),
            force: true,
        })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Client")
            .field("user", &self.user.name)
            .finish_non_exhaustive()
    }
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}
