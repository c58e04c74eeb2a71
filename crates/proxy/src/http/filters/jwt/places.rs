//! Where tokens are in a request, and how they are taken away from there.

use std::borrow::Cow;

use percent::decoded;

use super::compiled::Provider;
use crate::http::codec::Request;

/// A token, and where it was.
pub(super) struct Found<'p> {
    pub(super) text: String,
    pub(super) place: Place<'p>,
}

/// A place for tokens.
#[derive(Clone, Copy)]
pub(super) enum Place<'p> {
    Header(&'p str),
    Parameter(&'p str),
    Cookie,
}

/// All tokens in the places of a provider: headers, then parameters, then cookies.
pub(super) fn find<'p>(provider: &'p Provider, request: &Request) -> Vec<Found<'p>> {
    let mut found = Vec::new();
    for (name, prefix) in &provider.headers {
        for value in values(request, name) {
            if let Some(text) = behind(&value, prefix) {
                found.push(Found {
                    text: text.to_owned(),
                    place: Place::Header(name),
                });
            }
        }
    }
    for name in &provider.parameters {
        if let Some(text) = parameter(&request.path, name) {
            found.push(Found {
                text,
                place: Place::Parameter(name),
            });
        }
    }
    for name in &provider.cookies {
        if let Some(value) = cookie(request, name) {
            found.push(Found {
                text: String::from_utf8_lossy(value).into_owned(),
                place: Place::Cookie,
            });
        }
    }
    found
}

/// The values of a header. As for Envoy, several of `authorization` are one: two bearers are no token.
fn values(request: &Request, name: &str) -> Vec<String> {
    let values = request.fields.all(name).map(String::from_utf8_lossy);
    if name != "authorization" {
        return values.map(Cow::into_owned).collect();
    }
    let joined = values.collect::<Vec<_>>().join(",");
    if joined.is_empty() {
        Vec::new()
    } else {
        vec![joined]
    }
}

/// What follows a prefix, from the first letter that a token may have; `None` without the prefix.
fn behind<'v>(value: &'v str, prefix: &str) -> Option<&'v str> {
    if prefix.is_empty() {
        return Some(value);
    }
    // As for Envoy, it may stand anywhere.
    let end = value.find(prefix)? + prefix.len();
    let letter = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    Some(
        value[end..]
            .find(letter)
            .map_or(value, |start| &value[end + start..]),
    )
}

/// The first parameter of that name, decoded.
fn parameter(path: &str, name: &str) -> Option<String> {
    let (_, query) = path.split_once('?')?;
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key) == name.as_bytes()).then(|| String::from_utf8_lossy(&decoded(value)).into_owned())
    })
}

/// The first cookie of that name, without quotes.
fn cookie<'r>(request: &'r Request, name: &str) -> Option<&'r [u8]> {
    let lines = request.fields.all("cookie");
    let mut pairs = lines.flat_map(|line| line.split(|byte| *byte == b';'));
    let value = pairs.find_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        (pair[..equals].trim_ascii_start() == name.as_bytes()).then_some(&pair[equals + 1..])
    })?;
    let bare = value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""));
    Some(bare.unwrap_or(value))
}

impl Place<'_> {
    /// Takes away what is there. A cookie stays, as it does with Envoy; the rest of a query stays as it was written.
    pub(super) fn clear(self, request: &mut Request) {
        match self {
            Self::Header(name) => drop(request.fields.remove(name)),
            Self::Parameter(name) => {
                if let Some(path) = without_parameter(&request.path, name) {
                    request.path = path;
                }
            }
            Self::Cookie => {}
        }
    }
}

fn without_parameter(path: &str, name: &str) -> Option<String> {
    let (bare, query) = path.split_once('?')?;
    let others = query.split('&').filter(|pair| {
        let key = pair.split('=').next().unwrap_or_default();
        decoded(key) != name.as_bytes()
    });
    let others = others.collect::<Vec<_>>().join("&");
    Some(match others.as_str() {
        "" => bare.to_owned(),
        others => format!("{bare}?{others}"),
    })
}

mod percent {
    /// With `%XX` as bytes; anything else stays as it is.
    pub(super) fn decoded(text: &str) -> Vec<u8> {
        let bytes = text.as_bytes();
        let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
        while let Some(byte) = bytes.get(at) {
            let escaped = (*byte == b'%')
                .then(|| digit(at + 1).zip(digit(at + 2)))
                .flatten();
            match escaped.and_then(|(high, low)| u8::try_from(high * 16 + low).ok()) {
                Some(byte) => {
                    out.push(byte);
                    at += 3;
                }
                None => {
                    out.push(*byte);
                    at += 1;
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_begins_behind_its_prefix() {
        for (value, found) in [
            ("Bearer a.b.c", Some("a.b.c")),
            ("Bearer   a.b.c", Some("a.b.c")),
            ("x Bearer \"a.b.c\"", Some("a.b.c\"")),
            ("Bearer ;;", Some("Bearer ;;")),
            ("bearer a.b.c", None),
            ("Bearer", None),
        ] {
            assert_eq!(behind(value, "Bearer "), found, "{value}");
        }
        assert_eq!(behind("Bearer a", ""), Some("Bearer a"));
    }

    #[test]
    fn parameters_are_found_decoded_and_taken_away_alone() {
        assert_eq!(parameter("/a?t=1%2e2&t=3", "t").as_deref(), Some("1.2"));
        assert_eq!(parameter("/a?%74=1%", "t").as_deref(), Some("1%"));
        assert_eq!(parameter("/a?b=t", "t"), None);
        assert_eq!(parameter("/t=1", "t"), None);
        let without = |path| without_parameter(path, "t").unwrap();
        assert_eq!(without("/a?t=1"), "/a");
        assert_eq!(without("/a?z=%20&%74=1&b&t=2&c="), "/a?z=%20&b&c=");
    }
}
