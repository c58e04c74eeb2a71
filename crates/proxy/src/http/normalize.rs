//! One way to write a path, so that routes and policies cannot be walked around. Once per request.
//!
//! Istio's BASE normalisation: `\` becomes `/`, escapes of unreserved characters are decoded, dot segments are
//! resolved. Slashes are not merged, `%2F` stays. A fragment has no place in a request and is cut off; `%00` has none in
//! a path.

use std::borrow::Cow;

use snapshot::HttpOptions;

use crate::error::RequestError;
use crate::http::codec::Request;

/// Normalises the path of a request.
pub(crate) fn request(request: &mut Request, options: &HttpOptions) -> Result<(), RequestError> {
    if let Some(fragment) = request.path.find('#') {
        request.path.truncate(fragment);
    }
    let end = request.path.find('?').unwrap_or(request.path.len());
    if !request.path.starts_with('/') {
        return Ok(());
    }
    if !options.raw_paths && needs_work(&request.path.as_bytes()[..end]) {
        let (path, query) = request.path.split_at(end);
        let mut normal = resolve(&decode(path)?);
        normal.push_str(query);
        request.path = normal;
    }
    if options.merge_slashes {
        merge_slashes(&mut request.path);
    }
    Ok(())
}

/// Several slashes become one, but for those of the query.
fn merge_slashes(path: &mut String) {
    let end = path.find('?').unwrap_or(path.len());
    if !path[..end].contains("//") {
        return;
    }
    let mut merged = String::with_capacity(path.len());
    for character in path[..end].chars() {
        if character != '/' || !merged.ends_with('/') {
            merged.push(character);
        }
    }
    merged.push_str(&path[end..]);
    *path = merged;
}

fn needs_work(path: &[u8]) -> bool {
    path.iter().any(|byte| matches!(byte, b'%' | b'\\')) || path.windows(2).any(|pair| pair == b"/.")
}

/// `\` to `/`, and escapes of unreserved characters to the characters.
fn decode(path: &str) -> Result<String, RequestError> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(position) = rest.find(['%', '\\']) {
        out.push_str(&rest[..position]);
        rest = &rest[position..];
        let escaped = rest
            .get(1..3)
            .filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            _ if rest.starts_with('\\') => {
                out.push('/');
                rest = &rest[1..];
            }
            Some(0) => return Err(RequestError::Path),
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                out.push(char::from(byte));
                rest = &rest[3..];
            }
            _ => {
                out.push('%');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// RFC 3986, 5.2.4: removes `.` and `..`, which cannot lead above the root.
fn resolve(path: &str) -> String {
    let mut kept: Vec<Cow<'_, str>> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("".into());
                }
            }
            _ => kept.push(segment.into()),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in kept {
        out.push('/');
        out.push_str(&segment);
    }
    if out.is_empty() {
        out.push('/');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::codec::{Fields, Length, Version};

    fn normal(path: &str) -> Result<String, RequestError> {
        let mut message = Request {
            method: http::Method::GET,
            path: path.to_owned(),
            authority: String::new(),
            scheme: "http",
            fields: Fields::default(),
            length: Length::Empty,
            upgrade: None,
            version: Version::Http1,
        };
        request(&mut message, &HttpOptions::default()).map(|()| message.path)
    }

    #[test]
    fn paths_have_one_form() {
        for (given, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a//b", "/a//b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/../../b", "/b"),
            ("/a/..", "/"),
            ("/a/b/.", "/a/b/"),
            ("/a\\..\\b", "/b"),
            ("/%61dmin", "/admin"),
            ("/a%2Fb", "/a%2Fb"),
            ("/a%zz%", "/a%zz%"),
            ("/.hidden", "/.hidden"),
            ("/a/../b?x=/../y%41", "/b?x=/../y%41"),
            ("*", "*"),
            ("/a#b/../c?d", "/a"),
        ] {
            assert_eq!(normal(given).unwrap(), expected, "{given}");
        }
        assert!(normal("/a%00b").is_err());
    }

    proptest::proptest! {
        #[test]
        fn a_normal_path_is_normal(path in "/[a-zA-Z0-9./%\\\\]{0,40}") {
            if let Ok(once) = normal(&path) {
                proptest::prop_assert!(!once.split('/').any(|segment| segment == ".."), "{} from {}", once, path);
            }
        }
    }
}
