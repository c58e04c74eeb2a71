//! Runs an expression. Every step is paid for; what cannot be computed is an error, and `&&` and `||` give the answer
//! that does not depend on it, if there is one.

use std::collections::HashMap;
use std::sync::Arc;

use regex::Regex;

use super::library;
use super::parse::{Expr, Kind, Loop, Macro};
use super::value::{Map, Value};
use super::{Failed, Variables};

pub(super) type Outcome = Result<Value, Failed>;

/// One run.
pub(super) struct Run<'a> {
    variables: &'a Variables<'a>,
    left: &'a mut u64,
    patterns: HashMap<Arc<str>, Regex>,
}

/// Variables of loops around an expression, innermost first.
#[derive(Clone, Copy)]
struct Scope<'a> {
    name: &'a str,
    value: &'a Value,
    outer: Option<&'a Scope<'a>>,
}

/// A compiled pattern may take this much memory, and costs as much as this many steps.
const PATTERN_SIZE: usize = 1 << 20;
const PATTERN_COST: u64 = 500;
/// What a counted repetition costs besides.
const COUNTED_COST: u64 = 500;
/// How many compiled patterns one run keeps.
const PATTERNS: usize = 16;

pub(super) fn run(root: &Expr, variables: &Variables<'_>, left: &mut u64) -> Outcome {
    let mut run = Run {
        variables,
        left,
        patterns: HashMap::new(),
    };
    run.eval(root, None)
}

pub(super) fn failed<T>(why: impl Into<String>) -> Result<T, Failed> {
    Err(Failed::Value(why.into()))
}

