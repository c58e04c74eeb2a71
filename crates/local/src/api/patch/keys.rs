//! Which lists of the built-in kinds are merged, and by what: the `patchStrategy` and `patchMergeKey` tags of
//! Kubernetes' types. A list that is not here is replaced as a whole.

/// How a list in a patch meets the list in the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    Replace,
    /// Items are objects, told apart by this field.
    MergeBy(&'static str),
    /// Items are plain values, each once.
    Union,
}

/// Lists whose name alone tells the key.
const BY_KEY: &[(&str, &str)] = &[
    ("addresses", "type"),
    ("conditions", "type"),
    ("containers", "name"),
    ("env", "name"),
    ("ephemeralContainers", "name"),
    ("hostAliases", "ip"),
    ("hostIPs", "ip"),
    ("imagePullSecrets", "name"),
    ("initContainers", "name"),
    ("ownerReferences", "uid"),
    ("podIPs", "ip"),
    ("resourceClaims", "name"),
    ("resourceClaimStatuses", "name"),
    ("schedulingGates", "name"),
    ("secrets", "name"),
    ("topologySpreadConstraints", "topologyKey"),
    ("volumeDevices", "devicePath"),
    ("volumeMounts", "mountPath"),
    ("volumes", "name"),
    ("webhooks", "name"),
];

/// The strategy of the list at a path of field names, list items left out.
pub(super) fn strategy(kind: &str, path: &[&str]) -> Strategy {
    let Some((field, parents)) = path.split_last() else {
        return Strategy::Replace;
    };
    match (*field, parents) {
        ("finalizers", ["metadata", ..]) | ("finalizers", [.., "metadata"]) | ("podCIDRs", ["spec"]) => {
            Strategy::Union
        }
        ("ports", ["spec"]) if kind == "Service" => Strategy::MergeBy("port"),
        ("ports", [.., "containers" | "initContainers" | "ephemeralContainers"]) => {
            Strategy::MergeBy("containerPort")
        }
        // An EndpointSlice's addresses are plain.
        ("addresses", _) if kind != "Node" => Strategy::Replace,
        _ => BY_KEY
            .iter()
            .find(|(name, _)| name == field)
            .map_or(Strategy::Replace, |(_, key)| Strategy::MergeBy(key)),
    }
}
