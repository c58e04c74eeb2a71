//! A YAML or JSON text as a tree that remembers the line of everything, and where things are in it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_saphyr::Spanned;

/// Bytes of a file; a large mesh's dump is a tenth of that.
const LARGEST: usize = 16 << 20;
/// Levels of nesting. The deepest message that means something has thirty.
const DEPTH: usize = 100;

/// A value and the line that it begins in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// From 1; 0 where it is not known.
    pub(super) line: u64,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// A way from the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Path(pub(super) Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// Reads a text. YAML has JSON in it.
///
/// # Errors
/// What is wrong with it, and in which line.
pub(super) fn parse(text: &str) -> Result<Node, (u64, String)> {
    if text.len() > LARGEST {
        return Err((0, format!("is larger than {LARGEST} bytes")));
    }
    if let Some(line) = too_deep(text) {
        return Err((line, format!("nests deeper than {DEPTH} levels")));
    }
    let spanned: Spanned<Value> = serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        let problem = error.without_snippet().to_string();
        (line, problem.lines().next().unwrap_or_default().to_owned())
    })?;
    Ok(node(spanned))
}

/// The line in which brackets or indentation nest too deep, before anything recurses into them. Brackets in quotes
/// count as well: nobody writes a hundred of them.
fn too_deep(text: &str) -> Option<u64> {
    let mut open = 0_usize;
    for (number, line) in (1..).zip(text.lines()) {
        // Each level of indentation or of `- - -` takes at least a column.
        let begins = line
            .bytes()
            .take_while(|byte| matches!(byte, b' ' | b'-' | b'?' | b':'))
            .count();
        if begins > 10 * DEPTH {
            return Some(number);
        }
        let dashes = line.bytes().take(begins).filter(|byte| *byte != b' ').count();
        for byte in line.bytes() {
            match byte {
                b'[' | b'{' => open += 1,
                b']' | b'}' => open = open.saturating_sub(1),
                _ => {}
            }
            if open + dashes > DEPTH {
                return Some(number);
            }
        }
    }
    None
}

fn node(spanned: Spanned<Value>) -> Node {
    Node {
        line: spanned.referenced.line(),
        value: spanned.value,
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("is not a finite number"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Value>>()? {
            list.push(node(item));
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            map.push((key, node(entries.next_value::<Spanned<Value>>()?)));
        }
        Ok(Value::Map(map))
    }
}

impl Node {
    /// The value under a key.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(map) => map.iter().find(|(known, _)| known == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text under a key; empty without one.
    pub(super) fn text(&self, key: &str) -> &str {
        match self.get(key).map(|node| &node.value) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }

    /// Makes what is there nothing. Others keep their places.
    pub(super) fn clear(&mut self, path: &[Step]) {
        let Some((step, rest)) = path.split_first() else {
            self.value = Value::Null;
            return;
        };
        let next = match (&mut self.value, step) {
            (Value::Map(map), Step::Key(key)) => map
                .iter_mut()
                .find(|(known, _)| known == key)
                .map(|(_, value)| value),
            (Value::List(list), Step::Index(index)) => list.get_mut(*index),
            _ => None,
        };
        if let Some(next) = next {
            next.clear(rest);
        }
    }

    /// The same without lines, for readers of JSON.
    pub(super) fn json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Number(number) => Json::Number(number.clone()),
            Value::Text(text) => Json::String(text.clone()),
            Value::List(list) => Json::Array(list.iter().map(Node::json).collect()),
            Value::Map(map) => Json::Object(
                map.iter()
                    .map(|(key, value)| (key.clone(), value.json()))
                    .collect(),
            ),
        }
    }
}

impl Path {
    /// One step further.
    pub(super) fn key(&self, key: &str) -> Self {
        self.then(Step::Key(key.to_owned()))
    }

    /// One step further, in a list.
    pub(super) fn index(&self, index: usize) -> Self {
        self.then(Step::Index(index))
    }

    fn then(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if position == 0 => out.write_str(key)?,
                Step::Key(key) if key.contains('.') => write!(out, "[{key:?}]")?,
                Step::Key(key) => write!(out, ".{key}")?,
                Step::Index(index) => write!(out, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_and_json_become_the_same_tree_with_lines() {
        let yaml = parse("a:\n- b: 1\n  c: \"x\"\n- null\n").unwrap();
        let json = parse("{\"a\": [\n{\"b\": 1,\n \"c\": \"x\"}, null]}").unwrap();
        assert_eq!(yaml.json(), json.json());
        let Value::List(list) = &yaml.get("a").unwrap().value else {
            panic!("a list")
        };
        assert_eq!((list[0].get("c").unwrap().line, list[1].line), (3, 4));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        assert!(parse("a: 1\nb: [1\nc: 2\n").unwrap_err().0 > 1);
        assert!(parse("a: 1\na: 2\n").unwrap_err().1.contains("duplicate"));
        assert!(
            parse(&"[".repeat(100_000))
                .unwrap_err()
                .1
                .contains("nests deeper")
        );
        assert!(
            parse(&"- ".repeat(100_000))
                .unwrap_err()
                .1
                .contains("nests deeper")
        );
    }

    #[test]
    fn paths_read_like_envoys_documentation() {
        let path = Path::default().key("static_resources").key("listeners").index(0);
        assert_eq!(path.to_string(), "static_resources.listeners[0]");
        assert_eq!(
            path.key("envoy.filters.http.cors").to_string(),
            "static_resources.listeners[0][\"envoy.filters.http.cors\"]"
        );
    }
}
