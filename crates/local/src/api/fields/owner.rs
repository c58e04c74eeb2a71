//! `metadata.managedFields`: the writers of an object and the fields that each of them set last.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use super::set::FieldSet;
use crate::api::time;

/// As many writers other than appliers as an object remembers by name.
const UPDATERS: usize = 10;
/// Under whose name the oldest of the others are remembered.
const ANCIENT: &str = "ancient-changes";

/// One writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub manager: String,
    /// By server-side apply, so that fields no longer stated go.
    pub applied: bool,
    /// The version in which the fields are named.
    pub api_version: String,
    /// `status`, `scale`; empty for the object itself.
    pub subresource: String,
    /// RFC 3339; empty when it is not known.
    pub time: String,
    pub fields: FieldSet,
}

/// All writers of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners(pub Vec<Owner>);

impl Owner {
    /// Whether both are entries of one writer: an applier stays the same across versions.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.manager == other.manager
            && self.applied == other.applied
            && self.subresource == other.subresource
            && (self.applied || self.api_version == other.api_version)
    }

    fn order(&self, other: &Self) -> Ordering {
        other
            .applied
            .cmp(&self.applied)
            .then_with(|| seconds(&self.time).cmp(&seconds(&other.time)))
            .then_with(|| self.manager.cmp(&other.manager))
            .then_with(|| self.api_version.cmp(&other.api_version))
            .then_with(|| self.subresource.cmp(&other.subresource))
    }

    fn to_value(&self) -> Value {
        let mut entry = Map::new();
        let operation = if self.applied { "Apply" } else { "Update" };
        for (name, text) in [
            ("manager", &*self.manager),
            ("operation", operation),
            ("apiVersion", &self.api_version),
            ("time", &self.time),
            ("fieldsType", "FieldsV1"),
        ] {
            if !text.is_empty() {
                entry.insert(name.to_owned(), text.into());
            }
        }
        entry.insert("fieldsV1".to_owned(), self.fields.to_value());
        if !self.subresource.is_empty() {
            entry.insert("subresource".to_owned(), self.subresource.clone().into());
        }
        Value::Object(entry)
    }

    fn from_value(entry: &Value, index: usize) -> Result<Self, String> {
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let applied = match entry["operation"].as_str() {
            Some("Apply") => true,
            Some("Update") => false,
            _ => return Err("operation must be `Apply` or `Update`".to_owned()),
        };
        if text("apiVersion").is_empty() {
            return Err("apiVersion must not be empty".to_owned());
        }
        match &*text("fieldsType") {
            "FieldsV1" => {}
            "" => return Err(format!("missing fieldsType in managed fields entry {index}")),
            other => {
                return Err(format!(
                    "invalid fieldsType {other:?} in managed fields entry {index}"
                ));
            }
        }
        Ok(Self {
            manager: text("manager"),
            applied,
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: text("time"),
            fields: FieldSet::from_value(&entry["fieldsV1"])
                .map_err(|why| format!("error decoding set: {why}"))?,
        })
    }
}

fn seconds(text: &str) -> Option<std::time::SystemTime> {
    time::parse(text)
}

impl Owners {
    /// Reads `managedFields` as they stand in an object.
    ///
    /// # Errors
    /// What Kubernetes says of entries that make no sense.
    pub fn of(object: &Value) -> Result<Self, String> {
        let entries = object["metadata"]["managedFields"].as_array();
        let mut owners = Self::default();
        for (index, entry) in entries.into_iter().flatten().enumerate() {
            let owner = Owner::from_value(entry, index)?;
            // Of two entries of one writer the last one counts.
            owners.0.retain(|one| !one.is(&owner));
            owners.0.push(owner);
        }
        Ok(owners)
    }

    /// Puts them into an object; without any the field is absent.
    pub fn write_to(&self, object: &mut Value) {
        let mut sorted: Vec<&Owner> = self.0.iter().collect();
        sorted.sort_by(|a, b| a.order(b));
        let entries: Vec<Value> = sorted.into_iter().map(Owner::to_value).collect();
        let metadata = &mut object["metadata"];
        if !metadata.is_object() {
            *metadata = json!({});
        }
        if let Some(metadata) = metadata.as_object_mut() {
            if entries.is_empty() {
                metadata.shift_remove("managedFields");
            } else {
                metadata.insert("managedFields".to_owned(), entries.into());
            }
        }
    }

    /// The owners that count when an object is written: those it brings along, unless it says to forget them all
    /// (`[]` or `[{}]`), or brings none, or nonsense.
    pub fn given(current: &Value, wanted: &Value) -> Self {
        let list = wanted["metadata"]["managedFields"].as_array().map(Vec::as_slice);
        match list {
            Some([]) => return Self::default(),
            Some([Value::Object(one)]) if one.is_empty() => return Self::default(),
            _ => {}
        }
        match Self::of(wanted) {
            Ok(owners) if !owners.0.is_empty() => owners,
            _ => Self::of(current).unwrap_or_default(),
        }
    }

    pub(super) fn find(&self, who: &Owner) -> Option<&Owner> {
        self.0.iter().find(|one| one.is(who))
    }

    /// Replaces the entry of a writer.
    pub(super) fn put(&mut self, owner: Owner) {
        self.0.retain(|one| !one.is(&owner));
        if !owner.fields.is_empty() {
            self.0.push(owner);
        }
    }

    /// Folds the oldest updaters of each version into one, when there are too many.
    pub(super) fn cap(&mut self) {
        let mut updaters: Vec<Owner> = self.0.iter().filter(|one| !one.applied).cloned().collect();
        let mut count = updaters.len();
        if count <= UPDATERS {
            return;
        }
        updaters.sort_by(Owner::order);
        let mut first: Vec<Owner> = Vec::new();
        for one in updaters {
            if count <= UPDATERS {
                return;
            }
            let Some(at) = first
                .iter()
                .position(|first| first.api_version == one.api_version)
            else {
                first.push(one);
                continue;
            };
            let name = Owner {
                manager: ANCIENT.to_owned(),
                subresource: String::new(),
                ..one.clone()
            };
            let bucket = match self.find(&name) {
                Some(bucket) => bucket.fields.clone(),
                None => {
                    self.0.retain(|other| !other.is(&first[at]));
                    first[at].fields.clone()
                }
            };
            self.0.retain(|other| !other.is(&one));
            self.put(Owner {
                fields: one.fields.clone().with(&bucket),
                ..name
            });
            count -= 1;
        }
    }
}
