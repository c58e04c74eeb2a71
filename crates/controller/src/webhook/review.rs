//! `AdmissionReview`, version v1: the question and the answer.
//! <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#request>

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// A question.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Review {
    uid: String,
    pub(crate) namespace: String,
    pub(crate) dry_run: bool,
    pub(crate) object: Value,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Allowed {
        patch: Option<Value>,
        warnings: Vec<String>,
    },
    Denied {
        message: String,
        warnings: Vec<String>,
    },
}

impl Answer {
    /// Admitted as it is.
    pub(crate) fn unchanged() -> Self {
        Self::Allowed {
            patch: None,
            warnings: Vec::new(),
        }
    }
}

impl Review {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, String> {
        if body.is_empty() {
            return Err("no body found".to_owned());
        }
        let mut review: Value =
            serde_json::from_slice(body).map_err(|error| format!("could not decode body: {error}"))?;
        let Some(request) = review.get_mut("request").and_then(Value::as_object_mut) else {
            return Err("could not decode body: there is no request".to_owned());
        };
        let text = |field: &str| request.get(field).and_then(Value::as_str).map(str::to_owned);
        let uid = text("uid").ok_or("could not decode body: the request has no uid")?;
        Ok(Self {
            uid,
            namespace: text("namespace").unwrap_or_default(),
            dry_run: request.get("dryRun") == Some(&Value::Bool(true)),
            object: request.remove("object").unwrap_or_default(),
        })
    }

    pub(crate) fn answer(&self, answer: &Answer) -> Value {
        let mut response = json!({"uid": self.uid});
        let warnings = match answer {
            Answer::Allowed { patch, warnings } => {
                response["allowed"] = true.into();
                if let Some(patch) = patch {
                    response["patchType"] = "JSONPatch".into();
                    response["patch"] = STANDARD.encode(patch.to_string()).into();
                }
                warnings
            }
            Answer::Denied { message, warnings } => {
                response["allowed"] = false.into();
                response["status"] = json!({"message": message});
                warnings
            }
        };
        if !warnings.is_empty() {
            response["warnings"] = warnings.iter().map(String::as_str).collect();
        }
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review() -> Review {
        let body = json!({"request": {"uid": "7", "namespace": "shop", "object": {"kind": "Pod"}}});
        Review::parse(body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn an_answer_repeats_the_questions_uid() {
        let allowed = review().answer(&Answer::Allowed {
            patch: Some(json!([])),
            warnings: vec!["careful".to_owned()],
        });
        assert_eq!(
            allowed["response"],
            json!({"uid": "7", "allowed": true, "patchType": "JSONPatch", "patch": "W10=", "warnings": ["careful"]})
        );
        let denied = review().answer(&Answer::Denied {
            message: "no".to_owned(),
            warnings: Vec::new(),
        });
        assert_eq!(
            denied["response"],
            json!({"uid": "7", "allowed": false, "status": {"message": "no"}})
        );
    }

    #[test]
    fn what_is_no_review_is_refused() {
        for body in ["", "{", "[]", "{}", r#"{"request": {}}"#, r#"{"request": 1}"#] {
            assert!(Review::parse(body.as_bytes()).is_err(), "{body:?}");
        }
    }
}
