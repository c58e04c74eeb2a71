//! Create or change an object, as `kubectl apply` does: what the file no longer says is removed, what others set
//! stays. The file's last content is kept in kubectl's own annotation, so that both tools can be mixed.

use serde_json::{Map, Value, json};

use super::{CallError, Cluster, KindInfo, text};

const LAST: &str = "kubectl.kubernetes.io/last-applied-configuration";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// How an object is applied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Apply<'a> {
    /// Whose write it is, for `managedFields`.
    pub(crate) manager: &'a str,
    /// Keep list items and fields that others own: what an installer wants.
    pub(crate) keep_foreign: bool,
}

/// What applying did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    Created,
    Configured,
    Unchanged,
}

impl Applied {
    /// kubectl's word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        }
    }
}

impl Apply<'_> {
    /// Applies `object` in `namespace` (ignored for cluster-scoped kinds).
    pub(crate) async fn run(
        self,
        cluster: &Cluster,
        kind: &KindInfo,
        namespace: &str,
        object: &Value,
    ) -> Result<Applied, CallError> {
        let collection = kind.path(namespace);
        let path = format!("{collection}/{}", text(object, "/metadata/name"));
        let query = format!("fieldManager={}&fieldValidation=Strict", self.manager);
        let live = match cluster.get(&path).await {
            Ok(live) => live,
            Err(error) if error.is_not_found() => {
                let object = if self.keep_foreign {
                    object.clone()
                } else {
                    annotated(object)
                };
                cluster.create(&format!("{collection}?{query}"), &object).await?;
                return Ok(Applied::Created);
            }
            Err(error) => return Err(error),
        };
        let (media, patch) = if self.keep_foreign {
            let built_in =
                kind.group.is_empty() || !kind.group.contains('.') || kind.group.ends_with(".k8s.io");
            (if built_in { STRATEGIC } else { MERGE }, object.clone())
        } else {
            (MERGE, three_way(object, &live))
        };
        let after = cluster.patch(&format!("{path}?{query}"), media, &patch).await?;
        let version = |object: &Value| text(object, "/metadata/resourceVersion").to_owned();
        Ok(if version(&after) == version(&live) {
            Applied::Unchanged
        } else {
            Applied::Configured
        })
    }
}

fn annotated(object: &Value) -> Value {
    let mut object = object.clone();
    let mut last = object.clone();
    if last.pointer("/metadata/annotations").is_none() {
        last["metadata"]["annotations"] = json!({});
    }
    object["metadata"]["annotations"][LAST] = json!(last.to_string() + "\n");
    object
}

/// The merge patch (RFC 7396) that makes `live` say what the file says, and forget what only the file before said.
fn three_way(object: &Value, live: &Value) -> Value {
    let last = text(
        live,
        &format!("/metadata/annotations/{}", LAST.replace('/', "~1")),
    );
    let last: Value = serde_json::from_str(last).unwrap_or_default();
    let mut patch = annotated(object);
    forget(&mut patch, &last);
    patch
}

/// Sets to null what `last` had and `patch` has no more.
fn forget(patch: &mut Value, last: &Value) {
    let (Some(fields), Some(last)) = (patch.as_object_mut(), last.as_object()) else {
        return;
    };
    let mut gone = Map::new();
    for (name, before) in last {
        match fields.get_mut(name) {
            Some(now) => forget(now, before),
            None => {
                gone.insert(name.clone(), Value::Null);
            }
        }
    }
    fields.extend(gone);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_no_longer_says_is_removed_and_what_others_set_stays() {
        let first = annotated(&json!({"metadata": {"name": "a"}, "spec": {"x": 1, "y": {"z": 1}}}));
        let mut live = first.clone();
        live["spec"]["foreign"] = json!(7);
        let patch = three_way(&json!({"metadata": {"name": "a"}, "spec": {"y": {}}}), &live);
        assert_eq!(patch["spec"], json!({"y": {"z": null}, "x": null}));
        assert!(patch["spec"].get("foreign").is_none());
    }
}
