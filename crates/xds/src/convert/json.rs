//! JSON ⇄ `google.protobuf.Struct`, for what only our own proxy reads. Numbers travel as `double`; whole ones come back
//! as whole ones, and ours stay far below 2^53.

use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{ListValue, Struct, Value};
use serde_json::Value as Json;

/// An object; anything else is an empty one.
pub(super) fn to_struct(json: Json) -> Struct {
    match json {
        Json::Object(object) => Struct {
            fields: object
                .into_iter()
                .map(|(name, value)| (name, to_value(value)))
                .collect(),
        },
        _ => Struct::default(),
    }
}

fn to_value(json: Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(value),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(items) => Kind::ListValue(ListValue {
            values: items.into_iter().map(to_value).collect(),
        }),
        object @ Json::Object(_) => Kind::StructValue(to_struct(object)),
    };
    Value { kind: Some(kind) }
}

pub(super) fn of_struct(message: Struct) -> Json {
    let fields = message.fields.into_iter();
    Json::Object(fields.map(|(name, value)| (name, of_value(value))).collect())
}

fn of_value(value: Value) -> Json {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(value)) => Json::Bool(value),
        Some(Kind::NumberValue(number)) => of_number(number),
        Some(Kind::StringValue(text)) => Json::String(text),
        Some(Kind::ListValue(list)) => Json::Array(list.values.into_iter().map(of_value).collect()),
        Some(Kind::StructValue(object)) => of_struct(object),
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "only whole numbers that fit are cast"
)]
fn of_number(number: f64) -> Json {
    const LARGEST: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && (0.0..LARGEST).contains(&number) {
        return Json::from(number as u64);
    }
    serde_json::Number::from_f64(number).map_or(Json::Null, Json::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_survives_and_whole_numbers_stay_whole() {
        let json = serde_json::json!({
            "a": [1, 0, 4_294_967_295_u32, -1.5, null, true, "x", {"b": []}],
        });
        assert_eq!(of_struct(to_struct(json.clone())), json);
    }
}
