//! CustomResourceDefinitions: what makes one valid, and the types that a valid one serves.
//!
//! Names are accepted and the resource is served at once, as the status says. Versions differ by their `apiVersion`
//! only (conversion strategy None), or are converted by a webhook (`conversion.rs`).

use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::Arc;

use serde_json::{Value, json};

use super::field::FieldErrors;
use super::fields::{self, Rule};
use super::json_path::JsonPath;
use super::registry::{ScalePaths, Shape, Type, VERBS};
use super::schema::{self, Schema};
use super::{Gvr, validate};

/// What one version of a CRD says about its objects.
#[derive(Debug)]
pub struct CustomVersion {
    pub schema: Schema,
    pub columns: Vec<Column>,
    /// How the fields of its objects merge.
    pub rule: Rule,
    /// The text of `deprecationWarning`, when the version is deprecated.
    pub deprecation: Option<String>,
    /// Paths of `selectableFields`: what field selectors may name.
    pub selectable: Vec<String>,
    /// `spec.conversion.webhook`.
    pub webhook: Option<Value>,
    openapi: Value,
}

/// A column of `kubectl get`.
#[derive(Debug)]
pub struct Column {
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: String,
    pub format: String,
    pub description: String,
    /// Shown by `-o wide` only when above zero.
    pub priority: i64,
    pub path: JsonPath,
}

impl CustomVersion {
    /// `openAPIV3Schema` as it was written, for `kubectl explain`.
    pub fn openapi(&self) -> &Value {
        &self.openapi
    }
}

/// The types that a definition serves, preferred version first.
pub fn types(definition: &Value) -> Vec<Type> {
    let spec = &definition["spec"];
    let versions = || spec["versions"].as_array().into_iter().flatten();
    let gvr = |version: &Value| Gvr {
        group: owned(&spec["group"]),
        version: owned(&version["name"]),
        resource: owned(&spec["names"]["plural"]),
    };
    let Some(stored_as) = versions().find(|version| version["storage"] == true).map(gvr) else {
        return Vec::new();
    };
    let mut served: Vec<&Value> = versions().filter(|version| version["served"] == true).collect();
    served.sort_by_key(|version| Reverse(priority(version["name"].as_str().unwrap_or_default())));
    let names = &spec["names"];
    let several = |list: &Value| {
        list.as_array()
            .into_iter()
            .flatten()
            .map(owned)
            .collect::<Vec<_>>()
    };
    served
        .into_iter()
        .map(|version| Type {
            gvr: gvr(version),
            kind: owned(&names["kind"]),
            list_kind: owned(&names["listKind"]),
            singular: owned(&names["singular"]),
            short_names: several(&names["shortNames"]),
            categories: several(&names["categories"]),
            namespaced: spec["scope"] == "Namespaced",
            verbs: VERBS,
            status: version["subresources"]["status"].is_object(),
            scale: scale(&version["subresources"]["scale"]),
            stored_as: stored_as.clone(),
            shape: Shape::Custom(Arc::new(custom(definition, version))),
        })
        .collect()
}

