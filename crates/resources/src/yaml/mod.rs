//! Many YAML documents in, resources and problems out; a broken document costs nobody but itself.
//!
//! Documents are parted at lines that begin with `---`, as kubectl does, before any of them is parsed. Aliases,
//! depth and size are bounded by the parser's budget, so that a "billion laughs" file is a problem like any other.

#[cfg(test)]
mod tests;

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

use crate::{Code, Key, Kind, Problem, Resource};

/// The largest text that is read; kubectl's own limit for one object is a tenth of it.
const MAX_BYTES: usize = 32 << 20;

/// What a text holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Read {
    /// In the order of the text.
    pub resources: Vec<Resource>,
    /// What is wrong, with lines.
    pub problems: Vec<Problem>,
    /// `apiVersion/kind name` of objects of kinds that the mesh does not read.
    pub others: Vec<String>,
}

/// Objects of any kind, with the lines they begin at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objects {
    /// Line and object, in the order of the text; lists are taken apart.
    pub objects: Vec<(u64, Value)>,
    /// What is wrong, with lines.
    pub problems: Vec<Problem>,
}

/// Reads all documents of a text. Lists (`kind: List`) are taken apart.
pub fn read(text: &str) -> Read {
    let mut read = Read::default();
    for tree in trees(text) {
        match tree {
            Ok((first_line, tree)) => read.add(&tree, first_line),
            Err(problem) => read.problems.push(problem),
        }
    }
    read
}

/// Reads all documents of a text as objects of whatever kind.
pub fn objects(text: &str) -> Objects {
    let mut read = Objects::default();
    for tree in trees(text) {
        match tree {
            Ok((first_line, tree)) => read.add(&tree, first_line),
            Err(problem) => read.problems.push(problem),
        }
    }
    read
}

/// The line of a field of the object that the mesh would name like that; `None` where the text has no such object.
pub fn line_of(text: &str, key: &Key, field: &str) -> Option<u64> {
    trees(text).into_iter().flatten().find_map(|(first_line, tree)| {
        let whole = tree.to_value();
        let objects = items(&tree, &whole).unwrap_or(std::slice::from_ref(&tree));
        let object = objects.iter().find(|object| is_called(object, key))?;
        Some(object.line_of(field) + first_line - 1)
    })
}

fn is_called(tree: &Tree, key: &Key) -> bool {
    let object = tree.to_value();
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    Kind::from_object(text("/apiVersion"), text("/kind")) == Some(key.kind)
        && text("/metadata/namespace") == &*key.namespace
        && text("/metadata/name") == &*key.name
}

/// A document, with the line that its own lines count from.
type Placed = (u64, Tree);

/// The documents in their order, each parsed or with the reason why it cannot be.
fn trees(text: &str) -> Vec<Result<Placed, Problem>> {
    if text.len() > MAX_BYTES {
        let problem = format!("text of {} bytes is too long", text.len());
        return vec![Err(unreadable(None, problem))];
    }
    let mut trees = Vec::new();
    for (first_line, document) in documents(text) {
        match serde_saphyr::from_str::<Option<Tree>>(&document) {
            Ok(None) => {}
            Ok(Some(tree)) => trees.push(Ok((first_line, tree))),
            Err(error) => {
                let line = error
                    .location()
                    .map_or(first_line, |location| location.line() + first_line - 1);
                let message = error.without_snippet().to_string();
                // The parser counts from the start of the document; we say the line of the file instead.
                let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
                trees.push(Err(unreadable(Some(line), message)));
            }
        }
    }
    trees
}

/// The items of a list, if it is one.
fn items<'a>(tree: &'a Tree, object: &Value) -> Option<&'a [Tree]> {
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    match (kind.ends_with("List"), &tree.field("items")?.node) {
        (true, Node::Sequence(items)) => Some(items),
        _ => None,
    }
}

fn not_an_object(tree: &Tree, first_line: u64) -> Problem {
    let message = "an object with apiVersion and kind is expected here".into();
    unreadable(Some(tree.line + first_line - 1), message)
}

