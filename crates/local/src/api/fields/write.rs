//! What a write does to the owners of an object, and server-side apply.

use serde_json::Value;

use super::compare::{Difference, compare};
use super::conflict::{self, Conflict};
use super::element::Element;
use super::merge::merge;
use super::owner::{Owner, Owners};
use super::remove::remove;
use super::rule::Rule;
use super::set::FieldSet;
use crate::api::Status;

/// What owned the fields of an object that nobody had kept count of.
const BEFORE: &str = "before-first-apply";
/// Whose applies take over what kubectl applied on the client's side before.
const KUBECTL: &str = "kubectl";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Metadata that belongs to nobody.
const UNOWNED: &[&str] = &[
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "clusterName",
    "generation",
    "managedFields",
    "resourceVersion",
];

/// The part of an object that a write may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subresource {
    /// The object; its status is out of reach when that is a subresource.
    None {
        status: bool,
    },
    Status,
    Scale,
}

/// A write: how the object merges, who writes, and when.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    pub rule: &'a Rule,
    pub api_version: &'a str,
    pub subresource: Subresource,
    pub manager: &'a str,
    /// RFC 3339.
    pub now: &'a str,
    /// The versions in which the object can be had; fields named in others are forgotten.
    pub versions: &'a [String],
}

impl Scope<'_> {
    fn writer(&self, applied: bool, fields: FieldSet) -> Owner {
        Owner {
            manager: if self.manager.is_empty() {
                "unknown"
            } else {
                self.manager
            }
            .to_owned(),
            applied,
            api_version: self.api_version.to_owned(),
            subresource: match self.subresource {
                Subresource::None { .. } => String::new(),
                Subresource::Status => "status".to_owned(),
                Subresource::Scale => "scale".to_owned(),
            },
            time: self.now.to_owned(),
            fields,
        }
    }

    /// Drops what this write cannot reach.
    fn within_reach(&self, mut set: FieldSet) -> FieldSet {
        let is_status = |element: &Element| matches!(element, Element::Field(name) if name == "status");
        match self.subresource {
            Subresource::None { status: true } => set.retain_roots(|element| !is_status(element)),
            Subresource::Status => set.retain_roots(is_status),
            Subresource::None { status: false } | Subresource::Scale => {}
        }
        set
    }

    fn difference(&self, old: &Value, new: &Value) -> Difference {
        let all = compare(self.rule, old, new);
        Difference {
            added: self.within_reach(all.added),
            modified: self.within_reach(all.modified),
            removed: self.within_reach(all.removed),
        }
    }

    /// The owners whose fields can still be understood, in the form that the rule gives them today.
    fn understood(&self, owners: Owners) -> Owners {
        let known = |owner: &Owner| self.versions.is_empty() || self.versions.contains(&owner.api_version);
        let kept = owners.0.into_iter().filter(known).map(|owner| Owner {
            fields: reconciled(self.rule, &owner.fields),
            ..owner
        });
        Owners(kept.collect())
    }
}

/// A set in which what has become atomic since is owned as a whole.
fn reconciled(rule: &Rule, set: &FieldSet) -> FieldSet {
    set.map(|element, member, below| {
        let rule = rule.step(element);
        match rule.resolved() {
            Rule::Whole if !below.is_empty() => (true, FieldSet::default()),
            Rule::Open | Rule::Whole => (member, below.clone()),
            _ => (member, reconciled(rule, below)),
        }
    })
}

/// What nobody owns, as a set.
fn unowned() -> FieldSet {
    let mut set = FieldSet::default();
    let field = |name: &str| Element::Field(name.to_owned());
    for name in ["apiVersion", "kind", "metadata"] {
        set.insert(&[field(name)]);
    }
    for name in UNOWNED {
        set.insert(&[field("metadata"), field(name)]);
    }
    set
}

