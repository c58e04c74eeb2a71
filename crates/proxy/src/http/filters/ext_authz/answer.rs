//! What a service over HTTP answers: 200 lets a request pass, a failure of its own decides nothing, everything else is
//! what the client gets.

use serde_json::Value;
use snapshot::ext_authz::{HttpService, NamePattern};
use xds::check::{Change, Decision, Mutation, Permission, Refusal, Verdict};

use crate::http::codec::fields::members;
use crate::http::inquiry::Whole;

/// Names of fields that the service took from the request; the workload does not get them.
const REMOVE: &str = "x-envoy-auth-headers-to-remove";
/// Fields of a refusal that the client is told, whatever else is stated.
const ALWAYS: [&str; 2] = ["location", "www-authenticate"];

/// What the answer says.
pub(super) fn decision(mut whole: Whole, service: &HttpService) -> Decision {
    let status = whole.head.status;
    let remove: Vec<String> = whole.head.fields.all(REMOVE).flat_map(names).collect();
    whole.head.fields.remove(REMOVE);
    let verdict = match status {
        500.. => Verdict::Failed(None),
        200 => Verdict::Allowed(permission(&whole, service, remove)),
        _ => Verdict::Denied(Refusal {
            status: Some(status),
            headers: refused_with(&whole, service),
            body: whole.body.to_vec(),
        }),
    };
    let facts = whole.head.fields.iter();
    let facts = facts
        .filter(|(name, _)| status < 500 && takes(&service.to_metadata, name))
        .map(|(name, value)| {
            let text = String::from_utf8_lossy(value).into_owned();
            (name.to_owned(), Value::String(text))
        });
    Decision {
        verdict,
        metadata: facts.collect(),
        is_invalid: false,
    }
}

fn permission(whole: &Whole, service: &HttpService, remove: Vec<String>) -> Permission {
    let of = |names: &[NamePattern], change| {
        let fields = whole.head.fields.iter();
        let chosen = fields.filter(|(name, _)| takes(names, name));
        chosen
            .map(|(name, value)| Mutation {
                name: name.to_owned(),
                value: value.to_vec(),
                change,
            })
            .collect::<Vec<_>>()
    };
    let mut request = of(&service.to_upstream, Change::Set);
    request.extend(of(&service.append_to_upstream, Change::Add));
    Permission {
        request,
        remove,
        response: of(&service.to_client_on_allow, Change::Add),
        ..Permission::default()
    }
}

fn refused_with(whole: &Whole, service: &HttpService) -> Vec<(String, Vec<u8>)> {
    let told = |name: &str| match &service.to_client_on_deny {
        None => name != "host",
        Some(names) => ALWAYS.contains(&name) || takes(names, name),
    };
    let fields = whole.head.fields.iter().filter(|(name, _)| told(name));
    fields
        .map(|(name, value)| (name.to_owned(), value.to_vec()))
        .collect()
}

fn names(value: &[u8]) -> impl Iterator<Item = String> {
    members(value).filter_map(|name| String::from_utf8(name.to_vec()).ok())
}

fn takes(names: &[NamePattern], name: &str) -> bool {
    names.iter().any(|pattern| pattern.takes(name))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::http::codec::Response;

    fn answer(status: u16, fields: &[(&str, &str)]) -> Whole {
        let mut head = Response::new(status);
        for (name, value) in fields {
            head.fields.push(name, value.as_bytes());
        }
        Whole {
            head,
            body: Bytes::from_static(b"no"),
            trailers: None,
        }
    }

    fn service() -> HttpService {
        HttpService {
            to_upstream: vec![NamePattern::from_wildcard("x-up-*")],
            append_to_upstream: vec![NamePattern::from_wildcard("x-more")],
            to_client_on_allow: vec![NamePattern::from_wildcard("*-ok")],
            to_metadata: vec![NamePattern::from_wildcard("x-user")],
            ..HttpService::new("a".into(), "http://a".into())
        }
    }

    #[test]
    fn a_200_lets_the_request_pass_with_the_fields_that_were_chosen() {
        let fields = [
            ("x-up-1", "1"),
            ("x-more", "2"),
            ("set-ok", "3"),
            ("x-user", "me"),
            ("other", "4"),
            (REMOVE, "a, b"),
        ];
        let decision = decision(answer(200, &fields), &service());
        let Verdict::Allowed(permission) = decision.verdict else {
            panic!("allowed")
        };
        let request: Vec<_> = permission
            .request
            .iter()
            .map(|one| (one.name.as_str(), one.change))
            .collect();
        assert_eq!(request, [("x-up-1", Change::Set), ("x-more", Change::Add)]);
        assert_eq!(permission.response.len(), 1);
        assert_eq!(permission.remove, ["a", "b"]);
        assert_eq!(decision.metadata["x-user"], "me");
    }

    #[test]
    fn other_answers_are_refusals_and_failures_are_no_decisions() {
        for status in [201, 204, 302, 401, 403, 404, 499] {
            let Verdict::Denied(refusal) = decision(answer(status, &[]), &service()).verdict else {
                panic!("{status} refuses")
            };
            assert_eq!((refusal.status, &refusal.body[..]), (Some(status), &b"no"[..]));
        }
        for status in [500, 503, 599] {
            let verdict = decision(answer(status, &[]), &service()).verdict;
            assert_eq!(verdict, Verdict::Failed(None));
        }
    }

    #[test]
    fn a_client_is_told_all_of_a_refusal_or_what_was_chosen_and_where_to_go() {
        let fields = [
            ("location", "/"),
            ("x-why", "1"),
            ("set-cookie", "2"),
            ("host", "h"),
        ];
        let told = |service: &HttpService| {
            let Verdict::Denied(refusal) = decision(answer(302, &fields), service).verdict else {
                panic!("denied")
            };
            let names = refusal.headers.into_iter().map(|(name, _)| name);
            names.collect::<Vec<_>>()
        };
        assert_eq!(told(&service()), ["location", "x-why", "set-cookie"]);
        let chosen = HttpService {
            to_client_on_deny: Some(vec![NamePattern::from_wildcard("x-*")]),
            ..service()
        };
        assert_eq!(told(&chosen), ["location", "x-why"]);
    }
}
