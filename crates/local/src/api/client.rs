//! The API server without the wire: same verbs, same admission, same errors as over HTTP.
//! Controllers and kubelet use it, so that they can do nothing that any other client could not.
//!
//! A namespace of `""` means a cluster-scoped object, or all namespaces where a collection is meant.
//! Reads come from memory and are immediate; writes return when they would survive `kill -9`.

use std::sync::Arc;

use serde_json::Value;

use super::{Gvr, Status, User};

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
}

/// How an object is deleted.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    pub grace_seconds: Option<i64>,
    /// Only if the object still has this uid.
    pub uid: Option<String>,
    /// `Background` (default), `Foreground` or `Orphan`.
    pub propagation: Option<String>,
}

/// A caller inside the process. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Client {
    user: Arc<User>,
}

/// Changes of a collection, in order, without gaps.
///
/// Nothing is queued for a watch: it reads the store's bounded history at its own pace. One that falls behind
/// the history gets a single `410 Expired`, then the end; its owner lists again.
#[derive(Debug)]
pub struct Watch {}

impl Client {
    /// The same server, seen by somebody else.
    #[must_use]
    pub fn for_user(&self, user: User) -> Self {
        Self { user: Arc::new(user) }
    }

    /// On whose behalf it calls.
    pub fn user(&self) -> &User {
        &self.user
    }

    pub fn get(&self, gvr: &Gvr, namespace: &str, name: &str) -> Result<Object, Status> {
        let _ = (gvr, namespace, name);
        Err(unfinished())
    }

    pub fn list(&self, gvr: &Gvr, namespace: &str, query: &Query) -> Result<List, Status> {
        let _ = (gvr, namespace, query);
        Err(unfinished())
    }

    /// Events after version `from`; with 0 first an `Added` for all there is.
    pub fn watch(&self, gvr: &Gvr, namespace: &str, query: &Query, from: u64) -> Result<Watch, Status> {
        let _ = (gvr, namespace, query, from);
        Err(unfinished())
    }

    #[allow(clippy::unused_async, reason = "signature first")]
    pub async fn create(&self, gvr: &Gvr, namespace: &str, object: Value) -> Result<Object, Status> {
        let _ = (gvr, namespace, object);
        Err(unfinished())
    }

    /// Replaces an object, named by its metadata; its `resourceVersion`, if any, must be the current one.
    #[allow(clippy::unused_async, reason = "signature first")]
    pub async fn update(&self, gvr: &Gvr, namespace: &str, object: Value) -> Result<Object, Status> {
        let _ = (gvr, namespace, object);
        Err(unfinished())
    }

    /// Like `update`, but only `status` counts.
    #[allow(clippy::unused_async, reason = "signature first")]
    pub async fn update_status(&self, gvr: &Gvr, namespace: &str, object: Value) -> Result<Object, Status> {
        let _ = (gvr, namespace, object);
        Err(unfinished())
    }

    /// Changes an object in place, retried when it changed in between (unless the patch names a version).
    #[allow(clippy::unused_async, reason = "signature first")]
    pub async fn patch(
        &self,
        gvr: &Gvr,
        namespace: &str,
        name: &str,
        patch: Patch,
    ) -> Result<Object, Status> {
        let _ = (gvr, namespace, name, patch);
        Err(unfinished())
    }

    /// Like `patch`, but only `status` counts.
    #[allow(clippy::unused_async, reason = "signature first")]
    pub async fn patch_status(
        &self,
        gvr: &Gvr,
        namespace: &str,
        name: &str,
        patch: Patch,
    ) -> Result<Object, Status> {
        let _ = (gvr, namespace, name, patch);
        Err(unfinished())
    }

    /// Deletes, or begins to: the object as it was, or as it stays until finalizers and grace are over.
    /// The kubelet ends a pod with `grace_seconds: Some(0)`.
    #[allow(clippy::unused_async, reason = "signature first")]
    pub async fn delete(
        &self,
        gvr: &Gvr,
        namespace: &str,
        name: &str,
        options: DeleteOptions,
    ) -> Result<Object, Status> {
        let _ = (gvr, namespace, name, options);
        Err(unfinished())
    }
}

impl Watch {
    /// The next event; `None` after an error or when the server stops.
    #[allow(clippy::unused_async, reason = "signature first")]
    pub async fn next(&mut self) -> Option<Result<Event, Status>> {
        Some(Err(unfinished()))
    }
}

fn unfinished() -> Status {
    Status::internal("the API server is being built")
}
