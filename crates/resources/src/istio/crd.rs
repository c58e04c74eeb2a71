//! CustomResourceDefinitions, generated from the types, so that what the API admits is what we can read.
//!
//! Names, columns and categories of Istio's kinds are Istio's: scripts and habits depend on them. All versions of a
//! kind share one schema and need no conversion; the preferred one is stored.

use serde_json::{Value, json};

use super::authorization_policy::AuthorizationPolicySpec;
use super::destination_rule::DestinationRuleSpec;
use super::peer_authentication::PeerAuthenticationSpec;
use super::request_authentication::RequestAuthenticationSpec;
use super::structural::structural_schema;
use super::virtual_service::VirtualServiceSpec;
use crate::Kind;
use crate::policy::rate_limit::RateLimitSpec;

/// What a CRD says beside its schema.
struct Definition {
    kind: Kind,
    short_name: &'static str,
    description: &'static str,
    spec: Value,
    columns: &'static [Column],
}

/// Name, path, type and description of a printer column.
type Column = (&'static str, &'static str, &'static str, &'static str);

const AGE: Column = (
    "Age",
    ".metadata.creationTimestamp",
    "date",
    "When the object was created.",
);

/// The CRDs of all kinds that the mesh puts to use, as objects to be applied to a cluster.
pub fn crds() -> Vec<Value> {
    let definitions = policies().into_iter().chain(traffic());
    definitions.map(Definition::into_object).collect()
}

/// Kinds about who may do what, and how often.
fn policies() -> [Definition; 4] {
    [
        Definition {
            kind: Kind::AuthorizationPolicy,
            short_name: "ap",
            description: "Who may do what with workloads.",
            spec: structural_schema::<AuthorizationPolicySpec>(),
            columns: &[
                ("Action", ".spec.action", "string", "The operation to take."),
                AGE,
            ],
        },
        Definition {
            kind: Kind::PeerAuthentication,
            short_name: "pa",
            description: "Whether workloads take connections under mutual TLS, without it, or both.",
            spec: structural_schema::<PeerAuthenticationSpec>(),
            columns: &[
                (
                    "Mode",
                    ".spec.mtls.mode",
                    "string",
                    "Whether mutual TLS is required.",
                ),
                AGE,
            ],
        },
        Definition {
            kind: Kind::RequestAuthentication,
            short_name: "ra",
            description: "Which tokens workloads accept.",
            spec: structural_schema::<RequestAuthenticationSpec>(),
            columns: &[],
        },
        Definition {
            kind: Kind::RateLimit,
            short_name: "rl",
            description: "Limits on requests to a service or to workloads, kept by their proxies.",
            spec: structural_schema::<RateLimitSpec>(),
            columns: &[
                (
                    "Target",
                    ".spec.targetRef.name",
                    "string",
                    "The service that the limits are for; none for workloads.",
                ),
                AGE,
            ],
        },
    ]
}

/// Kinds about where traffic goes.
fn traffic() -> [Definition; 2] {
    [
        Definition {
            kind: Kind::DestinationRule,
            short_name: "dr",
            description: "Policies for traffic to a host, applied by its clients after routing.",
            spec: structural_schema::<DestinationRuleSpec>(),
            columns: &[
                (
                    "Host",
                    ".spec.host",
                    "string",
                    "The service that the policies are for.",
                ),
                AGE,
            ],
        },
        Definition {
            kind: Kind::VirtualService,
            short_name: "vs",
            description: "Routes for requests to one or more hosts, applied by their clients.",
            spec: structural_schema::<VirtualServiceSpec>(),
            columns: &[
                (
                    "Gateways",
                    ".spec.gateways",
                    "string",
                    "Gateways and sidecars that apply the routes.",
                ),
                ("Hosts", ".spec.hosts", "string", "Hosts that the routes are for."),
                AGE,
            ],
        },
    ]
}

impl Definition {
    fn into_object(self) -> Value {
        let kind = self.kind;
        let (group, plural) = (kind.group(), kind.plural());
        let singular = kind.as_str().to_ascii_lowercase();
        let oldest_first = kind.versions().iter().rev();
        let versions: Vec<Value> = oldest_first.map(|name| self.version(name)).collect();
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {
                "name": format!("{plural}.{group}"),
                "annotations": {"helm.sh/resource-policy": "keep"},
                "labels": {
                    "app": "istio-pilot", "chart": "istio", "istio": "istiod",
                    "heritage": "Tiller", "release": "istio",
                },
            },
            "spec": {
                "group": group,
                "names": {
                    "kind": kind.as_str(),
                    "listKind": format!("{kind}List"),
                    "plural": plural,
                    "singular": singular,
                    "shortNames": [self.short_name],
                    "categories": categories(group),
                },
                "scope": "Namespaced",
                "versions": versions,
            },
        })
    }

    fn version(&self, name: &str) -> Value {
        let columns = self.columns.iter().map(|(name, path, kind, description)| {
            json!({"name": name, "jsonPath": path, "type": kind, "description": description})
        });
        json!({
            "name": name,
            "served": true,
            "storage": name == self.kind.version(),
            "additionalPrinterColumns": columns.collect::<Vec<_>>(),
            "subresources": {"status": {}},
            "schema": {
                "openAPIV3Schema": {
                    "type": "object",
                    "description": self.description,
                    "properties": {"spec": self.spec, "status": status_schema()},
                },
            },
        })
    }
}

