//! Who owns which field: `metadata.managedFields`, and server-side apply, which is built on it.
//!
//! A [`Rule`] says how a place of an object merges; from it follow the set of fields that an object states, the
//! difference between two objects, the merge of what somebody applies into what there is, and the removal of what
//! nobody states any more. [`Owners`] keeps for each writer the set of fields that it set last.
//!
//! Everything here is pure: objects and time come in, objects and owners go out.
//! Source: <https://kubernetes.io/docs/reference/using-api/server-side-apply/>, KEP-555 and the behaviour of
//! `sigs.k8s.io/structured-merge-diff`.

mod built_in;
mod check;
mod compare;
mod conflict;
mod custom;
mod element;
mod merge;
mod owner;
mod remove;
mod rule;
mod set;
mod stated;
mod write;

#[cfg(test)]
mod tests;

pub use check::problems;
pub use conflict::Conflict;
pub use custom::from_openapi;
pub use element::Element;
pub use owner::{Owner, Owners};
pub use rule::{Field, PatchList, Rule};
pub use set::FieldSet;
pub use write::{Scope, Subresource, apply, unchanged_times, update};
