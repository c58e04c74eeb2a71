//! Update and patch: a newer object made from the current one.

use std::sync::Arc;

use serde_json::Value;

use super::super::client::Object;
use super::super::decode::{Decoded, Parsed, decode};
use super::super::field::go_value;
use super::super::fields::Owners;
use super::super::patch::{self, PatchKind};
use super::super::rbac::{Access, Resource, What};
use super::super::{Status, defaults, fields, scale};
use super::{
    ATTEMPTS, Api, Call, MODIFIED, Target, Written, is_ending, metadata, ownership, service_address,
};
use crate::store::{Refused, revision_of};

/// Which part of an object a write may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All but the status, where that is a subresource.
    Whole,
    /// Only the status.
    Status,
    /// Only the finalizers of a Namespace's spec.
    Finalize,
    /// The number of replicas, through the scale subresource.
    Scale,
}

/// An object as a writer wants it.
pub(super) struct Wanted {
    pub(super) object: Value,
    pub(super) warnings: Vec<String>,
    /// Who owns what then; `None`: the writer owns what differs from the current object.
    pub(super) owners: Option<Owners>,
}

impl From<(Value, Vec<String>)> for Wanted {
    fn from((object, warnings): (Value, Vec<String>)) -> Self {
        Self {
            object,
            warnings,
            owners: None,
        }
    }
}

/// One attempt at a change.
enum Attempt {
    Done(Written),
    /// Somebody else was faster.
    Again,
}

impl Api {
    /// Replaces an object.
    ///
    /// # Errors
    /// 404, 409 for an old version, and what is wrong with the object.
    pub async fn update(&self, call: &Call, part: Part, body: impl Into<Parsed>) -> Result<Written, Status> {
        let Decoded { mut object, warnings } = decode(&call.target.kind, body, call.validation)?;
        let target = &call.target;
        metadata::place(target, &mut object)?;
        metadata::check_name(target, &object)?;
        self.change(call, part, |current| {
            metadata::check_uid(target, current, &object)?;
            metadata::check_version_stated(target, &object)?;
            Ok((object.clone(), warnings.clone()).into())
        })
        .await
    }

    /// Changes an object in place; server-side apply makes it if there is none.
    ///
    /// # Errors
    /// 404, 409 when the patch names an old version, and what is wrong with patch or result.
    pub async fn patch(
        &self,
        call: &Call,
        part: Part,
        kind: PatchKind,
        body: &[u8],
    ) -> Result<Written, Status> {
        let target = &call.target;
        if kind == PatchKind::Apply {
            return self.apply(call, part, body).await;
        }
        self.change(call, part, |current| {
            let mut patched = patch::apply(&target.kind, kind, current, body)?;
            metadata::place(target, &mut patched)?;
            metadata::check_name(target, &patched)?;
            let Decoded { object, warnings } = decode(&target.kind, patched.clone(), call.validation)
                .map_err(|status| unfit(&patched, &status))?;
            Ok((object, warnings).into())
        })
        .await
    }

    /// Who may patch may not therefore create.
    pub(super) fn may_create(&self, call: &Call) -> Result<(), Status> {
        let Target {
            kind,
            namespace,
            name,
        } = &call.target;
        let resource = Resource {
            group: &kind.gvr.group,
            resource: &kind.gvr.resource,
            subresource: "",
            namespace,
            name,
        };
        let what = What::Resource(resource);
        self.rights.require(&call.user, &Access { verb: "create", what })
    }

    /// The number of replicas and the selector, as `autoscaling/v1` `Scale`.
    ///
    /// # Errors
    /// 404, also for kinds without scale.
    pub fn scale(&self, call: &Call) -> Result<Value, Status> {
        scale::read(&call.target.kind, &*self.get(&call.target)?)
    }

    /// Writes the number of replicas; `change` makes the wanted `Scale` of the current one.
    ///
    /// # Errors
    /// As for an update.
    pub async fn change_scale(
        &self,
        call: &Call,
        change: impl Fn(&Value) -> Result<Value, Status> + Send + Sync,
    ) -> Result<Value, Status> {
        let kind = &call.target.kind;
        let wanted = |current: &Value| {
            let scale = change(&scale::read(kind, current)?)?;
            Ok((scale::write(kind, current, &scale)?, Vec::new()).into())
        };
        let written = self.change(call, Part::Scale, wanted).await?;
        scale::read(kind, &written.object)
    }

    /// Stores what `wanted` makes of the current object, again and again until nobody else was faster.
    pub(super) async fn change(
        &self,
        call: &Call,
        part: Part,
        wanted: impl Fn(&Value) -> Result<Wanted, Status> + Send + Sync,
    ) -> Result<Written, Status> {
        for _ in 0..ATTEMPTS {
            let current = self.current(&call.target).await?;
            if let Attempt::Done(written) = self.attempt(call, part, &current, wanted(&current)?).await? {
                return Ok(written);
            }
        }
        Err(call.target.conflict(MODIFIED))
    }

