//! Which kinds the cluster has, and what they are called: aggregated discovery
//! (Kubernetes: "Aggregated Discovery").

use serde_json::Value;

use super::{CallError, Cluster, text};

const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// One version of one kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KindInfo {
    /// Empty for the core group.
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) kind: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) namespaced: bool,
}

/// Every kind, preferred versions first.
pub(crate) struct Kinds(Vec<KindInfo>);

impl Kinds {
    /// Asks the cluster.
    pub(crate) async fn load(cluster: &Cluster) -> Result<Self, CallError> {
        let core = cluster.get_as("/api", ACCEPT).await?;
        let groups = cluster.get_as("/apis", ACCEPT).await?;
        Ok(Self([core, groups].iter().flat_map(read).collect()))
    }

    /// The kind that a word names: `vs`, `virtualservice`, `VirtualServices`, `deployments.apps`.
    pub(crate) fn named(&self, word: &str) -> Option<&KindInfo> {
        let word = word.to_ascii_lowercase();
        let (name, group) = word.split_once('.').unwrap_or((&word, ""));
        let is_named = |kind: &&KindInfo| {
            let names = [&kind.plural, &kind.singular]
                .into_iter()
                .chain(&kind.short_names);
            let called = names.into_iter().any(|known| known == name) || kind.kind.eq_ignore_ascii_case(name);
            called
                && (group.is_empty() || kind.group == group || kind.group.starts_with(&format!("{group}.")))
        };
        self.0.iter().find(is_named)
    }

    /// The kind of an object by what it says of itself.
    pub(crate) fn of(&self, object: &Value) -> Option<&KindInfo> {
        let (api_version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.0
            .iter()
            .find(|known| known.kind == kind && known.group == group && known.version == version)
    }
}

impl KindInfo {
    /// `/apis/apps/v1/namespaces/shop/deployments`; no namespace means all.
    pub(crate) fn path(&self, namespace: &str) -> String {
        let root = match self.group.as_str() {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        match namespace {
            namespace if self.namespaced && !namespace.is_empty() => {
                format!("{root}/namespaces/{namespace}/{}", self.plural)
            }
            _ => format!("{root}/{}", self.plural),
        }
    }

    /// `deployment.apps/backend`, as kubectl names what it did.
    pub(crate) fn named(&self, name: &str) -> String {
        match self.group.as_str() {
            "" => format!("{}/{name}", self.singular),
            group => format!("{}.{group}/{name}", self.singular),
        }
    }
}

fn read(discovered: &Value) -> Vec<KindInfo> {
    let list = |value: &Value, field: &str| value[field].as_array().cloned().unwrap_or_default();
    let mut kinds = Vec::new();
    for group in list(discovered, "items") {
        for version in list(&group, "versions") {
            for resource in list(&version, "resources") {
                let kind = text(&resource, "/responseKind/kind").to_owned();
                let singular = text(&resource, "/singularResource");
                kinds.push(KindInfo {
                    group: text(&group, "/metadata/name").to_owned(),
                    version: text(&version, "/version").to_owned(),
                    plural: text(&resource, "/resource").to_owned(),
                    singular: if singular.is_empty() {
                        kind.to_ascii_lowercase()
                    } else {
                        singular.to_owned()
                    },
                    short_names: list(&resource, "shortNames")
                        .iter()
                        .filter_map(|name| name.as_str().map(str::to_owned))
                        .collect(),
                    namespaced: text(&resource, "/scope") == "Namespaced",
                    kind,
                });
            }
        }
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kinds() -> Kinds {
        let version = |version: &str| {
            json!({"version": version, "resources": [{
                "resource": "virtualservices", "singularResource": "virtualservice", "shortNames": ["vs"],
                "scope": "Namespaced", "responseKind": {"kind": "VirtualService"}}]})
        };
        Kinds(read(&json!({"items": [{
            "metadata": {"name": "networking.istio.io"}, "versions": [version("v1"), version("v1alpha3")]}]})))
    }

    #[test]
    fn a_word_finds_the_preferred_version() {
        for word in [
            "vs",
            "virtualservices",
            "VirtualService",
            "virtualservices.networking.istio.io",
        ] {
            assert_eq!(kinds().named(word).unwrap().version, "v1", "{word}");
        }
        assert!(kinds().named("gateway").is_none());
    }

    #[test]
    fn an_object_finds_its_own_version() {
        let object = json!({"apiVersion": "networking.istio.io/v1alpha3", "kind": "VirtualService"});
        let all = kinds();
        let kind = all.of(&object).unwrap();
        assert_eq!(
            kind.path("shop"),
            "/apis/networking.istio.io/v1alpha3/namespaces/shop/virtualservices"
        );
        assert_eq!(kind.named("a"), "virtualservice.networking.istio.io/a");
    }
}
