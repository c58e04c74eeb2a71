//! Merges what a user sets into the values: files first, then `--set a.b=c`, as Helm does it.
//!
//! The default values are the schema. A name that is not in them is refused, with the nearest one that is, except
//! below the few values that are maps of the user's own.
//! <https://helm.sh/docs/intro/using_helm/#the-format-and-limitations-of---set>

use serde_json::{Map, Value};

use super::values::Values;

/// Maps whose keys the user chooses.
const OPEN: [&str; 10] = [
    "global.proxy.resources",
    "global.proxy.lifecycle",
    "pilot.resources",
    "pilot.env",
    "pilot.nodeSelector",
    "pilot.affinity",
    "pilot.podAnnotations",
    "pilot.podLabels",
    "sidecarInjectorWebhook.injectedAnnotations",
    "meshConfig",
];

/// Why a value was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("unknown value {path:?}{}", suggestion(nearest))]
    Unknown { path: String, nearest: Option<String> },
    #[error("{expression:?}: {reason}")]
    Expression {
        expression: String,
        reason: &'static str,
    },
    #[error("{0}")]
    Invalid(String),
}

fn suggestion(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map_or_else(String::new, |nearest| format!("; did you mean {nearest:?}?"))
}

/// The default values with `files` and then `expressions` on top.
pub fn values(files: &[Value], expressions: &[String]) -> Result<Values, Refused> {
    let mut merged = defaults();
    for file in files {
        merge(&mut merged, file, "")?;
    }
    for expression in expressions {
        for assignment in split(expression, ',') {
            merge(&mut merged, &parse(&assignment)?, "")?;
        }
    }
    serde_json::from_value(merged).map_err(|error| Refused::Invalid(error.to_string()))
}

fn defaults() -> Value {
    serde_json::to_value(Values::default()).expect("the default values have a JSON form")
}

/// `null` takes a key of an open map away and leaves everything else as it was, as in Helm.
fn merge(base: &mut Value, change: &Value, path: &str) -> Result<(), Refused> {
    let (Value::Object(base), Value::Object(change)) = (&mut *base, change) else {
        if !change.is_null() {
            *base = change.clone();
        }
        return Ok(());
    };
    let open = OPEN
        .iter()
        .any(|open| path == *open || path.starts_with(&format!("{open}.")));
    for (key, value) in change {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        match base.get_mut(key) {
            Some(_) if open && value.is_null() => {
                base.remove(key);
            }
            Some(known) => merge(known, value, &path)?,
            None if open => {
                base.insert(key.clone(), value.clone());
            }
            None => {
                let nearest = nearest(key, base.keys()).map(|near| path.replacen(key, near, 1));
                return Err(Refused::Unknown { path, nearest });
            }
        }
    }
    Ok(())
}

/// `a.b=c` as the nested object that it stands for.
fn parse(assignment: &str) -> Result<Value, Refused> {
    let refused = |reason| Refused::Expression {
        expression: assignment.to_owned(),
        reason,
    };
    let (path, value) = assignment
        .split_once('=')
        .ok_or_else(|| refused("expected NAME=VALUE"))?;
    if path.contains('[') {
        return Err(refused(
            "single items of a list cannot be set; give the whole list as NAME={a,b}",
        ));
    }
    let keys = split(path, '.');
    if keys.iter().any(String::is_empty) {
        return Err(refused("a part of the name is empty"));
    }
    let value = match value.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some("") => Value::Array(Vec::new()),
        Some(items) => split(items, ',').iter().map(|item| scalar(item)).collect(),
        None => scalar(value),
    };
    Ok(keys
        .into_iter()
        .rev()
        .fold(value, |value, key| Value::Object(Map::from_iter([(key, value)]))))
}

fn scalar(text: &str) -> Value {
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "null" => Value::Null,
        // A leading zero is a part of a name, not of a number.
        _ if text.len() > 1 && text.starts_with('0') => Value::from(text),
        _ => text
            .parse::<i64>()
            .map_or_else(|_| Value::from(text), Value::from),
    }
}