impl Run<'_> {
    pub(super) fn pay(&mut self, cost: u64) -> Result<(), Failed> {
        if let Some(left) = self.left.checked_sub(cost) {
            *self.left = left;
            return Ok(());
        }
        *self.left = 0;
        Err(Failed::Budget)
    }

    /// Pays for going through a value. Whatever is made of other values passes here, so that nothing is nested deeper
    /// than the stack can take.
    fn pay_for(&mut self, value: &Value) -> Result<(), Failed> {
        match value.weight(*self.left) {
            Some(weight) => self.pay(weight),
            None => failed("the value is nested too deep"),
        }
    }

    fn paid(&mut self, value: Value) -> Outcome {
        self.pay_for(&value)?;
        Ok(value)
    }

    /// A comparison ends where the smaller of two values ends; the larger one is not gone through to find that out.
    fn pay_for_lighter(&mut self, left: &Value, right: &Value) -> Result<(), Failed> {
        let deep = || Failed::Value("the value is nested too deep".to_owned());
        let mut limit = 16;
        loop {
            let one = left.weight(limit).ok_or_else(deep)?;
            let other = right.weight(limit).ok_or_else(deep)?;
            let lighter = one.min(other);
            if lighter <= limit || limit > *self.left {
                return self.pay(lighter);
            }
            limit *= 2;
        }
    }

    /// Entries are gone through to find a key.
    fn pay_lookup(&mut self, of: Option<&Value>, key: &Value) -> Result<(), Failed> {
        match of {
            Some(Value::Map(entries)) if key.is_key() => self.pay(entries.len() as u64 / 20),
            Some(Value::Map(_)) => failed(format!("unsupported key type: {}", key.type_name())),
            _ => Ok(()),
        }
    }

    /// A pattern, compiled once per run.
    pub(super) fn pattern(&mut self, text: &Arc<str>) -> Result<Regex, Failed> {
        if let Some(known) = self.patterns.get(text) {
            return Ok(known.clone());
        }
        // Counted repetitions are written out when a pattern is compiled; a few letters become a megabyte.
        let counted = text.matches('{').count() as u64;
        self.pay(PATTERN_COST + text.len() as u64 + counted * COUNTED_COST)?;
        let compiled = regex::RegexBuilder::new(text)
            .size_limit(PATTERN_SIZE)
            .build()
            .map_err(|error| Failed::Value(format!("error parsing regexp: {error}")))?;
        if self.patterns.len() < PATTERNS {
            self.patterns.insert(text.clone(), compiled.clone());
        }
        Ok(compiled)
    }

    fn eval(&mut self, expr: &Expr, scope: Option<&Scope<'_>>) -> Outcome {
        self.pay(1)?;
        match &expr.kind {
            Kind::Literal(value) => Ok(value.clone()),
            Kind::Ident(name) => self.variable(name, scope),
            Kind::Select(of, field, optional) => {
                let of = self.eval(of, scope)?;
                if let Value::Map(entries) = &of {
                    self.pay(entries.len() as u64 / 20)?;
                }
                reached(of, *optional, |of| field_of(of, field))
            }
            Kind::Index(of, index, optional) => {
                let (of, index) = (self.eval(of, scope)?, self.eval(index, scope)?);
                self.pay_lookup(unwrapped(of.clone()).0.as_ref(), &index)?;
                reached(of, *optional, |of| indexed(of, &index))
            }
            Kind::Has(of, field) => has(self.eval(of, scope)?, field),
            Kind::Operator(name, operands) => self.operator(name, operands, scope),
            Kind::And(terms) => self.joined(terms, scope, false),
            Kind::Or(terms) => self.joined(terms, scope, true),
            Kind::If(three) => {
                let [condition, yes, no] = &**three;
                match self.eval(condition, scope)? {
                    Value::Bool(true) => self.eval(yes, scope),
                    Value::Bool(false) => self.eval(no, scope),
                    _ => failed("no such overload"),
                }
            }
            Kind::List(items) => {
                let items: Result<Vec<Value>, Failed> =
                    items.iter().map(|item| self.eval(item, scope)).collect();
                self.paid(Value::list(items?))
            }
            Kind::Map(entries) => {
                let mut map = Map::new();
                for (key, value) in entries {
                    let (key, value) = (self.eval(key, scope)?, self.eval(value, scope)?);
                    if !key.is_key() {
                        return failed(format!("unsupported key type: {}", key.type_name()));
                    }
                    self.pay(map.len() as u64 / 10)?;
                    if map.iter().any(|(other, _)| *other == key) {
                        return failed(format!("Failed with repeated key: {key}"));
                    }
                    map.push((key, value));
                }
                self.paid(Value::Map(Arc::new(map)))
            }
            Kind::Call(receiver, name, arguments) => self.call(receiver.as_deref(), name, arguments, scope),
            Kind::Loop(all) => self.repeat(all, scope),
            Kind::Mapped(of, name, body, flat) => match self.eval(of, scope)? {
                Value::Optional(Some(inner)) => {
                    let inside = Scope {
                        name,
                        value: &inner,
                        outer: scope,
                    };
                    let value = self.eval(body, Some(&inside))?;
                    self.paid(match value {
                        Value::Optional(_) if *flat => value,
                        value => Value::Optional(Some(Arc::new(value))),
                    })
                }
                Value::Optional(None) => Ok(Value::Optional(None)),
                _ => failed("no such overload"),
            },
        }
    }

    fn variable(&self, name: &str, scope: Option<&Scope<'_>>) -> Outcome {
        let mut inner = scope;
        while let Some(scope) = inner {
            if scope.name == name {
                return Ok(scope.value.clone());
            }
            inner = scope.outer;
        }
        if let Some(value) = self.variables.get(name) {
            return intact(value.clone());
        }
        match library::type_named(name) {
            Some(kind) => Ok(Value::Type(kind)),
            None => failed(format!("no such attribute(s): {name}")),
        }
    }

    /// `&&` (decided by false) and `||` (decided by true).
    fn joined(&mut self, terms: &[Expr], scope: Option<&Scope<'_>>, decides: bool) -> Outcome {
        let mut trouble = None;
        for term in terms {
            match self.eval(term, scope) {
                Ok(Value::Bool(value)) if value == decides => return Ok(Value::Bool(decides)),
                Ok(Value::Bool(_)) => {}
                Ok(_) => trouble = Some(Failed::Value("no such overload".to_owned())),
                Err(Failed::Budget) => return Err(Failed::Budget),
                Err(failed) => trouble = Some(failed),
            }
        }
        trouble.map_or(Ok(Value::Bool(!decides)), Err)
    }

    fn operator(&mut self, name: &str, operands: &[Expr], scope: Option<&Scope<'_>>) -> Outcome {
        let left = self.eval(&operands[0], scope)?;
        let Some(right) = operands.get(1) else {
            return library::unary(name, &left);
        };
        let right = self.eval(right, scope)?;
        match name {
            "@in" => self.pay_for(&right)?,
            "_+_" => {
                self.pay_for(&left)?;
                self.pay_for(&right)?;
            }
            _ => self.pay_for_lighter(&left, &right)?,
        }
        library::binary(name, &left, &right)
    }

    fn call(
        &mut self,
        receiver: Option<&Expr>,
        name: &str,
        arguments: &[Expr],
        scope: Option<&Scope<'_>>,
    ) -> Outcome {
        let receiver = receiver.map(|of| self.eval(of, scope)).transpose()?;
        // What an optional holds otherwise is only computed when it is needed.
        if let (Some(Value::Optional(inner)), "or" | "orValue", [other]) = (&receiver, name, arguments) {
            return match inner {
                Some(value) if name == "orValue" => Ok(Value::clone(value)),
                Some(_) => Ok(receiver.expect("it is an optional")),
                None => self.eval(other, scope),
            };
        }
        let mut all: Vec<Value> = receiver.into_iter().collect();
        let member = all.len();
        for argument in arguments {
            all.push(self.eval(argument, scope)?);
        }
        self.pay(1)?;
        for value in &all {
            self.pay_for(value)?;
        }
        // Sets are compared item by item.
        if let ("sets.contains" | "sets.equivalent" | "sets.intersects", [Value::List(a), Value::List(b)]) =
            (name, all.as_slice())
        {
            self.pay((a.len() as u64).saturating_mul(b.len() as u64) / 10)?;
        }
        let result = library::call(self, name, member == 1, &all)?;
        self.paid(result)
    }

    fn repeat(&mut self, all: &Loop, scope: Option<&Scope<'_>>) -> Outcome {
        let range = self.eval(&all.range, scope)?;
        let pairs: Vec<(Value, Value)> = match &range {
            Value::List(items) => {
                let numbered = items.iter().enumerate();
                numbered
                    .map(|(index, item)| (Value::Int(i64::try_from(index).unwrap_or(i64::MAX)), item.clone()))
                    .collect()
            }
            Value::Map(entries) => entries.to_vec(),
            other => {
                return failed(format!(
                    "expression of type '{}' cannot be range of a comprehension (must be list, map, or dynamic)",
                    other.type_name()
                ));
            }
        };
        self.pay(pairs.len() as u64)?;
        let is_map = matches!(range, Value::Map(_));
        let mut gathered = Gathered::default();
        for (key, value) in &pairs {
            let one = if is_map { key } else { value };
            let first = Scope {
                name: &all.first,
                value: if all.second.is_some() { key } else { one },
                outer: scope,
            };
            let second = all.second.as_ref().map(|name| Scope {
                name,
                value,
                outer: Some(&first),
            });
            let inside = second.as_ref().unwrap_or(&first);
            if let Some(filter) = &all.filter
                && self.eval(filter, Some(inside))? != Value::Bool(true)
            {
                continue;
            }
            let outcome = self.eval(&all.body, Some(inside));
            if let Err(Failed::Budget) = outcome {
                return Err(Failed::Budget);
            }
            if gathered.take(all.macro_, (key, one), outcome)? {
                break;
            }
        }
        let result = gathered.end(all.macro_)?;
        if all.macro_ == Macro::Filter {
            return Ok(result);
        }
        self.paid(result)
    }
}

