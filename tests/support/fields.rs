//! The fields of the schemas, as paths: `VirtualService.spec.http[].match[].headers.*.exact`.

use resources::Kind;
use serde_json::{Map, Value};

/// A field that holds a value, not other fields.
pub(crate) struct Field {
    pub(crate) path: String,
    /// Its schema.
    pub(crate) schema: Value,
}

/// Traffic policies of subsets and of ports are shown once, as the policy itself.
const SAME: [&str; 3] = [
    "DestinationRule.spec.subsets[].trafficPolicy.portLevelSettings[].",
    "DestinationRule.spec.subsets[].trafficPolicy.",
    "DestinationRule.spec.trafficPolicy.portLevelSettings[].",
];
const POLICY: &str = "DestinationRule.spec.trafficPolicy.";
/// What makes these levels work is shown by a field of their own.
const LEVELS: [&str; 3] = [
    "DestinationRule.spec.subsets[].trafficPolicy",
    "DestinationRule.spec.trafficPolicy.portLevelSettings",
    "DestinationRule.spec.trafficPolicy.portLevelSettings[].port.number",
];

pub(crate) fn all() -> Vec<Field> {
    let mut fields = Vec::new();
    for definition in resources::crds() {
        let kind = definition["spec"]["names"]["kind"].as_str().unwrap().to_owned();
        let version = &definition["spec"]["versions"][0];
        let spec = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
        walk(&format!("{kind}.spec"), spec, &mut fields);
    }
    fields.reverse();
    fields.sort_by_key(|field| place(&field.path));
    let mut kept: Vec<Field> = Vec::new();
    for field in fields {
        let is_level = LEVELS.contains(&field.path.as_str());
        if (is_level || shared(&field.path) == field.path)
            && !kept.iter().any(|other| other.path == field.path)
        {
            kept.push(field);
        }
    }
    kept.sort_by(|one, other| (place(&one.path), &one.path).cmp(&(place(&other.path), &other.path)));
    kept
}

/// Kinds come in the order of [`Kind`].
fn place(path: &str) -> Option<usize> {
    let kind = path.split('.').next().unwrap_or_default();
    Kind::ALL.into_iter().position(|known| known.as_str() == kind)
}

/// The path under which a field is shown.
pub(crate) fn shared(path: &str) -> String {
    if LEVELS.contains(&path) {
        return path.to_owned();
    }
    let rest = SAME.iter().find_map(|prefix| path.strip_prefix(prefix));
    rest.map_or_else(|| path.to_owned(), |rest| format!("{POLICY}{rest}"))
}

fn walk(path: &str, schema: &Value, fields: &mut Vec<Field>) {
    if LEVELS.contains(&path) {
        fields.push(Field {
            path: path.to_owned(),
            schema: schema.clone(),
        });
    }
    let properties = |schema: &Value| -> Option<Map<String, Value>> {
        schema["properties"]
            .as_object()
            .filter(|map| !map.is_empty())
            .cloned()
    };
    if let Some(properties) = properties(schema) {
        for (name, inner) in &properties {
            walk(&format!("{path}.{name}"), inner, fields);
        }
    } else if properties(&schema["items"]).is_some() {
        walk(&format!("{path}[]"), &schema["items"], fields);
    } else if properties(&schema["additionalProperties"]).is_some() {
        walk(&format!("{path}.*"), &schema["additionalProperties"], fields);
    } else {
        fields.push(Field {
            path: path.to_owned(),
            schema: schema.clone(),
        });
    }
}
