//! `/validate`: judges one of Istio's objects by itself. What it means beside others is found afterwards, by analysis.

use daemon::metrics::{Counters, Registry};
use resources::{Code, Level, Problem, Resource};
use serde_json::Value;

use super::review::{Answer, Review};

/// Marks the dry run by which the controller finds out that the API server reaches it.
pub(crate) const PROBE: &str = "amime.io/validation-probe";
/// What that dry run is answered.
pub(crate) const SERVED: &str = "validation is served";

pub(crate) struct Validator {
    passed: Counters,
    failed: Counters,
}

impl Validator {
    pub(crate) fn new(metrics: &Registry) -> Self {
        let labels = &["group", "resource"];
        Self {
            passed: metrics.counters("galley_validation_passed", "Objects that were admitted.", labels),
            failed: metrics.counters("galley_validation_failed", "Objects that were refused.", labels),
        }
    }

    pub(crate) fn judge(&self, review: &Review) -> Answer {
        let answer = judge(&review.object, review.dry_run);
        let text = |field: &str| review.object[field].as_str().unwrap_or_default();
        let group = text("apiVersion").split('/').next().unwrap_or_default();
        let counters = if matches!(answer, Answer::Denied { .. }) {
            &self.failed
        } else {
            &self.passed
        };
        counters.with(&[group, text("kind")]).increment();
        answer
    }
}

fn judge(object: &Value, dry_run: bool) -> Answer {
    if dry_run && !object["metadata"]["annotations"][PROBE].is_null() {
        return Answer::Denied {
            message: SERVED.to_owned(),
            warnings: Vec::new(),
        };
    }
    let problems = match Resource::from_object(object) {
        Ok(decoded) => {
            let mut problems = decoded.warnings;
            problems.extend(decoded.resource.validate());
            problems
        }
        // Kinds that the mesh does not read are somebody else's to judge.
        Err(problem) if problem.code == Code::UnknownKind => return Answer::unchanged(),
        Err(problem) => vec![problem],
    };
    let (errors, warnings): (Vec<_>, Vec<_>) = problems
        .iter()
        .partition(|problem| problem.level() == Level::Error);
    let warnings = warnings.into_iter().map(sentence).collect();
    if errors.is_empty() {
        return Answer::Allowed {
            patch: None,
            warnings,
        };
    }
    let errors: Vec<String> = errors.into_iter().map(sentence).collect();
    Answer::Denied {
        message: format!("configuration is invalid: {}", join(&errors)),
        warnings,
    }
}

fn sentence(problem: &Problem) -> String {
    if problem.field.is_empty() {
        problem.message.clone()
    } else {
        format!("{}: {}", problem.field, problem.message)
    }
}

/// Several errors as Istio lists them.
fn join(errors: &[String]) -> String {
    match errors {
        [one] => one.clone(),
        many => {
            let lines: String = many.iter().map(|error| format!("\t* {error}\n")).collect();
            format!("{} errors occurred:\n{lines}\n", many.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn virtual_service(spec: &Value) -> Value {
        json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
               "metadata": {"name": "backend", "namespace": "shop"}, "spec": spec})
    }

    #[test]
    fn a_good_object_is_admitted_without_a_word() {
        let spec = json!({"hosts": ["backend"], "http": [{"route": [{"destination": {"host": "backend"}}]}]});
        assert_eq!(judge(&virtual_service(&spec), false), Answer::unchanged());
    }

    #[test]
    fn a_bad_object_is_refused_with_its_field() {
        let route = json!([{"destination": {"host": "backend"}, "weight": -1}]);
        let spec = json!({"hosts": ["backend"], "http": [{"route": route}]});
        let Answer::Denied { message, .. } = judge(&virtual_service(&spec), false) else {
            panic!("a negative weight was admitted");
        };
        assert!(message.starts_with("configuration is invalid: "), "{message}");
        assert!(message.contains("weight"), "{message}");
    }

    #[test]
    fn an_unknown_field_is_a_warning() {
        let spec = json!({"hosts": ["backend"], "htp": [], "http": [{"route": [{"destination": {"host": "backend"}}]}]});
        let Answer::Allowed { warnings, .. } = judge(&virtual_service(&spec), false) else {
            panic!("an unknown field is no error");
        };
        assert!(
            warnings.iter().any(|warning| warning.contains("htp")),
            "{warnings:?}"
        );
    }

    #[test]
    fn kinds_of_others_pass() {
        assert_eq!(
            judge(
                &json!({"apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry"}),
                false
            ),
            Answer::unchanged()
        );
        assert_eq!(judge(&json!(null), false), Answer::unchanged());
    }

    #[test]
    fn the_controllers_own_probe_is_recognised_in_a_dry_run_only() {
        let mut object = virtual_service(
            &json!({"hosts": ["backend"], "http": [{"route": [{"destination": {"host": "b"}}]}]}),
        );
        object["metadata"]["annotations"][PROBE] = "".into();
        assert!(matches!(judge(&object, true), Answer::Denied { message, .. } if message == SERVED));
        assert_eq!(judge(&object, false), Answer::unchanged());
    }

    #[test]
    fn several_errors_are_a_list() {
        assert_eq!(join(&["a".to_owned()]), "a");
        assert_eq!(
            join(&["a".to_owned(), "b".to_owned()]),
            "2 errors occurred:\n\t* a\n\t* b\n\n"
        );
    }
}
