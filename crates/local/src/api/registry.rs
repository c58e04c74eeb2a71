//! Which collections the API serves: the built-in kinds and one more per served version of each CRD.
//!
//! A [`Registry`] never changes; a changed set of CRDs makes a new one, and [`Types`] swaps it in, so that a request
//! sees one consistent set from its first line to its last.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use serde_json::Value;

use super::crd::CustomVersion;
use super::fields::Rule;
use super::kinds::{self, BuiltIn};
use super::openapi::Documents;
use super::{Gvr, crd};

pub type Text = Cow<'static, str>;

/// Every verb; what all built-in kinds and all custom resources answer to.
pub const VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// One collection in one version.
#[derive(Debug)]
pub struct Type {
    pub gvr: Gvr,
    pub kind: Text,
    pub list_kind: Text,
    pub singular: Text,
    pub short_names: Vec<Text>,
    /// `all` makes `kubectl get all` ask for it.
    pub categories: Vec<Text>,
    pub namespaced: bool,
    pub verbs: &'static [&'static str],
    /// Whether `/status` is a subresource, and thereby out of reach of plain writes.
    pub status: bool,
    pub scale: Option<ScalePaths>,
    /// The collection and version in which the store keeps the objects; versions of one CRD share it.
    pub stored_as: Gvr,
    /// What gives the objects their meaning.
    pub shape: Shape,
}

/// Where kinds differ.
#[derive(Debug)]
pub enum Shape {
    BuiltIn(BuiltIn),
    Custom(Arc<CustomVersion>),
}

/// Where the scale subresource finds its numbers.
#[derive(Clone, Debug)]
pub struct ScalePaths {
    pub spec_replicas: Vec<String>,
    pub status_replicas: Vec<String>,
    /// A label selector as a string (custom resources) or an object (built-in kinds).
    pub selector: Option<Vec<String>>,
}

/// An immutable set of types.
#[derive(Debug)]
pub struct Registry {
    all: Vec<Arc<Type>>,
    index: HashMap<Gvr, Arc<Type>>,
    /// What describes them to clients; made when one asks.
    pub(super) documents: Documents,
}

/// The set in force.
#[derive(Debug)]
pub struct Types {
    now: ArcSwap<Registry>,
    /// Held from reading definitions to replacing the set, so that an older reading never wins.
    replacing: Mutex<()>,
}

impl Type {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        self.gvr.api_version()
    }

    pub fn is_custom(&self) -> bool {
        matches!(self.shape, Shape::Custom(_))
    }

    /// How the fields of its objects merge.
    pub fn rule(&self) -> Cow<'_, Rule> {
        match &self.shape {
            Shape::BuiltIn(_) => Cow::Owned(Rule::of_kind(&self.gvr.group, &self.kind)),
            Shape::Custom(version) => Cow::Borrowed(&version.rule),
        }
    }

    /// A stored object in the form this version serves. Changes nothing when it is stored that way.
    /// What a webhook converts stays as it is here.
    pub fn from_stored(&self, mut stored: Value) -> Value {
        if self.is_stored(&stored) || self.webhook().is_some() {
            return stored;
        }
        if let Shape::BuiltIn(built_in) = &self.shape {
            (built_in.from_stored)(&mut stored);
        }
        stored["apiVersion"] = Value::String(self.api_version());
        stored
    }

    /// Whether a stored object is in the version that this type serves. A CRD's version of storage may change, and
    /// leaves older objects behind.
    pub fn is_stored(&self, stored: &Value) -> bool {
        match &self.shape {
            Shape::BuiltIn(_) => self.gvr == self.stored_as,
            Shape::Custom(_) => stored["apiVersion"] == self.api_version(),
        }
    }

    /// `spec.conversion.webhook` of the CRD, where versions are converted by one.
    pub fn webhook(&self) -> Option<&Value> {
        match &self.shape {
            Shape::BuiltIn(_) => None,
            Shape::Custom(version) => version.webhook.as_ref(),
        }
    }

    /// An object of this version in the form the store keeps.
    pub fn to_stored(&self, mut served: Value) -> Value {
        if self.gvr != self.stored_as && self.webhook().is_none() {
            if let Shape::BuiltIn(built_in) = &self.shape {
                (built_in.to_stored)(&mut served);
            }
            served["apiVersion"] = Value::String(self.stored_as.api_version());
        }
        served
    }
}

impl Registry {
    /// The built-in kinds alone.
    pub fn built_in() -> Self {
        Self::of(kinds::all().into_iter().map(Arc::new).collect())
    }

    /// The built-in kinds and what these CustomResourceDefinitions define.
    pub fn with_crds<'a>(crds: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut all: Vec<Arc<Type>> = kinds::all().into_iter().map(Arc::new).collect();
        for definition in crds {
            all.extend(crd::types(definition).into_iter().map(Arc::new));
        }
        Self::of(all)
    }

    fn of(all: Vec<Arc<Type>>) -> Self {
        let index = all.iter().map(|one| (one.gvr.clone(), Arc::clone(one))).collect();
        Self {
            all,
            index,
            documents: Documents::default(),
        }
    }

    /// Every type; versions of a group stand in order of preference (`v1`, `v1beta1`, `v1alpha3`).
    pub fn all(&self) -> &[Arc<Type>] {
        &self.all
    }

    pub fn find(&self, group: &str, version: &str, resource: &str) -> Option<&Arc<Type>> {
        self.index.get(&Gvr {
            group: Cow::Owned(group.to_owned()),
            version: Cow::Owned(version.to_owned()),
            resource: Cow::Owned(resource.to_owned()),
        })
    }

    /// The type of an object that says only its `apiVersion` and `kind`.
    pub fn find_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Type>> {
        self.all
            .iter()
            .find(|one| one.kind == kind && one.api_version() == api_version)
    }

    /// The `apiVersion`s in which objects of a type can be had.
    pub fn versions(&self, kind: &Type) -> Vec<String> {
        let same = self.all.iter().filter(|one| one.stored_as == kind.stored_as);
        same.map(|one| one.api_version()).collect()
    }

    /// The preferred version of a resource in a group.
    pub fn preferred(&self, group: &str, resource: &str) -> Option<&Arc<Type>> {
        self.all
            .iter()
            .find(|one| one.gvr.group == group && one.gvr.resource == resource)
    }
}

impl Types {
    pub fn new(registry: Registry) -> Self {
        Self {
            now: ArcSwap::from_pointee(registry),
            replacing: Mutex::default(),
        }
    }

    /// The set in force; keep it for the whole request.
    pub fn now(&self) -> Arc<Registry> {
        self.now.load_full()
    }

    /// Puts the set that `read` makes in the place of this one.
    pub fn replace(&self, read: impl FnOnce() -> Registry) {
        let _held = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        self.now.store(Arc::new(read()));
    }
}
