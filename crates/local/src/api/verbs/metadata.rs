//! The metadata that belongs to the server: identity, times, versions. Pure functions; time and chance come in.

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::super::registry::Type;
use super::super::{Status, gvr, time};
use super::change::Part;
use super::{Target, is_ending};
use crate::store::revision_of;

/// Metadata that only the server writes.
const OWNED: &[&str] = &[
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "generateName",
    "namespace",
];

/// Kinds that have a spec but no generation.
const WITHOUT_GENERATION: &[&str] = &[
    "leases.coordination.k8s.io",
    "namespaces",
    "nodes",
    "persistentvolumeclaims",
    "persistentvolumes",
    "resourcequotas",
    "services",
];

/// Kinds of which an update must say which version it replaces (`AllowUnconditionalUpdate` in `pkg/registry`); custom
/// resources are such kinds too.
const VERSIONED: &[&str] = &[
    "apiservices.apiregistration.k8s.io",
    "csidrivers.storage.k8s.io",
    "csinodes.storage.k8s.io",
    "csistoragecapacities.storage.k8s.io",
    "customresourcedefinitions.apiextensions.k8s.io",
    "leases.coordination.k8s.io",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "poddisruptionbudgets.policy",
    "runtimeclasses.node.k8s.io",
    "validatingadmissionpolicies.admissionregistration.k8s.io",
    "validatingadmissionpolicybindings.admissionregistration.k8s.io",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
    "volumeattachments.storage.k8s.io",
];

/// Whether an object that replaces another has the name by which that was asked for.
pub(super) fn check_name(target: &Target, object: &Value) -> Result<(), Status> {
    let asked = &target.name;
    match object["metadata"]["name"].as_str().unwrap_or_default() {
        name if name == asked => Ok(()),
        "" => Err(Status::bad_request(format!(
            "the name of the object ({asked} based on URL) was undeterminable: name must be provided"
        ))),
        name => Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({asked})"
        ))),
    }
}

/// The refusal of an update that does not say which version it replaces, where that is asked for.
pub(super) fn check_version_stated(target: &Target, object: &Value) -> Result<(), Status> {
    let Target { kind, name, .. } = target;
    let is_asked = kind.is_custom() || VERSIONED.contains(&kind.gvr.to_string().as_str());
    if !is_asked || revision_of(object) != 0 || states_unreadable_version(object) {
        return Ok(());
    }
    let message = "Invalid value: 0: must be specified for an update";
    // Here Kubernetes names the resource where it names the kind everywhere else.
    Err(Status {
        details: json!({"name": name, "group": kind.gvr.group, "kind": kind.gvr.resource, "causes": [{
            "reason": "FieldValueInvalid", "message": message, "field": "metadata.resourceVersion"}]}),
        ..Status::new(
            422,
            "Invalid",
            format!(
                "{} \"{name}\" is invalid: metadata.resourceVersion: {message}",
                kind.gvr
            ),
        )
    })
}

/// What is no number is refused as such.
fn states_unreadable_version(object: &Value) -> bool {
    let stated = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    !stated.is_empty() && stated.parse::<u64>().is_err()
}

/// An update of another object than the one that it names by `uid`.
pub(super) fn check_uid(target: &Target, current: &Value, wanted: &Value) -> Result<(), Status> {
    let uid = |object: &Value| object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let (given, have) = (uid(wanted), uid(current));
    if given.is_empty() || given == have {
        return Ok(());
    }
    Err(target.conflict(&format!(
        "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: \
         UID in precondition: {given}, UID in object meta: {have}",
        registry_key(target)
    )))
}

/// Where the real server would keep an object; its message about another uid names the place.
fn registry_key(target: &Target) -> String {
    let Target {
        kind,
        namespace,
        name,
    } = target;
    let resource = match (&*kind.gvr.group, &*kind.gvr.resource) {
        ("", "endpoints") => "services/endpoints".to_owned(),
        ("", "nodes") => "minions".to_owned(),
        ("", "services") => "services/specs".to_owned(),
        ("networking.k8s.io", "ingresses") => "ingress".to_owned(),
        (group @ ("apiextensions.k8s.io" | "apiregistration.k8s.io"), resource) => {
            format!("{group}/{resource}")
        }
        (group, resource) if kind.is_custom() => format!("{group}/{resource}"),
        (_, resource) => resource.to_owned(),
    };
    let parts = [&*resource, namespace, name]
        .into_iter()
        .filter(|part| !part.is_empty());
    format!("/registry/{}", parts.collect::<Vec<_>>().join("/"))
}

/// The metadata of an object as a map, made if absent.
pub(super) fn of(object: &mut Value) -> &mut Map<String, Value> {
    let metadata = &mut object["metadata"];
    if !metadata.is_object() {
        *metadata = json!({});
    }
    metadata.as_object_mut().expect("it has just been made an object")
}