/// What a loop has found so far.
#[derive(Default)]
struct Gathered {
    trouble: Option<Failed>,
    count: usize,
    items: Vec<Value>,
    entries: Map,
}

impl Gathered {
    /// Takes the outcome for one item; whether the answer is found.
    fn take(
        &mut self,
        macro_: Macro,
        (key, item): (&Value, &Value),
        outcome: Outcome,
    ) -> Result<bool, Failed> {
        match macro_ {
            Macro::Map => self.items.push(outcome?),
            Macro::TransformMap => self.entries.push((key.clone(), outcome?)),
            Macro::All | Macro::Exists => match outcome {
                Ok(Value::Bool(yes)) if yes == (macro_ == Macro::Exists) => {
                    self.count = 1;
                    return Ok(true);
                }
                Ok(Value::Bool(_)) => {}
                Ok(_) => return failed("no such overload"),
                Err(failed) => self.trouble = Some(failed),
            },
            Macro::ExistsOne | Macro::Filter => match outcome? {
                Value::Bool(true) => {
                    self.count += 1;
                    self.items.push(item.clone());
                }
                Value::Bool(false) => {}
                _ => return failed("no such overload"),
            },
        }
        Ok(false)
    }

    fn end(self, macro_: Macro) -> Outcome {
        match macro_ {
            Macro::Map | Macro::Filter => Ok(Value::list(self.items)),
            Macro::TransformMap => Ok(Value::Map(Arc::new(self.entries))),
            Macro::ExistsOne => Ok(Value::Bool(self.count == 1)),
            Macro::All | Macro::Exists => match self.trouble {
                Some(failed) if self.count == 0 => Err(failed),
                _ => Ok(Value::Bool((self.count == 1) == (macro_ == Macro::Exists))),
            },
        }
    }
}