/// Groups of kinds that `kubectl get` lists together.
fn categories(group: &str) -> Vec<String> {
    let whole = group.replace('.', "-");
    let domain = group.split_once('.').map_or(group, |(_, domain)| domain);
    vec![domain.replace('.', "-"), whole]
}

/// Istio's free-form status: known parts are typed, the rest is kept.
fn status_schema() -> Value {
    let text = |description: &str| json!({"type": "string", "description": description});
    let time =
        |description: &str| json!({"type": "string", "format": "date-time", "description": description});
    json!({
        "type": "object",
        "description": "What the mesh makes of the object.",
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "conditions": {
                "type": "array",
                "description": "Where the object stands.",
                "items": {
                    "type": "object",
                    "properties": {
                        "type": text("Name of the condition."),
                        "status": text("True, False or Unknown."),
                        "reason": text("One word for the last change."),
                        "message": text("The last change in words."),
                        "lastProbeTime": time("When the condition was last looked at."),
                        "lastTransitionTime": time("When the condition last changed."),
                        "observedGeneration": {
                            "type": "integer", "format": "int64",
                            "description": "Generation that the condition speaks of.",
                        },
                    },
                },
            },
            "validationMessages": {
                "type": "array",
                "description": "Findings of the analysis.",
                "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            },
            "observedGeneration": {
                "type": "integer", "format": "int64",
                "description": "Generation that the status speaks of.",
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls `each` for every schema in a schema, with its path.
    fn walk(path: &str, schema: &Value, each: &mut impl FnMut(&str, &Value)) {
        each(path, schema);
        if let Some(properties) = schema["properties"].as_object() {
            properties
                .iter()
                .for_each(|(name, schema)| walk(&format!("{path}.{name}"), schema, each));
        }
        for keyword in ["items", "additionalProperties"] {
            if schema[keyword].is_object() {
                walk(&format!("{path}[]"), &schema[keyword], each);
            }
        }
    }

    fn schema_of(kind: Kind) -> Value {
        let crd = crds()
            .into_iter()
            .find(|crd| crd["spec"]["names"]["kind"] == kind.as_str())
            .unwrap();
        let versions = crd["spec"]["versions"].as_array().unwrap();
        versions.last().unwrap()["schema"]["openAPIV3Schema"].clone()
    }

    #[test]
    fn schemas_are_structural() {
        for kind in [
            Kind::VirtualService,
            Kind::DestinationRule,
            Kind::AuthorizationPolicy,
            Kind::PeerAuthentication,
            Kind::RequestAuthentication,
            Kind::RateLimit,
        ] {
            walk("", &schema_of(kind), &mut |path, schema| {
                let keywords = schema.as_object().unwrap();
                assert!(schema["type"].is_string(), "{kind} {path}: {schema}");
                for keyword in [
                    "$ref",
                    "default",
                    "definitions",
                    "title",
                    "anyOf",
                    "nullable",
                    "const",
                ] {
                    assert!(!keywords.contains_key(keyword), "{kind} {path} has {keyword}");
                }
                if let Some(format) = keywords.get("format") {
                    let known = ["int32", "int64", "double", "float", "byte", "date-time"];
                    assert!(
                        known.contains(&format.as_str().unwrap()),
                        "{kind} {path}: {format}"
                    );
                }
                let named = path
                    .rsplit('.')
                    .next()
                    .is_some_and(|name| !name.ends_with("[]") && !name.is_empty());
                let described = keywords.contains_key("description") || path.starts_with(".status");
                assert!(!named || described, "{kind} {path} lacks a description");
            });
        }
    }

    #[test]
    fn a_negative_weight_and_a_wrong_enum_value_are_refused_by_the_schema() {
        let virtual_service = schema_of(Kind::VirtualService);
        let route =
            &virtual_service["properties"]["spec"]["properties"]["http"]["items"]["properties"]["route"];
        assert_eq!(route["items"]["properties"]["weight"]["minimum"], 0);
        assert_eq!(route["items"]["required"], json!(["destination"]));
        let rule = schema_of(Kind::DestinationRule);
        let policy = &rule["properties"]["spec"]["properties"]["trafficPolicy"]["properties"];
        let simple = &policy["loadBalancer"]["properties"]["simple"];
        assert_eq!(
            simple["enum"],
            json!([
                "UNSPECIFIED",
                "LEAST_CONN",
                "RANDOM",
                "PASSTHROUGH",
                "ROUND_ROBIN",
                "LEAST_REQUEST"
            ])
        );
        assert_eq!(policy["loadBalancer"]["oneOf"].as_array().unwrap().len(), 3);
        assert_eq!(rule["properties"]["spec"]["required"], json!(["host"]));
    }

    #[test]
    fn every_version_is_served_and_the_preferred_one_is_stored() {
        for crd in crds() {
            let versions = crd["spec"]["versions"].as_array().unwrap();
            let stored: Vec<_> = versions
                .iter()
                .filter(|version| version["storage"] == true)
                .collect();
            assert_eq!(stored.len(), 1);
            let kind = crd["spec"]["names"]["kind"].as_str().unwrap();
            let stable = if kind == "RateLimit" { "v1alpha1" } else { "v1" };
            assert_eq!(stored[0]["name"], stable, "{kind}");
            assert!(versions.iter().all(|version| version["served"] == true));
        }
    }
}
