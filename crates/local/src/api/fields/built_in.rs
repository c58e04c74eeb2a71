//! The rules of the built-in kinds, read once from a table.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::rule::{Field, Fields, Key, Keyed, PatchList, Rule};

/// See its head for the notation.
const TABLE: &str = include_str!("types.txt");

static TYPES: LazyLock<HashMap<&'static str, Rule>> = LazyLock::new(|| read(TABLE));

/// A type with plain fields only.
static PLAIN: LazyLock<Rule> = LazyLock::new(|| Rule::Fields(Box::default()));

/// The rule of a kind: `apps` and `Deployment`. Versions of a group merge alike.
pub(super) fn root(group: &str, kind: &str) -> Option<Rule> {
    let group = group
        .split('.')
        .next()
        .filter(|name| !name.is_empty())
        .unwrap_or("core");
    let (name, _) = TYPES.get_key_value(format!("{group}.{kind}").as_str())?;
    Some(Rule::Named(name))
}

pub(super) fn named(name: &str) -> &'static Rule {
    TYPES.get(name).unwrap_or(&PLAIN)
}

fn read(table: &'static str) -> HashMap<&'static str, Rule> {
    let mut types: HashMap<&'static str, Fields> = HashMap::new();
    let mut current = "";
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        if !line.starts_with(' ') {
            current = words.next().unwrap_or_default();
        }
        let fields = types.entry(current).or_default();
        for word in words {
            let (name, text) = word.split_once(':').unwrap_or((word, ""));
            fields.known.insert(name.to_owned(), field(current, text));
        }
    }
    // References are looked up by their whole names.
    types
        .into_iter()
        .map(|(name, fields)| (name, Rule::Fields(Box::new(fields))))
        .collect()
}

/// One field of the type `of`.
fn field(of: &'static str, text: &'static str) -> Field {
    let (text, patch) = match text.split_once('~') {
        Some((text, "")) => (text, Some(PatchList::Plain)),
        Some((text, key)) => (text, Some(PatchList::By(key))),
        None => (text, None),
    };
    let (text, always) = match text.strip_suffix('!') {
        Some(text) => (text, true),
        None => (text, false),
    };
    let rule = match text.as_bytes().first() {
        Some(b'{') => Rule::Fields(Box::new(Fields {
            others: Some(Rule::Whole),
            ..Fields::default()
        })),
        Some(b'[') => list(of, text),
        // Strategic merge patch alone looks into it, and finds no lists there.
        Some(b'*') | None => Rule::Whole,
        Some(_) => reference(of, text),
    };
    Field { rule, always, patch }
}

fn list(of: &'static str, text: &'static str) -> Rule {
    let (keys, item) = text[1..].split_once(']').unwrap_or_default();
    if keys.is_empty() {
        return Rule::Set;
    }
    let keys = keys.split(',').map(|key| {
        let (name, default) = key.split_once('=').unzip();
        Key {
            name: name.unwrap_or(key).to_owned(),
            default: default.map(Into::into),
        }
    });
    Rule::Keyed(Box::new(Keyed {
        keys: keys.collect(),
        item: reference(of, item),
    }))
}

/// A type of the same group is named without it.
fn reference(of: &'static str, name: &'static str) -> Rule {
    static NAMES: LazyLock<HashMap<String, &'static str>> = LazyLock::new(|| {
        let lines = TABLE.lines().filter(|line| !line.starts_with(['#', ' ']));
        lines
            .filter_map(|line| line.split_whitespace().next())
            .map(|name| (name.to_owned(), name))
            .collect()
    });
    let group = of.split('.').next().unwrap_or_default();
    let found = NAMES.get(name).or_else(|| NAMES.get(&format!("{group}.{name}")));
    found.map_or_else(|| PLAIN.clone(), |name| Rule::Named(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::registry::Registry;

    #[test]
    fn every_name_in_the_table_is_a_type_of_the_table() {
        for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
            let of = if line.starts_with(' ') {
                ""
            } else {
                line.split('.').next().unwrap_or_default()
            };
            for word in line.split_whitespace().filter_map(|word| word.split_once(':')) {
                let name = word.1.split(['~', '!']).next().unwrap_or_default();
                let name = name.rsplit([']', '*']).next().unwrap_or_default();
                if name.is_empty() || name == "." || name == "{}" {
                    continue;
                }
                let known = TYPES.keys().any(|known| {
                    *known == name
                        || known.rsplit('.').next() == Some(name) && (of.is_empty() || known.starts_with(of))
                });
                assert!(known, "{line}: {name}");
            }
        }
    }

    #[test]
    fn every_built_in_kind_is_in_the_table() {
        let registry = Registry::built_in();
        for kind in registry.all() {
            assert!(
                root(&kind.gvr.group, &kind.kind).is_some(),
                "{} {}",
                kind.gvr.group,
                kind.kind
            );
        }
    }
}
