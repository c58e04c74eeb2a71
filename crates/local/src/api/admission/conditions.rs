//! Expressions of admission: what they may look at, and the `matchConditions` of webhooks and policies.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use serde_json::Value as Json;

use super::{Lookup, Operation, Review, review};
use crate::api::cel::{Budget, Program, Refused, Type, Value, Variables};
use crate::api::gvr;
use crate::api::registry::Type as Kind;

/// Compiled expressions that are kept; all are dropped when there are more.
const KEPT: usize = 2048;

/// Compiled expressions by text and names of `variables`. They are the same for every write.
#[derive(Debug, Default)]
pub(super) struct Programs(Mutex<HashMap<Asked, Arc<Program>>>);

/// A text, and the names of `variables` that it may use.
type Asked = (String, Vec<String>);

impl Programs {
    /// The expression, compiled once; it may look at `variables.NAME` for these names.
    pub(super) fn get(&self, text: &str, names: &[String]) -> Result<Arc<Program>, Refused> {
        let key = (text.to_owned(), names.to_vec());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = known.get(&key) {
            return Ok(program.clone());
        }
        let program = Arc::new(Program::compile(text, &declared(names))?);
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(key, program.clone());
        Ok(program)
    }
}

/// What expressions of admission may look at. `authorizer` is not among it, so an expression with it is refused.
pub fn declared(names: &[String]) -> HashMap<String, Type> {
    static COMMON: LazyLock<HashMap<String, Type>> = LazyLock::new(|| {
        let names = ["object", "oldObject", "request", "params", "namespaceObject"];
        names
            .into_iter()
            .map(|name| (name.to_owned(), Type::Dyn))
            .collect()
    });
    let mut all = COMMON.clone();
    let fields = names.iter().map(|name| (name.clone(), Type::Dyn)).collect();
    all.insert("variables".to_owned(), Type::Object(Arc::new(fields)));
    all
}

/// The write as expressions see it, in the version that `kind` is.
pub(super) fn variables(
    lookup: &dyn Lookup,
    review: &Review<'_>,
    (kind, object): (&Kind, &Json),
) -> Variables<'static> {
    let question = review::request(review, kind, object, "");
    let request = question["request"].as_object().cloned().unwrap_or_default();
    let (mut seen, mut rest) = (Variables::new(), request);
    for (name, field) in [("object", "object"), ("oldObject", "oldObject")] {
        let shown = rest.shift_remove(field).unwrap_or_default();
        seen.insert(name, Value::from(&shown));
    }
    rest.shift_remove("uid");
    let request = Json::Object(rest);
    seen.insert("request", Value::from(&request));
    let namespace = (!review.namespace.is_empty())
        .then(|| lookup.find(&gvr::NAMESPACES, "", review.namespace))
        .flatten();
    seen.insert(
        "namespaceObject",
        namespace.map_or(Value::Null, |one| Value::from(&*one)),
    );
    seen.insert("params", Value::Null);
    seen
}

/// Whether all conditions hold. One that cannot be computed is an error, unless another one is false.
pub(super) fn hold(
    programs: &Programs,
    conditions: &Json,
    seen: &Variables<'_>,
    budget: &mut Budget,
) -> Result<bool, String> {
    let mut trouble = Vec::new();
    for condition in conditions.as_array().into_iter().flatten() {
        let text = condition["expression"].as_str().unwrap_or_default();
        let outcome = programs
            .get(text, &[])
            .map_err(|refused| format!("compilation failed: {refused}"))
            .and_then(|program| program.run(seen, budget).map_err(|failed| failed.to_string()));
        match outcome {
            Ok(Value::Bool(true)) => {}
            Ok(Value::Bool(false)) => return Ok(false),
            Ok(_) => trouble.push(format!("expression '{text}' resulted in error: it gives no bool")),
            Err(why) => trouble.push(format!("expression '{text}' resulted in error: {why}")),
        }
    }
    match &trouble[..] {
        [] => Ok(true),
        [one] => Err(one.clone()),
        several => Err(format!("[{}]", several.join(", "))),
    }
}

impl Operation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}