/// The owners after a write that is not an apply. `old` is an empty object for a creation.
///
/// Who sets a field to another value takes it from all others; who removes one takes it from everybody.
pub fn update(scope: &Scope<'_>, old: &Value, new: &Value, owners: Owners) -> Owners {
    let mut owners = scope.understood(owners);
    let Difference {
        added,
        modified,
        removed,
    } = scope.difference(old, new);
    let changed = scope.within_reach(added.with(&modified)).without(&unowned());
    for owner in &mut owners.0 {
        owner.fields.remove(&changed);
        owner.fields.remove(&removed);
    }
    owners.0.retain(|owner| !owner.fields.is_empty());
    if !changed.is_empty() {
        let writer = scope.writer(false, changed);
        let before = owners
            .find(&writer)
            .map(|owner| owner.fields.clone())
            .unwrap_or_default();
        owners.put(Owner {
            fields: writer.fields.clone().with(&before),
            ..writer
        });
    }
    owners.cap();
    owners
}

/// Server-side apply: the object with what `applied` states, without what its author stated before and nobody
/// states any more, and the owners.
///
/// # Errors
/// 409 for fields that others own with other values, unless `force` is set.
pub fn apply(
    scope: &Scope<'_>,
    live: &Value,
    applied: &Value,
    force: bool,
) -> Result<(Value, Owners), Status> {
    let mut owners = Owners::of(live)
        .map_err(|why| Status::new(500, "", format!("failed to decode managed fields: {why}")))?;
    if owners.0.is_empty() {
        let before = Scope {
            manager: BEFORE,
            ..scope.clone()
        };
        let empty = Value::Object(serde_json::Map::new());
        owners = update(&before, &empty, live, owners);
    }
    let wanted = Applied { scope, live, applied };
    let outcome = wanted.run(owners.clone(), force);
    let (mut object, owners) = match outcome {
        Ok(done) => done,
        Err(conflicts) => {
            // What kubectl itself applied on the client's side is its own.
            let rest = without_last_applied(scope, live, conflicts);
            if !rest.is_empty() {
                return Err(conflict::status(&rest));
            }
            wanted
                .run(owners, true)
                .map_err(|conflicts| conflict::status(&conflicts))?
        }
    };
    if scope.manager == KUBECTL {
        refresh_last_applied(&mut object, applied);
    }
    Ok((object, owners))
}

/// One apply.
struct Applied<'a> {
    scope: &'a Scope<'a>,
    live: &'a Value,
    applied: &'a Value,
}

impl Applied<'_> {
    fn run(&self, owners: Owners, force: bool) -> Result<(Value, Owners), Vec<Conflict>> {
        let Scope { rule, .. } = *self.scope;
        let mut owners = self.scope.understood(owners);
        let merged = merge(rule, self.live, self.applied);
        let stated = self.scope.within_reach(FieldSet::stated_by(rule, self.applied));
        let writer = self.scope.writer(true, stated);
        let last = owners.find(&writer).cloned();
        owners.0.retain(|one| !one.is(&writer));
        let object = match &last {
            Some(last) => self.prune(merged, &last.fields, &owners, &writer.fields),
            None => merged,
        };
        let Difference {
            added,
            modified,
            removed,
        } = self.scope.difference(self.live, &object);
        let changed = added.with(&modified);
        let conflicts = conflicts(&owners, &changed);
        if !force && !conflicts.is_empty() {
            return Err(conflicts);
        }
        for owner in &mut owners.0 {
            owner.fields.remove(&changed);
            owner.fields.remove(&removed);
        }
        owners.0.retain(|owner| !owner.fields.is_empty());
        let fields = writer.fields.clone().without(&unowned());
        let same = last
            .as_ref()
            .is_some_and(|last| last.fields == fields && *self.live == object);
        let time = match last {
            Some(last) if same => last.time,
            _ => writer.time.clone(),
        };
        owners.put(Owner {
            time,
            fields,
            ..writer
        });
        Ok((object, owners))
    }

    /// Takes out what this writer stated last time and neither it nor anybody else states now.
    fn prune(&self, merged: Value, last: &FieldSet, others: &Owners, stated: &FieldSet) -> Value {
        if last.is_empty() {
            return merged;
        }
        let Scope { rule, .. } = *self.scope;
        let last = last.with_parents(rule);
        let all = FieldSet::stated_by(rule, &merged).with_parents(rule);
        let mut owned = stated.clone();
        for owner in &others.0 {
            owned.add(&owner.fields);
        }
        let pruned = remove(rule, &merged, &last);
        let kept = FieldSet::stated_by(rule, &pruned).with_parents(rule);
        // First back with what somebody owns, then with what this writer never stated.
        let gone = all.clone().without(&kept.with(&owned.with_parents(rule)));
        let pruned = remove(rule, &merged, &gone);
        let kept = FieldSet::stated_by(rule, &pruned).with_parents(rule);
        remove(rule, &merged, &all.without(&kept).common(&last))
    }
}