/// Puts the namespace of the URL and a name into a new object; its target with that name.
pub(super) fn identify(target: &Target, object: &mut Value, chance: u64) -> Result<Target, Status> {
    place(target, object)?;
    let metadata = of(object);
    let text = |field: &str| {
        metadata
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (mut name, prefix) = (text("name"), text("generateName"));
    if name.is_empty() && !prefix.is_empty() {
        name = generated(&prefix, chance);
        metadata.insert("name".to_owned(), name.clone().into());
    }
    if name.is_empty() {
        return Err(invalid(
            &target.kind,
            "",
            (
                "metadata.name",
                "FieldValueRequired",
                "Required value: name or generateName is required",
            ),
        ));
    }
    Ok(target.named(&name))
}

/// Makes the object's namespace that of the URL.
pub(super) fn place(target: &Target, object: &mut Value) -> Result<(), Status> {
    let metadata = of(object);
    let given = metadata
        .get("namespace")
        .and_then(Value::as_str)
        .unwrap_or_default();
    // A namespace that an object of the cluster states is passed over.
    if target.kind.namespaced && !given.is_empty() && given != target.namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if target.kind.namespaced {
        metadata.insert("namespace".to_owned(), target.namespace.clone().into());
    } else {
        metadata.shift_remove("namespace");
    }
    Ok(())
}

/// `prefix` (shortened so that a label can hold the name) and five random letters, as Kubernetes does it.
fn generated(prefix: &str, mut chance: u64) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut name: String = prefix.chars().take(58).collect();
    for _ in 0..5 {
        let length = LETTERS.len() as u64;
        name.push(char::from(LETTERS[(chance % length) as usize]));
        chance /= length;
    }
    name
}

/// Gives a new object its identity; what the client said about it does not count.
pub(super) fn begin(kind: &Type, object: &mut Value, now: SystemTime, chance: u128) {
    let metadata = of(object);
    for field in [
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "resourceVersion",
    ] {
        metadata.shift_remove(field);
    }
    metadata.insert("uid".to_owned(), uid(chance).into());
    metadata.insert("creationTimestamp".to_owned(), time::rfc3339(now).into());
    if has_generation(kind) {
        metadata.insert("generation".to_owned(), 1.into());
    } else {
        metadata.shift_remove("generation");
    }
    // A kubelet registers its Node with a status; everybody else reports it later.
    if kind.status
        && kind.kind != "Node"
        && let Some(object) = object.as_object_mut()
    {
        object.shift_remove("status");
    }
}

/// A random UUID (version 4, RFC 9562).
pub(in crate::api) fn uid(chance: u128) -> String {
    let bits = chance & !(0xf << 76) & !(0b11 << 62) | (4 << 76) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

fn has_generation(kind: &Type) -> bool {
    if kind.is_custom() {
        return true;
    }
    let resource = kind.gvr.to_string();
    let group = &*kind.gvr.group;
    !WITHOUT_GENERATION.contains(&resource.as_str())
        && (resource == "pods"
            || group.contains('.') && !group.starts_with("rbac.") && !group.starts_with("discovery.")
            || matches!(group, "apps" | "batch" | "policy" | "autoscaling"))
}

/// Brings what a writer may not change from the current object into the wanted one.
pub(super) fn carry_over(kind: &Type, part: Part, current: &Value, wanted: Value) -> Value {
    let mut next = match part {
        Part::Whole | Part::Scale => {
            let mut next = wanted;
            if kind.gvr == gvr::NAMESPACES {
                next["spec"] = current["spec"].clone();
            }
            next
        }
        Part::Finalize => {
            let mut next = current.clone();
            let left = &wanted["spec"]["finalizers"];
            next["spec"]["finalizers"] = if left.is_null() { json!([]) } else { left.clone() };
            next
        }
        Part::Status => {
            let mut next = current.clone();
            match wanted.get("status") {
                Some(status) => next["status"] = status.clone(),
                None => {
                    next.as_object_mut().map(|next| next.shift_remove("status"));
                }
            }
            // Owners have been settled when admission has seen the object; before that they are not looked at.
            match wanted["metadata"].get("managedFields") {
                Some(owners) => of(&mut next).insert("managedFields".to_owned(), owners.clone()),
                None => of(&mut next).shift_remove("managedFields"),
            };
            next
        }
    };
    if part != Part::Status
        && kind.status
        && let Some(next) = next.as_object_mut()
    {
        match current.get("status") {
            Some(status) => next.insert("status".to_owned(), status.clone()),
            None => next.shift_remove("status"),
        };
    }
    let metadata = of(&mut next);
    metadata.shift_remove("selfLink");
    for field in OWNED.iter().chain(&["resourceVersion"]) {
        match current["metadata"].get(*field) {
            Some(value) => metadata.insert((*field).to_owned(), value.clone()),
            None => metadata.shift_remove(*field),
        };
    }
    next
}

/// Counts the generation up when something other than metadata and status has changed.
pub(super) fn count_generation(kind: &Type, current: &Value, next: &mut Value) {
    let Some(generation) = current["metadata"]["generation"].as_i64() else {
        return;
    };
    let is_desired = |field: &str| field != "metadata" && !(field == "status" && kind.status);
    let fields = |object: &Value| -> Map<String, Value> {
        let fields = object.as_object().into_iter().flatten();
        fields
            .filter(|(name, _)| is_desired(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    let ended = is_ending(next) && !is_ending(current);
    let counted = generation + i64::from(ended || fields(current) != fields(next));
    of(next).insert("generation".to_owned(), counted.into());
}

/// Strings of a list field of the metadata.
pub(super) fn texts<'a>(object: &'a Value, field: &str) -> Vec<&'a str> {
    let list = object["metadata"][field].as_array();
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// A 422 about one field: where, the cause's reason, and what is said.
pub(super) fn invalid(kind: &Type, name: &str, (field, reason, message): (&str, &str, &str)) -> Status {
    let what = match &*kind.gvr.group {
        "" => kind.kind.to_string(),
        group => format!("{}.{group}", kind.kind),
    };
    Status {
        details: json!({"name": name, "group": kind.gvr.group, "kind": kind.kind,
            "causes": [{"reason": reason, "message": message, "field": field}]}),
        ..Status::new(
            422,
            "Invalid",
            format!("{what} \"{name}\" is invalid: {field}: {message}"),
        )
    }
}
