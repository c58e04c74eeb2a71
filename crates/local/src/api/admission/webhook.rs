//! One webhook: where it is, how long it has, and what becomes of its answer.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use json_patch::PatchOperation;
use serde_json::Value;

use super::call::{self, Target};
use super::review::{self, Unusable};
use super::{Lookup, Network, Review};
use crate::api::patch::operate;
use crate::api::registry::Type;
use crate::api::verbs::metadata::uid;
use crate::api::{Status, gvr};
use crate::store::is_too_deep;

/// An entry of `webhooks`, defaults filled in.
#[derive(Debug)]
pub(super) struct Hook(pub(super) Value);

/// What a webhook that was asked made of the object.
#[derive(Debug)]
pub(super) struct Verdict {
    /// The version in which it was asked, and which its patch is about.
    pub(super) kind: Arc<Type>,
    pub(super) patch: Option<Vec<PatchOperation>>,
    pub(super) warnings: Vec<String>,
}

/// Why the write does not pass.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The webhook said no.
    Denied(Status),
    /// It could not be asked, or said nothing sensible; `failurePolicy` decides.
    Failed(String),
}

impl Hook {
    pub(super) fn name(&self) -> &str {
        self.0["name"].as_str().unwrap_or_default()
    }

    pub(super) fn rules(&self) -> &[Value] {
        self.0["rules"].as_array().map_or(&[], Vec::as_slice)
    }

    pub(super) fn is_exact(&self) -> bool {
        self.0["matchPolicy"] == "Exact"
    }

    pub(super) fn object_selector(&self) -> &Value {
        &self.0["objectSelector"]
    }

    pub(super) fn namespace_selector(&self) -> &Value {
        &self.0["namespaceSelector"]
    }

    pub(super) fn conditions(&self) -> &Value {
        &self.0["matchConditions"]
    }

    pub(super) fn allows_dry_run(&self) -> bool {
        matches!(self.0["sideEffects"].as_str(), Some("None" | "NoneOnDryRun"))
    }

    pub(super) fn ignores_failure(&self) -> bool {
        self.0["failurePolicy"] == "Ignore"
    }

    pub(super) fn reinvoked(&self) -> bool {
        self.0["reinvocationPolicy"] == "IfNeeded"
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(self.0["timeoutSeconds"].as_u64().unwrap_or(10).clamp(1, 30))
    }

    /// `caBundle` as PEM.
    fn roots(&self) -> Result<String, String> {
        let encoded = self.0["clientConfig"]["caBundle"].as_str().unwrap_or_default();
        let bytes = STANDARD
            .decode(encoded)
            .map_err(|error| format!("unable to load root certificates: {error}"))?;
        String::from_utf8(bytes).map_err(|error| format!("unable to load root certificates: {error}"))
    }

    /// Where it listens. A Service is reached by its cluster address under the name in its certificate.
    fn target(&self, lookup: &dyn Lookup) -> Result<Target, String> {
        let client = &self.0["clientConfig"];
        let seconds = self.timeout().as_secs();
        if let Some(url) = client["url"].as_str() {
            return Target::of_url(url, seconds);
        }
        let service = &client["service"];
        let text = |field: &str| service[field].as_str().unwrap_or_default();
        let port = service["port"]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or(443);
        let (name, namespace) = (text("name"), text("namespace"));
        let server = format!("{name}.{namespace}.svc");
        let path = format!("/{}", text("path").trim_start_matches('/'));
        let url = format!("https://{server}:{port}{path}?timeout={seconds}s");
        let failed = |why: String| format!("Post \"{url}\": {why}");
        let found = lookup
            .find(&gvr::SERVICES, namespace, name)
            .ok_or_else(|| failed(format!("service \"{name}\" not found")))?;
        let listed = found["spec"]["ports"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|one| one["port"] == port);
        if !listed {
            return Err(failed(format!(
                "no service port {port} found for service \"{name}\""
            )));
        }
        let host = match found["spec"]["clusterIP"].as_str().unwrap_or_default() {
            "" | "None" => found["spec"]["externalName"]
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| failed(format!("service \"{name}\" has no cluster address")))?,
            address => address.to_owned(),
        };
        Ok(Target {
            host,
            port,
            server,
            path: format!("{path}?timeout={seconds}s"),
            url,
        })
    }
}

/// Asks the webhook about `object`, shown to it as `kind`.
pub(super) async fn ask(
    hook: &Hook,
    lookup: &dyn Lookup,
    network: Network,
    review: &Review<'_>,
    (kind, object): (&Type, &Value),
) -> Result<(Option<Vec<PatchOperation>>, Vec<String>), Trouble> {
    let uid = uid(rand::random());
    let question = review::request(review, kind, object, &uid).to_string();
    let body = post(hook, lookup, network, question)
        .await
        .map_err(|why| Trouble::Failed(format!("failed to call webhook: {why}")))?;
    match review::response(&body, &uid) {
        Ok(answer) => Ok((answer.patch, answer.warnings)),
        Err(Unusable::Denied(status)) => Err(Trouble::Denied(review::denied(hook.name(), &status))),
        Err(Unusable::Malformed(why)) => Err(Trouble::Failed(format!(
            "received invalid webhook response: {why}"
        ))),
    }
}

/// One question, one answer.
pub(super) async fn post(
    hook: &Hook,
    lookup: &dyn Lookup,
    network: Network,
    question: String,
) -> Result<Bytes, String> {
    let target = hook.target(lookup)?;
    let roots = hook.roots()?;
    call::post(&target, &roots, network, hook.timeout(), question.into()).await
}

/// The object with a webhook's patch applied.
pub(super) fn patched(hook: &Hook, object: &Value, patch: &[PatchOperation]) -> Result<Value, Status> {
    let name = hook.name();
    let unable = |why: &str| {
        Status::internal(format!(
            "Internal error occurred: failed calling webhook \"{name}\": unable to apply its patch: {why}"
        ))
    };
    let patched = operate(object, patch).map_err(|why| unable(&why))?;
    if is_too_deep(&patched) {
        return Err(unable("exceeded max depth"));
    }
    Ok(patched)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_webhooks_patch_can_neither_blow_an_object_up_nor_make_it_deep() {
        let hook = Hook(json!({"name": "w"}));
        let object = json!({"data": {"a": "0123456789"}});
        let refused = |operations: Vec<Value>| {
            let patch: Vec<PatchOperation> = serde_json::from_value(operations.into()).unwrap();
            patched(&hook, &object, &patch).unwrap_err().message
        };
        // Few enough that a server without the bound survives them.
        let doubling = (0..20).map(|round| json!({"op": "copy", "from": "", "path": format!("/x{round}")}));
        assert!(refused(doubling.collect()).ends_with("it copies more than 3145728 bytes"));
        let deepening = (0..200).flat_map(|_| {
            [
                json!({"op": "add", "path": "/n", "value": {}}),
                json!({"op": "move", "from": "/data", "path": "/n/d"}),
                json!({"op": "move", "from": "/n", "path": "/data"}),
            ]
        });
        assert!(refused(deepening.collect()).ends_with("exceeded max depth"));
    }
}