/// Changed fields that somebody else owns, by owner.
fn conflicts(owners: &Owners, changed: &FieldSet) -> Vec<Conflict> {
    let mut sorted: Vec<&Owner> = owners.0.iter().collect();
    sorted.sort_by(|a, b| (&a.manager, &a.subresource).cmp(&(&b.manager, &b.subresource)));
    let of = |owner: &Owner| {
        let paths = owner.fields.common(changed).paths().into_iter();
        paths
            .map(|path| Conflict {
                owner: owner.clone(),
                path,
            })
            .collect::<Vec<_>>()
    };
    sorted.into_iter().flat_map(of).collect()
}

/// The conflicts that remain when kubectl takes over what it applied on the client's side.
fn without_last_applied(scope: &Scope<'_>, live: &Value, conflicts: Vec<Conflict>) -> Vec<Conflict> {
    let text = live["metadata"]["annotations"][LAST_APPLIED].as_str();
    let last = text.and_then(|text| serde_json::from_str::<Value>(text).ok());
    let Some(last) = last.filter(|last| scope.manager == KUBECTL && last["apiVersion"] == scope.api_version)
    else {
        return conflicts;
    };
    let Difference {
        added,
        modified,
        removed,
    } = compare(scope.rule, &last, live);
    let own = FieldSet::stated_by(scope.rule, &last).without(&added.with(&modified).with(&removed));
    conflicts
        .into_iter()
        .filter(|conflict| !own.contains(&conflict.path))
        .collect()
}

/// Keeps kubectl's annotation true where there is one, so that client-side apply can be used again.
fn refresh_last_applied(object: &mut Value, applied: &Value) {
    let place = object
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut);
    let Some(annotation) = place.and_then(|annotations| annotations.get_mut(LAST_APPLIED)) else {
        return;
    };
    let mut stated = applied.clone();
    let annotations = stated
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.shift_remove(LAST_APPLIED);
    }
    *annotation = format!("{stated}\n").into();
}

/// Gives entries back their old times when nothing else has changed, so that the write changes nothing.
pub fn unchanged_times(old: &Value, new: &mut Value) {
    if !differ_in_times_only(old, new) {
        return;
    }
    new["metadata"]["managedFields"] = old["metadata"]["managedFields"].clone();
}

fn differ_in_times_only(old: &Value, new: &Value) -> bool {
    let entries = |object: &Value| -> Vec<Value> {
        let list = object["metadata"]["managedFields"].as_array();
        let timeless = list.into_iter().flatten().map(|entry| {
            let mut entry = entry.clone();
            entry.as_object_mut().map(|entry| entry.shift_remove("time"));
            entry
        });
        let mut entries: Vec<Value> = timeless.collect();
        entries.sort_by_key(Value::to_string);
        entries
    };
    let fields = |value: &Value| value.as_object().map_or(0, serde_json::Map::len);
    let (Some(before), Some(after)) = (old["metadata"].as_object(), new["metadata"].as_object()) else {
        return false;
    };
    before.len() == after.len()
        && fields(old) == fields(new)
        && before
            .iter()
            .all(|(name, value)| name == "managedFields" || after.get(name) == Some(value))
        && old
            .as_object()
            .into_iter()
            .flatten()
            .all(|(name, value)| name == "metadata" || new.get(name) == Some(value))
        && entries(old) == entries(new)
}
