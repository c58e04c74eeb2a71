//! ValidatingAdmissionPolicies: expressions of the cluster's owner that judge a write, once for every binding that
//! selects it and every parameter that the binding names.
//!
//! There is no audit log: `Audit` and audit annotations are checked and then forgotten.
//! <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/>

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::conditions::{self, Programs};
use super::rules::{self, Matching};
use super::{Lookup, Review, forbidden};
use crate::api::cel::{Budget, Value, Variables};
use crate::api::client::Object;
use crate::api::{Gvr, Status, label_selector};

const GROUP: &str = "admissionregistration.k8s.io";
pub const POLICIES: Gvr = Gvr::fixed(GROUP, "v1", "validatingadmissionpolicies");
pub const BINDINGS: Gvr = Gvr::fixed(GROUP, "v1", "validatingadmissionpolicybindings");

/// Of a message; a longer one is replaced by the expression.
const MESSAGE: usize = 5 << 10;

/// Why a policy does not let a write pass.
#[derive(Debug)]
struct Finding {
    message: String,
    reason: &'static str,
    code: u16,
}

/// A policy and a binding of it, at work on one write.
struct Bound<'a> {
    programs: &'a Programs,
    policy: &'a Json,
    binding: &'a Json,
}

/// Asks all policies; what those say that only warn.
pub(super) fn validate(
    programs: &Programs,
    lookup: &dyn Lookup,
    review: &Review<'_>,
    object: &Json,
) -> Result<Vec<String>, Status> {
    let mut warnings = Vec::new();
    // Else a policy could keep itself from being removed.
    if review.kind.gvr.group == GROUP {
        return Ok(warnings);
    }
    let bindings = lookup.all(&BINDINGS);
    if bindings.is_empty() {
        return Ok(warnings);
    }
    let (bindings, policies) = (by_name(bindings), by_name(lookup.all(&POLICIES)));
    let mut refusals = Vec::new();
    for policy in &policies {
        let name = &policy["metadata"]["name"];
        let Some(kind) = rules::kind(&Matching::of_policy(policy), lookup, review, object) else {
            continue;
        };
        for binding in bindings
            .iter()
            .filter(|binding| binding["spec"]["policyName"] == *name)
        {
            let matching = Matching::of_binding(binding);
            if !rules::selects(&matching, lookup, review, object) {
                continue;
            }
            let bound = Bound {
                programs,
                policy,
                binding,
            };
            let unseen = kind.gvr != review.kind.gvr && kind.webhook().is_some();
            let findings = if unseen {
                bound.trouble("objects that a webhook converts are not shown in another version".to_owned())
            } else {
                let seen = conditions::variables(lookup, review, (&kind, object));
                bound.findings(lookup, review, &seen)
            };
            for finding in findings {
                bound.act(review, &finding, &mut warnings, &mut refusals);
            }
        }
    }
    refusals.into_iter().next().map_or(Ok(warnings), Err)
}

