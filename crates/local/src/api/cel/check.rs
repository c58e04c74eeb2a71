//! What can be said of an expression before it runs: unknown names, fields that a type does not have, operands that
//! do not fit, and the type of the result. Pure.
//!
//! Where a type is not known it is `Dyn`, which fits everywhere; the run decides then.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use super::eval::unescaped;
use super::lex::Error;
use super::library;
use super::parse::{Expr, Kind, Loop, Macro};
use super::value::Value;

/// The type of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    List(Arc<Type>),
    /// From texts to values of one type.
    Map(Arc<Type>),
    /// Exactly these fields.
    Object(Arc<BTreeMap<String, Type>>),
    Optional(Arc<Type>),
    /// `kubernetes.URL` and the like.
    Other(&'static str),
}

impl fmt::Display for Type {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => out.write_str("dyn"),
            Self::Null => out.write_str("null"),
            Self::Bool => out.write_str("bool"),
            Self::Int => out.write_str("int"),
            Self::Uint => out.write_str("uint"),
            Self::Double => out.write_str("double"),
            Self::String => out.write_str("string"),
            Self::Bytes => out.write_str("bytes"),
            Self::Timestamp => out.write_str("google.protobuf.Timestamp"),
            Self::Duration => out.write_str("google.protobuf.Duration"),
            Self::List(of) => write!(out, "list({of})"),
            Self::Map(of) => write!(out, "map(string, {of})"),
            Self::Object(_) => out.write_str("object"),
            Self::Optional(of) => write!(out, "optional_type({of})"),
            Self::Other(name) => out.write_str(name),
        }
    }
}

type Checked = Result<Type, Error>;

/// Names that mean something at one place.
struct Names<'a> {
    variables: &'a HashMap<String, Type>,
    inner: Vec<(String, Type)>,
}

pub(super) fn check(expr: &Expr, variables: &HashMap<String, Type>) -> Checked {
    let mut names = Names {
        variables,
        inner: Vec::new(),
    };
    names.check(expr)
}

