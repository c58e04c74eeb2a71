//! What the caller sent, as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::{Asked, Style};
use crate::call::{self, Call};

/// Everything about a request.
pub(super) fn everything(asked: &Asked<'_>) -> Value {
    let call = asked.call;
    let mut told = json!({
        "args": arguments(&call.query, asked.style),
        "headers": headers(asked),
        "method": call.method,
        "origin": origin(call),
        "url": url(call),
    });
    let has_body = matches!(call.method.as_str(), "POST" | "PUT" | "PATCH" | "DELETE")
        || call.path.starts_with("/anything");
    if has_body {
        let text = String::from_utf8_lossy(&call.body);
        let is_form = call
            .header("content-type")
            .starts_with("application/x-www-form-urlencoded");
        told["data"] = json!(if is_form { "" } else { &text });
        told["files"] = json!({});
        told["form"] = if is_form {
            arguments(&text, asked.style)
        } else {
            json!({})
        };
        told["json"] = serde_json::from_slice(&call.body).unwrap_or(Value::Null);
    }
    if asked.style == Style::Python
        && !call.path.starts_with("/anything")
        && let Some(told) = told.as_object_mut()
    {
        told.shift_remove("method");
    }
    told
}

/// Every header, names as Go prints them.
pub(super) fn headers(asked: &Asked<'_>) -> Value {
    let mut all = asked.call.headers_as_go();
    all.entry("Host".to_owned())
        .or_insert_with(|| vec![asked.call.host()]);
    in_style(all, asked.style)
}

fn in_style(all: BTreeMap<String, Vec<String>>, style: Style) -> Value {
    match style {
        Style::Go => json!(all),
        Style::Python => {
            let joined = all
                .into_iter()
                .map(|(name, values)| (name, json!(values.join(","))));
            Value::Object(joined.collect())
        }
    }
}

/// Python gives one value as a text and several as a list.
fn arguments(query: &str, style: Style) -> Value {
    let lists = call::lists(query);
    if style == Style::Go {
        return lists;
    }
    let single = |value: &Value| match value.as_array().map(Vec::as_slice) {
        Some([one]) => one.clone(),
        _ => value.clone(),
    };
    let all = lists.as_object().into_iter().flatten();
    Value::Object(
        all.map(|(name, value)| (name.clone(), single(value)))
            .collect::<Map<_, _>>(),
    )
}

/// The caller's address, or what proxies say it is.
pub(super) fn origin(call: &Call) -> String {
    let forwarded = call.header("x-forwarded-for");
    let first = forwarded.split(',').next().map(str::trim);
    let first = first.filter(|first| !first.is_empty());
    first.map_or_else(|| call.peer.address.ip().to_string(), str::to_owned)
}

pub(super) fn url(call: &Call) -> String {
    let scheme = call.header("x-forwarded-proto");
    let scheme = if scheme == "https" { "https" } else { "http" };
    format!("{scheme}://{}{}", call.host(), call.target())
}

/// The request as it was on the wire, or would have been in HTTP/1.1.
pub(super) fn dump(call: &Call) -> String {
    let mut text = format!(
        "{} {} HTTP/1.1\r\nHost: {}\r\n",
        call.method,
        call.target(),
        call.host()
    );
    for (name, values) in call.headers_as_go().iter().filter(|(name, _)| *name != "Host") {
        for value in values {
            let _ = write!(text, "{name}: {value}\r\n");
        }
    }
    text + "\r\n" + &String::from_utf8_lossy(&call.body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_kinds_tell_the_same_in_their_own_shape() {
        assert_eq!(
            arguments("a=1&b=2&b=3", Style::Go),
            json!({"a": ["1"], "b": ["2", "3"]})
        );
        assert_eq!(
            arguments("a=1&b=2&b=3", Style::Python),
            json!({"a": "1", "b": ["2", "3"]})
        );
        let all = BTreeMap::from([("X-A".to_owned(), vec!["1".to_owned(), "2".to_owned()])]);
        assert_eq!(in_style(all.clone(), Style::Go), json!({"X-A": ["1", "2"]}));
        assert_eq!(in_style(all, Style::Python), json!({"X-A": "1,2"}));
    }
}
