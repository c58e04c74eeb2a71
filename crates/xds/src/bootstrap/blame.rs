//! Reads one resource of a file, and finds the places of what its conversion refuses.
//!
//! A conversion names the message and the field (`RouteAction.cors`) and stops at the first problem. Here the
//! places of that field are looked up, those at fault are taken out, and the rest is converted again, until nothing
//! is refused: so that all problems of a file come at once, each with its path and line.

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

use super::document::{Node, Path, Step, Value};
use super::message::{Reader, Seen};
use super::problem::{Code, INSTEAD, Problem};
use crate::rejected::Reason;

/// Different problems of one resource that are looked for.
const ROUNDS: usize = 32;
/// Places of one field that are tried one by one.
const PLACES: usize = 64;

/// What is read, and where it stands.
pub(super) struct Part<'a> {
    pub(super) pool: &'a DescriptorPool,
    pub(super) node: &'a Node,
    pub(super) path: Path,
    pub(super) kind: MessageDescriptor,
}

/// What makes ours of a message.
pub(super) type Convert<'a, T> = dyn Fn(&DynamicMessage) -> Result<T, Reason> + 'a;

impl Part<'_> {
    /// Converts it. `None` with problems, and with those that were in the tree itself, which others report.
    pub(super) fn convert<T>(&self, convert: &Convert<'_, T>, problems: &mut Vec<Problem>) -> Option<T> {
        let mut node = self.node.clone();
        for round in 0..ROUNDS {
            let (message, reader) = self.read(&node);
            let reason = match convert(&message?) {
                Ok(item) if round == 0 => return Some(item),
                Ok(_) => return None,
                Err(reason) => reason,
            };
            // What is missing may be what was taken out.
            let whole = reader.problems.is_empty() && round == 0;
            if reason.is_missing() && !whole {
                return None;
            }
            let culprits = self.culprits(&node, &reader.seen, &reason, convert);
            if culprits.is_empty() {
                let mut problem = self.problem(&self.place_of_missing(&reader.seen, &reason), &reason);
                if !reason.is_missing() && self.places(&node, &reader.seen, &reason).is_empty() {
                    // Where it stands is not known: then it is called as Envoy calls it.
                    problem.text = format!("{}: {}", reason.field, problem.text);
                }
                problems.push(problem);
                return None;
            }
            for place in culprits {
                problems.push(self.problem(&place, &reason));
                node.clear(&place.path.0[self.path.0.len()..]);
            }
        }
        None
    }

    fn read(&self, node: &Node) -> (Option<DynamicMessage>, Reader<'_>) {
        let mut reader = Reader::new(self.pool);
        let message = reader.message(node, &self.kind, &self.path);
        (message, reader)
    }

    /// The places without which the reason is another one: those that give it also when they are the only ones.
    fn culprits<T>(
        &self,
        node: &Node,
        seen: &[Seen],
        reason: &Reason,
        convert: &Convert<'_, T>,
    ) -> Vec<Place> {
        let places = self.places(node, seen, reason);
        if places.len() < 2 || places.len() > PLACES {
            return places;
        }
        let at_fault = |index: usize| {
            let mut alone = node.clone();
            let others = places.iter().enumerate().filter(|(other, _)| *other != index);
            others.for_each(|(_, place)| alone.clear(&place.path.0[self.path.0.len()..]));
            let (message, _) = self.read(&alone);
            message.is_some_and(|message| convert(&message).err().as_ref() == Some(reason))
        };
        let alone: Vec<_> = (0..places.len())
            .filter(|index| at_fault(*index))
            .map(|index| places[index].clone())
            .collect();
        if alone.is_empty() { places } else { alone }
    }

    /// Where the field that a reason names is set.
    fn places(&self, node: &Node, seen: &[Seen], reason: &Reason) -> Vec<Place> {
        if reason.is_missing() {
            return Vec::new();
        }
        let (message, field) = reason.names();
        let named = quoted(&reason.field);
        seen.iter()
            .filter(|seen| is_named(&seen.message, message) && self.is_field(seen, field))
            .flat_map(|seen| {
                let whole = Place {
                    path: seen.path.clone(),
                    line: seen.line,
                };
                let value = at(node, &seen.path.0[self.path.0.len()..]);
                match (named, value.map(|node| &node.value)) {
                    (Some(name), Some(Value::Text(text))) if text != name => Vec::new(),
                    (Some(name), Some(value)) => {
                        elements(value, name, &seen.path).unwrap_or_else(|| vec![whole])
                    }
                    _ => vec![whole],
                }
            })
            .collect()
    }

    /// By its own name, or that of the choice that it belongs to.
    fn is_field(&self, seen: &Seen, name: &str) -> bool {
        if seen.field == name {
            return true;
        }
        let message = self.pool.get_message_by_name(&seen.message);
        let field = message.and_then(|message| message.get_field_by_name(&seen.field));
        field
            .and_then(|field| field.containing_oneof())
            .is_some_and(|choice| choice.name() == name)
    }

    /// The message in which a field is missing, or else the resource.
    fn place_of_missing(&self, seen: &[Seen], reason: &Reason) -> Place {
        let (message, field) = reason.names();
        let holder = seen.iter().find(|seen| {
            seen.holds
                .as_deref()
                .is_some_and(|holds| is_named(holds, message))
        });
        let (path, line) = holder.map_or((&self.path, self.node.line), |seen| (&seen.path, seen.line));
        let path = match reason.is_missing() {
            true => path.key(field),
            false => path.clone(),
        };
        Place { path, line }
    }

    fn problem(&self, place: &Place, reason: &Reason) -> Problem {
        let (code, advice) = match reason.problem.as_str() {
            "is not supported" => (Code::Unsupported, INSTEAD),
            _ => (Code::Value, ""),
        };
        Problem {
            code,
            path: place.path.to_string(),
            line: place.line,
            // What stands after the name says which of its values is meant.
            text: match reason.field.split_once(' ') {
                Some((_, rest)) => format!("{rest} {}{advice}", reason.problem),
                None => format!("{}{advice}", reason.problem),
            },
        }
    }
}

