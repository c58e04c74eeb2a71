//! Objects survive the wire, the tables agree with the typed forms, and no bytes make the reader panic.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::tables::{self, Kind, Message, Presence};
use super::{MAGIC, parse};
use crate::api::kinds;
use crate::api::registry::{Registry, Shape};

/// Writes an object as Go's generated code does: every field that is not a pointer, empty ones too.
fn encode(api_version: &str, message: &Message, object: &Value) -> Vec<u8> {
    let mut type_meta = Vec::new();
    put_bytes(&mut type_meta, 1, api_version.as_bytes());
    put_bytes(&mut type_meta, 2, message.name.as_bytes());
    let mut body = MAGIC.to_vec();
    put_bytes(&mut body, 1, &type_meta);
    put_bytes(&mut body, 2, &encode_message(message, object));
    put_bytes(&mut body, 3, b"");
    put_bytes(&mut body, 4, b"");
    body
}

fn encode_message(message: &Message, object: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for field in message.fields {
        let value = &object[field.name];
        match (&field.kind, field.presence) {
            (Kind::Message(inner), Presence::Inline) => {
                put_bytes(&mut out, field.number, &encode_message(inner, object));
            }
            (Kind::List(kind), _) => {
                for item in value.as_array().into_iter().flatten() {
                    put(&mut out, field.number, kind, item);
                }
            }
            (Kind::Map(kind), _) => {
                for (key, item) in value.as_object().into_iter().flatten() {
                    let mut entry = Vec::new();
                    put_bytes(&mut entry, 1, key.as_bytes());
                    put(&mut entry, 2, kind, item);
                    put_bytes(&mut out, field.number, &entry);
                }
            }
            (kind, Presence::NonEmpty) => put(&mut out, field.number, kind, value),
            (_, _) if value.is_null() => {}
            (kind, _) => put(&mut out, field.number, kind, value),
        }
    }
    out
}

/// One value; null is the empty one.
fn put(out: &mut Vec<u8>, number: u32, kind: &Kind, value: &Value) {
    let text = value.as_str().unwrap_or_default();
    let mut inner = Vec::new();
    match kind {
        Kind::Integer => return put_number(out, number, value.as_i64().unwrap_or_default()),
        Kind::Boolean => return put_number(out, number, value.as_bool().unwrap_or_default().into()),
        Kind::Text => inner.extend(text.as_bytes()),
        Kind::Bytes => inner = STANDARD.decode(text).unwrap(),
        Kind::Time | Kind::MicroTime => {
            if let Ok(at) = text.parse::<Timestamp>() {
                put_number(&mut inner, 1, at.as_second());
                put_number(&mut inner, 2, at.subsec_nanosecond().into());
            }
        }
        Kind::IntOrString => {
            put_number(&mut inner, 1, value.is_string().into());
            put_number(&mut inner, 2, value.as_i64().unwrap_or_default());
            put_bytes(&mut inner, 3, text.as_bytes());
        }
        Kind::Quantity => put_bytes(&mut inner, 1, text.as_bytes()),
        Kind::Json if value.is_null() => {}
        Kind::Json => put_bytes(&mut inner, 1, value.to_string().as_bytes()),
        Kind::Texts => {
            for item in value.as_array().into_iter().flatten() {
                put_bytes(&mut inner, 1, item.as_str().unwrap().as_bytes());
            }
        }
        Kind::Message(message) => inner = encode_message(message, value),
        Kind::List(_) | Kind::Map(_) => panic!("protobuf has no lists of lists"),
    }
    put_bytes(out, number, &inner);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_number(out: &mut Vec<u8>, number: u32, value: i64) {
    put_varint(out, u64::from(number) << 3);
    put_varint(out, value.cast_unsigned());
}

fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend(bytes);
}

/// Decisions, one byte each; when they run out, all are zero.
struct Dice(std::vec::IntoIter<u8>);

impl Dice {
    fn throw(&mut self) -> u8 {
        self.0.next().unwrap_or_default()
    }
}

