//! Who a write is by, in `managedFields`: the parameter `fieldManager`, or else the program's name in `User-Agent`.

use http::header::USER_AGENT;
use http::{HeaderMap, Method};
use serde_json::json;

use super::super::Status;
use super::super::field::go_quote;
use super::body;
use super::service::{Parameters, header};

/// As long as a name may be, in bytes.
const LIMIT: usize = 128;

/// The name; a PATCH must say it for server-side apply, and may only then say `force`.
pub(super) fn of(method: &Method, headers: &HeaderMap, parameters: &Parameters) -> Result<String, Status> {
    let given = parameters.get("fieldManager").unwrap_or_default();
    let options = match *method {
        Method::POST => "CreateOptions",
        Method::PATCH => "PatchOptions",
        _ => "UpdateOptions",
    };
    let mut problems = Vec::new();
    if *method == Method::PATCH {
        let applies = body::media_type(headers) == "application/apply-patch+yaml";
        if applies && given.is_empty() {
            problems.push((
                "FieldValueRequired",
                "fieldManager",
                "Required value: is required for apply patch".to_owned(),
            ));
        } else if !applies && parameters.get("force").is_some() {
            problems.push((
                "FieldValueForbidden",
                "force",
                "Forbidden: may not be specified for non-apply patch".to_owned(),
            ));
        }
    }
    if given.len() > LIMIT {
        let why = format!("Too long: may not be more than {LIMIT} bytes");
        problems.push(("FieldValueTooLong", "fieldManager", why));
    }
    for (at, letter) in given.char_indices().filter(|(_, letter)| letter.is_control()) {
        let why = format!(
            "Invalid value: {}: invalid character U+{:04X} (at position {at})",
            go_quote(given),
            u32::from(letter)
        );
        problems.push(("FieldValueInvalid", "fieldManager", why));
    }
    if !problems.is_empty() {
        return Err(invalid(options, &problems));
    }
    if given.is_empty() {
        return Ok(program(header(headers, USER_AGENT.as_str()).unwrap_or_default()));
    }
    Ok(given.to_owned())
}

/// `kubectl` of `kubectl/v1.33.1 (linux/amd64) kubernetes/8adc0f0`.
fn program(agent: &str) -> String {
    let name = agent.split('/').next().unwrap_or_default();
    let mut short = String::new();
    for letter in name.chars().filter(|letter| !letter.is_control()) {
        if short.len() + letter.len_utf8() > LIMIT {
            break;
        }
        short.push(letter);
    }
    short
}

fn invalid(options: &str, problems: &[(&str, &str, String)]) -> Status {
    let texts: Vec<String> = problems
        .iter()
        .map(|(_, field, why)| format!("{field}: {why}"))
        .collect();
    let all = match texts.as_slice() {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    };
    let causes: Vec<_> = problems
        .iter()
        .map(|(reason, field, why)| json!({"reason": reason, "message": why, "field": field}))
        .collect();
    Status {
        details: json!({"group": "meta.k8s.io", "kind": options, "causes": causes}),
        ..Status::new(
            422,
            "Invalid",
            format!("{options}.meta.k8s.io \"\" is invalid: {all}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_what_stands_before_the_slash() {
        assert_eq!(program("kubectl/v1.33.1 (linux/amd64)"), "kubectl");
        assert_eq!(program("curl"), "curl");
        assert_eq!(program(""), "");
        assert_eq!(program(&"ä".repeat(100)).len(), 128);
    }
}
