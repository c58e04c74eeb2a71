//! `x-kubernetes-validations`: rules in CEL that a place of the object must satisfy, compiled with the schema.
//!
//! A rule that looks at `oldSelf` is about changes: it holds for what is there before and after. Rules of what has not
//! changed are not asked again, so that a new rule does not make old objects unwritable.
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules>

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::{Additional, Kind, List, Node, read};
use crate::api::cel::{Budget, Failed, Program, Type, Value, Variables};
use crate::api::field::{FieldErrors, Trouble};

#[derive(Debug)]
pub(super) struct Rule {
    program: Program,
    message: Option<String>,
    message_expression: Option<Program>,
    trouble: Trouble,
    /// Below the place of the rule, without the first dot.
    field: String,
    /// `oldSelf` is an optional value, and there is one for new objects too.
    optional_old: bool,
    about_changes: bool,
}

const RULES: &str = "x-kubernetes-validations";

/// The rules of a place; those of a CRD that passed [`check`] all compile.
pub(super) fn read(schema: &Json, node: &Node) -> Vec<Rule> {
    let rules = schema[RULES].as_array().into_iter().flatten();
    rules.filter_map(|rule| compiled(rule, node).ok()).collect()
}

fn compiled(rule: &Json, node: &Node) -> Result<Rule, (&'static str, String)> {
    let text = |field: &str| rule[field].as_str().unwrap_or_default();
    let optional_old = rule["optionalOldSelf"] == true;
    let own = kind_of(node);
    let old = if optional_old {
        Type::Optional(Arc::new(own.clone()))
    } else {
        own.clone()
    };
    let variables = HashMap::from([("self".to_owned(), own), ("oldSelf".to_owned(), old)]);
    let compile = |field: &'static str, kind: Type| {
        Program::compile_to(text(field), &variables, &[kind])
            .map_err(|refused| (field, format!("compilation failed: {refused}")))
    };
    let program = compile("rule", Type::Bool)?;
    let message_expression = match text("messageExpression") {
        "" => None,
        _ => Some(compile("messageExpression", Type::String)?),
    };
    Ok(Rule {
        message: Some(text("message").trim())
            .filter(|message| !message.is_empty())
            .map(str::to_owned),
        message_expression,
        trouble: match text("reason") {
            "FieldValueForbidden" => Trouble::Forbidden,
            "FieldValueRequired" => Trouble::Required,
            "FieldValueDuplicate" => Trouble::Duplicate,
            _ => Trouble::Invalid,
        },
        field: text("fieldPath")
            .trim_start_matches('.')
            .replace("['", "[")
            .replace("']", "]"),
        optional_old,
        about_changes: program.uses("oldSelf"),
        program,
    })
}

/// What is wrong with the rules of a place of a schema. Where items of a list cannot be told apart over time, there
/// is no `oldSelf`.
pub(super) fn check(schema: &Json, path: &str, lasting: bool, errors: &mut FieldErrors) {
    let rules = schema[RULES].as_array().map_or(&[][..], Vec::as_slice);
    if rules.is_empty() {
        return;
    }
    let mut node = read::node(schema);
    node.embedded |= path.ends_with("openAPIV3Schema");
    for (index, rule) in rules.iter().enumerate() {
        let at = |field: &str| format!("{path}.{RULES}[{index}].{field}");
        let text = |field: &str| rule[field].as_str().unwrap_or_default();
        if text("rule").trim().is_empty() {
            errors.required(at("rule"), "rule is not specified");
            continue;
        }
        if text("message").trim().contains('\n') {
            errors.invalid(
                at("message"),
                &rule["message"],
                "message must not contain line breaks",
            );
        } else if text("message").is_empty() && text("rule").trim().contains('\n') {
            errors.required(
                at("message"),
                "message must be specified if rule contains line breaks",
            );
        }
        let reasons = [
            "FieldValueInvalid",
            "FieldValueForbidden",
            "FieldValueRequired",
            "FieldValueDuplicate",
        ];
        if !text("reason").is_empty() && !reasons.contains(&text("reason")) {
            errors.not_supported(at("reason"), &rule["reason"], &reasons);
        }
        if !text("fieldPath").is_empty() && !leads_somewhere(&node, text("fieldPath")) {
            let detail = format!(
                "fieldPath {} is not valid: does not refer to a valid field",
                text("fieldPath")
            );
            errors.invalid(at("fieldPath"), &rule["fieldPath"], &detail);
        }
        match compiled(rule, &node) {
            Err((field, why)) => errors.invalid(at(field), &rule[field], &why),
            Ok(compiled) if compiled.about_changes && !lasting => {
                let detail = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {path}"
                );
                errors.invalid(at("rule"), &rule["rule"], &detail);
            }
            Ok(compiled) if compiled.optional_old && !compiled.about_changes => {
                errors.invalid(
                    at("optionalOldSelf"),
                    &rule["optionalOldSelf"],
                    "may not be set if oldSelf is not used in rule",
                );
            }
            Ok(_) => {}
        }
    }
}

