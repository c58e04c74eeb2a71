//! Decisions, over both protocols, and questions that are none.

use super::*;

/// A `CheckRequest` with these headers, of a caller with that certificate.
fn question(headers: &[(&str, &str)], principal: &str) -> Vec<u8> {
    let mut http = Vec::new();
    wire::bytes(&mut http, 2, b"GET");
    for (name, value) in headers {
        let mut entry = Vec::new();
        wire::bytes(&mut entry, 1, name.as_bytes());
        wire::bytes(&mut entry, 2, value.as_bytes());
        wire::bytes(&mut http, 3, &entry);
    }
    wire::bytes(&mut http, 4, b"/a?b");
    wire::bytes(&mut http, 5, b"backend");
    let mut request = Vec::new();
    wire::bytes(&mut request, 2, &http);
    let mut socket = Vec::new();
    wire::bytes(&mut socket, 2, b"10.0.0.1");
    socket.extend(wire::number(3, 1234));
    let mut address = Vec::new();
    wire::bytes(&mut address, 1, &socket);
    let mut source = Vec::new();
    wire::bytes(&mut source, 1, &address);
    wire::bytes(&mut source, 4, principal.as_bytes());
    let mut attributes = Vec::new();
    wire::bytes(&mut attributes, 1, &source);
    wire::bytes(&mut attributes, 4, &request);
    let mut message = Vec::new();
    wire::bytes(&mut message, 1, &attributes);
    message
}

fn allowed(headers: &[(&str, &str)], principal: &str) -> bool {
    let question = question(headers, principal);
    decide(&Attributes::of_question(&question).unwrap(), "a")
}

#[test]
fn the_header_decides_and_without_it_the_service_account() {
    let friend = "spiffe://cluster.local/ns/x/sa/a";
    assert!(allowed(&[("x-ext-authz", "allow")], ""));
    assert!(!allowed(&[("x-ext-authz", "deny")], friend));
    assert!(allowed(&[], friend));
    assert!(!allowed(&[], "spiffe://cluster.local/ns/x/sa/aa"));
    assert!(!allowed(&[], ""));
}

#[test]
fn attributes_are_told_as_the_original_tells_them() {
    let question = question(&[("x-b", "2"), (":path", "/a?b")], "spiffe://p");
    assert_eq!(
        Attributes::of_question(&question).unwrap().to_string(),
        "source:{address:{socket_address:{address:\"10.0.0.1\"  port_value:1234}}  principal:\"spiffe://p\"}  \
         request:{http:{method:\"GET\"  headers:{key:\":path\"  value:\"/a?b\"}  headers:{key:\"x-b\"  value:\"2\"}  \
         path:\"/a?b\"  host:\"backend\"}}"
    );
}

#[test]
fn an_answer_has_status_headers_and_for_a_refusal_a_body() {
    let fields = |message: &[u8]| {
        let fields = wire::fields(message).unwrap();
        fields.into_iter().map(|(field, _)| field).collect::<Vec<_>>()
    };
    assert_eq!(fields(&answer(true, "x")), [1, 3]);
    let denied = answer(false, "x");
    assert_eq!(fields(&denied), [1, 2]);
    let response = wire::fields(&denied).unwrap()[1].1;
    let wire::Value::Bytes(response) = response else {
        panic!("a message")
    };
    assert_eq!(fields(response), [1, 2, 2, 2, 3]);
}

#[test]
fn bytes_that_are_no_question_are_none() {
    for wrong in [
        &b"\x0a\xff"[..],
        b"\x0b",
        b"\x0a\x02\x0a\x05",
        b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    ] {
        assert!(Attributes::of_question(wrong).is_none(), "{wrong:?}");
    }
    assert!(wire::unframed(b"\0\0\0\0\x05x").is_none());
    assert!(wire::unframed(b"\x01\0\0\0\x01x").is_none());
    assert_eq!(wire::unframed(&wire::framed(b"x")), Some(&b"x"[..]));
}

#[test]
fn headers_are_printed_as_go_prints_them() {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("h"));
    headers.insert("x-ext-authz", HeaderValue::from_static("allow"));
    headers.append("accept", HeaderValue::from_static("a"));
    headers.append("accept", HeaderValue::from_static("b"));
    assert_eq!(told_headers(&headers), "map[Accept:[a b] X-Ext-Authz:[allow]]");
    assert_eq!(one_line("a\nb"), "a b");
}

#[test]
fn flags_are_those_of_the_original() {
    let of = |text: &str| options(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let both = of("-http 1 --grpc=2 -allow_service_account sleep").unwrap();
    assert_eq!(
        (both.http, both.grpc, both.service_account.as_str()),
        (1, 2, "sleep")
    );
    let defaults = of("").unwrap();
    assert_eq!((defaults.http, defaults.grpc), (8000, 9000));
    assert!(of("-http").is_err() && of("-http x").is_err() && of("-what 1").is_err());
}