/// Splits at `separator`, but neither behind a backslash nor inside of braces.
fn split(text: &str, separator: char) -> Vec<String> {
    let (mut parts, mut part, mut depth, mut characters) = (Vec::new(), String::new(), 0_u32, text.chars());
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                let escaped = characters.next();
                if escaped != Some(separator) || depth > 0 {
                    // It escapes something for a later split.
                    part.push('\\');
                }
                part.extend(escaped);
            }
            character if character == separator && depth == 0 => parts.push(std::mem::take(&mut part)),
            character => {
                depth = match character {
                    '{' => depth + 1,
                    '}' => depth.saturating_sub(1),
                    _ => depth,
                };
                part.push(character);
            }
        }
    }
    parts.push(part);
    parts
}

/// The known name that takes the fewest edits, if that is few.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> Option<&'a str> {
    let (edits, best) = known.map(|candidate| (edits(name, candidate), candidate)).min()?;
    (edits <= name.len().max(3) / 3 + 1).then_some(best.as_str())
}

/// Levenshtein's distance, letter case aside.
fn edits(left: &str, right: &str) -> usize {
    let (left, right) = (left.to_lowercase(), right.to_lowercase());
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, to) in right.iter().enumerate() {
            let change = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::install::values::CaptureExemption;

    fn set(expressions: &[&str]) -> Result<Values, Refused> {
        values(
            &[],
            &expressions
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn expressions_change_what_they_name_and_nothing_else() {
        let values = set(&[
            "global.hub=registry.example/mesh,global.tag=v1",
            "pilot.replicaCount=3",
        ])
        .unwrap();
        assert_eq!(
            (values.global.hub.as_str(), values.global.tag.as_str()),
            ("registry.example/mesh", "v1")
        );
        assert_eq!(values.pilot.replica_count, 3);
        assert_eq!(values.pilot.image, Values::default().pilot.image);
    }

    #[test]
    fn the_forms_of_a_value() {
        let values = set(&[
            "global.imagePullSecrets={a,b}",
            r"pilot.nodeSelector.kubernetes\.io/arch=amd64",
            "pilot.env.PILOT_X=0012",
            "global.captureExemption=mark",
            "global.logAsJson=true",
        ])
        .unwrap();
        assert_eq!(values.global.image_pull_secrets, ["a", "b"]);
        assert_eq!(values.pilot.node_selector["kubernetes.io/arch"], "amd64");
        assert_eq!(values.pilot.env["PILOT_X"], "0012");
        assert_eq!(values.global.capture_exemption, CaptureExemption::Mark);
        assert!(values.global.log_as_json);
    }

    #[test]
    fn later_sources_win() {
        let file =
            json!({"global": {"tag": "from-file", "hub": "from-file"}, "meshConfig": {"accessLogFile": "x"}});
        let values = values(&[file], &["global.tag=from-set".to_owned()]).unwrap();
        assert_eq!(
            (values.global.hub.as_str(), values.global.tag.as_str()),
            ("from-file", "from-set")
        );
        assert_eq!(values.mesh_config["accessLogFile"], "x");
    }

    #[test]
    fn unknown_names_are_refused_with_a_suggestion() {
        let error = set(&["global.proxy.inludeIPRanges=*"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"unknown value "global.proxy.inludeIPRanges"; did you mean "global.proxy.includeIPRanges"?"#
        );
        assert_eq!(
            set(&["zzzzzz=1"]).unwrap_err().to_string(),
            r#"unknown value "zzzzzz""#
        );
    }

    #[test]
    fn broken_expressions_are_refused() {
        for expression in ["global.hub", "=x", "global..hub=x", "a[0].b=c"] {
            assert!(
                matches!(set(&[expression]), Err(Refused::Expression { .. })),
                "{expression}"
            );
        }
        let error = set(&["pilot.replicaCount=many"]).unwrap_err();
        assert!(matches!(error, Refused::Invalid(_)), "{error}");
        assert!(set(&["global.captureExemption=both"]).is_err());
    }

    #[test]
    fn null_removes_what_the_defaults_put_into_an_open_map() {
        let values = set(&["global.proxy.resources.limits=null"]).unwrap();
        assert!(!values.global.proxy.resources.contains_key("limits"));
        assert!(values.global.proxy.resources.contains_key("requests"));
    }
}