/// `.spec.name` or `['a-b'].c`: along properties only.
fn leads_somewhere(node: &Node, path: &str) -> bool {
    let flat = path.replace("['", ".").replace("']", "");
    let Some(names) = flat.strip_prefix('.') else {
        return false;
    };
    let mut node = node;
    for name in names.split('.') {
        node = match (node.properties.get(name), &node.additional) {
            (Some(inner), _) => inner,
            (None, Additional::Like(inner)) => inner,
            _ => return false,
        };
    }
    true
}

/// What CEL may know of a place.
fn kind_of(node: &Node) -> Type {
    if node.int_or_string {
        return Type::Dyn;
    }
    match (node.kind, &node.additional) {
        (None, _) | (_, Additional::Any) => Type::Dyn,
        (Some(Kind::Boolean), _) => Type::Bool,
        (Some(Kind::Integer), _) => Type::Int,
        (Some(Kind::Number), _) => Type::Double,
        (Some(Kind::String), _) => match node.checks.format.as_deref() {
            Some("date" | "date-time") => Type::Timestamp,
            Some("duration") => Type::Duration,
            Some("byte") => Type::Bytes,
            _ => Type::String,
        },
        (Some(Kind::Array), _) => {
            let item = node.items.as_deref().map_or(Type::Dyn, kind_of);
            Type::List(Arc::new(item))
        }
        (Some(Kind::Object), Additional::Like(inner)) => Type::Map(Arc::new(kind_of(inner))),
        (Some(Kind::Object), Additional::None) => {
            if node.properties.is_empty() && node.preserve_unknown && !node.embedded {
                return Type::Dyn;
            }
            let properties = node.properties.iter();
            let mut fields: std::collections::BTreeMap<String, Type> = properties
                .map(|(name, inner)| (name.clone(), kind_of(inner)))
                .collect();
            if node.embedded {
                let names = ["name", "generateName"].map(|name| (name.to_owned(), Type::String));
                fields.insert("apiVersion".to_owned(), Type::String);
                fields.insert("kind".to_owned(), Type::String);
                fields.insert("metadata".to_owned(), Type::Object(Arc::new(names.into())));
            }
            Type::Object(Arc::new(fields))
        }
    }
}

/// A value in the types of its schema; what is null is not there.
fn typed(node: &Node, json: &Json) -> Value {
    match (json, node.kind) {
        (Json::Number(number), Some(Kind::Number)) if !node.int_or_string => {
            Value::Double(number.as_f64().unwrap_or(f64::NAN))
        }
        (Json::Number(number), Some(Kind::Integer)) if !number.is_i64() => {
            #[allow(
                clippy::cast_possible_truncation,
                reason = "a whole number that JSON wrote with a point"
            )]
            let whole = number.as_f64().unwrap_or_default() as i64;
            Value::Int(whole)
        }
        (Json::String(text), Some(Kind::String)) => match node.checks.format.as_deref() {
            Some(format) => Value::formatted(format, text),
            None => Value::text(text),
        },
        (Json::Array(items), _) => match &node.items {
            Some(inner) => Value::list(items.iter().map(|item| typed(inner, item)).collect()),
            None => Value::from(json),
        },
        (Json::Object(fields), _) => {
            let given = fields.iter().filter(|(_, value)| !value.is_null());
            let entries = given.map(|(name, value)| {
                let value = match node.below(name) {
                    Some(inner) => typed(inner, value),
                    None => Value::from(value),
                };
                (Value::text(name), value)
            });
            Value::Map(Arc::new(entries.collect()))
        }
        _ => Value::from(json),
    }
}

/// Judges an object by all rules of its schema.
pub(super) fn validate(root: &Node, new: &Json, old: Option<&Json>, errors: &mut FieldErrors) {
    if !root.has_rules {
        return;
    }
    if errors.iter().any(|error| error.trouble.stops_rules()) {
        let why = "some validation rules were not checked because the object was invalid; correct the existing errors to \
                   complete validation";
        errors.invalid("<nil>", &Json::from("null"), why);
        return;
    }
    let mut walk = Walk {
        budget: Budget::default(),
        errors,
    };
    // Whoever is out of budget has said so.
    let _ = walk.place(root, new, old, "");
}

