//! Who owns the fields that a write sets, and server-side apply.
//!
//! Ownership is settled before admission, as in Kubernetes: what a webhook adds belongs to nobody.

use daemon::clock;
use serde_json::{Map, Value};

use super::super::fields::{self, Owners, Scope, Subresource};
use super::super::{Status, scale, time};
use super::apply_body::{Stated, read};
use super::change::Wanted;
use super::{ATTEMPTS, Api, Call, MODIFIED, Part, Written, metadata};

impl Api {
    /// Notes that the caller owns what it has set in a new object.
    pub(super) fn own_all(&self, call: &Call, object: &mut Value) {
        let empty = Value::Object(Map::new());
        let owners = Owners::given(&empty, object);
        self.with_scope(call, Part::Whole, |scope| {
            fields::update(scope, &empty, object, owners)
        })
        .write_to(object);
    }

    /// Notes that the caller owns what differs in `next`. An object whose owners nobody has kept count of stays so.
    pub(super) fn own_changes(&self, call: &Call, part: Part, current: &Value, next: &mut Value) {
        let mut owners = match part {
            Part::Whole => Owners::given(current, next),
            // A subresource has no way to set them.
            Part::Status | Part::Scale | Part::Finalize => Owners::of(current).unwrap_or_default(),
        };
        if !owners.0.is_empty() {
            owners = self.with_scope(call, part, |scope| fields::update(scope, current, next, owners));
        }
        owners.write_to(next);
    }

    /// Server-side apply: makes the object, or makes it say what `body` says.
    pub(super) async fn apply(&self, call: &Call, part: Part, body: &[u8]) -> Result<Written, Status> {
        let target = &call.target;
        let stated = read(call, part, body)?;
        for _ in 0..ATTEMPTS {
            let attempt = if self.store.get(&target.key()).is_some() {
                let wanted = |current: &Value| self.applied(call, part, current, &stated);
                match self.change(call, part, wanted).await {
                    // Gone in between.
                    Err(status) if status == target.not_found() && part == Part::Whole => continue,
                    other => other,
                }
            } else if part == Part::Whole {
                self.may_create(call)?;
                match self.create_applied(call, &stated).await {
                    // Made in between.
                    Err(status) if status.reason == "AlreadyExists" => continue,
                    other => other,
                }
            } else {
                Err(target.not_found())
            };
            return attempt;
        }
        Err(target.conflict(MODIFIED))
    }

    /// The same for the number of replicas alone; `body` is a Scale.
    ///
    /// # Errors
    /// As for an apply; 404, also for kinds without scale.
    pub async fn apply_scale(&self, call: &Call, body: &[u8]) -> Result<Value, Status> {
        let written = self.apply(call, Part::Scale, body).await?;
        scale::read(&call.target.kind, &written.object)
    }

    async fn create_applied(&self, call: &Call, stated: &Stated) -> Result<Written, Status> {
        let uid = stated.object["metadata"]["uid"].as_str().unwrap_or_default();
        if !uid.is_empty() {
            return Err(call.target.conflict(&format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            )));
        }
        let empty = Value::Object(Map::new());
        let wanted = self.applied(call, Part::Whole, &empty, stated)?;
        let mut written = self.create_owned(call, wanted.object, wanted.owners).await?;
        written.warnings.splice(0..0, wanted.warnings);
        Ok(written)
    }

    /// What applying makes of the current object.
    fn applied(&self, call: &Call, part: Part, current: &Value, stated: &Stated) -> Result<Wanted, Status> {
        let (mut object, owners) = self.with_scope(call, part, |scope| {
            fields::apply(scope, current, &stated.object, call.force)
        })?;
        // What the body says about identity is a condition, not a wish.
        for field in ["uid", "resourceVersion"] {
            match stated.object["metadata"].get(field) {
                Some(value) => metadata::of(&mut object).insert(field.to_owned(), value.clone()),
                None => metadata::of(&mut object).shift_remove(field),
            };
        }
        Ok(Wanted {
            object,
            warnings: stated.warnings.clone(),
            owners: Some(owners),
        })
    }

    fn with_scope<T>(&self, call: &Call, part: Part, work: impl FnOnce(&Scope<'_>) -> T) -> T {
        let kind = &call.target.kind;
        let subresource = match part {
            Part::Whole | Part::Finalize => Subresource::None { status: kind.status },
            Part::Status => Subresource::Status,
            Part::Scale => Subresource::Scale,
        };
        work(&Scope {
            rule: &kind.rule(),
            api_version: &kind.api_version(),
            subresource,
            manager: &call.manager,
            now: &time::rfc3339(clock::wall()),
            versions: &self.types.now().versions(kind),
        })
    }
}

/// Puts the owners back when admission has made nonsense of them; what its author should know.
pub(super) fn restore(before: &Value, after: &mut Value) -> Option<String> {
    let why = Owners::of(after).err()?;
    let owners = before["metadata"].get("managedFields").cloned();
    match owners {
        Some(owners) => metadata::of(after).insert("managedFields".to_owned(), owners),
        None => metadata::of(after).shift_remove("managedFields"),
    };
    Some(format!(
        ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated \
         mutating admission controller; please fix your requests: {why}"
    ))
}