/// Fields of a message: those that the dice choose, or all of them.
fn example(message: &Message, dice: &mut Dice, all: bool) -> Map<String, Value> {
    let mut object = Map::new();
    for field in message.fields {
        match (&field.kind, field.presence) {
            (Kind::Message(inner), Presence::Inline) => object.extend(example(inner, dice, all)),
            _ if !all && dice.throw().is_multiple_of(2) => {}
            (kind, presence) => {
                let value = example_value(kind, dice, all);
                let means_nothing = super::value::is_empty(&value);
                if presence != Presence::NonEmpty || !means_nothing {
                    object.insert(field.name.to_owned(), value);
                }
            }
        }
    }
    object
}

fn example_value(kind: &Kind, dice: &mut Dice, all: bool) -> Value {
    match kind {
        Kind::Text => ["", "ä", "a text"][usize::from(dice.throw() % 3)].into(),
        Kind::Integer => [0, 1, -1, i32::MAX, i32::MIN][usize::from(dice.throw() % 5)].into(),
        Kind::Boolean => (dice.throw() % 2 == 1).into(),
        Kind::Bytes => STANDARD.encode([dice.throw(), 0, 255]).into(),
        Kind::Time => "2026-11-22T20:25:06Z".into(),
        Kind::MicroTime => "1969-07-20T20:17:40.000500Z".into(),
        Kind::IntOrString => {
            [json!(8080), json!("http"), json!(0), json!("")][usize::from(dice.throw() % 4)].clone()
        }
        Kind::Quantity => "500m".into(),
        Kind::Json => json!({"a": [dice.throw()]}),
        Kind::Texts => json!(["one", "two"]),
        Kind::List(kind) => vec![example_value(kind, dice, all); 1 + usize::from(dice.throw() % 3)].into(),
        Kind::Map(kind) => {
            json!({ "key": example_value(kind, dice, all), "": example_value(kind, dice, all) })
        }
        Kind::Message(message) => example(message, dice, all).into(),
    }
}

fn whole(api_version: &str, message: &Message, dice: &mut Dice, all: bool) -> Value {
    let mut object = example(message, dice, all);
    object.insert("apiVersion".to_owned(), api_version.into());
    object.insert("kind".to_owned(), message.name.into());
    object.into()
}

#[test]
fn what_kubectl_sends_for_create_namespace_is_read() {
    let sent = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09Namespace\x12\x1b\x0a\x13\x0a\x03foo\x12\0\x1a\0\x22\0\x2a\0\x32\0\x38\0\
        \x42\0\x12\0\x1a\x02\x0a\0\x1a\0\x22\0";
    let read = parse(sent).unwrap().unwrap();
    assert_eq!(
        read,
        json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "foo"}})
    );
}

#[test]
fn numbers_may_come_packed() {
    let packed = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09Namespace\x12\0";
    assert!(parse(packed).unwrap().is_some());
    let (_, job) = tables::all().find(|(_, message)| message.name == "Job").unwrap();
    let rule = json!({"spec": {"podFailurePolicy": {"rules": [{"action": "Ignore", "onExitCodes": {"values": [1, 300]}}]}}});
    let mut bytes = encode("batch/v1", job, &rule);
    let apart = [0x18, 1, 0x18, 0xac, 2];
    let at = bytes
        .windows(apart.len())
        .position(|window| window == apart)
        .unwrap();
    bytes.splice(at..at + apart.len(), [0x1a, 3, 1, 0xac, 2]);
    let read = parse(&bytes).unwrap().unwrap();
    assert_eq!(
        read["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"],
        json!([1, 300])
    );
}

