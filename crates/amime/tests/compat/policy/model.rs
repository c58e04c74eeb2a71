//! What AuthorizationPolicies say about a request, written down from Istio's reference and from nothing of ours.
//!
//! Both proxies are told what to do by one controller, so that they could agree on a mistake of its; this is the third
//! opinion. It abstains (`None`) where the answer hangs on how a path is brought to its normal form, or on an address
//! that only a run knows.

use std::net::IpAddr;

use serde_json::Value;

use super::words::OUTSIDE;

/// What a request shows of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) method: String,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) port: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    /// Of a caller whose connection is mutual TLS; its account is `default`.
    pub(super) namespace: Option<&'static str>,
    /// Of a token that was accepted.
    pub(super) claims: Option<Value>,
}

/// Where the workload is, whose policies are asked.
const NAMESPACE: &str = "shop";
const ROOT: &str = "istio-system";
const APP: &str = "guarded";

/// Whether the request passes: DENY before ALLOW, and without any ALLOW everything passes.
pub(super) fn passes(policies: &[Value], request: &Facts) -> Option<bool> {
    let of = |action: &str| -> Vec<&Value> {
        let all = policies.iter().filter(|policy| concerns(policy));
        all.filter(|policy| policy["spec"]["action"].as_str().unwrap_or("ALLOW") == action)
            .collect()
    };
    let matched = |policies: &[&Value]| any(policies.iter().map(|policy| matches(policy, request)));
    let denied = matched(&of("DENY"));
    let allowing = of("ALLOW");
    let allowed = if allowing.is_empty() {
        Some(true)
    } else {
        matched(&allowing)
    };
    both([not(denied), allowed].into_iter())
}

fn concerns(policy: &Value) -> bool {
    let namespace = policy["metadata"]["namespace"].as_str().unwrap_or(NAMESPACE);
    let labels = policy["spec"]["selector"]["matchLabels"].as_object();
    let selected =
        labels.is_none_or(|labels| labels.iter().all(|(name, value)| name == "app" && value == APP));
    (namespace == NAMESPACE || namespace == ROOT) && selected
}

fn matches(policy: &Value, request: &Facts) -> Option<bool> {
    any(items(&policy["spec"]["rules"]).iter().map(|rule| {
        let from = listed(&rule["from"], |item| source(&item["source"], request));
        let to = listed(&rule["to"], |item| operation(&item["operation"], request));
        let when = both(items(&rule["when"]).iter().map(|condition| {
            let key = condition["key"].as_str().unwrap_or_default();
            with_negation(condition, "values", "notValues", |value| {
                attribute(key, value, request)
            })
        }));
        both([from, to, when].into_iter())
    }))
}

/// A list that is not there matches.
fn listed(list: &Value, one: impl Fn(&Value) -> Option<bool>) -> Option<bool> {
    match items(list) {
        [] => Some(true),
        items => any(items.iter().map(one)),
    }
}

fn source(source: &Value, request: &Facts) -> Option<bool> {
    let field = |name: &str, negated: &str, key: &str| {
        with_negation(source, name, negated, |value| attribute(key, value, request))
    };
    both(
        [
            field("principals", "notPrincipals", "source.principal"),
            field("namespaces", "notNamespaces", "source.namespace"),
            field("serviceAccounts", "notServiceAccounts", "source.serviceAccount"),
            field("trustDomains", "notTrustDomains", "source.trustDomain"),
            field("ipBlocks", "notIpBlocks", "source.ip"),
            field("remoteIpBlocks", "notRemoteIpBlocks", "remote.ip"),
            field(
                "requestPrincipals",
                "notRequestPrincipals",
                "request.auth.principal",
            ),
        ]
        .into_iter(),
    )
}

fn operation(operation: &Value, request: &Facts) -> Option<bool> {
    let field = |name: &str, negated: &str, one: &dyn Fn(&str) -> Option<bool>| {
        with_negation(operation, name, negated, one)
    };
    both(
        [
            field("hosts", "notHosts", &|value| {
                Some(fits(&value.to_lowercase(), &request.host.to_lowercase()))
            }),
            field("methods", "notMethods", &|value| {
                Some(fits(value, &request.method))
            }),
            field("paths", "notPaths", &|value| path(value, &request.path)),
            field("ports", "notPorts", &|value| {
                Some(value == request.port.to_string())
            }),
        ]
        .into_iter(),
    )
}

