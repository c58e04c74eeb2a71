//! How a place of an object merges.

use std::collections::HashMap;

use serde_json::Value;

use super::built_in;
use super::element::Element;

/// How the value of one place merges with another.
#[derive(Clone, Debug, Default)]
pub enum Rule {
    /// As one thing: scalars, and lists and objects that are atomic.
    #[default]
    Whole,
    /// Nothing is known about it: objects merge by field, everything else is taken as a whole.
    Open,
    /// An object, field by field.
    Fields(Box<Fields>),
    /// A list of plain values, each once.
    Set,
    /// A list whose items are told apart by some of their fields.
    Keyed(Box<Keyed>),
    /// The fields of a type of the built-in kinds.
    Named(&'static str),
}

/// The fields of an object.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    pub(super) known: HashMap<String, Field>,
    /// Fields that are not known by name: entries of a map. `None`: there are none.
    pub(super) others: Option<Rule>,
}

/// One known field.
#[derive(Clone, Debug, Default)]
pub struct Field {
    pub rule: Rule,
    /// Kubernetes' form of the object always has it, so that nobody is said to have added it.
    pub(super) always: bool,
    /// How strategic merge patch merges the list.
    pub patch: Option<PatchList>,
}

/// A list that strategic merge patch merges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatchList {
    /// Items are objects, told apart by this field.
    By(&'static str),
    /// Items are plain values.
    Plain,
}

/// A list of objects with keys.
#[derive(Clone, Debug)]
pub struct Keyed {
    pub(super) keys: Vec<Key>,
    pub(super) item: Rule,
}

/// A field that tells items apart.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) name: String,
    /// What a missing field means.
    pub(super) default: Option<Value>,
}

/// A rule, once names are looked up, for the value that it meets.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape<'a> {
    Whole,
    /// An object under [`Rule::Open`].
    Open,
    Fields(&'a Fields),
    List(List<'a>),
}

/// How a list is taken apart.
#[derive(Clone, Copy, Debug)]
pub(super) enum List<'a> {
    Set,
    Keyed(&'a Keyed),
}

static WHOLE: Rule = Rule::Whole;
static OPEN: Rule = Rule::Open;

impl Rule {
    /// The rule of a built-in kind; kinds that are not known merge like custom resources without a schema.
    pub fn of_kind(group: &str, kind: &str) -> Self {
        built_in::root(group, kind).unwrap_or(Self::Open)
    }

    /// This rule with a name looked up.
    pub(super) fn resolved(&self) -> &Self {
        match self {
            Self::Named(name) => built_in::named(name),
            other => other,
        }
    }

    /// What the rule makes of a value that is present: null takes the form of what it is compared with.
    pub(super) fn shape(&self, value: &Value) -> Shape<'_> {
        match (self.resolved(), value) {
            (Self::Open, Value::Object(_)) => Shape::Open,
            (Self::Fields(fields), Value::Object(_) | Value::Null) => Shape::Fields(fields),
            (Self::Set, Value::Array(_) | Value::Null) => Shape::List(List::Set),
            (Self::Keyed(keyed), Value::Array(_) | Value::Null) => Shape::List(List::Keyed(keyed)),
            _ => Shape::Whole,
        }
    }

    /// The known field of that name.
    pub fn known(&self, name: &str) -> Option<&Field> {
        match self.resolved() {
            Self::Fields(fields) => fields.known.get(name),
            _ => None,
        }
    }

    /// The rule below a step, whether or not the object has it.
    pub(super) fn step(&self, element: &Element) -> &Self {
        match (self.resolved(), element) {
            (Self::Fields(fields), Element::Field(name)) => fields.rule(name),
            (Self::Keyed(keyed), Element::Key(_)) => &keyed.item,
            (Self::Open, Element::Field(_)) => &OPEN,
            _ => &WHOLE,
        }
    }

    /// Whether it is about objects with known fields.
    pub(super) fn is_object(&self) -> bool {
        matches!(self.resolved(), Self::Fields(_))
    }

    /// The rule of the items of a list, for patches.
    pub fn items(&self) -> &Self {
        match self.resolved() {
            Self::Keyed(keyed) => &keyed.item,
            _ => &WHOLE,
        }
    }

    /// The rule of a field, for patches.
    pub fn field(&self, name: &str) -> &Self {
        match self.resolved() {
            Self::Fields(fields) => fields.rule(name),
            Self::Open => &OPEN,
            _ => &WHOLE,
        }
    }
}

impl Fields {
    pub(super) fn rule(&self, name: &str) -> &Rule {
        match (self.known.get(name), &self.others) {
            (Some(field), _) => &field.rule,
            (None, Some(rule)) => rule,
            (None, None) => &WHOLE,
        }
    }

    /// Whether a field is known by name; in a type without other fields all are.
    pub(super) fn names(&self, name: &str) -> bool {
        self.others.is_none() || self.known.contains_key(name)
    }

    pub(super) fn always(&self, name: &str) -> bool {
        self.known.get(name).is_some_and(|field| field.always)
    }
}

impl Shape<'_> {
    /// The rule of a field of an object that has this shape.
    pub(super) fn field(&self, name: &str) -> &Rule {
        match self {
            Self::Fields(fields) => fields.rule(name),
            Self::Open => &OPEN,
            Self::Whole | Self::List(_) => &WHOLE,
        }
    }

    pub(super) fn names(&self, name: &str) -> bool {
        matches!(self, Self::Fields(fields) if fields.names(name))
    }

    pub(super) fn always(&self, name: &str) -> bool {
        matches!(self, Self::Fields(fields) if fields.always(name))
    }
}

impl List<'_> {
    /// Which item of the list a value is. One that lacks every key stands for itself.
    pub(super) fn element(&self, item: &Value) -> Element {
        match self {
            Self::Set => Element::of_value(item),
            Self::Keyed(keyed) => {
                Element::of_keyed(&keyed.keys, item).unwrap_or_else(|| Element::of_value(item))
            }
        }
    }

    pub(super) fn item(&self) -> &Rule {
        match self {
            Self::Set => &WHOLE,
            Self::Keyed(keyed) => &keyed.item,
        }
    }
}