impl Names<'_> {
    fn check(&mut self, expr: &Expr) -> Checked {
        let at = expr.at;
        match &expr.kind {
            Kind::Literal(value) => Ok(literal(value)),
            Kind::Ident(name) => self.named(at, name),
            Kind::Select(of, field, optional) => {
                let of = self.check(of)?;
                let (of, within) = inside(of);
                let kind = field_of(at, &of, field)?;
                Ok(wrapped(kind, *optional || within))
            }
            Kind::Has(of, field) => {
                let of = self.check(of)?;
                field_of(at, &inside(of).0, field)?;
                Ok(Type::Bool)
            }
            Kind::Index(of, index, optional) => {
                let (of, index) = (self.check(of)?, self.check(index)?);
                let (of, within) = inside(of);
                let kind = match (&of, &index) {
                    (Type::List(item), Type::Int | Type::Dyn) | (Type::Map(item), _) => Type::clone(item),
                    (Type::Dyn | Type::Object(_), _) => Type::Dyn,
                    _ => return Err(no_overload(at, "_[_]", &[of, index])),
                };
                Ok(wrapped(kind, *optional || within))
            }
            Kind::Call(of, name, arguments) => self.call(at, of.as_deref(), name, arguments),
            Kind::Operator(name, operands) => {
                let kinds: Result<Vec<Type>, Error> = operands.iter().map(|one| self.check(one)).collect();
                operator(at, name, &kinds?)
            }
            Kind::And(terms) | Kind::Or(terms) => {
                let name = if matches!(expr.kind, Kind::And(_)) {
                    "_&&_"
                } else {
                    "_||_"
                };
                for term in terms {
                    self.needs_bool(term, name)?;
                }
                Ok(Type::Bool)
            }
            Kind::If(three) => {
                let [condition, yes, no] = &**three;
                self.needs_bool(condition, "_?_:_")?;
                let (yes, no) = (self.check(yes)?, self.check(no)?);
                Ok(if yes == no { yes } else { Type::Dyn })
            }
            Kind::List(items) => {
                let kinds: Result<Vec<Type>, Error> = items.iter().map(|item| self.check(item)).collect();
                Ok(Type::List(within_depth(common(kinds?))))
            }
            Kind::Map(entries) => {
                let mut kinds = Vec::new();
                for (key, value) in entries {
                    self.check(key)?;
                    kinds.push(self.check(value)?);
                }
                Ok(Type::Map(within_depth(common(kinds))))
            }
            Kind::Loop(all) => self.repeat(at, all),
            Kind::Mapped(of, name, body, flat) => {
                let of = self.check(of)?;
                let item = inside(of).0;
                let body = self.within(vec![(name.clone(), item)], |names| names.check(body))?;
                Ok(if *flat {
                    body
                } else {
                    Type::Optional(within_depth(body))
                })
            }
        }
    }

    fn named(&self, at: usize, name: &str) -> Checked {
        let inner = self.inner.iter().rev().find(|(inner, _)| inner == name);
        let known = inner.map(|(_, kind)| kind).or_else(|| self.variables.get(name));
        match known {
            Some(kind) => Ok(kind.clone()),
            None if library::type_named(name).is_some() => Ok(Type::Other("type")),
            None => Err(Error::new(
                at,
                format!("undeclared reference to '{name}' (in container '')"),
            )),
        }
    }

    fn needs_bool(&mut self, expr: &Expr, operator: &str) -> Result<(), Error> {
        match self.check(expr)? {
            Type::Bool | Type::Dyn => Ok(()),
            other => Err(Error::new(
                expr.at,
                format!("found no matching overload for '{operator}' applied to '({other}, bool)'"),
            )),
        }
    }

    fn call(&mut self, at: usize, of: Option<&Expr>, name: &str, arguments: &[Expr]) -> Checked {
        let of = of.map(|of| self.check(of)).transpose()?;
        let mut kinds = Vec::new();
        for argument in arguments {
            kinds.push(self.check(argument)?);
        }
        match library::takes(name, of.is_some(), arguments.len()) {
            Ok(()) => {}
            Err(false) => {
                return Err(Error::new(
                    at,
                    format!("undeclared reference to '{name}' (in container '')"),
                ));
            }
            Err(true) => {
                let all: Vec<Type> = of.into_iter().chain(kinds).collect();
                return Err(no_overload(at, name, &all));
            }
        }
        Ok(result_of(name, of.as_ref(), &kinds))
    }

    fn repeat(&mut self, at: usize, all: &Loop) -> Checked {
        let range = self.check(&all.range)?;
        let (key, item) = match &range {
            Type::List(item) => (Type::Int, Type::clone(item)),
            Type::Map(value) => (Type::String, Type::clone(value)),
            Type::Dyn => (Type::Dyn, Type::Dyn),
            Type::Object(_) => (Type::String, Type::Dyn),
            other => {
                let what = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                return Err(Error::new(at, what));
            }
        };
        let one = if matches!(range, Type::List(_) | Type::Dyn) {
            item.clone()
        } else {
            key.clone()
        };
        let variables = match &all.second {
            Some(second) => vec![(all.first.clone(), key), (second.clone(), item)],
            None => vec![(all.first.clone(), one.clone())],
        };
        let body = self.within(variables, |names| {
            if let Some(filter) = &all.filter {
                names.needs_bool(filter, "_?_:_")?;
            }
            if matches!(all.macro_, Macro::Map | Macro::TransformMap) {
                return names.check(&all.body);
            }
            names.needs_bool(&all.body, "_&&_")?;
            Ok(Type::Bool)
        })?;
        Ok(match all.macro_ {
            Macro::All | Macro::Exists | Macro::ExistsOne => Type::Bool,
            Macro::Filter => Type::List(Arc::new(one)),
            Macro::Map => Type::List(Arc::new(body)),
            Macro::TransformMap => Type::Map(Arc::new(body)),
        })
    }

    fn within(
        &mut self,
        variables: Vec<(String, Type)>,
        check: impl FnOnce(&mut Self) -> Checked,
    ) -> Checked {
        let before = self.inner.len();
        self.inner.extend(variables);
        let checked = check(self);
        self.inner.truncate(before);
        checked
    }
}