fn custom(definition: &Value, version: &Value) -> CustomVersion {
    let openapi = version["schema"]["openAPIV3Schema"].clone();
    let deprecation = (version["deprecated"] == true).then(|| {
        version["deprecationWarning"].as_str().map_or_else(
            || {
                let (group, kind) = (&definition["spec"]["group"], &definition["spec"]["names"]["kind"]);
                format!(
                    "{}/{} {} is deprecated",
                    text(group),
                    text(&version["name"]),
                    text(kind)
                )
            },
            str::to_owned,
        )
    });
    CustomVersion {
        schema: if openapi.is_object() {
            Schema::from_openapi(&openapi)
        } else {
            Schema::default()
        },
        columns: version["additionalPrinterColumns"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(column)
            .collect(),
        deprecation,
        rule: fields::from_openapi(&openapi),
        selectable: version["selectableFields"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|field| text(&field["jsonPath"]).trim_start_matches('.').to_owned())
            .collect(),
        webhook: (definition["spec"]["conversion"]["strategy"] == "Webhook")
            .then(|| definition["spec"]["conversion"]["webhook"].clone()),
        openapi,
    }
}

fn column(column: &Value) -> Option<Column> {
    Some(Column {
        name: text(&column["name"]),
        kind: text(&column["type"]),
        format: text(&column["format"]),
        description: column["description"].as_str().map_or_else(
            || {
                format!(
                    "Custom resource definition column (in JSONPath format): {}",
                    text(&column["jsonPath"])
                )
            },
            str::to_owned,
        ),
        priority: column["priority"].as_i64().unwrap_or(0),
        path: JsonPath::parse(column["jsonPath"].as_str()?).ok()?,
    })
}

fn scale(scale: &Value) -> Option<ScalePaths> {
    let path = |field: &str| {
        let text = scale[field].as_str()?.trim_start_matches('.');
        Some(text.split('.').map(str::to_owned).collect())
    };
    Some(ScalePaths {
        spec_replicas: path("specReplicasPath")?,
        status_replicas: path("statusReplicasPath")?,
        selector: path("labelSelectorPath"),
    })
}

/// `v2` before `v1` before `v1beta1` before `v1alpha3`; other names last.
fn priority(version: &str) -> (u8, u64, u64) {
    let number = |text: &str| text.parse::<u64>().ok();
    let Some(rest) = version.strip_prefix('v') else {
        return (0, 0, 0);
    };
    for (stage, rank) in [("alpha", 1), ("beta", 2)] {
        if let Some((major, minor)) = rest.split_once(stage) {
            return number(major)
                .zip(number(minor))
                .map_or((0, 0, 0), |(major, minor)| (rank, major, minor));
        }
    }
    number(rest).map_or((0, 0, 0), |major| (3, major, 0))
}

/// Names that follow from others, and a status that says that the resource is served.
pub fn set_defaults(definition: &mut Value) {
    let kind = definition["spec"]["names"]["kind"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let names = &mut definition["spec"]["names"];
    if !names.is_object() {
        return;
    }
    for (field, value) in [
        ("singular", kind.to_lowercase()),
        ("listKind", format!("{kind}List")),
    ] {
        if names[field].as_str().unwrap_or_default().is_empty() {
            names[field] = json!(value);
        }
    }
    if definition["spec"]["conversion"].is_null() {
        definition["spec"]["conversion"] = json!({"strategy": "None"});
    }
    let service = definition.pointer_mut("/spec/conversion/webhook/clientConfig/service");
    if let Some(service) = service.filter(|service| service.is_object() && service["port"].is_null()) {
        service["port"] = json!(443);
    }
    let since = definition["metadata"]["creationTimestamp"].clone();
    if !definition["status"].is_object() {
        definition["status"] = json!({});
    }
    definition["status"]["acceptedNames"] = definition["spec"]["names"].clone();
    if !definition["status"]["conditions"].is_array() {
        definition["status"]["conditions"] = json!([
            {"type": "NamesAccepted", "status": "True", "lastTransitionTime": since, "reason": "NoConflicts",
             "message": "no conflicts found"},
            {"type": "Established", "status": "True", "lastTransitionTime": since,
             "reason": "InitialNamesAccepted", "message": "the initial names have been accepted"},
        ]);
    }
    let versions = definition["spec"]["versions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let stored = versions
        .iter()
        .find(|version| version["storage"] == true)
        .map(|version| version["name"].clone());
    let list = &mut definition["status"]["storedVersions"];
    match (list.as_array_mut(), stored) {
        (Some(list), Some(stored)) if !list.contains(&stored) => list.push(stored),
        (None, stored) => *list = Value::Array(stored.into_iter().collect()),
        _ => {}
    }
}

/// What is wrong with a definition.
pub fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
    let spec = &new["spec"];
    let (group, plural) = (text(&spec["group"]), text(&spec["names"]["plural"]));
    if new["metadata"]["name"] != format!("{plural}.{group}") {
        errors.invalid(
            "metadata.name",
            &new["metadata"]["name"],
            "must be spec.names.plural+\".\"+spec.group",
        );
    }
    if group.is_empty() {
        errors.required("spec.group", "");
    } else if group.split('.').count() < 2 {
        errors.invalid(
            "spec.group",
            &spec["group"],
            "should be a domain with at least one dot",
        );
    }
    names(&spec["names"], errors);
    if spec["scope"].is_null() || spec["scope"] == "" {
        errors.required("spec.scope", "");
    } else if !matches!(spec["scope"].as_str(), Some("Cluster" | "Namespaced")) {
        errors.not_supported("spec.scope", &spec["scope"], &["Cluster", "Namespaced"]);
    }
    conversion(&spec["conversion"], errors);
    versions(&spec["versions"], errors);
    let listed = |name: &Value| {
        let mut versions = spec["versions"].as_array().into_iter().flatten();
        versions.any(|version| version["name"] == *name)
    };
    let stored = new["status"]["storedVersions"].as_array().into_iter().flatten();
    for (index, name) in stored.enumerate().filter(|(_, name)| !listed(name)) {
        errors.invalid(
            format!("status.storedVersions[{index}]"),
            name,
            "must appear in spec.versions",
        );
    }
}

fn conversion(conversion: &Value, errors: &mut FieldErrors) {
    let webhook = &conversion["webhook"];
    match conversion["strategy"].as_str().unwrap_or_default() {
        "None" if !webhook.is_null() => errors.forbidden(
            "spec.conversion.webhook",
            "should not be set when strategy is not set to Webhook",
        ),
        "None" => {}
        "Webhook" => {
            if webhook["clientConfig"].is_object() {
                validate::webhook_client(
                    &webhook["clientConfig"],
                    "spec.conversion.webhook.clientConfig",
                    errors,
                );
            } else {
                errors.required(
                    "spec.conversion.webhook.clientConfig",
                    "required when strategy is set to Webhook",
                );
            }
            let path = "spec.conversion.webhook.conversionReviewVersions";
            let versions = webhook["conversionReviewVersions"].as_array();
            match versions.map(|list| list.iter().any(|one| one == "v1")) {
                Some(true) => {}
                Some(false) => errors.invalid(
                    path,
                    &webhook["conversionReviewVersions"],
                    "must include at least one of v1",
                ),
                None => errors.required(path, ""),
            }
        }
        "" => errors.required("spec.conversion.strategy", ""),
        _ => errors.not_supported(
            "spec.conversion.strategy",
            &conversion["strategy"],
            &["None", "Webhook"],
        ),
    }
}

fn names(names: &Value, errors: &mut FieldErrors) {
    for field in ["plural", "singular", "kind", "listKind"] {
        let name = text(&names[field]);
        let path = format!("spec.names.{field}");
        if name.is_empty() {
            errors.required(path, "");
            continue;
        }
        for trouble in validate::dns_1035_label(&name.to_lowercase()) {
            errors.invalid(path.clone(), &names[field], &trouble);
        }
    }
    for (index, short) in names["shortNames"].as_array().into_iter().flatten().enumerate() {
        for trouble in validate::dns_1035_label(short.as_str().unwrap_or_default()) {
            errors.invalid(format!("spec.names.shortNames[{index}]"), short, &trouble);
        }
    }
}

fn versions(versions: &Value, errors: &mut FieldErrors) {
    let list = versions.as_array().map_or(&[][..], Vec::as_slice);
    let mut seen = std::collections::HashSet::new();
    for (index, version) in list.iter().enumerate() {
        let path = format!("spec.versions[{index}]");
        let name = text(&version["name"]);
        for trouble in validate::dns_1035_label(&name) {
            errors.invalid(format!("{path}.name"), &version["name"], &trouble);
        }
        if !seen.insert(name) {
            errors.invalid(format!("{path}.name"), &version["name"], "must be unique");
        }
        let schema = &version["schema"]["openAPIV3Schema"];
        let place = format!("{path}.schema.openAPIV3Schema");
        if schema.is_object() {
            if schema["type"] != "object" {
                errors.invalid(
                    format!("{place}.type"),
                    &schema["type"],
                    "must be object at the root",
                );
            } else {
                schema::check(schema, &place, errors);
            }
        } else {
            errors.required(place, "schemas are required");
        }
        for (index, column) in version["additionalPrinterColumns"]
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
        {
            let path = format!("{path}.additionalPrinterColumns[{index}]");
            let known = ["integer", "number", "string", "boolean", "date"];
            if !known.contains(&column["type"].as_str().unwrap_or_default()) {
                let detail = "must be one of boolean,date,integer,number,string";
                errors.invalid(format!("{path}.type"), &column["type"], detail);
            }
            if let Err(why) = JsonPath::parse(column["jsonPath"].as_str().unwrap_or_default()) {
                errors.invalid(format!("{path}.jsonPath"), &column["jsonPath"], &why);
            }
        }
    }
    if list.iter().filter(|version| version["storage"] == true).count() != 1 {
        errors.invalid(
            "spec.versions",
            versions,
            "must have exactly one version marked as storage version",
        );
    }
}

fn owned(value: &Value) -> Cow<'static, str> {
    Cow::Owned(text(value))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::client::Query;
    use crate::api::decode::{FieldValidation, decode};
    use crate::api::query::Filter;
    use crate::api::registry::Registry;

    fn definition() -> Value {
        let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "properties": {"hosts": {"type": "array", "items": {"type": "string"}}}}}}});
        let mut definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "virtualservices.networking.istio.io"},
            "spec": {"group": "networking.istio.io", "scope": "Namespaced",
                "names": {"kind": "VirtualService", "plural": "virtualservices", "shortNames": ["vs"]},
                "versions": [
                    {"name": "v1alpha3", "served": true, "storage": false, "schema": schema},
                    {"name": "v1", "served": true, "storage": true, "schema": schema,
                     "subresources": {"status": {}}},
                    {"name": "v1beta1", "served": true, "storage": false, "schema": schema}]}});
        set_defaults(&mut definition);
        definition
    }

    #[test]
    fn versions_are_served_by_preference_and_share_what_is_stored() {
        let registry = Registry::with_crds([&definition()]);
        let versions: Vec<String> = registry
            .all()
            .iter()
            .filter(|one| one.gvr.resource == "virtualservices")
            .map(|one| one.gvr.version.to_string())
            .collect();
        assert_eq!(versions, ["v1", "v1beta1", "v1alpha3"]);
        let old = registry
            .find("networking.istio.io", "v1alpha3", "virtualservices")
            .expect("is served");
        let object = json!({"apiVersion": "networking.istio.io/v1alpha3", "kind": "VirtualService"});
        let stored = old.to_stored(object.clone());
        assert_eq!(stored["apiVersion"], "networking.istio.io/v1");
        assert_eq!(old.from_stored(stored), object);
    }

    #[test]
    fn a_definition_is_established_at_once() {
        let definition = definition();
        assert_eq!(definition["status"]["storedVersions"], json!(["v1"]));
        assert_eq!(
            definition["status"]["acceptedNames"]["listKind"],
            "VirtualServiceList"
        );
        let mut errors = FieldErrors::default();
        validate(&definition, None, &mut errors);
        assert!(errors.is_empty(), "{errors:?}");
        let registry = Registry::built_in();
        let kind = registry
            .preferred("apiextensions.k8s.io", "customresourcedefinitions")
            .expect("is built in");
        let decoded = decode(kind, definition.clone(), FieldValidation::Strict);
        assert_eq!(
            decoded.map(|decoded| decoded.object["spec"].clone()),
            Ok(definition["spec"].clone())
        );
    }

    #[test]
    fn fields_that_a_version_names_can_be_selected() {
        let mut definition = definition();
        definition["spec"]["versions"][1]["selectableFields"] = json!([{"jsonPath": ".spec.mode"}]);
        let registry = Registry::with_crds([&definition]);
        let select = |version: &str, fields: &str| {
            let kind = registry.find("networking.istio.io", version, "virtualservices");
            let query = Query {
                labels: String::new(),
                fields: fields.to_owned(),
            };
            Filter::parse(kind.expect("is served"), &query)
        };
        let filter = select("v1", "spec.mode=fast").expect("it is selectable");
        assert!(filter.matches(&json!({"spec": {"mode": "fast"}})));
        assert!(!filter.matches(&json!({"spec": {"mode": "slow"}})));
        assert!(select("v1", "spec.other=x").is_err() && select("v1beta1", "spec.mode=fast").is_err());
    }

    #[test]
    fn what_is_wrong_with_a_definition_is_said_at_once() {
        let mut definition = definition();
        definition["metadata"]["name"] = json!("x");
        definition["spec"]["versions"][1]["storage"] = json!(false);
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
            ["hosts"]["items"] = json!({});
        let mut errors = FieldErrors::default();
        validate(&definition, None, &mut errors);
        let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "metadata.name",
                "spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[hosts].items.type",
                "spec.versions"
            ]
        );
    }
}
