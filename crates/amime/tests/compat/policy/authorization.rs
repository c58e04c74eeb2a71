//! Random AuthorizationPolicies that the API takes: every action but CUSTOM, every attribute, every form of value.

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};

use super::words::{
    BLOCKS, CLAIMS, HOSTS, METHODS, NAMESPACES, OUTSIDE, PATHS, PORTS, PRINCIPALS, REQUEST_PRINCIPALS,
    SERVICE_ACCOUNTS, TEAMS, TRUST_DOMAINS, chance, one, some,
};

/// One to three that are in force together.
pub(super) fn policies(random: &mut StdRng) -> Vec<Value> {
    let count = random.random_range(1..=3);
    (0..count).map(|number| policy(random, number)).collect()
}

fn policy(random: &mut StdRng, number: usize) -> Value {
    let action = match random.random_range(0..100) {
        0..52 => "ALLOW",
        52..95 => "DENY",
        _ => "AUDIT",
    };
    let mut spec = json!({"action": action});
    match random.random_range(0..100) {
        0..60 => spec["selector"] = json!({"matchLabels": {"app": "guarded"}}),
        60..68 => spec["selector"] = json!({"matchLabels": {"app": "nobody"}}),
        _ => {}
    }
    let no_rules = action == "ALLOW" && chance(random, 4);
    if !no_rules {
        let rules = (0..random.random_range(1..=2))
            .map(|_| rule(random))
            .collect::<Vec<_>>();
        spec["rules"] = json!(rules);
    }
    // Policies of the root namespace are the whole mesh's; the suite's own calls do not pass proxies.
    let namespace = if chance(random, 20) {
        "istio-system"
    } else {
        "shop"
    };
    json!({
        "apiVersion": one(random, &["security.istio.io/v1", "security.istio.io/v1", "security.istio.io/v1beta1"]),
        "kind": "AuthorizationPolicy",
        "metadata": {"name": format!("p{number}"), "namespace": namespace},
        "spec": spec,
    })
}

fn rule(random: &mut StdRng) -> Value {
    let mut rule = Map::new();
    if chance(random, 45) {
        let sources = (0..random.random_range(1..=2)).map(|_| json!({"source": source(random)}));
        rule.insert("from".to_owned(), sources.collect());
    }
    if chance(random, 75) {
        let operations = (0..random.random_range(1..=2)).map(|_| json!({"operation": operation(random)}));
        rule.insert("to".to_owned(), operations.collect());
    }
    if chance(random, 35) {
        let conditions = (0..random.random_range(1..=2)).map(|_| condition(random));
        rule.insert("when".to_owned(), conditions.collect());
    }
    // A rule without anything matches everything: seldom.
    if rule.is_empty() && !chance(random, 20) {
        rule.insert("to".to_owned(), json!([{"operation": operation(random)}]));
    }
    Value::Object(rule)
}

