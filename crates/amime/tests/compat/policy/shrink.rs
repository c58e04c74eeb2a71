//! What fails, made smaller and printed so that somebody can take it as it is: objects in YAML, and a command.

use serde_json::Value;

use super::request::Request;
use super::{expected, objects};
use crate::run;
use crate::table::Call;
use crate::world::World;

/// More tries cost more than they tell.
const MOST: usize = 40;

/// What is in force while a round is tried.
pub(super) struct Tries {
    present: Vec<Value>,
    problem: Option<String>,
}

impl Tries {
    pub(super) async fn begin(world: &mut World, policies: &[Value]) -> Self {
        match world.change(&[], &objects(policies)).await {
            Ok(present) => Self {
                present,
                problem: None,
            },
            Err(problem) => Self {
                present: Vec::new(),
                problem: Some(problem),
            },
        }
    }

    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    pub(super) async fn end(self, world: &mut World) -> Result<(), String> {
        world.change(&self.present, &[]).await.map(drop)
    }

    async fn put(&mut self, world: &mut World, policies: &[Value]) -> bool {
        let made = world.change(&self.present, &objects(policies)).await;
        let is_taken = made.is_ok();
        self.present = made.unwrap_or_default();
        is_taken
    }

    /// The smallest policies and request that were found to fail; the round's own are in force again afterwards.
    pub(super) async fn shrink(
        &mut self,
        world: &mut World,
        policies: &[Value],
        request: &Request,
    ) -> (Vec<Value>, Request) {
        let (mut policies, mut request, all) = (policies.to_vec(), request.clone(), policies);
        let mut left = MOST;
        'smaller: while left > 0 {
            for simpler in request.simpler() {
                left = left.saturating_sub(1);
                if fails(world, &policies, &simpler).await {
                    request = simpler;
                    continue 'smaller;
                }
            }
            for fewer in smaller(&policies) {
                if left == 0 {
                    break;
                }
                left -= 1;
                // What the API does not take is no smaller case.
                if self.put(world, &fewer).await && fails(world, &fewer, &request).await {
                    policies = fewer;
                    continue 'smaller;
                }
            }
            break;
        }
        self.put(world, all).await;
        (policies, request)
    }
}

async fn fails(world: &mut World, policies: &[Value], request: &Request) -> bool {
    let looked = run::look(world, &expected(policies, request)).await;
    !looked.verdict.is_agreement()
}

/// Without one policy, one rule, one part of a rule, or one value.
fn smaller(policies: &[Value]) -> Vec<Vec<Value>> {
    let mut all = Vec::new();
    for number in 0..policies.len() {
        let mut fewer = policies.to_vec();
        fewer.remove(number);
        all.push(fewer);
    }
    for (number, policy) in policies.iter().enumerate() {
        let mut places = Vec::new();
        collect(&policy["spec"]["rules"], "/spec/rules", &mut places);
        places.push("/spec/selector".to_owned());
        for place in places {
            let mut fewer = policies.to_vec();
            if remove(&mut fewer[number], &place) {
                all.push(fewer);
            }
        }
    }
    all
}

