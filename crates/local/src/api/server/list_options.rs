//! What the query of a list or watch asks for, checked as Kubernetes checks it. Pure.
//!
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>

use serde_json::{Value, json};

use super::super::Status;
use super::super::client::Query;
use super::super::paging::{At, Page};
use super::service::Parameters;

/// What is wrong with one parameter: its name, the cause's reason, and what is said.
type Problem = (&'static str, &'static str, String);

/// The selectors.
pub(super) fn query(parameters: &Parameters) -> Query {
    let text = |name| parameters.get(name).unwrap_or_default().to_owned();
    Query {
        labels: text("labelSelector"),
        fields: text("fieldSelector"),
    }
}

/// Which part of a list is wanted, and at which version.
pub(super) fn page(parameters: &Parameters) -> Result<Page, Status> {
    check(&list_problems(parameters))?;
    let limit = match parameters.get("limit") {
        None => None,
        Some(text) => match text.parse::<i64>() {
            Ok(limit) => usize::try_from(limit).ok().filter(|limit| *limit > 0),
            Err(_) => {
                return Err(Status::bad_request(format!(
                    "strconv.ParseInt: parsing {text:?}: invalid syntax"
                )));
            }
        },
    };
    if let Some(token) = parameters.get("continue") {
        let page = Page::continued(token, limit)?;
        if parameters.get("resourceVersion").is_some_and(|text| text != "0") {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        return Ok(page);
    }
    let at = match (version(parameters)?, parameters.get("resourceVersionMatch")) {
        (None | Some(0), _) => At::Newest,
        (Some(version), Some("Exact")) => At::Exact(version),
        (Some(version), Some(_)) => At::NotOlderThan(version),
        // Older than the parameter: a limit made it exact.
        (Some(version), None) if limit.is_some() => At::Exact(version),
        (Some(version), None) => At::NotOlderThan(version),
    };
    Ok(Page {
        at,
        limit,
        after: None,
    })
}

/// `resourceVersion`, if there is one.
pub(super) fn version(parameters: &Parameters) -> Result<Option<u64>, Status> {
    let Some(text) = parameters.get("resourceVersion") else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| {
        Status::bad_request(format!(
            "invalid resource version: resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: \
             invalid syntax"
        ))
    })
}

fn list_problems(parameters: &Parameters) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(matching) = parameters.get("resourceVersionMatch") {
        let version = parameters.get("resourceVersion");
        if version.is_none() {
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            problems.push(forbidden("resourceVersionMatch", why));
        }
        if parameters.get("continue").is_some() {
            let why = "resourceVersionMatch is forbidden when continue is provided";
            problems.push(forbidden("resourceVersionMatch", why));
        }
        if !matches!(matching, "Exact" | "NotOlderThan") {
            problems.push(unsupported_match(matching, "\"Exact\", \"NotOlderThan\", \"\""));
        }
        if matching == "Exact" && version == Some("0") {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            problems.push(forbidden("resourceVersionMatch", why));
        }
    }
    if parameters.get("sendInitialEvents").is_some() {
        problems.push(forbidden(
            "sendInitialEvents",
            "sendInitialEvents is forbidden for list",
        ));
    }
    problems
}

/// Checks the query of a watch.
pub(super) fn check_watch(parameters: &Parameters) -> Result<(), Status> {
    let mut problems = Vec::new();
    let matching = parameters.get("resourceVersionMatch");
    let initial = parameters.get("sendInitialEvents");
    if initial.is_some() && matching != Some("NotOlderThan") {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        problems.push(forbidden("resourceVersionMatch", why));
    }
    if let Some(matching) = matching {
        if initial.is_none() {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            problems.push(forbidden("resourceVersionMatch", why));
        }
        if matching != "NotOlderThan" {
            problems.push(unsupported_match(matching, "\"NotOlderThan\""));
        }
        if parameters.get("continue").is_some() {
            let why = "resourceVersionMatch is forbidden when continue is provided";
            problems.push(forbidden("resourceVersionMatch", why));
        }
    }
    check(&problems)
}

fn forbidden(field: &'static str, why: &str) -> Problem {
    (field, "FieldValueForbidden", format!("Forbidden: {why}"))
}

fn unsupported_match(given: &str, supported: &str) -> Problem {
    let what = format!("Unsupported value: {given:?}: supported values: {supported}");
    ("resourceVersionMatch", "FieldValueNotSupported", what)
}

/// 422 that names all problems.
fn check(problems: &[Problem]) -> Result<(), Status> {
    if problems.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = problems
        .iter()
        .map(|(field, _, what)| format!("{field}: {what}"))
        .collect();
    let said = match &texts[..] {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    };
    let causes: Vec<Value> = problems
        .iter()
        .map(|(field, reason, what)| json!({"reason": reason, "message": what, "field": field}))
        .collect();
    Err(Status {
        details: json!({"group": "meta.k8s.io", "kind": "ListOptions", "causes": causes}),
        ..Status::new(
            422,
            "Invalid",
            format!("ListOptions.meta.k8s.io \"\" is invalid: {said}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Result<Page, Status> {
        page(&Parameters::of(query))
    }

    #[test]
    fn version_match_and_limit_decide_at_which_version_a_list_is() {
        for (query, at) in [
            ("", At::Newest),
            ("limit=5", At::Newest),
            ("resourceVersion=0", At::Newest),
            ("resourceVersion=0&limit=5", At::Newest),
            (
                "resourceVersion=0&resourceVersionMatch=NotOlderThan&limit=5",
                At::Newest,
            ),
            ("resourceVersion=7", At::NotOlderThan(7)),
            ("resourceVersion=7&limit=0", At::NotOlderThan(7)),
            ("resourceVersion=7&limit=5", At::Exact(7)),
            ("resourceVersion=7&resourceVersionMatch=Exact", At::Exact(7)),
            (
                "resourceVersion=7&resourceVersionMatch=NotOlderThan&limit=5",
                At::NotOlderThan(7),
            ),
        ] {
            assert_eq!(asked(query).unwrap().at, at, "{query}");
        }
    }

    #[test]
    fn what_makes_no_sense_together_is_refused_in_kubernetes_words() {
        let invalid = "ListOptions.meta.k8s.io \"\" is invalid: ";
        for (query, code, said) in [
            (
                "resourceVersionMatch=Exact",
                422,
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
            ),
            (
                "resourceVersionMatch=Exact&resourceVersion=0",
                422,
                "resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ),
            (
                "resourceVersionMatch=Newest&resourceVersion=1",
                422,
                "resourceVersionMatch: Unsupported value: \"Newest\": supported values: \"Exact\", \"NotOlderThan\", \"\"",
            ),
            (
                "resourceVersionMatch=Exact&continue=x",
                422,
                "[resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is \
                 provided, resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided]",
            ),
            (
                "sendInitialEvents=true",
                422,
                "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
            ),
            (
                "resourceVersion=x",
                400,
                "invalid resource version: resourceVersion: Invalid value: \"x\": strconv.ParseUint: parsing \"x\": \
                 invalid syntax",
            ),
            (
                "limit=many",
                400,
                "strconv.ParseInt: parsing \"many\": invalid syntax",
            ),
        ] {
            let status = asked(query).unwrap_err();
            assert_eq!(status.code, code, "{query}");
            assert_eq!(
                status.message.strip_prefix(invalid).unwrap_or(&status.message),
                said
            );
        }
    }
}
