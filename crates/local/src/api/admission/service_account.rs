//! ServiceAccount admission: each pod has an account that exists, and its containers find a token of it.
//!
//! Source: `plugin/pkg/admission/serviceaccount` of Kubernetes.

use rand::RngExt;
use serde_json::{Value, json};

use super::{Lookup, Review, forbidden};
use crate::api::client::Object;
use crate::api::{Status, gvr};

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// A little more than an hour, which tells these tokens from those that users ask for.
const TOKEN_SECONDS: u32 = 3607;

pub(super) fn admit(lookup: &dyn Lookup, review: &Review<'_>, pod: &mut Value) -> Result<(), Status> {
    if pod["metadata"]["annotations"]
        .get("kubernetes.io/config.mirror")
        .is_some()
    {
        return Ok(());
    }
    let spec = &mut pod["spec"];
    if !spec.is_object() {
        return Ok(());
    }
    if spec["serviceAccountName"].as_str().unwrap_or_default().is_empty() {
        spec["serviceAccountName"] = json!("default");
        spec["serviceAccount"] = json!("default");
    }
    let name = spec["serviceAccountName"].as_str().unwrap_or_default().to_owned();
    let account = lookup
        .find(&gvr::SERVICE_ACCOUNTS, review.namespace, &name)
        .ok_or_else(|| {
            let place = format!("{}/{name}", review.namespace);
            forbidden(
                review,
                &format!("error looking up service account {place}: serviceaccount \"{name}\" not found"),
            )
        })?;
    if wants_token(spec, &account) {
        mount_token(spec);
    }
    let has_pull_secrets = spec["imagePullSecrets"]
        .as_array()
        .is_some_and(|list| !list.is_empty());
    if !has_pull_secrets
        && account["imagePullSecrets"]
            .as_array()
            .is_some_and(|list| !list.is_empty())
    {
        spec["imagePullSecrets"] = account["imagePullSecrets"].clone();
    }
    Ok(())
}

/// The pod decides, else the account, else yes.
fn wants_token(spec: &Value, account: &Object) -> bool {
    spec["automountServiceAccountToken"]
        .as_bool()
        .or_else(|| account["automountServiceAccountToken"].as_bool())
        .unwrap_or(true)
}

fn mount_token(spec: &mut Value) {
    let existing = spec["volumes"]
        .as_array()
        .into_iter()
        .flatten()
        .find_map(|volume| {
            volume["name"]
                .as_str()
                .filter(|name| name.starts_with(VOLUME_PREFIX))
                .map(str::to_owned)
        });
    let name = existing
        .clone()
        .unwrap_or_else(|| format!("{VOLUME_PREFIX}{}", suffix()));
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        for container in spec
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let mounts = container["volumeMounts"]
                .as_array()
                .map_or(&[][..], Vec::as_slice);
            if mounts.iter().any(|mount| mount["mountPath"] == MOUNT_PATH) {
                continue;
            }
            needed = true;
            push(
                container,
                "volumeMounts",
                json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH}),
            );
        }
    }
    if needed && existing.is_none() {
        push(spec, "volumes", volume(&name));
    }
}

fn volume(name: &str) -> Value {
    json!({"name": name, "projected": {"sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace",
            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ], "defaultMode": 0o644}})
}

fn push(object: &mut Value, field: &str, item: Value) {
    match object[field].as_array_mut() {
        Some(list) => list.push(item),
        None => object[field] = json!([item]),
    }
}

/// Five letters and digits without vowels, as `generateName` uses them.
fn suffix() -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut random = rand::rng();
    (0..5)
        .map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())]))
        .collect()
}