fn literal(value: &Value) -> Type {
    match value {
        Value::Null => Type::Null,
        Value::Bool(_) => Type::Bool,
        Value::Int(_) => Type::Int,
        Value::Uint(_) => Type::Uint,
        Value::Double(_) => Type::Double,
        Value::String(_) => Type::String,
        Value::Bytes(_) => Type::Bytes,
        _ => Type::Dyn,
    }
}

fn field_of(at: usize, of: &Type, field: &str) -> Checked {
    match of {
        Type::Dyn => Ok(Type::Dyn),
        Type::Map(item) => Ok(Type::clone(item)),
        Type::Object(fields) => match fields.get(field).or_else(|| fields.get(&unescaped(field))) {
            Some(kind) => Ok(kind.clone()),
            None => Err(Error::new(at, format!("undefined field '{field}'"))),
        },
        other => Err(Error::new(
            at,
            format!("type '{other}' does not support field selection"),
        )),
    }
}

fn operator(at: usize, name: &str, kinds: &[Type]) -> Checked {
    use Type::{Bool, Bytes, Double, Duration, Dyn, Int, List, Map, Null, Object, String, Timestamp, Uint};
    let refuse = || Err(no_overload(at, name, kinds));
    let number = |kind: &Type| matches!(kind, Int | Uint | Double | Dyn);
    match (name, kinds) {
        ("!_", [Bool | Dyn]) => Ok(Bool),
        ("-_", [kind @ (Int | Double | Dyn)]) => Ok(kind.clone()),
        ("_==_" | "_!=_", [left, right]) => {
            let loose =
                |kind: &Type| matches!(kind, Dyn | Null | Object(_) | List(_) | Map(_) | Type::Other(_));
            let fits = left == right
                || loose(left)
                || loose(right)
                || number(left) && number(right)
                || matches!((left, right), (Type::Optional(_), Type::Optional(_)));
            if fits { Ok(Bool) } else { refuse() }
        }
        ("_<_" | "_<=_" | "_>_" | "_>=_", [left, right]) => {
            let ordered = |kind: &Type| matches!(kind, Bool | String | Bytes | Timestamp | Duration);
            let fits = number(left) && number(right)
                || left == right && ordered(left)
                || *left == Dyn && ordered(right)
                || ordered(left) && *right == Dyn;
            if fits { Ok(Bool) } else { refuse() }
        }
        ("@in", [_, List(_) | Map(_) | Dyn | Object(_)]) => Ok(Bool),
        (_, [Dyn, _] | [_, Dyn]) => Ok(Dyn),
        ("_+_", [left @ (String | Bytes), right]) if left == right => Ok(left.clone()),
        ("_+_", [List(left), List(right)]) => Ok(List(if left == right {
            left.clone()
        } else {
            Arc::new(Dyn)
        })),
        ("_+_" | "_-_", [Timestamp, Duration]) | ("_+_", [Duration, Timestamp]) => Ok(Timestamp),
        ("_-_", [Timestamp, Timestamp]) | ("_+_" | "_-_", [Duration, Duration]) => Ok(Duration),
        ("_%_", [left @ (Int | Uint), right])
        | ("_+_" | "_-_" | "_*_" | "_/_", [left @ (Int | Uint | Double), right])
            if left == right =>
        {
            Ok(left.clone())
        }
        _ => refuse(),
    }
}