fn with_negation(
    object: &Value,
    name: &str,
    negated: &str,
    one: impl Fn(&str) -> Option<bool>,
) -> Option<bool> {
    let all = |list: &Value| any(items(list).iter().filter_map(Value::as_str).map(&one));
    let wanted = object.get(name).map_or(Some(true), all);
    let unwanted = object.get(negated).map_or(Some(false), all);
    both([wanted, not(unwanted)].into_iter())
}

fn attribute(key: &str, value: &str, request: &Facts) -> Option<bool> {
    let Facts {
        namespace, claims, ..
    } = request;
    let of_peer =
        |text: &dyn Fn(&str) -> String| Some(namespace.is_some_and(|name| fits(value, &text(name))));
    let claim = |name: &str| claims.as_ref().map(|claims| &claims[name]);
    match key {
        "source.principal" => of_peer(&|name| format!("cluster.local/ns/{name}/sa/default")),
        "source.namespace" => of_peer(&str::to_owned),
        "source.trustDomain" => of_peer(&|_| "cluster.local".to_owned()),
        "source.serviceAccount" => {
            let (wanted, account) = value.split_once('/').unwrap_or((NAMESPACE, value));
            Some(*namespace == Some(wanted) && account == "default")
        }
        "source.ip" => peer_address(value, request),
        "remote.ip" => remote_address(value, request),
        "destination.port" => Some(value == request.port.to_string()),
        "destination.ip" => Some(value == "10.0.0.0/8"),
        "request.auth.principal" => Some(claims.as_ref().is_some_and(|claims| {
            let text = |name: &str| claims[name].as_str().unwrap_or_default().to_owned();
            fits(value, &format!("{}/{}", text("iss"), text("sub")))
        })),
        "request.auth.audiences" => Some(claim("aud").is_some_and(|found| has(found, value))),
        "request.auth.claims[role]" => Some(claim("role").is_some_and(|found| has(found, value))),
        _ => {
            let name = key.strip_prefix("request.headers[")?.strip_suffix(']')?;
            let found: Vec<&str> = request
                .headers
                .iter()
                .filter(|(of, _)| of.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.as_str())
                .collect();
            match (found.is_empty(), value) {
                (there, "*") => Some(!there),
                (true, _) => Some(false),
                _ => Some(found.iter().any(|one| fits(value, one))),
            }
        }
    }
}

/// A text or a list of them has one that fits.
fn has(found: &Value, pattern: &str) -> bool {
    match found {
        Value::String(text) => fits(pattern, text),
        Value::Array(items) => items
            .iter()
            .filter_map(Value::as_str)
            .any(|text| fits(pattern, text)),
        _ => false,
    }
}

/// All pods are in one block; of their addresses only that of who calls from outside is named.
fn peer_address(block: &str, request: &Facts) -> Option<bool> {
    match block {
        OUTSIDE => Some(request.namespace.is_none()),
        "10.0.0.0/8" | "0.0.0.0/0" => Some(true),
        "192.0.2.0/24" | "192.0.2.7" | "2001:db8::/32" => Some(false),
        _ => None,
    }
}

fn remote_address(block: &str, request: &Facts) -> Option<bool> {
    let mut told = request
        .headers
        .iter()
        .filter(|(name, _)| *name == "x-forwarded-for");
    let address = match (told.next(), told.next()) {
        (None, _) => return peer_address(block, request),
        (Some((_, text)), None) => text.parse::<IpAddr>().ok()?,
        _ => return None,
    };
    match block {
        "192.0.2.0/24" => Some(address.to_string().starts_with("192.0.2.")),
        "192.0.2.7" => Some(address.to_string() == "192.0.2.7"),
        "0.0.0.0/0" => Some(true),
        "10.0.0.0/8" | "2001:db8::/32" | OUTSIDE => Some(false),
        _ => None,
    }
}