/// Pointers to everything below a value, from the top.
fn collect(value: &Value, place: &str, places: &mut Vec<String>) {
    let mut below = Vec::new();
    match value {
        Value::Array(items) => {
            below.extend(items.iter().enumerate().map(|(at, item)| (at.to_string(), item)))
        }
        Value::Object(fields) => below.extend(fields.iter().map(|(name, field)| (name.clone(), field))),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    places.extend(below.iter().map(|(name, _)| format!("{place}/{name}")));
    for (name, value) in below {
        collect(value, &format!("{place}/{name}"), places);
    }
}

fn remove(object: &mut Value, place: &str) -> bool {
    let Some((parent, last)) = place.rsplit_once('/') else {
        return false;
    };
    match object.pointer_mut(parent) {
        Some(Value::Array(items)) => {
            let at = last.parse::<usize>().ok().filter(|at| *at < items.len());
            at.map(|at| items.remove(at)).is_some()
        }
        Some(Value::Object(fields)) => fields.remove(last).is_some(),
        _ => false,
    }
}

/// Objects and the command of a call.
pub(super) fn shown(world: &World, objects_of_case: &[Value], call: &Call) -> String {
    format!(
        "{}{}\n",
        as_yaml(world, objects_of_case),
        command(&call.with_tokens())
    )
}

/// For `kubectl apply -f -`.
pub(super) fn as_yaml(world: &World, all: &[Value]) -> String {
    let texts = all.iter().map(|object| {
        let mut object = world.filled(object);
        if object["metadata"]["namespace"].is_null() {
            object["metadata"]["namespace"] = "shop".into();
        }
        format!("---\n{}", serde_saphyr::to_string(&object).unwrap())
    });
    texts.collect()
}

/// What `curl` is told to do the same; tokens are good for an hour.
fn command(call: &Call) -> String {
    let (verb, target) = call.what();
    let from = call.from.as_deref().unwrap_or("shop");
    if matches!(verb, "tcp" | "tls" | "raw" | "grpc" | "websocket" | "CONNECT") {
        return format!(
            "# from {from}, which curl does not do:\n# {} {:?}",
            call.line(),
            call.send
        );
    }
    let mut words = format!("# from {from}:\ncurl -v --path-as-is");
    match call.http.as_ref().map(ToString::to_string).as_deref() {
        Some("2") => words.push_str(" --http2-prior-knowledge"),
        _ => words.push_str(" --http1.1"),
    }
    match verb {
        "GET" => {}
        "HEAD" => words.push_str(" -I"),
        method => words.push_str(&format!(" -X {method}")),
    }
    for (name, value) in &call.headers {
        let values = match value {
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
            value => vec![value.as_str().unwrap_or_default()],
        };
        for value in values {
            // A semicolon is how curl is told of an empty value.
            let field = if value.is_empty() {
                format!("{name};")
            } else {
                format!("{name}: {value}")
            };
            words.push_str(&format!(" -H {}", quoted(&field)));
        }
    }
    if let Some(body) = &call.body {
        words.push_str(&format!(" --data-binary {}", quoted(body)));
    }
    format!("{words} {}", quoted(target))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_policy_becomes_smaller_by_one_thing_at_a_time() {
        let policy =
            json!({"spec": {"selector": {}, "rules": [{"to": [{"operation": {"paths": ["/a", "/b"]}}]}]}});
        let all = smaller(&[policy]);
        let rules: Vec<&Value> = all
            .iter()
            .filter_map(|set| Some(&set.first()?["spec"]["rules"]))
            .collect();
        assert!(rules.contains(&&json!([{"to": [{"operation": {"paths": ["/b"]}}]}])));
        assert!(rules.contains(&&json!([{"to": [{"operation": {}}]}])));
        assert!(rules.contains(&&json!([{"to": []}])));
        assert!(rules.contains(&&json!([])));
        assert!(all.contains(&Vec::new()));
        assert!(all.iter().any(|set| {
            set.first()
                .is_some_and(|one| one["spec"].get("selector").is_none())
        }));
    }

    #[test]
    fn a_command_says_what_the_call_says() {
        let call = Call {
            method: Some("POST".to_owned()),
            url: Some("http://guarded:9090/it's".to_owned()),
            headers: serde_json::Map::from_iter([
                ("host".to_owned(), json!("x")),
                ("x-team".to_owned(), json!(["red", ""])),
            ]),
            from: Some("outside".to_owned()),
            ..Call::default()
        };
        assert_eq!(
            command(&call),
            "# from outside:\ncurl -v --path-as-is --http1.1 -X POST -H 'host: x' -H 'x-team: red' -H 'x-team;' \
             'http://guarded:9090/it'\\''s'"
        );
    }
}
