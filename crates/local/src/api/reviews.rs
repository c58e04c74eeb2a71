//! Objects that are questions: created, answered and forgotten. Who somebody is, and what they may do.

use std::time::{Duration, SystemTime};

use daemon::clock;
use serde_json::{Value, json};

use super::rbac::{Access, MASTERS, Resource, Rule, What};
use super::tokens::{self, Request};
use super::verbs::{Api, Target};
use super::{Gvr, Status, User, gvr, time};

/// The collections that are questions. They are served for `create` alone.
pub const REVIEWS: &[(Gvr, &str, bool)] = &[
    (
        Gvr::fixed("authentication.k8s.io", "v1", "selfsubjectreviews"),
        "SelfSubjectReview",
        false,
    ),
    (
        Gvr::fixed("authentication.k8s.io", "v1", "tokenreviews"),
        "TokenReview",
        false,
    ),
    (
        Gvr::fixed("authorization.k8s.io", "v1", "localsubjectaccessreviews"),
        "LocalSubjectAccessReview",
        true,
    ),
    (
        Gvr::fixed("authorization.k8s.io", "v1", "selfsubjectaccessreviews"),
        "SelfSubjectAccessReview",
        false,
    ),
    (
        Gvr::fixed("authorization.k8s.io", "v1", "selfsubjectrulesreviews"),
        "SelfSubjectRulesReview",
        false,
    ),
    (
        Gvr::fixed("authorization.k8s.io", "v1", "subjectaccessreviews"),
        "SubjectAccessReview",
        false,
    ),
];

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Api {
    /// Answers a question of one of the [`REVIEWS`], asked in a namespace or (empty) in none.
    ///
    /// # Errors
    /// 400 or 422 when the question cannot be understood.
    pub fn review_question(
        &self,
        (kind, namespace): (&str, &str),
        user: &User,
        mut question: Value,
    ) -> Result<Value, Status> {
        if !question.is_object() {
            return Err(Status::bad_request("the object provided is unrecognized"));
        }
        let spec = &question["spec"];
        let answer = match kind {
            "SelfSubjectReview" => json!({"userInfo": user_info(user)}),
            "TokenReview" => self.review_token(spec, clock::wall()),
            "SelfSubjectRulesReview" => self.rules(spec, user)?,
            "SelfSubjectAccessReview" => self.access(kind, spec, user)?,
            _ => {
                if kind == "LocalSubjectAccessReview" {
                    check_namespace(spec, namespace)?;
                }
                let asked = User {
                    name: spec["user"].as_str().unwrap_or_default().to_owned(),
                    groups: strings(&spec["groups"]),
                    ..User::default()
                };
                if asked.name.is_empty() && asked.groups.is_empty() {
                    let why = "Invalid value: \"\": at least one of user or group must be specified";
                    return Err(invalid(kind, "spec.user", why));
                }
                self.access(kind, spec, &asked)?
            }
        };
        if !question["metadata"].is_object() {
            question["metadata"] = json!({});
        }
        question["status"] = answer;
        Ok(question)
    }

    /// Whether somebody may do what `spec` says.
    fn access(&self, kind: &str, spec: &Value, user: &User) -> Result<Value, Status> {
        let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
        let text = |attributes: &'_ Value, field: &str| -> String {
            attributes[field].as_str().unwrap_or_default().to_owned()
        };
        let decision = match (resource.is_object(), path.is_object()) {
            (true, true) => {
                let why = format!(
                    "Invalid value: {path}: cannot be specified in combination with resourceAttributes"
                );
                return Err(invalid(kind, "spec.nonResourceAttributes", &why));
            }
            (false, false) => {
                let why = "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified";
                return Err(invalid(kind, "spec.resourceAttributes", why));
            }
            (true, false) => {
                let given = ["verb", "group", "resource", "subresource", "namespace", "name"];
                let [verb, group, resource, subresource, namespace, name] =
                    given.map(|field| text(resource, field));
                let what = What::Resource(Resource {
                    group: &group,
                    resource: &resource,
                    subresource: &subresource,
                    namespace: &namespace,
                    name: &name,
                });
                let verb = verb.as_str();
                self.rights.decide(user, &Access { verb, what })
            }
            (false, true) => {
                let (verb, path) = (text(path, "verb"), text(path, "path"));
                let what = What::Path(&path);
                self.rights.decide(user, &Access { verb: &verb, what })
            }
        };
        let mut status = json!({"allowed": decision.allowed});
        if !decision.reason.is_empty() {
            status["reason"] = decision.reason.into();
        }
        Ok(status)
    }

    /// All that the caller may do in a namespace: `kubectl auth can-i --list`.
    fn rules(&self, spec: &Value, user: &User) -> Result<Value, Status> {
        let namespace = spec["namespace"].as_str().unwrap_or_default();
        if namespace.is_empty() {
            return Err(Status::bad_request("no namespace on request"));
        }
        let mut rules = self.rights.now().rules(user, namespace);
        if user.groups.iter().any(|group| group == MASTERS) {
            rules.splice(0..0, Rule::everything());
        }
        let (paths, resources): (Vec<Rule>, Vec<Rule>) =
            rules.into_iter().partition(|rule| !rule.paths.is_empty());
        let shown = |rules: &[Rule]| rules.iter().map(Rule::to_json).collect::<Vec<_>>();
        Ok(
            json!({"resourceRules": shown(&resources), "nonResourceRules": shown(&paths), "incomplete": false}),
        )
    }

    fn review_token(&self, spec: &Value, now: SystemTime) -> Value {
        let token = spec["token"].as_str().unwrap_or_default();
        match self
            .tokens
            .check(&self.store, token, &strings(&spec["audiences"]), now)
        {
            Ok(proven) => json!({
                "authenticated": true, "user": user_info(&proven.user), "audiences": proven.audiences,
            }),
            Err(why) => json!({"user": {}, "error": format!("invalid bearer token: {why}")}),
        }
    }

    /// `serviceaccounts/NAME/token`: a token as the `TokenRequest` asks for it.
    ///
    /// # Errors
    /// When the ServiceAccount or the pod is not there, or the lifetime too short.
    pub fn issue_token(&self, account: &Target, mut request: Value) -> Result<Value, Status> {
        let service_account = self.get(account)?;
        let spec = &request["spec"];
        let seconds = spec["expirationSeconds"].as_u64().unwrap_or(3600);
        if seconds < 600 {
            return Err(Status::new(
                422,
                "Invalid",
                format!(
                    "TokenRequest.authentication.k8s.io \"{}\" is invalid: spec.expirationSeconds: Invalid value: \
                     {seconds}: may not specify a duration less than 10 minutes",
                    account.name
                ),
            ));
        }
        let pod = self.bound_pod(account, &spec["boundObjectRef"])?;
        let mut audiences = strings(&spec["audiences"]);
        if audiences.is_empty() {
            audiences.push(tokens::ISSUER.to_owned());
        }
        let lifetime = Duration::from_secs(seconds).min(DAY);
        let id = format!("{:032x}", rand::random::<u128>());
        let asked = Request {
            service_account: &service_account,
            pod: pod.as_deref(),
            audiences: audiences.clone(),
            lifetime,
        };
        let now = clock::wall();
        let (token, expires) = self
            .tokens
            .issue(&asked, now, &id)
            .map_err(|error| Status::internal(error.to_string()))?;
        let bound = spec["boundObjectRef"].clone();
        request["kind"] = "TokenRequest".into();
        request["apiVersion"] = "authentication.k8s.io/v1".into();
        request["metadata"] = json!({
            "name": account.name, "namespace": account.namespace, "creationTimestamp": time::rfc3339(now),
        });
        request["spec"] = json!({
            "audiences": audiences, "expirationSeconds": lifetime.as_secs(), "boundObjectRef": bound,
        });
        request["status"] = json!({"token": token, "expirationTimestamp": time::rfc3339(expires)});
        Ok(request)
    }

    fn bound_pod(&self, account: &Target, bound: &Value) -> Result<Option<super::client::Object>, Status> {
        if bound.is_null() {
            return Ok(None);
        }
        if bound["kind"] != "Pod" {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount {:?} to object of kind {}: only pods are supported",
                account.name, bound["kind"]
            )));
        }
        let name = bound["name"].as_str().unwrap_or_default();
        let target = Target {
            kind: self.kind(&gvr::PODS)?,
            namespace: account.namespace.clone(),
            name: name.to_owned(),
        };
        let pod = self.get(&target)?;
        let uid = bound["uid"].as_str().unwrap_or_default();
        if !uid.is_empty() && pod["metadata"]["uid"] != uid {
            return Err(Status::conflict(
                &gvr::PODS,
                name,
                &format!(
                    "the UID in the bound object reference ({uid}) does not match the UID in record. The object might \
                     have been deleted and then recreated"
                ),
            ));
        }
        if pod["spec"]["serviceAccountName"] != account.name {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                account.name
            )));
        }
        Ok(Some(pod))
    }
}

/// A local question is about its own namespace.
fn check_namespace(spec: &Value, namespace: &str) -> Result<(), Status> {
    if spec["resourceAttributes"]["namespace"] == namespace {
        return Ok(());
    }
    Err(Status::bad_request(format!(
        "spec.resourceAttributes.namespace must match namespace: {namespace}"
    )))
}

fn invalid(kind: &str, field: &str, why: &str) -> Status {
    let message = format!("{kind}.authorization.k8s.io \"\" is invalid: {field}: {why}");
    Status {
        details: json!({"group": "authorization.k8s.io", "kind": kind, "causes": [
            {"reason": "FieldValueInvalid", "message": why, "field": field}]}),
        ..Status::new(422, "Invalid", message)
    }
}

fn user_info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = user.uid.clone().into();
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

fn strings(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}