fn source(random: &mut StdRng) -> Value {
    type Field = (&'static str, &'static [&'static str]);
    const FIELDS: [Field; 6] = [
        ("rincipals", PRINCIPALS),
        ("amespaces", NAMESPACES),
        ("pBlocks", BLOCKS),
        ("emoteIpBlocks", BLOCKS),
        ("equestPrincipals", REQUEST_PRINCIPALS),
        ("rustDomains", TRUST_DOMAINS),
    ];
    const PLAIN: [&str; 6] = ["p", "n", "i", "r", "r", "t"];
    const NEGATED: [&str; 6] = ["notP", "notN", "notI", "notR", "notR", "notT"];
    let mut source = Map::new();
    // Accounts may not stand beside principals or namespaces.
    if chance(random, 12) {
        let name = one(
            random,
            &["serviceAccounts", "serviceAccounts", "notServiceAccounts"],
        );
        source.insert(name.to_owned(), json!(some(random, SERVICE_ACCOUNTS, 2)));
        if chance(random, 30) {
            source.insert("ipBlocks".to_owned(), json!(some(random, BLOCKS, 2)));
        }
        return Value::Object(source);
    }
    for _ in 0..random.random_range(1..=2) {
        let at = random.random_range(0..FIELDS.len());
        let begin = if chance(random, 30) {
            NEGATED[at]
        } else {
            PLAIN[at]
        };
        let (rest, words) = FIELDS[at];
        source.insert(format!("{begin}{rest}"), json!(some(random, words, 2)));
    }
    Value::Object(source)
}

fn operation(random: &mut StdRng) -> Value {
    const FIELDS: [(&str, &str, &[&str]); 4] = [
        ("paths", "notPaths", PATHS),
        ("methods", "notMethods", METHODS),
        ("hosts", "notHosts", HOSTS),
        ("ports", "notPorts", PORTS),
    ];
    let mut operation = Map::new();
    for _ in 0..random.random_range(1..=3) {
        // Paths most of all.
        let at = random.random_range(0..7_usize).saturating_sub(3);
        let (plain, negated, words) = FIELDS[at];
        let name = if chance(random, 25) { negated } else { plain };
        operation.insert(name.to_owned(), json!(some(random, words, 3)));
    }
    Value::Object(operation)
}

fn condition(random: &mut StdRng) -> Value {
    const KEYS: [(&str, &[&str]); 11] = [
        ("request.headers[x-team]", TEAMS),
        ("request.headers[X-Team]", TEAMS),
        ("source.ip", BLOCKS),
        ("remote.ip", BLOCKS),
        ("source.namespace", NAMESPACES),
        ("source.principal", PRINCIPALS),
        ("request.auth.principal", REQUEST_PRINCIPALS),
        ("request.auth.claims[role]", CLAIMS),
        ("request.auth.audiences", &["one", "t*", "*"]),
        ("destination.port", PORTS),
        ("destination.ip", &["10.0.0.0/8", "192.0.2.0/24"]),
    ];
    let (key, words) = KEYS[random.random_range(0..KEYS.len())];
    let mut condition = json!({"key": key});
    let both = chance(random, 15);
    let negated = chance(random, 30);
    if both || !negated {
        condition["values"] = json!(some(random, words, 2));
    }
    if both || negated {
        condition["notValues"] = json!(some(random, words, 2));
    }
    condition
}

/// Whether tokens matter to any of them.
pub(super) fn reads_tokens(policies: &[Value]) -> bool {
    let text = json!(policies).to_string();
    text.contains("equestPrincipals") || text.contains("request.auth.")
}

/// Every value of a field anywhere in the policies, for requests that come near it.
pub(super) fn values(policies: &[Value], field: &str) -> Vec<String> {
    let mut found = Vec::new();
    for policy in policies {
        collect(policy, field, &mut found);
    }
    found.retain(|value| value != OUTSIDE);
    found
}

fn collect(value: &Value, field: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            // `values` of a condition belong to its key.
            let is_condition = fields.get("key").is_some_and(|key| key.as_str() == Some(field));
            for (name, inner) in fields {
                let negated = name
                    .strip_prefix("not")
                    .is_some_and(|rest| rest.eq_ignore_ascii_case(field));
                if is_condition && name != "key" || name == field || negated {
                    let texts = inner.as_array().into_iter().flatten().filter_map(Value::as_str);
                    found.extend(texts.map(str::to_owned));
                }
                collect(inner, field, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, field, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_seed_makes_the_same_policies_and_every_field_appears() {
        let make = |seed| {
            let mut random = StdRng::seed_from_u64(seed);
            (0..300).map(|_| policies(&mut random)).collect::<Vec<_>>()
        };
        assert_eq!(make(7), make(7));
        assert_ne!(make(7), make(8));
        let text = json!(make(7)).to_string();
        for field in [
            "principals",
            "notPrincipals",
            "namespaces",
            "notNamespaces",
            "serviceAccounts",
            "notServiceAccounts",
            "trustDomains",
            "notTrustDomains",
            "ipBlocks",
            "notIpBlocks",
            "remoteIpBlocks",
            "notRemoteIpBlocks",
            "requestPrincipals",
            "notRequestPrincipals",
            "hosts",
            "notHosts",
            "methods",
            "notMethods",
            "paths",
            "notPaths",
            "ports",
            "notPorts",
            "values",
            "notValues",
            "ALLOW",
            "DENY",
            "AUDIT",
        ] {
            assert!(text.contains(&format!("\"{field}\"")), "{field}");
        }
    }

    #[test]
    fn values_are_found_with_their_negations_and_conditions() {
        let policies = [json!({"spec": {"rules": [
            {"to": [{"operation": {"paths": ["/a"], "notPaths": ["/b"], "ports": ["1"]}}],
             "when": [{"key": "source.ip", "values": ["192.0.2.7", OUTSIDE]}]}]}})];
        assert_eq!(values(&policies, "paths"), ["/a", "/b"]);
        assert_eq!(values(&policies, "source.ip"), ["192.0.2.7"]);
    }
}
