//! JSONPath as printer columns use it: fields, indexes, `[*]`, and filters such as `[?(@.type=="Ready")]`.
//!
//! Source: kubectl's JSONPath; templates with text around the braces are not part of it here.

use serde_json::Value;

/// A path that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    /// From the end when negative.
    Index(i64),
    All,
    /// Items whose value at the path is (or is not) this.
    Filter {
        path: JsonPath,
        equal: bool,
        wanted: Value,
    },
    /// Items that have something at the path.
    Exists(JsonPath),
}

impl JsonPath {
    /// Reads a path: `.spec.hosts`, `{.spec.hosts}`, `.metadata.labels['a.b/c']`.
    ///
    /// # Errors
    /// What is wrong with it, as a text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let inner = text
            .strip_prefix('{')
            .and_then(|text| text.strip_suffix('}'))
            .unwrap_or(text);
        let mut rest = inner.strip_prefix('$').unwrap_or(inner);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, after) = if rest.starts_with('[') {
                bracket(rest)?
            } else {
                field(rest)?
            };
            steps.extend(step);
            rest = after;
        }
        Ok(Self(steps))
    }

    /// What the path leads to; several values where it has `[*]` or a filter.
    pub fn find<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        self.0.iter().fold(vec![root], |found, step| {
            found.into_iter().flat_map(|one| step.apply(one)).collect()
        })
    }
}

impl Step {
    fn apply<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let items = || match value {
            Value::Array(items) => items.iter().collect(),
            Value::Object(fields) => fields.values().collect(),
            _ => Vec::new(),
        };
        match self {
            Self::Field(name) => value.get(name).into_iter().collect(),
            Self::Index(index) => at(value, *index).into_iter().collect(),
            Self::All => items(),
            Self::Exists(path) => items()
                .into_iter()
                .filter(|item| !path.find(item).is_empty())
                .collect(),
            Self::Filter { path, equal, wanted } => items()
                .into_iter()
                .filter(|item| {
                    path.find(item)
                        .first()
                        .is_some_and(|found| (*found == wanted) == *equal)
                })
                .collect(),
        }
    }
}

fn at(value: &Value, index: i64) -> Option<&Value> {
    let items = value.as_array()?;
    let index = if index < 0 {
        i64::try_from(items.len()).ok()? + index
    } else {
        index
    };
    items.get(usize::try_from(index).ok()?)
}

type Parsed<'a> = Result<(Option<Step>, &'a str), String>;

/// `.name`; a backslash takes the meaning off the next letter (`.metadata.labels.a\.b`).
fn field(text: &str) -> Parsed<'_> {
    let Some(rest) = text.strip_prefix('.') else {
        return Err(format!(
            "unrecognized character in action: {:?}",
            text.chars().next().unwrap_or_default()
        ));
    };
    if rest.starts_with('.') {
        return Err("recursive descent is not supported".to_owned());
    }
    let (mut name, mut end, mut escaped) = (String::new(), rest.len(), false);
    for (index, letter) in rest.char_indices() {
        if escaped {
            name.push(letter);
            escaped = false;
        } else if letter == '\\' {
            escaped = true;
        } else if letter == '.' || letter == '[' {
            end = index;
            break;
        } else {
            name.push(letter);
        }
    }
    let step = match name.as_str() {
        "" => None,
        "*" => Some(Step::All),
        _ => Some(Step::Field(name)),
    };
    Ok((step, &rest[end..]))
}

/// `[…]`, with brackets inside quotes left alone.
fn bracket(text: &str) -> Parsed<'_> {
    let mut quote = None;
    let close = text.char_indices().find(|(_, letter)| {
        match (quote, *letter) {
            (None, '\'' | '"') => quote = Some(*letter),
            (Some(open), letter) if open == letter => quote = None,
            (None, ']') => return true,
            _ => {}
        }
        false
    });
    let Some((close, _)) = close else {
        return Err("unterminated array".to_owned());
    };
    let (inner, rest) = (text[1..close].trim(), &text[close + 1..]);
    let step = if inner == "*" {
        Step::All
    } else if let Some(name) = quoted(inner) {
        Step::Field(name.to_owned())
    } else if let Some(condition) = inner.strip_prefix("?(").and_then(|inner| inner.strip_suffix(')')) {
        filter(condition)?
    } else {
        Step::Index(
            inner
                .parse()
                .map_err(|_| format!("invalid array index {inner}"))?,
        )
    };
    Ok((Some(step), rest))
}

fn filter(condition: &str) -> Result<Step, String> {
    let path = |text: &str| {
        let text = text.trim();
        JsonPath::parse(
            text.strip_prefix('@')
                .ok_or_else(|| format!("a filter compares @, not {text}"))?,
        )
    };
    for (operator, equal) in [("==", true), ("!=", false)] {
        if let Some((left, right)) = condition.split_once(operator) {
            let right = right.trim();
            let wanted = match quoted(right) {
                Some(text) => Value::from(text),
                None => serde_json::from_str(right).map_err(|_| format!("invalid literal {right}"))?,
            };
            return Ok(Step::Filter {
                path: path(left)?,
                equal,
                wanted,
            });
        }
    }
    Ok(Step::Exists(path(condition)?))
}

fn quoted(text: &str) -> Option<&str> {
    ['\'', '"']
        .iter()
        .find_map(|mark| text.strip_prefix(*mark)?.strip_suffix(*mark))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_of_printer_columns_are_found() {
        let object = json!({"metadata": {"labels": {"a.b/c": "x"}}, "spec": {"hosts": ["a", "b"]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]}});
        for (path, wanted) in [
            (".spec.hosts", json!([["a", "b"]])),
            ("{.spec.hosts[0]}", json!(["a"])),
            (".spec.hosts[-1]", json!(["b"])),
            (".spec.hosts[*]", json!(["a", "b"])),
            (".metadata.labels['a.b/c']", json!(["x"])),
            (r".metadata.labels.a\.b/c", json!(["x"])),
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["True"])),
            (".status.conditions[?(@.type=='Other')].status", json!(["False"])),
            (".status.conditions[?(@.type!='Other')].type", json!(["Ready"])),
            (".spec.missing.deeper", json!([])),
        ] {
            let found = JsonPath::parse(path).expect("is a path");
            assert_eq!(json!(found.find(&object)), wanted, "{path}");
        }
        for bad in [".a[", "a", "..a", ".a[x]"] {
            assert!(JsonPath::parse(bad).is_err(), "{bad}");
        }
    }
}
