//! What services may change, and what they may not.

use super::*;
use crate::http::codec::{Length, Version};

fn get(path: &str, fields: &[(&str, &str)]) -> Request {
    let mut request = Request {
        method: Method::GET,
        path: path.to_owned(),
        authority: "a".to_owned(),
        scheme: "http",
        fields: Fields::default(),
        length: Length::Empty,
        upgrade: None,
        version: Version::Http1,
    };
    for (name, value) in fields {
        request.fields.push(name, value.as_bytes());
    }
    request
}

fn change(name: &str, value: &str, change: Change) -> Mutation {
    Mutation {
        name: name.to_owned(),
        value: value.as_bytes().to_vec(),
        change,
    }
}

fn values(fields: &Fields, name: &str) -> Vec<String> {
    let all = fields.all(name);
    all.map(|value| String::from_utf8_lossy(value).into_owned())
        .collect()
}

fn path_with(path: &str, set: &[(&str, &str)], remove: &[&str]) -> String {
    let mut request = get(path, &[]);
    let permission = Permission {
        set_query: set
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect(),
        remove_query: remove.iter().map(|name| (*name).into()).collect(),
        ..Permission::default()
    };
    super::request(&mut request, permission, false).unwrap();
    request.path
}

#[test]
fn fields_are_replaced_added_appended_and_removed() {
    let mut request = get("/", &[("a", "1"), ("b", "1"), ("b", "2"), ("gone", "x")]);
    let permission = Permission {
        request: vec![
            change("A", "2", Change::Set),
            change("b", "3", Change::Append),
            change("none", "3", Change::Append),
            change("c", "1", Change::Add),
            change("c", "2", Change::Add),
            change("c", "3", Change::AddIfAbsent),
            change("d", "1", Change::Overwrite),
        ],
        remove: vec!["Gone".into(), "host".into(), ":path".into()],
        ..Permission::default()
    };
    super::request(&mut request, permission, true).unwrap();
    let fields = &request.fields;
    assert_eq!(values(fields, "a"), ["2"]);
    assert_eq!(values(fields, "b"), ["1,2,3"]);
    assert_eq!(values(fields, "c"), ["1", "2"]);
    assert_eq!(fields.len(), 4);
    assert_eq!((request.path.as_str(), request.authority.as_str()), ("/", "a"));
}

#[test]
fn a_field_that_grows_for_ever_is_too_large_at_once() {
    let mut request = get("/", &[("a", "1")]);
    let longer = change("a", &"x".repeat(1000), Change::Append);
    let permission = Permission {
        request: vec![longer; 1000],
        ..Permission::default()
    };
    assert_eq!(
        super::request(&mut request, permission, false).unwrap_err(),
        TOO_LARGE
    );
    assert!(request.fields.size() <= 2 * MAX_HEAD as u64 + 1001);
}

#[test]
fn very_many_changes_are_no_permission() {
    let mut request = get("/", &[("a", "1")]);
    let permission = Permission {
        request: vec![change("a", "", Change::Append); MOST_CHANGES + 1],
        ..Permission::default()
    };
    assert!(super::request(&mut request, permission, false).is_err());
    assert_eq!(values(&request.fields, "a"), ["1"]);
}

#[test]
fn what_is_removed_makes_room_for_what_is_appended() {
    let cookie = "x".repeat(50 * 1024);
    let mut request = get("/", &[("cookie", &cookie), ("a", &"x".repeat(8 * 1024))]);
    let permission = Permission {
        request: vec![change("a", &"y".repeat(3 * 1024), Change::Append)],
        remove: vec!["cookie".into()],
        ..Permission::default()
    };
    super::request(&mut request, permission, false).unwrap();
    assert_eq!(request.fields.len(), 1);
}

#[test]
fn nothing_that_frames_a_message_and_nothing_that_is_no_field_gets_in() {
    let hostile = [
        ("content-length", "9"),
        ("Transfer-Encoding", "chunked"),
        ("connection", "close"),
        ("x-split", "1\r\nx-more: 2"),
        ("x split", "1"),
        ("", "1"),
        (":scheme", "x"),
        (":path", "no path"),
        (":path", "/a b"),
        (":method", "CONNECT"),
        ("host", "a b"),
    ];
    let mut request = get("/", &[]);
    let permission = Permission {
        request: hostile
            .iter()
            .map(|(name, value)| change(name, value, Change::Set))
            .collect(),
        ..Permission::default()
    };
    super::request(&mut request, permission.clone(), false).unwrap();
    assert_eq!(request.fields.len(), 0);
    assert_eq!((request.path.as_str(), request.authority.as_str()), ("/", "a"));
    assert_eq!(request.method, Method::GET);
    assert!(super::request(&mut request, permission, true).is_err());
}

#[test]
fn path_host_and_method_may_be_other_ones() {
    let mut request = get("/", &[]);
    let permission = Permission {
        request: vec![
            change(":path", "/b?c=d", Change::Set),
            change(":authority", "b:80", Change::Set),
            change(":method", "POST", Change::Set),
        ],
        ..Permission::default()
    };
    super::request(&mut request, permission, true).unwrap();
    assert_eq!(
        (request.path.as_str(), request.authority.as_str()),
        ("/b?c=d", "b:80")
    );
    assert_eq!(request.method, Method::POST);
}

#[test]
fn a_permission_that_makes_a_head_too_large_is_none() {
    let mut request = get("/", &[]);
    let many = (0..MAX_FIELDS + 1).map(|number| change(&format!("x-{number}"), "1", Change::Set));
    let permission = Permission {
        request: many.collect(),
        ..Permission::default()
    };
    super::request(&mut request, permission, false).unwrap();
    assert_eq!(request.fields.len(), MAX_FIELDS, "what has no room is left out");
    let long = "x".repeat(MAX_HEAD);
    let mut request = get("/", &[("a", "1")]);
    let permission = Permission {
        request: vec![change("a", &long, Change::Append)],
        ..Permission::default()
    };
    assert!(super::request(&mut request, permission, false).is_err());
}

#[test]
fn query_parameters_are_set_and_removed_and_come_out_sorted() {
    assert_eq!(path_with("/a", &[("x", "1")], &[]), "/a?x=1");
    assert_eq!(
        path_with("/a?y=2&x=1&a=5&x=3&a=4", &[("x", "9")], &[]),
        "/a?a=5&a=4&x=9&y=2"
    );
    assert_eq!(path_with("/a?x=1&y=2", &[], &["x"]), "/a?y=2");
    assert_eq!(path_with("/a?x=1", &[], &["x"]), "/a");
    assert_eq!(path_with("/a?x", &[("y", "2")], &[]), "/a?x=&y=2");
    assert_eq!(
        path_with("/a?x=1", &[("y", "a b")], &[]),
        "/a?x=1",
        "it would be no path"
    );
}
