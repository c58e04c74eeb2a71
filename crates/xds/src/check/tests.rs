//! Questions and answers on the wire.

use envoy_types::pb::google::rpc::Status;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn option(name: &str, value: &str, append: Option<bool>, action: i32) -> core::HeaderValueOption {
    #[allow(deprecated, reason = "services say it in this field")]
    core::HeaderValueOption {
        header: Some(core::HeaderValue {
            key: name.into(),
            value: value.into(),
            ..Default::default()
        }),
        append: append.map(|value| wire::BoolValue { value }),
        append_action: action,
        ..Default::default()
    }
}

fn decided(code: i32, response: Option<HttpResponse>) -> Decision {
    let message = pb::CheckResponse {
        status: Some(Status {
            code,
            ..Default::default()
        }),
        http_response: response,
        ..Default::default()
    };
    decode(&message.encode_to_vec()).unwrap()
}

#[test]
fn fields_of_requests_are_replaced_unless_the_service_says_append() {
    let ok = pb::OkHttpResponse {
        headers: vec![
            option("a", "1", None, 0),
            option("b", "2", Some(true), 0),
            option("c", "3", Some(false), 0),
        ],
        response_headers_to_add: (0..4).map(|action| option("d", "4", None, action)).collect(),
        ..Default::default()
    };
    let Verdict::Allowed(permission) = decided(0, Some(HttpResponse::OkResponse(ok))).verdict else {
        panic!("allowed")
    };
    let changes = |mutations: &[Mutation]| mutations.iter().map(|one| one.change).collect::<Vec<_>>();
    assert_eq!(
        changes(&permission.request),
        [Change::Set, Change::Append, Change::Set]
    );
    assert_eq!(
        changes(&permission.response),
        [Change::Add, Change::AddIfAbsent, Change::Set, Change::Overwrite]
    );
}

#[test]
fn a_change_of_an_unknown_kind_makes_the_answer_invalid() {
    let ok = pb::OkHttpResponse {
        response_headers_to_add: vec![option("d", "4", None, 9)],
        ..Default::default()
    };
    assert!(decided(0, Some(HttpResponse::OkResponse(ok))).is_invalid);
}

#[test]
fn the_status_of_the_answer_decides_and_not_what_goes_with_it() {
    let ok = || Some(HttpResponse::OkResponse(Default::default()));
    let denied = || {
        Some(HttpResponse::DeniedResponse(pb::DeniedHttpResponse {
            body: "no".into(),
            headers: vec![option("a", "1", Some(true), 0)],
            ..Default::default()
        }))
    };
    assert!(matches!(decided(0, denied()).verdict, Verdict::Allowed(_)));
    assert_eq!(decided(7, ok()).verdict, Verdict::Denied(Refusal::default()));
    assert_eq!(
        decided(7, denied()).verdict,
        Verdict::Denied(Refusal {
            body: b"no".to_vec(),
            ..Refusal::default()
        })
    );
    assert_eq!(decided(7, None).verdict, Verdict::Denied(Refusal::default()));
    // A message without anything lets the request pass, as Envoy does.
    assert!(matches!(decode(&[]).unwrap().verdict, Verdict::Allowed(_)));
}

#[test]
fn metadata_survives_the_wire() {
    let known = json!({"a": [1.5, null, true], "b": {"c": "d"}});
    let Value::Object(known) = known else {
        panic!("an object")
    };
    assert_eq!(from_struct(to_struct(known.clone())), known);
}

#[test]
fn names_that_come_twice_are_joined_and_bytes_that_are_no_text_are_marked() {
    let request = Request {
        time: Duration::from_millis(1500),
        id: "1".into(),
        method: "GET".into(),
        path: "/".into(),
        host: "a".into(),
        scheme: "http".into(),
        protocol: "HTTP/1.1".into(),
        size: 3,
        headers: vec![("x".into(), b"1".to_vec()), ("x".into(), b"\xff2".to_vec())],
        raw_headers: false,
        body: b"a\xffb".to_vec(),
        raw_body: false,
    };
    let message = http_request(request.clone());
    assert_eq!(message.headers["x"], "1,!2");
    assert_eq!((message.body.as_str(), message.size), ("a!b", 3));
    let raw = http_request(Request {
        raw_headers: true,
        raw_body: true,
        ..request
    });
    assert_eq!(raw.header_map.unwrap().headers.len(), 2);
    assert_eq!(raw.raw_body, b"a\xffb");
}

proptest! {
    #[test]
    fn arbitrary_answers_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = decode(&bytes);
    }
}