    async fn attempt(
        &self,
        call: &Call,
        part: Part,
        current: &Object,
        wanted: Wanted,
    ) -> Result<Attempt, Status> {
        let Call { target, .. } = call;
        let Wanted {
            object,
            mut warnings,
            owners,
        } = wanted;
        check_identity(call, current, &object)?;
        let mut next = metadata::carry_over(&target.kind, part, current, object);
        check_finalizers(call, current, &next)?;
        if part != Part::Status {
            defaults::default_object(&target.kind, &mut next);
            service_address::keep(&target.kind, current, &mut next);
        }
        match owners {
            Some(owners) => owners.write_to(&mut next),
            None => self.own_changes(call, part, current, &mut next),
        }
        let (admitted, heard) = self.admit(call, part, next.clone(), Some(current)).await?;
        warnings.extend(heard);
        // Admission may not change identity or the other part either.
        let mut admitted = metadata::carry_over(&target.kind, part, current, admitted);
        warnings.extend(ownership::restore(&next, &mut admitted));
        let mut next = admitted;
        let _held = self.give_address(target, Some(current), &mut next).await?;
        metadata::count_generation(&target.kind, current, &mut next);
        fields::unchanged_times(current, &mut next);
        let done = |object| {
            Ok(Attempt::Done(Written {
                object,
                warnings,
                created: false,
            }))
        };
        if call.dry_run {
            return done(Arc::new(next));
        }
        let over = is_over(&next);
        let answer = over.then(|| Arc::new(next.clone()));
        let next = self.kept(&target.kind, next).await?;
        match self
            .store(target, Some(revision_of(current)), (!over).then_some(next))
            .await
        {
            Ok(stored) => done(match answer {
                Some(answer) => answer,
                None => self.shown(&target.kind, stored).await?,
            }),
            Err(Refused::Changed) => Ok(Attempt::Again),
            Err(refused) => Err(target.refused(&refused)),
        }
    }
}

/// What the real server says of a patch whose result is no object of the kind.
fn unfit(patched: &Value, status: &Status) -> Status {
    let (_, why) = status
        .message
        .split_once(" cannot be handled as a ")
        .unwrap_or_default();
    match why.split_once(": ") {
        Some((_, why)) => patch::unfit(patched, why),
        None => status.clone(),
    }
}

/// Whether an object that is being deleted has nothing left to wait for.
pub(super) fn is_over(object: &Value) -> bool {
    let waits = |list: &Value| list.as_array().is_some_and(|list| !list.is_empty());
    is_ending(object)
        && !waits(&object["metadata"]["finalizers"])
        && !(object["kind"] == "Namespace" && waits(&object["spec"]["finalizers"]))
        && object["metadata"]["deletionGracePeriodSeconds"]
            .as_i64()
            .unwrap_or(0)
            == 0
}

/// Whether the writer means the object that is there, in the version that is there.
fn check_identity(call: &Call, current: &Value, wanted: &Value) -> Result<(), Status> {
    match wanted["metadata"]["resourceVersion"].as_str() {
        None | Some("" | "0") => {}
        Some(version) if version == revision_of(current).to_string() => {}
        Some(version) if version.parse::<u64>().is_err() => {
            let message = format!(
                "Invalid value: \"{version}\": strconv.ParseUint: parsing \"{version}\": invalid syntax"
            );
            let cause = ("metadata.resourceVersion", "FieldValueInvalid", message.as_str());
            return Err(metadata::invalid(&call.target.kind, &call.target.name, cause));
        }
        Some(_) => return Err(call.target.conflict(MODIFIED)),
    }
    for field in ["uid", "deletionTimestamp"] {
        let (given, have) = (&wanted["metadata"][field], &current["metadata"][field]);
        // A deletion that has begun is carried over, whatever the writer says.
        let is_ours = field == "deletionTimestamp" && is_ending(current);
        if given.as_str().is_some_and(|text| !text.is_empty()) && given != have && !is_ours {
            let (field, message) = (
                format!("metadata.{field}"),
                format!("Invalid value: {}: field is immutable", go_value(given)),
            );
            let cause = (field.as_str(), "FieldValueInvalid", message.as_str());
            return Err(metadata::invalid(&call.target.kind, &call.target.name, cause));
        }
    }
    Ok(())
}

/// An object on its way out takes no new finalizers.
fn check_finalizers(call: &Call, current: &Value, next: &Value) -> Result<(), Status> {
    if !is_ending(current) {
        return Ok(());
    }
    let had = metadata::texts(current, "finalizers");
    let added: Vec<_> = metadata::texts(next, "finalizers")
        .into_iter()
        .filter(|one| !had.contains(one))
        .collect();
    if added.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = added.iter().map(|one| format!("{one:?}")).collect();
    let message = format!(
        "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        list.join(", ")
    );
    let cause = ("metadata.finalizers", "FieldValueForbidden", message.as_str());
    Err(metadata::invalid(&call.target.kind, &call.target.name, cause))
}
