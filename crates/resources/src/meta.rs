//! Metadata of an object, trimmed to what the mesh reads. `resourceVersion` and `managedFields` are left out on
//! purpose: two versions of an object that say the same compare as equal, and cause no push.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::kubernetes::null_as_default;

/// Metadata of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub generation: Option<i64>,
    /// RFC 3339 in UTC, as Kubernetes writes it; so text order is time order.
    pub creation_timestamp: Option<String>,
    #[serde(deserialize_with = "null_as_default")]
    pub labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_as_default")]
    pub annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_as_default")]
    pub owner_references: Vec<OwnerReference>,
}

/// Who an object belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    #[serde(deserialize_with = "null_as_default")]
    pub controller: bool,
}

impl Meta {
    /// The owner that controls this object.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|owner| owner.controller)
    }

    /// The order in which Istio ranks objects that compete: oldest first, then by name and namespace. An object
    /// without a time (read from a file) counts as newest.
    pub fn age_order(&self) -> impl Ord + use<'_> {
        let created = self.creation_timestamp.as_deref();
        (created.is_none(), created, &self.name, &self.namespace)
    }
}
