//! JSON lines of access logs: a template with its places filled in, written straight into bytes.

use std::collections::BTreeMap;

use snapshot::format::Piece;
use snapshot::{Format, Template};

use super::format::{self, Facts, Value};

/// Writes an object, its names in order.
pub(crate) fn object(template: &BTreeMap<String, Template>, facts: &Facts<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (position, (name, value)) in template.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        text(name.as_bytes(), out);
        out.push(b':');
        write(value, facts, out);
    }
    out.push(b'}');
}

fn write(template: &Template, facts: &Facts<'_>, out: &mut Vec<u8>) {
    match template {
        Template::Null => out.extend_from_slice(b"null"),
        Template::Boolean(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Template::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Template::Text(format) => filled(format, facts, out),
        Template::List(values) => {
            out.push(b'[');
            for (position, value) in values.iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write(value, facts, out);
            }
            out.push(b']');
        }
        Template::Object(nested) => object(nested, facts, out),
    }
}

/// One place alone keeps its type; among other text, everything is text and the absent a dash.
fn filled(format: &Format, facts: &Facts<'_>, out: &mut Vec<u8>) {
    if let [Piece::Command(command)] = format.pieces() {
        match format::value(command, facts) {
            Value::Absent => out.extend_from_slice(b"null"),
            Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Value::Text(value) => text(&value, out),
        }
        return;
    }
    let mut line = Vec::new();
    format::write(format, facts, &mut line, "-");
    text(&line, out);
}

/// A JSON string. Bytes that are not UTF-8 are written one by one, as Envoy does.
fn text(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let is_text = std::str::from_utf8(bytes).is_ok();
    for byte in bytes {
        match byte {
            b'"' | b'\\' if is_text => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' if is_text => out.extend_from_slice(b"\\n"),
            b'\r' if is_text => out.extend_from_slice(b"\\r"),
            b'\t' if is_text => out.extend_from_slice(b"\\t"),
            0x08 if is_text => out.extend_from_slice(b"\\b"),
            0x0c if is_text => out.extend_from_slice(b"\\f"),
            b' '..=b'~' if is_text || !matches!(byte, b'"' | b'\\') => out.push(*byte),
            0x80.. if is_text => out.push(*byte),
            byte => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_and_bytes_that_are_no_text_are_kept_apart() {
        let written = |bytes: &[u8]| {
            let mut out = Vec::new();
            text(bytes, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(b"plain"), r#""plain""#);
        assert_eq!(
            written("q\"o\\t\té\u{1}".as_bytes()),
            "\"q\\\"o\\\\t\\té\\u0001\""
        );
        assert_eq!(written(b"q\"\x80\t"), r#""q\u0022\u0080\u0009""#);
    }
}