fn path(pattern: &str, path: &str) -> Option<bool> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/_-;=".contains(letter);
    if !path.chars().all(plain) || path.contains("//") {
        return None;
    }
    if !pattern.contains('{') {
        return Some(fits(pattern, path));
    }
    let mut segments = path.split('/').skip(1);
    for part in pattern.split('/').skip(1) {
        let segment = segments.next();
        match (part, segment) {
            // As much as there is, which is one segment at least.
            ("{**}", segment) => return Some(segment.is_some()),
            ("{*}", Some(segment)) if !segment.is_empty() => {}
            (part, Some(segment)) if part == segment => {}
            _ => return Some(false),
        }
    }
    Some(segments.next().is_none())
}

/// Exact, `prefix*`, `*suffix`, or `*` for anything that is not empty.
fn fits(pattern: &str, text: &str) -> bool {
    match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
        (Some(""), _) => !text.is_empty(),
        (Some(begin), _) => text.starts_with(begin),
        (_, Some(end)) => text.ends_with(end),
        _ => text == pattern,
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn any(all: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    not(both(all.map(not)))
}

/// All of them: one that is false decides, one that is unknown leaves it open.
fn both(all: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut known = true;
    for one in all {
        match one {
            Some(false) => return Some(false),
            Some(true) => {}
            None => known = false,
        }
    }
    known.then_some(true)
}

fn not(one: Option<bool>) -> Option<bool> {
    one.map(|known| !known)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts(path: &str) -> Facts {
        Facts {
            method: "GET".to_owned(),
            host: "guarded:9090".to_owned(),
            path: path.to_owned(),
            port: 9090,
            ..Facts::default()
        }
    }

    fn policy(action: &str, rules: &Value) -> Value {
        json!({"metadata": {"namespace": "shop"}, "spec": {"action": action, "rules": rules}})
    }

    #[test]
    fn deny_goes_before_allow_and_without_allow_everything_passes() {
        let deny = policy("DENY", &json!([{"to": [{"operation": {"paths": ["/a"]}}]}]));
        let allow = policy(
            "ALLOW",
            &json!([{"to": [{"operation": {"paths": ["/a", "/b*"]}}]}]),
        );
        assert_eq!(passes(&[], &facts("/a")), Some(true));
        assert_eq!(passes(&[deny.clone(), allow.clone()], &facts("/a")), Some(false));
        assert_eq!(passes(&[deny.clone(), allow.clone()], &facts("/bc")), Some(true));
        assert_eq!(passes(&[allow], &facts("/c")), Some(false));
        assert_eq!(passes(&[deny], &facts("/c")), Some(true));
        assert_eq!(
            passes(&[policy("ALLOW", &Value::Null)], &facts("/c")),
            Some(false)
        );
        assert_eq!(passes(&[policy("ALLOW", &json!([{}]))], &facts("/c")), Some(true));
        assert_eq!(passes(&[policy("AUDIT", &json!([{}]))], &facts("/c")), Some(true));
    }

    #[test]
    fn a_negation_takes_what_is_not_there_and_what_is_unknown_leaves_it_open() {
        let rules = json!([{"from": [{"source": {"notPrincipals": ["*"]}}]}]);
        let plain = facts("/");
        let peer = Facts {
            namespace: Some("shop"),
            ..facts("/")
        };
        assert_eq!(passes(&[policy("DENY", &rules)], &plain), Some(false));
        assert_eq!(passes(&[policy("DENY", &rules)], &peer), Some(true));
        let paths = policy("DENY", &json!([{"to": [{"operation": {"paths": ["/a"]}}]}]));
        assert_eq!(passes(&[paths], &facts("/x/../a")), None);
    }

    #[test]
    fn templates_take_segments_and_one_of_several_headers_will_do() {
        assert_eq!(path("/api/{*}/items", "/api/v1/items"), Some(true));
        assert_eq!(path("/api/{*}/items", "/api//items"), None);
        assert_eq!(path("/api/{*}/items", "/api/v1/v2/items"), Some(false));
        assert_eq!(path("/api/{**}", "/api/v1/v2"), Some(true));
        assert_eq!(path("/api/{**}", "/api"), Some(false));
        let two = Facts {
            headers: vec![("x-team", "red".to_owned()), ("x-team", "blue".to_owned())],
            ..facts("/")
        };
        let says = |value: &str| attribute("request.headers[X-Team]", value, &two);
        assert_eq!(says("blue"), Some(true));
        assert_eq!(says("red,blue"), Some(false));
        assert_eq!(says("re*"), Some(true));
    }
}