struct Walk<'a> {
    budget: Budget,
    errors: &'a mut FieldErrors,
}

/// There is nothing left to spend.
struct Spent;

impl Walk<'_> {
    fn place(&mut self, node: &Node, new: &Json, old: Option<&Json>, path: &str) -> Result<(), Spent> {
        if !node.has_rules || new.is_null() {
            return Ok(());
        }
        self.rules(node, new, old, path)?;
        match new {
            Json::Object(fields) => {
                for (name, value) in fields {
                    if let Some(inner) = node.below(name) {
                        let old = old.and_then(|old| old.get(name));
                        let at = if path.is_empty() {
                            name.clone()
                        } else if node.properties.contains_key(name) {
                            format!("{path}.{name}")
                        } else {
                            format!("{path}[{name}]")
                        };
                        self.place(inner, value, old, &at)?;
                    }
                }
            }
            Json::Array(items) => {
                let Some(inner) = &node.items else { return Ok(()) };
                let before = old.and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
                for (index, item) in items.iter().enumerate() {
                    let old = before.iter().find(|one| same_item(node, one, item));
                    self.place(inner, item, old, &format!("{path}[{index}]"))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn rules(&mut self, node: &Node, new: &Json, old: Option<&Json>, path: &str) -> Result<(), Spent> {
        if node.rules.is_empty() {
            return Ok(());
        }
        let unchanged = old == Some(new);
        let mut variables = Variables::from([("self", typed(node, new))]);
        let before = old.map(|old| typed(node, old));
        for rule in &node.rules {
            let skipped = if rule.about_changes {
                before.is_none() && !rule.optional_old
            } else {
                unchanged
            };
            if skipped {
                continue;
            }
            let old = if rule.optional_old {
                Value::Optional(before.clone().map(Arc::new))
            } else {
                before.clone().unwrap_or(Value::Null)
            };
            variables.insert("oldSelf", old);
            let outcome = rule.program.run(&variables, &mut self.budget);
            self.judge(rule, node, &variables, (path, outcome))?;
        }
        Ok(())
    }

    fn judge(
        &mut self,
        rule: &Rule,
        node: &Node,
        variables: &Variables<'_>,
        (path, outcome): (&str, Result<Value, Failed>),
    ) -> Result<(), Spent> {
        let path = if path.is_empty() { "<nil>" } else { path };
        let kind = Json::from(node.kind.map_or("", Kind::name));
        let text = rule
            .message
            .as_deref()
            .unwrap_or_else(|| rule.program.text().trim());
        match outcome {
            Ok(Value::Bool(true)) => {}
            Err(Failed::Budget) => {
                let why = if self.budget.is_spent() {
                    "validation failed due to running out of cost budget, no further validation rules will be run"
                        .to_owned()
                } else {
                    format!(
                        "call cost exceeds limit for rule: {text}; no further validation rules will be run due to call \
                         cost exceeds limit for rule"
                    )
                };
                self.errors.invalid(path, &kind, &why);
                return Err(Spent);
            }
            Err(failed) => self
                .errors
                .invalid(path, &kind, &format!("{failed} evaluating rule: {text}")),
            Ok(_) => {
                let at = match (path, &*rule.field) {
                    (path, "") => path.to_owned(),
                    ("<nil>", field) => field.to_owned(),
                    (path, field) if field.starts_with('[') => format!("{path}{field}"),
                    (path, field) => format!("{path}.{field}"),
                };
                let said = rule.message_expression.as_ref().and_then(|program| {
                    let said = program.run(variables, &mut self.budget).ok()?;
                    let said = said.as_str()?.trim().to_owned();
                    (!said.is_empty() && !said.contains('\n')).then_some(said)
                });
                let said = said.or_else(|| rule.message.clone());
                let said = said.unwrap_or_else(|| format!("failed rule: {text}"));
                self.errors.add(rule.trouble, at, &kind, &said);
            }
        }
        Ok(())
    }
}

/// Items of a list are the same over time when their keys are.
fn same_item(node: &Node, left: &Json, right: &Json) -> bool {
    let List::Map(keys) = &node.list else { return false };
    let key = |item: &Json, key: &String| {
        let default = || node.items.as_ref()?.properties.get(key)?.default.clone();
        item.get(key).cloned().or_else(default)
    };
    keys.iter().all(|name| key(left, name) == key(right, name))
}

impl Node {
    /// What holds for a field.
    fn below(&self, name: &str) -> Option<&Self> {
        match (self.properties.get(name), &self.additional) {
            (Some(inner), _) => Some(inner),
            (None, Additional::Like(inner)) => Some(inner),
            _ => None,
        }
    }
}
