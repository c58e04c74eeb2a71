//! The API server without the wire: same verbs, same admission, same errors as over HTTP.
//! Controllers and kubelet use it, so that they can do nothing that any other client could not.

use std::sync::Arc;

use serde_json::Value;

use super::{Gvr, Status};

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
