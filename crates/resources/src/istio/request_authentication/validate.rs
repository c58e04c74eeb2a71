//! What Istio's webhook says about a RequestAuthentication by itself.

use std::collections::BTreeSet;

use super::{JwtRule, LONGEST_FETCH, RequestAuthentication};
use crate::istio::policy_target::Targets;
use crate::istio::report::Report;
use crate::{Key, Kind, Problem};

/// Headers of one hop, and those that say how long a message is: what a token claims has no place there.
const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Parameters of keys that are nobody's but the signer's.
const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "k"];

impl RequestAuthentication {
    /// What is wrong with the object by itself.
    pub fn validate(&self) -> Vec<Problem> {
        let (meta, spec) = (&self.metadata, &self.spec);
        let key = Key::new(Kind::RequestAuthentication, &meta.namespace, &meta.name);
        let mut report = Report::new(key);
        report.policy_targets(&Targets {
            selector: spec.selector.as_ref(),
            target_ref: spec.target_ref.as_ref(),
            target_refs: &spec.target_refs,
        });
        for (index, rule) in spec.jwt_rules.iter().enumerate() {
            let field = format!("spec.jwtRules[{index}]");
            rule_by_itself(&mut report, &field, rule);
            locations(&mut report, &field, rule);
            outputs(&mut report, &field, rule);
        }
        report.into_problems()
    }
}

fn rule_by_itself(report: &mut Report, field: &str, rule: &JwtRule) {
    if rule.audiences.iter().any(String::is_empty) {
        report.error(&format!("{field}.audiences"), "audience must be non-empty string");
    }
    let uri = rule.key_set_uri();
    if rule.issuer.is_empty() && uri.is_empty() {
        report.error(field, "issuer or jwksUri must be non-empty string");
    }
    let ways = [&rule.jwks_uri, &rule.jwks_uri_by_its_old_name, &rule.jwks];
    if ways.iter().filter(|way| !way.is_empty()).count() > 1 {
        report.error(field, "only one of jwks or jwksUri can be set");
    }
    if !uri.is_empty() {
        key_set_uri(report, &format!("{field}.jwksUri"), uri);
    }
    if !rule.jwks.is_empty() {
        key_set(report, &format!("{field}.jwks"), &rule.jwks);
    }
    let field = format!("{field}.timeout");
    report.duration(&field, rule.timeout);
    if rule.timeout.is_some_and(|timeout| timeout.0 > LONGEST_FETCH) {
        report.warning(
            &field,
            format!("keys are fetched within {LONGEST_FETCH:?}, whatever is asked for"),
        );
    }
}

fn key_set_uri(report: &mut Report, field: &str, uri: &str) {
    let Some((scheme, rest)) = uri.split_once("://") else {
        return report.error(field, "URI scheme \"\" is not supported");
    };
    if !matches!(scheme, "http" | "https") {
        return report.error(field, format!("URI scheme {scheme:?} is not supported"));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() || authority.starts_with(':') {
        report.error(field, format!("parse {uri:?}: there is no host"));
    } else if authority.contains('@') {
        report.error(field, format!("parse {uri:?}: a user is not supported"));
    } else if !uri.bytes().all(|byte| byte.is_ascii_graphic()) {
        report.error(field, format!("parse {uri:?}: invalid character in URL"));
    }
}

/// Whether the keys can be used is found out by who verifies with them; here it is about what Istio refuses.
fn key_set(report: &mut Report, field: &str, text: &str) {
    let object: serde_json::Value = match serde_json::from_str(text) {
        Ok(object) => object,
        Err(error) => return report.error(field, format!("jwks parse error: {error}")),
    };
    let Some(keys) = object.get("keys").and_then(serde_json::Value::as_array) else {
        // Certificates by key id have no such list.
        if !object.is_object() {
            report.error(field, "jwks parse error: it is not an object");
        }
        return;
    };
    for (index, key) in keys.iter().enumerate() {
        if key.get("kty").is_none_or(|kind| !kind.is_string()) {
            report.error(
                field,
                format!("jwks parse error: key at index {index} has no kty"),
            );
        }
        if PRIVATE.iter().any(|name| key.get(name).is_some()) {
            let message = format!(
                "jwks key at index {index} contains private key material; only public keys are used for verification"
            );
            report.warning(field, message);
        }
    }
}

fn locations(report: &mut Report, field: &str, rule: &JwtRule) {
    for (index, header) in rule.from_headers.iter().enumerate() {
        let field = format!("{field}.fromHeaders[{index}].name");
        if header.name.is_empty() {
            report.error(&field, "location header name must be non-empty string");
        } else if !is_field_name(&header.name) {
            report.error(
                &field,
                format!("header name {:?} is not a valid header name", header.name),
            );
        }
    }
    if rule.from_params.iter().any(String::is_empty) {
        let message = "location query must be non-empty string";
        report.error(&format!("{field}.fromParams"), message);
    }
    if rule.from_cookies.iter().any(String::is_empty) {
        report.error(
            &format!("{field}.fromCookies"),
            "cookie name must be non-empty string",
        );
    }
}

fn outputs(report: &mut Report, field: &str, rule: &JwtRule) {
    let payload = &rule.output_payload_to_header;
    if !payload.is_empty() && !is_field_name(payload) {
        let message = format!("header name {payload:?} is not a valid header name");
        report.error(&format!("{field}.outputPayloadToHeader"), message);
    } else if frames_messages(payload) {
        report.error(&format!("{field}.outputPayloadToHeader"), reserved(payload));
    }
    let mut names = BTreeSet::new();
    for (index, output) in rule.output_claim_to_headers.iter().enumerate() {
        let field = format!("{field}.outputClaimToHeaders[{index}]");
        if output.claim.is_empty() || output.header.is_empty() {
            let message = "outputClaimToHeaders header and claim value must be non-empty string";
            report.error(&field, message);
            continue;
        }
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if !output.header.bytes().all(letter) {
            report.error(
                &format!("{field}.header"),
                format!("header name {:?} is not a valid header name", output.header),
            );
        } else if frames_messages(&output.header) {
            report.error(&format!("{field}.header"), reserved(&output.header));
        } else if !names.insert(output.header.to_ascii_lowercase()) {
            report.warning(
                &format!("{field}.header"),
                format!(
                    "header {:?} is set by several claims: the workload gets all of them",
                    output.header
                ),
            );
        }
    }
}

fn frames_messages(name: &str) -> bool {
    FRAMING.iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn reserved(name: &str) -> String {
    format!("header name {name:?} is reserved; the proxy frames messages itself")
}

/// RFC 9110, 5.1: what HTTP takes as the name of a field.
fn is_field_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    name.bytes().all(letter)
}
