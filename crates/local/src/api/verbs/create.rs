//! Create.

use daemon::clock;
use serde_json::Value;

use super::super::decode::{Decoded, Parsed, decode};
use super::super::fields::Owners;
use super::super::kinds::BuiltIn;
use super::super::registry::{Shape, Type};
use super::super::{Status, defaults};
use super::{Api, Call, Part, Target, Written, is_ending, metadata, namespace_key, ownership};
use crate::store::Refused;

/// How many random names are tried for one `generateName`.
const NAMES: u32 = 8;

impl Api {
    /// Makes an object.
    ///
    /// # Errors
    /// What is wrong with it, or with the namespace; 409 when there is one of that name.
    pub async fn create(&self, call: &Call, body: impl Into<Parsed>) -> Result<Written, Status> {
        let Decoded { object, warnings } = decode(&call.target.kind, body, call.validation)?;
        let mut written = self.create_owned(call, object, None).await?;
        written.warnings.splice(0..0, warnings);
        Ok(written)
    }

    /// Makes an object that has passed decoding. Its fields belong to `owners`, or else to the caller.
    pub(super) async fn create_owned(
        &self,
        call: &Call,
        object: Value,
        owners: Option<Owners>,
    ) -> Result<Written, Status> {
        self.create_as(call, object, owners, rand::random).await
    }

    /// The same, with names made of `chance`.
    pub(super) async fn create_as(
        &self,
        call: &Call,
        object: Value,
        owners: Option<Owners>,
        mut chance: impl FnMut() -> u64 + Send,
    ) -> Result<Written, Status> {
        if object["metadata"]["resourceVersion"]
            .as_str()
            .is_some_and(|version| !version.is_empty())
        {
            return Err(Status::bad_request(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        let states = |field: &str| {
            let text = object["metadata"][field].as_str();
            text.is_some_and(|text| !text.is_empty())
        };
        let is_generated = states("generateName");
        let mut attempts = if states("name") { 1 } else { NAMES };
        loop {
            attempts -= 1;
            let mut object = object.clone();
            let target = metadata::identify(&call.target, &mut object, chance())?;
            let call = Call {
                target,
                ..call.clone()
            };
            match self.create_named(&call, object, owners.as_ref()).await {
                // Another object has the same random name.
                Err(status) if status.reason == "AlreadyExists" && attempts > 0 => {}
                Err(status) if status.reason == "AlreadyExists" && is_generated => {
                    return Err(unlucky(status));
                }
                other => return other,
            }
        }
    }

    async fn create_named(
        &self,
        call: &Call,
        mut object: Value,
        owners: Option<&Owners>,
    ) -> Result<Written, Status> {
        let Call { target, .. } = call;
        self.check_namespace(target)?;
        metadata::begin(&target.kind, &mut object, clock::wall(), rand::random());
        defaults::default_object(&target.kind, &mut object);
        match owners {
            Some(owners) => owners.write_to(&mut object),
            None => self.own_all(call, &mut object),
        }
        let (mut admitted, mut warnings) = self.admit(call, Part::Whole, object.clone(), None).await?;
        warnings.extend(ownership::restore(&object, &mut admitted));
        warnings.extend(idle_warning(&target.kind));
        let mut object = admitted;
        metadata::place(target, &mut object)?;
        // Before an address is looked for: one that exists has taken it.
        self.check_absent(target)?;
        let _held = self.give_address(target, None, &mut object).await?;
        let object = if call.dry_run {
            object.into()
        } else {
            let object = self.kept(&target.kind, object).await?;
            let stored = self.store(target, None, Some(object)).await;
            let stored = stored.map_err(|refused| target.refused(&refused))?;
            self.shown(&target.kind, stored).await?
        };
        Ok(Written {
            object,
            warnings,
            created: true,
        })
    }

    /// Whether the namespace takes new objects; the store looks again at the end.
    fn check_namespace(&self, target: &Target) -> Result<(), Status> {
        if !target.kind.namespaced {
            return Ok(());
        }
        match self.store.get(&namespace_key(&target.namespace)) {
            None => Err(target.refused(&Refused::RequiredMissing)),
            Some(namespace) if is_ending(&namespace) => Err(target.refused(&Refused::RequiredEnding)),
            Some(_) => Ok(()),
        }
    }

    fn check_absent(&self, target: &Target) -> Result<(), Status> {
        match self.store.get(&target.key()) {
            Some(_) => Err(target.refused(&Refused::Exists)),
            None => Ok(()),
        }
    }
}

/// No free name was found; Kubernetes says the same when a prefix stands beside a name that is taken.
fn unlucky(mut status: Status) -> Status {
    status
        .message
        .push_str(", the server was not able to generate a unique name for the object");
    status.details["retryAfterSeconds"] = 1.into();
    status
}

/// Objects that nothing here acts on are kept all the same; their maker should know.
fn idle_warning(kind: &Type) -> Option<String> {
    match &kind.shape {
        Shape::BuiltIn(BuiltIn { idle: Some(what), .. }) => Some(format!(
            "{} is kept, but no controller of this cluster acts on it: {what}",
            kind.kind
        )),
        Shape::BuiltIn(_) | Shape::Custom(_) => None,
    }
}