/// What a function gives, where that is always the same.
fn result_of(name: &str, of: Option<&Type>, arguments: &[Type]) -> Type {
    let first = || arguments.first().cloned().unwrap_or(Type::Dyn);
    match name {
        "size" | "int" | "indexOf" | "lastIndexOf" | "getFullYear" | "getMonth" | "getDate"
        | "getDayOfMonth" | "getDayOfWeek" | "getDayOfYear" | "getHours" | "getMinutes" | "getSeconds"
        | "getMilliseconds" | "sign" | "asInteger" | "compareTo" | "family" | "prefixLength" => Type::Int,
        "uint" => Type::Uint,
        "double" | "asApproximateFloat" => Type::Double,
        "string" | "charAt" | "lowerAscii" | "upperAscii" | "trim" | "reverse" | "replace" | "substring"
        | "join" | "format" | "find" | "strings.quote" | "getScheme" | "getHost" | "getHostname"
        | "getPort" | "getEscapedPath" => Type::String,
        "bytes" => Type::Bytes,
        "bool"
        | "contains"
        | "startsWith"
        | "endsWith"
        | "matches"
        | "hasValue"
        | "isSorted"
        | "isURL"
        | "isIP"
        | "isCIDR"
        | "isQuantity"
        | "isInteger"
        | "isLessThan"
        | "isGreaterThan"
        | "containsIP"
        | "containsCIDR"
        | "isUnspecified"
        | "isLoopback"
        | "isLinkLocalMulticast"
        | "isLinkLocalUnicast"
        | "isGlobalUnicast"
        | "ip.isCanonical"
        | "sets.contains"
        | "sets.equivalent"
        | "sets.intersects" => Type::Bool,
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        "split" | "findAll" => Type::List(Arc::new(Type::String)),
        "url" => Type::Other("kubernetes.URL"),
        "ip" => Type::Other("net.IP"),
        "cidr" | "masked" => Type::Other("net.CIDR"),
        "quantity" | "add" | "sub" => Type::Other("kubernetes.Quantity"),
        "optional.of" | "optional.ofNonZeroValue" => Type::Optional(within_depth(first())),
        "value" | "orValue" => match of {
            Some(Type::Optional(inner)) => Type::clone(inner),
            _ => Type::Dyn,
        },
        "or" => of.cloned().unwrap_or(Type::Dyn),
        "sum" | "min" | "max" => match of {
            Some(Type::List(item)) => Type::clone(item),
            _ => Type::Dyn,
        },
        _ => Type::Dyn,
    }
}

fn no_overload(at: usize, name: &str, kinds: &[Type]) -> Error {
    let kinds: Vec<String> = kinds.iter().map(ToString::to_string).collect();
    let list = kinds.join(", ");
    Error::new(
        at,
        format!("found no matching overload for '{name}' applied to '({list})'"),
    )
}

/// What an optional holds, and whether it was one.
fn inside(kind: Type) -> (Type, bool) {
    match kind {
        Type::Optional(inner) => (Type::clone(&inner), true),
        kind => (kind, false),
    }
}

fn wrapped(kind: Type, optional: bool) -> Type {
    if optional {
        Type::Optional(Arc::new(kind))
    } else {
        kind
    }
}

/// What a list, map or optional holds. Loops around loops nest types without end; beyond some depth they are not known.
fn within_depth(kind: Type) -> Arc<Type> {
    const DEPTH: usize = 50;
    let mut inner = &kind;
    for _ in 0..DEPTH {
        match inner {
            Type::List(of) | Type::Map(of) | Type::Optional(of) => inner = of,
            _ => return Arc::new(kind),
        }
    }
    Arc::new(Type::Dyn)
}

fn common(kinds: Vec<Type>) -> Type {
    let mut kinds = kinds.into_iter();
    let first = kinds.next().unwrap_or(Type::Dyn);
    if kinds.all(|kind| kind == first) {
        first
    } else {
        Type::Dyn
    }
}