/// What is in an optional (`None`: nothing), and whether it was one.
fn unwrapped(value: Value) -> (Option<Value>, bool) {
    match value {
        Value::Optional(inner) => (inner.map(|inner| Value::clone(&inner)), true),
        value => (Some(value), false),
    }
}

/// What `step` finds in a value; an optional value gives an optional one.
fn reached(of: Value, optional: bool, step: impl Fn(&Value) -> Outcome) -> Outcome {
    let (of, within) = unwrapped(of);
    match of {
        None => Ok(Value::Optional(None)),
        Some(of) if optional || within => Ok(Value::Optional(step(&of).ok().map(Arc::new))),
        Some(of) => step(&of),
    }
}

fn has(of: Value, field: &str) -> Outcome {
    match unwrapped(of).0 {
        None => Ok(Value::Bool(false)),
        Some(map @ Value::Map(_)) => {
            let found = map.get(field).or_else(|| map.get(&unescaped(field)));
            Ok(Value::Bool(found.is_some()))
        }
        Some(other) => failed(format!(
            "unexpected type '{}' passed to has() macro",
            other.type_name()
        )),
    }
}

fn intact(value: Value) -> Outcome {
    match value {
        Value::Failed(why) => failed(&*why),
        value => Ok(value),
    }
}

fn field_of(of: &Value, field: &str) -> Outcome {
    if !matches!(of, Value::Map(_)) {
        return failed(format!("no such overload: {}.{field}", of.type_name()));
    }
    match of.get(field).or_else(|| of.get(&unescaped(field))) {
        Some(value) => intact(value.clone()),
        None => failed(format!("no such key: {field}")),
    }
}

fn indexed(of: &Value, index: &Value) -> Outcome {
    match (of, index) {
        (Value::List(items), Value::Int(at)) => usize::try_from(*at)
            .ok()
            .and_then(|at| items.get(at))
            .cloned()
            .map_or_else(|| failed(format!("index out of bounds: {at}")), Ok),
        (Value::Map(entries), key) => entries.iter().find(|(name, _)| name == key).map_or_else(
            || failed(format!("no such key: {key}")),
            |(_, value)| intact(value.clone()),
        ),
        _ => failed("no such overload"),
    }
}

/// Names of fields that are none in CEL: `foo__dash__bar`, `__namespace__`.
pub(super) fn unescaped(name: &str) -> String {
    if !name.contains("__") {
        return name.to_owned();
    }
    let keyword = name.strip_prefix("__").and_then(|name| name.strip_suffix("__"));
    if let Some(keyword) = keyword
        && !["underscores", "dot", "dash", "slash"].contains(&keyword)
        && !keyword.contains("__")
    {
        return keyword.to_owned();
    }
    name.replace("__underscores__", "\u{0}")
        .replace("__dot__", ".")
        .replace("__dash__", "-")
        .replace("__slash__", "/")
        .replace('\u{0}', "__")
}