impl Objects {
    fn add(&mut self, tree: &Tree, first_line: u64) {
        let object = tree.to_value();
        if !object.is_object() {
            self.problems.push(not_an_object(tree, first_line));
        } else if let Some(items) = items(tree, &object) {
            items.iter().for_each(|item| self.add(item, first_line));
        } else {
            self.objects.push((tree.line + first_line - 1, object));
        }
    }
}

impl Read {
    fn add(&mut self, tree: &Tree, first_line: u64) {
        let object = tree.to_value();
        if !object.is_object() {
            self.problems.push(not_an_object(tree, first_line));
            return;
        }
        if let Some(items) = items(tree, &object) {
            items.iter().for_each(|item| self.add(item, first_line));
            return;
        }
        let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
        match Resource::from_object(&object) {
            Ok(decoded) => {
                let found = decoded.warnings.into_iter().chain(decoded.resource.validate());
                self.problems
                    .extend(found.map(|problem| at_line(problem, tree, first_line)));
                self.resources.push(decoded.resource);
            }
            Err(problem) if problem.code == Code::UnknownKind && !text("kind").is_empty() => {
                let name = object
                    .pointer("/metadata/name")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                self.others
                    .push(format!("{}/{} {name}", text("apiVersion"), text("kind")));
            }
            Err(problem) => self.problems.push(at_line(problem, tree, first_line)),
        }
    }
}

fn at_line(problem: Problem, tree: &Tree, first_line: u64) -> Problem {
    Problem {
        line: Some(tree.line_of(&problem.field) + first_line - 1),
        ..problem
    }
}

fn unreadable(line: Option<u64>, message: String) -> Problem {
    Problem {
        code: Code::UnreadableDocument,
        key: None,
        field: String::new(),
        line,
        message,
    }
}

/// The documents of a text, each with the number of its first line.
fn documents(text: &str) -> Vec<(u64, String)> {
    let mut documents = vec![(1, String::new())];
    for (number, line) in (1..).zip(text.lines()) {
        let rest = line
            .strip_prefix("---")
            .filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
        if let Some(rest) = rest {
            // What follows the marker on its line belongs to the new document.
            documents.push((number, rest.to_owned()));
        } else if let Some((_, document)) = documents.last_mut() {
            document.push_str(line);
        }
        if let Some((_, document)) = documents.last_mut() {
            document.push('\n');
        }
    }
    documents.retain(|(_, document)| !document.trim().is_empty());
    documents
}

/// A YAML value that knows its lines, counted from the start of its document.
#[derive(Debug)]
struct Tree {
    line: u64,
    node: Node,
}

#[derive(Debug)]
enum Node {
    Scalar(Value),
    Sequence(Vec<Tree>),
    Mapping(Vec<(String, Tree)>),
}

impl Tree {
    fn to_value(&self) -> Value {
        match &self.node {
            Node::Scalar(value) => value.clone(),
            Node::Sequence(items) => items.iter().map(Self::to_value).collect(),
            Node::Mapping(fields) => {
                let fields: Map<_, _> = fields
                    .iter()
                    .map(|(name, value)| (name.clone(), value.to_value()))
                    .collect();
                Value::Object(fields)
            }
        }
    }

    fn field(&self, wanted: &str) -> Option<&Self> {
        match &self.node {
            Node::Mapping(fields) => fields
                .iter()
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value),
            Node::Scalar(_) | Node::Sequence(_) => None,
        }
    }

    /// The line of the deepest part of a field path that stands in the text.
    fn line_of(&self, path: &str) -> u64 {
        let mut tree = self;
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            let next = match (&tree.node, step.strip_suffix(']')) {
                (Node::Sequence(items), Some(index)) => {
                    index.parse().ok().and_then(|at: usize| items.get(at))
                }
                _ => tree.field(step),
            };
            match next {
                Some(next) => tree = next,
                None => break,
            }
        }
        tree.line
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Node>::deserialize(deserializer)?;
        Ok(Self {
            line: spanned.referenced.line(),
            node: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(
            Number::from_f64(value).map_or(Value::Null, Value::Number),
        ))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element()? {
            all.push(item);
        }
        Ok(Node::Sequence(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Node, A::Error> {
        let mut all = Vec::new();
        while let Some(field) = fields.next_entry()? {
            all.push(field);
        }
        Ok(Node::Mapping(all))
    }
}