impl Bound<'_> {
    /// What speaks against the write, for every parameter.
    fn findings(&self, lookup: &dyn Lookup, review: &Review<'_>, seen: &Variables<'_>) -> Vec<Finding> {
        let parameters = match self.parameters(lookup, review) {
            Ok(parameters) => parameters,
            Err(why) => return self.trouble(format!("failed to configure binding: {why}")),
        };
        let mut budget = Budget::default();
        let mut found = Vec::new();
        for parameter in parameters {
            let mut seen = seen.clone();
            seen.insert("params", parameter.map_or(Value::Null, |one| Value::from(&*one)));
            found.extend(self.judge(&mut seen, &mut budget));
        }
        found
    }

    fn judge(&self, seen: &mut Variables<'_>, budget: &mut Budget) -> Vec<Finding> {
        let spec = &self.policy["spec"];
        match conditions::hold(self.programs, &spec["matchConditions"], seen, budget) {
            Ok(true) => {}
            Ok(false) => return Vec::new(),
            Err(why) => return self.trouble(why),
        }
        let names = self.variables(seen, budget);
        let mut found = Vec::new();
        for validation in spec["validations"].as_array().into_iter().flatten() {
            let text = validation["expression"].as_str().unwrap_or_default();
            match self.run(text, &names, seen, budget) {
                Ok(Value::Bool(true)) => {}
                Ok(Value::Bool(false)) => {
                    let message = self.message(validation, &names, seen, budget);
                    let (reason, code) = reason(&validation["reason"]);
                    found.push(Finding {
                        message,
                        reason,
                        code,
                    });
                }
                Ok(_) => found.extend(self.trouble(format!(
                    "expression '{text}' resulted in error: cel expression must evaluate to a bool"
                ))),
                Err(why) => {
                    found.extend(self.trouble(format!("expression '{text}' resulted in error: {why}")));
                }
            }
        }
        found
    }

    /// Computes `variables`, each of which may use those before it; one that fails fails whoever looks at it.
    fn variables(&self, seen: &mut Variables<'_>, budget: &mut Budget) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let mut values = Vec::new();
        for variable in self.policy["spec"]["variables"].as_array().into_iter().flatten() {
            let text = |field: &str| variable[field].as_str().unwrap_or_default();
            let value = self
                .run(text("expression"), &names, seen, budget)
                .unwrap_or_else(|why| {
                    let why = format!(
                        "composited variable \"{}\" fails to evaluate: {why}",
                        text("name")
                    );
                    Value::Failed(Arc::from(why))
                });
            names.push(text("name").to_owned());
            values.push((Value::text(text("name")), value));
            seen.insert("variables", Value::Map(Arc::new(values.clone())));
        }
        names
    }

    fn run(
        &self,
        text: &str,
        names: &[String],
        seen: &Variables<'_>,
        budget: &mut Budget,
    ) -> Result<Value, String> {
        let program = self.programs.get(text, names);
        let program = program.map_err(|refused| format!("compilation failed: {refused}"))?;
        program.run(seen, budget).map_err(|failed| failed.to_string())
    }

    fn message(
        &self,
        validation: &Json,
        names: &[String],
        seen: &Variables<'_>,
        budget: &mut Budget,
    ) -> String {
        if let Some(text) = validation["messageExpression"].as_str()
            && let Ok(Value::String(message)) = self.run(text, names, seen, budget)
            && !message.trim().is_empty()
            && message.len() <= MESSAGE
            && !message.contains('\n')
        {
            return message.trim().to_owned();
        }
        match validation["message"].as_str().unwrap_or_default().trim() {
            "" => {
                let text = validation["expression"].as_str().unwrap_or_default();
                format!("failed expression: {}", text.trim())
            }
            message => message.to_owned(),
        }
    }

    /// A policy that could not be computed: `failurePolicy` decides.
    fn trouble(&self, message: String) -> Vec<Finding> {
        if self.policy["spec"]["failurePolicy"] == "Ignore" {
            tracing::warn!(policy = %self.policy["metadata"]["name"], message, "admission goes on without this policy");
            return Vec::new();
        }
        let (reason, code) = reason(&Json::Null);
        vec![Finding {
            message,
            reason,
            code,
        }]
    }

    /// The objects that the binding names; one `None` when the policy takes none.
    fn parameters(&self, lookup: &dyn Lookup, review: &Review<'_>) -> Result<Vec<Option<Object>>, String> {
        let kind = &self.policy["spec"]["paramKind"];
        let wanted = &self.binding["spec"]["paramRef"];
        if !kind.is_object() || !wanted.is_object() {
            return Ok(vec![None]);
        }
        let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
        let (api_version, kind) = (text(&kind["apiVersion"]), text(&kind["kind"]));
        let registry = lookup.registry();
        let kind = registry.find_kind(&api_version, &kind).ok_or_else(|| {
            format!("failed to find resource referenced by paramKind: '{api_version}, Kind={kind}'")
        })?;
        let namespace = match (kind.namespaced, wanted["namespace"].as_str()) {
            (false, _) => String::new(),
            (true, Some(given)) if !given.is_empty() => given.to_owned(),
            (true, _) if review.namespace.is_empty() => {
                return Err(
                    "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                        .to_owned(),
                );
            }
            (true, _) => review.namespace.to_owned(),
        };
        let found: Vec<Object> = match wanted["name"].as_str() {
            Some(name) if !name.is_empty() => lookup.find(&kind.gvr, &namespace, name).into_iter().collect(),
            _ => {
                let all = lookup.all(&kind.gvr).into_iter();
                let here = all.filter(|one| !kind.namespaced || one["metadata"]["namespace"] == *namespace);
                let selector = &wanted["selector"];
                here.filter(|one| label_selector::matches(selector, &one["metadata"]["labels"]))
                    .collect()
            }
        };
        if found.is_empty() && wanted["parameterNotFoundAction"] != "Allow" {
            return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
        }
        Ok(found.into_iter().map(Some).collect())
    }

    fn act(
        &self,
        review: &Review<'_>,
        finding: &Finding,
        warnings: &mut Vec<String>,
        refusals: &mut Vec<Status>,
    ) {
        let text = |object: &Json| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let who = format!(
            "ValidatingAdmissionPolicy '{}' with binding '{}'",
            text(self.policy),
            text(self.binding)
        );
        for action in self.binding["spec"]["validationActions"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let message = &finding.message;
            match action.as_str() {
                Some("Deny") => {
                    let why = format!("{who} denied request: {message}");
                    let mut status = forbidden(review, &why);
                    status.details["causes"] = json!([{"message": why}]);
                    (status.reason, status.code) = (finding.reason, finding.code);
                    refusals.push(status);
                }
                Some("Warn") => warnings.push(format!("Validation failed for {who}: {message}")),
                _ => {}
            }
        }
    }
}

/// What the caller is told, and with which status.
fn reason(wanted: &Json) -> (&'static str, u16) {
    match wanted.as_str() {
        Some("Unauthorized") => ("Unauthorized", 401),
        Some("Forbidden") => ("Forbidden", 403),
        Some("RequestEntityTooLarge") => ("RequestEntityTooLarge", 413),
        _ => ("Invalid", 422),
    }
}

fn by_name(mut objects: Vec<Object>) -> Vec<Object> {
    objects.sort_by(|left, right| {
        let name = |object: &Json| object["metadata"]["name"].as_str().map(str::to_owned);
        name(left).cmp(&name(right))
    });
    objects
}
