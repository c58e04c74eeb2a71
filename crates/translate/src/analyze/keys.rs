//! Keys that are not there: tokens of their issuer are refused, whoever signed them.

use resources::{Code, Key, Problem, RequestAuthentication};

use super::messages;
use crate::Mesh;
use crate::mesh::key_sets::KeySource;

pub(super) fn of_request_authentication(
    mesh: &Mesh,
    key: &Key,
    object: &RequestAuthentication,
    problems: &mut Vec<Problem>,
) {
    for (index, rule) in object.spec.jwt_rules.iter().enumerate() {
        let Some(source) = KeySource::of(rule) else {
            continue;
        };
        // What nobody has tried to fetch, as in a file that is looked at, is no finding.
        let fetched = mesh.key_sets().get(&source);
        let problem = fetched
            .filter(|fetched| fetched.keys.is_none())
            .and_then(|fetched| fetched.problem.as_deref());
        if let Some(problem) = problem {
            let message = messages::keys_unavailable(&source.to_string(), problem);
            let field = format!("spec.jwtRules[{index}]");
            problems.push(Problem::new(Code::KeysUnavailable, key, field, message));
        }
    }
}