/// A place in the file.
#[derive(Clone, Debug)]
struct Place {
    path: Path,
    line: u64,
}

impl Reason {
    fn is_missing(&self) -> bool {
        self.problem == "is required"
    }

    /// Message and field.
    fn names(&self) -> (&str, &str) {
        let name = self.field.split(' ').next().unwrap_or_default();
        name.rsplit_once('.').unwrap_or(("", name))
    }
}

/// Whether a full name is what a reason calls so: `CircuitBreakers.Thresholds` for
/// `envoy.config.cluster.v3.CircuitBreakers.Thresholds`.
fn is_named(full: &str, name: &str) -> bool {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    last(full) == last(name)
}

/// The text in quotes.
fn quoted(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('"')?;
    rest.split_once('"').map(|(name, _)| name)
}

/// The elements of a list, or entries of a map, that bear that name.
fn elements(value: &Value, name: &str, path: &Path) -> Option<Vec<Place>> {
    let bears = |node: &Node| match &node.value {
        Value::Map(map) => map
            .iter()
            .any(|(_, value)| matches!(&value.value, Value::Text(text) if text == name)),
        Value::Text(text) => text == name,
        _ => false,
    };
    let found: Vec<_> = match value {
        Value::List(list) => list
            .iter()
            .enumerate()
            .filter(|(_, item)| bears(item))
            .map(|(index, item)| Place {
                path: path.index(index),
                line: item.line,
            })
            .collect(),
        Value::Map(map) => map
            .iter()
            .filter(|(key, _)| key == name)
            .map(|(key, item)| Place {
                path: path.key(key),
                line: item.line,
            })
            .collect(),
        _ => Vec::new(),
    };
    (!found.is_empty()).then_some(found)
}

/// What is there.
fn at<'n>(node: &'n Node, path: &[Step]) -> Option<&'n Node> {
    let Some((step, rest)) = path.split_first() else {
        return Some(node);
    };
    let next = match (&node.value, step) {
        (_, Step::Key(key)) => node.get(key),
        (Value::List(list), Step::Index(index)) => list.get(*index),
        _ => None,
    };
    at(next?, rest)
}
