//! The objects that make a cluster a mesh, as one pure function: what `amime install` applies, what local mode
//! installs, and what the charts are compared with.
//!
//! The order is the order in which they can be created. `caBundle` of the webhooks and the validator's later
//! `failurePolicy: Fail` are left out: the controller owns those fields.

mod access;
mod control_plane;
pub mod set;
pub(crate) mod settings;
pub mod values;
pub(crate) mod webhooks;

use std::collections::BTreeMap;

use serde_json::{Value, json};

pub use set::values;
pub use values::Values;

/// Everything to be created, in order.
pub fn manifests(values: &Values) -> Vec<Value> {
    let mut objects = vec![namespace(values)];
    objects.extend(resources::crds());
    objects.extend(access::manifests(values));
    objects.extend(settings::manifests(values));
    objects.extend(control_plane::manifests(values));
    objects.extend(webhooks::manifests(values));
    objects
}

fn namespace(values: &Values) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": values.global.istio_namespace, "labels": {"istio-injection": "disabled"}},
    })
}

/// The labels of everything that belongs to the controller.
fn labels() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        ("app", "istiod"),
        ("app.kubernetes.io/component", "control-plane"),
        ("app.kubernetes.io/instance", "istio"),
        ("app.kubernetes.io/managed-by", "amime"),
        ("app.kubernetes.io/name", "istiod"),
        ("app.kubernetes.io/part-of", "istio"),
        ("app.kubernetes.io/version", env!("CARGO_PKG_VERSION")),
        ("istio.io/rev", values::REVISION),
        ("operator.istio.io/component", "Pilot"),
        ("release", "istio"),
    ])
}

#[cfg(test)]
mod tests;