#[test]
fn what_is_no_such_message_is_refused() {
    assert_eq!(parse(b"{}").unwrap_err().code, 400);
    let cut = parse(b"k8s\0\x0a\x0f\x0a\x02v1").unwrap_err();
    assert!(cut.message.contains("unexpected end"), "{}", cut.message);
    assert_eq!(parse(b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Foo").unwrap(), None);
    assert_eq!(parse(b"k8s\0").unwrap(), None);
}

#[test]
fn unknown_fields_are_skipped() {
    let (_, map) = tables::all()
        .find(|(_, message)| message.name == "ConfigMap")
        .unwrap();
    let mut data = encode_message(map, &json!({"data": {"a": "b"}}));
    put_bytes(&mut data, 4000, b"later");
    put_number(&mut data, 500, 7);
    let mut bytes = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap".to_vec();
    put_bytes(&mut bytes, 2, &data);
    assert_eq!(parse(&bytes).unwrap().unwrap()["data"], json!({"a": "b"}));
}

#[test]
fn every_table_is_in_order_and_none_contains_itself() {
    fn visit<'a>(message: &'a Message, path: &mut Vec<&'a str>) {
        assert!(
            !path.contains(&message.name),
            "{path:?} contains {}",
            message.name
        );
        path.push(message.name);
        for pair in message.fields.windows(2) {
            assert!(pair[0].number < pair[1].number, "{path:?}: {pair:?}");
        }
        for field in message.fields {
            let inline = field.presence == Presence::Inline;
            assert!(
                !inline || matches!(field.kind, Kind::Message(_)),
                "{path:?}: {field:?}"
            );
            match &field.kind {
                Kind::Message(inner) | Kind::List(Kind::Message(inner)) | Kind::Map(Kind::Message(inner)) => {
                    visit(inner, path);
                }
                Kind::List(Kind::List(_) | Kind::Map(_)) | Kind::Map(Kind::List(_) | Kind::Map(_)) => {
                    panic!("{path:?}: {field:?}")
                }
                _ => {}
            }
        }
        path.pop();
    }
    for (_, message) in tables::all() {
        visit(message, &mut Vec::new());
    }
}

#[test]
fn tables_and_typed_forms_agree_on_every_field() {
    let registry = Registry::built_in();
    let mut checked = 0;
    for (api_version, message) in tables::all() {
        let Some(kind) = registry.find_kind(api_version, message.name) else {
            continue;
        };
        let Shape::BuiltIn(kinds::BuiltIn { check, .. }) = &kind.shape else {
            panic!("{} is built in", message.name);
        };
        let object = whole(api_version, message, &mut Dice(vec![1; 50_000].into_iter()), true);
        let findings = check(&object).unwrap_or_else(|why| panic!("{api_version} {}: {why}", message.name));
        assert_eq!(
            findings.unknown,
            Vec::<Vec<_>>::new(),
            "{api_version} {}",
            message.name
        );
        checked += 1;
    }
    assert!(checked > 35, "only {checked} kinds are both served and read");
}

#[test]
fn every_served_kind_but_definitions_can_be_sent() {
    let registry = Registry::built_in();
    let missing: Vec<_> = registry
        .all()
        .iter()
        .filter(|kind| tables::find(&kind.api_version(), &kind.kind).is_none())
        .map(|kind| kind.gvr.to_string())
        .collect();
    assert_eq!(missing, ["customresourcedefinitions.apiextensions.k8s.io"]);
}

proptest! {
    #[test]
    fn every_object_survives_the_wire(kind in any::<prop::sample::Index>(), dice in vec(any::<u8>(), 0..600)) {
        let all: Vec<_> = tables::all().collect();
        let (api_version, message) = *kind.get(&all);
        let object = whole(api_version, message, &mut Dice(dice.into_iter()), false);
        let read = parse(&encode(api_version, message, &object)).unwrap().unwrap();
        prop_assert_eq!(read, object);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(
        kind in any::<prop::sample::Index>(),
        dice in vec(any::<u8>(), 0..200),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        noise in vec(any::<u8>(), 0..200),
    ) {
        let all: Vec<_> = tables::all().collect();
        let (api_version, message) = *kind.get(&all);
        let object = whole(api_version, message, &mut Dice(dice.into_iter()), false);
        let mut bytes = encode(api_version, message, &object);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = parse(&bytes);
        let mut envelope = Vec::new();
        put_bytes(&mut envelope, 1, api_version.as_bytes());
        put_bytes(&mut envelope, 2, message.name.as_bytes());
        let mut bytes = MAGIC.to_vec();
        put_bytes(&mut bytes, 1, &envelope);
        put_bytes(&mut bytes, 2, &noise);
        let _ = parse(&bytes);
        let _ = parse(&noise);
    }
}
