//! Where a write meets admission: what admission is told, and what it may look at.

use std::sync::Arc;

use serde_json::Value;

use super::super::admission::{Lookup, Operation, Review};
use super::super::client::Object;
use super::super::registry::Registry;
use super::super::{Gvr, Status, defaults, validate};
use super::{Api, Call, Part, Target};

impl Api {
    /// Plugins, webhooks and validation, for an object that is about to be stored; what it has become, and warnings.
    pub(super) async fn admit(
        &self,
        call: &Call,
        part: Part,
        object: Value,
        old: Option<&Value>,
    ) -> Result<(Value, Vec<String>), Status> {
        let operation = if old.is_some() {
            Operation::Update
        } else {
            Operation::Create
        };
        let kind = &call.target.kind;
        let review = review(call, operation, part, old);
        let (mut object, mut warnings) = self.admission.mutate(self, &review, object).await?;
        defaults::default_object(kind, &mut object);
        self.rights
            .check_escalation(&call.user, &kind.gvr, &object, old)?;
        validate::validate(kind, &object, old)?;
        warnings.extend(self.admission.validate(self, &review, &object).await?);
        Ok((object, warnings))
    }

    /// The same for an object that is about to go.
    pub(super) async fn admit_deletion(&self, call: &Call, current: &Value) -> Result<(), Status> {
        let review = review(call, Operation::Delete, Part::Whole, Some(current));
        self.admission.validate(self, &review, &Value::Null).await?;
        Ok(())
    }

    fn stored(&self, gvr: &Gvr, namespace: &str, name: &str) -> Option<Target> {
        let kind = self.kind(gvr).ok()?;
        Some(Target {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

impl Lookup for Api {
    fn find(&self, gvr: &Gvr, namespace: &str, name: &str) -> Option<Object> {
        self.get(&self.stored(gvr, namespace, name)?).ok()
    }

    fn all(&self, gvr: &Gvr) -> Vec<Object> {
        let Some(target) = self.stored(gvr, "", "") else {
            return Vec::new();
        };
        let (objects, _) = self.store.list(&target.key().collection, "");
        objects.iter().map(|object| target.kind.served(object)).collect()
    }

    fn registry(&self) -> Arc<Registry> {
        self.types.now()
    }
}

/// What admission is told about a write.
fn review<'a>(call: &'a Call, operation: Operation, part: Part, old: Option<&'a Value>) -> Review<'a> {
    Review {
        user: &call.user,
        kind: &call.target.kind,
        namespace: &call.target.namespace,
        name: &call.target.name,
        subresource: match part {
            Part::Whole | Part::Scale => None,
            Part::Status => Some("status"),
            Part::Finalize => Some("finalize"),
        },
        operation,
        old,
        dry_run: call.dry_run,
    }
}
