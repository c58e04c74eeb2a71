//! A pod goes in, the same pod with capture and sidecar comes out: a pure function, used by the webhook and by
//! `amime inject` on files.
//!
//! Injecting twice gives what injecting once gives. Probes of the application are turned to the sidecar, which makes them
//! in the kubelet's place: who has no identity need not be let in for their sake.
//! <https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/>

mod annotations;
mod decide;
mod merge;
mod owner;
mod probes;
mod template;

use serde_json::{Value, json};

use crate::install::Values;

pub use decide::Skipped;

/// Istio's names for the two containers.
pub const PROXY: &str = "istio-proxy";
/// The init container that sets up capture.
pub const INIT: &str = "istio-init";

pub(crate) const STATUS: &str = "sidecar.istio.io/status";
pub(crate) const OVERRIDES: &str = "proxy.istio.io/overrides";

/// What injection knows besides the pod. Read from two ConfigMaps and the controller's environment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// From ConfigMap `istio-sidecar-injector`.
    pub values: Values,
    /// `defaultConfig` of the mesh settings: Istio's ProxyConfig.
    pub proxy_config: serde_json::Map<String, Value>,
    /// `trustDomain` of the mesh settings; `None` before they were read.
    pub trust_domain: Option<String>,
    /// Sidecars that Kubernetes starts before and stops after the application.
    pub native_sidecar: bool,
}

/// The pod as it will be, and what the user should know.
#[derive(Clone, Debug, PartialEq)]
pub struct Injected {
    pub pod: Value,
    pub warnings: Vec<String>,
}

/// Why there is no injected pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotInjected {
    /// It is not wanted; the pod is admitted as it is.
    Skipped(Skipped),
    /// It is wanted and impossible; the pod is refused.
    Invalid(String),
}

/// Decides and, if it is wanted, injects.
pub fn inject(pod: &Value, namespace: &str, settings: &Settings) -> Result<Injected, NotInjected> {
    check_shape(pod).map_err(NotInjected::Invalid)?;
    decide::decide(pod, namespace, settings).map_err(NotInjected::Skipped)?;
    let mut original = merge::without_injection(pod);
    let wishes = annotations::read(&original, settings).map_err(NotInjected::Invalid)?;
    let mut warnings = annotations::warnings(&original);
    warnings.extend(wishes.warnings.iter().cloned());
    let probers = match wishes.rewrite_probes {
        true => probes::rewrite(&mut original, wishes.status_port, wishes.native_sidecar),
        false => probes::Probers::new(),
    };
    let subject = template::Subject {
        pod: &original,
        owner: owner::of(&original, namespace),
        wishes: &wishes,
        probers: &probers,
        settings,
    };
    let additions = template::additions(&subject);
    let pod = merge::add(&original, &additions, wishes.native_sidecar);
    Ok(Injected { pod, warnings })
}

/// What the rest relies on: objects where a pod has objects.
fn check_shape(pod: &Value) -> Result<(), String> {
    let wrong = |path: &str| {
        pod.pointer(path)
            .is_some_and(|value| !value.is_object() && !value.is_null())
    };
    if !pod["spec"].is_object() {
        return Err("the pod has no spec".to_owned());
    }
    match ["/metadata", "/metadata/labels", "/metadata/annotations"]
        .iter()
        .find(|path| wrong(path))
    {
        None => Ok(()),
        Some(path) => Err(format!(
            "{} of the pod is not an object",
            path.trim_start_matches('/')
        )),
    }
}

/// The operations that turn `pod` into its injected form (RFC 6902).
pub fn patch(pod: &Value, injected: &Injected) -> Value {
    json!(json_patch::diff(pod, &injected.pod))
}

#[cfg(test)]
mod tests;
