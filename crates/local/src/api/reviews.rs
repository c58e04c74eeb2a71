//! Objects that are questions: created, answered and forgotten. Tokens, and who may do what.
//!
//! Rights are not enforced yet: who is known may do everything (`docs/decisions`), and that is what these say.

use std::time::{Duration, SystemTime};

use daemon::clock;
use serde_json::{Value, json};

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

/// Whether the caller is known: the only right there is.
pub fn is_allowed(user: &User) -> bool {
    user.groups.iter().any(|group| group == "system:authenticated")
}

impl Api {
    /// Answers a question of one of the [`REVIEWS`].
    ///
    /// # Errors
    /// 400 when the question cannot be understood.
    pub fn review_question(&self, kind: &str, user: &User, mut question: Value) -> Result<Value, Status> {
        if !question.is_object() {
            return Err(Status::bad_request("the object provided is unrecognized"));
        }
        let answer = match kind {
            "SelfSubjectReview" => json!({"userInfo": user_info(user)}),
            "TokenReview" => self.review_token(&question["spec"], clock::wall()),
            "SelfSubjectAccessReview" => access(is_allowed(user)),
            "SelfSubjectRulesReview" => json!({
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
                "incomplete": false,
            }),
            _ => {
                let asked = User {
                    groups: strings(&question["spec"]["groups"]),
                    ..User::default()
                };
                let name = question["spec"]["user"].as_str().unwrap_or_default();
                access(is_allowed(&asked) || !name.is_empty() && name != "system:anonymous")
            }
        };
        if !question["metadata"].is_object() {
            question["metadata"] = json!({});
        }
        question["status"] = answer;
        Ok(question)
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

fn access(allowed: bool) -> Value {
    json!({"allowed": allowed, "reason": if allowed { "rights are not enforced in this cluster" } else { "" }})
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
