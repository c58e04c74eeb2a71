//! One way to write a path, so that routes and policies cannot be walked around. Once per request.
//!
//! Istio's BASE normalisation, as Envoy does it: `\` becomes `/`, escapes of unreserved characters are decoded, what a
//! URI cannot hold is escaped, dot segments are resolved (`..;x` is one too). `%2F` stays, and slashes are merged only
//! where asked for. A fragment has no place in a request and is cut off; `%00` has none in a path. Unlike Envoy's, a
//! result is its own normal form: behind two proxies a path is what it was behind one.

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
    path.iter()
        .any(|byte| *byte == b'%' || *byte == b'\\' || is_escaped(*byte))
        || path.windows(2).any(|pair| pair == b"/.")
}

/// What Envoy escapes if a client did not.
fn is_escaped(byte: u8) -> bool {
    b"\"<>^`{|}".contains(&byte)
}

/// `\` to `/`, escapes of unreserved characters to the characters. An escape may come to be by decoding others
/// (`%%34%31`): the end of what is written is looked at after every byte, so that none is left.
fn decode(path: &str) -> Result<String, RequestError> {
    let mut out = Vec::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'\\' => out.push(b'/'),
            byte if is_escaped(byte) => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            byte => out.push(byte),
        }
        while let Some(byte) = escape_at_end(&out) {
            match byte {
                0 => return Err(RequestError::Path),
                byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                    out.truncate(out.len() - 3);
                    out.push(byte);
                }
                _ => break,
            }
        }
    }
    String::from_utf8(out).map_err(|_| RequestError::Path)
}

/// The byte that the last three stand for.
fn escape_at_end(out: &[u8]) -> Option<u8> {
    let [.., b'%', high, low] = out else {
        return None;
    };
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    Some(digit(*high)? << 4 | digit(*low)?)
}

/// RFC 3986, 5.2.4: removes `.` and `..`, which cannot lead above the root.
fn resolve(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        // `..;x` is `..` with a parameter to servlet containers.
        match segment.split(';').next().unwrap_or_default() {
            dots @ ("." | "..") => {
                if dots == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in kept {
        out.push('/');
        out.push_str(segment);
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
    fn paths_have_the_form_that_envoy_gives_them() {
        let rows = include_str!("normalize.paths")
            .lines()
            .filter(|line| !line.starts_with("# "));
        for (given, expected) in rows.map(|row| row.split_once(' ').expect("two columns")) {
            match normal(given) {
                Ok(path) => assert_eq!(path, expected, "{given}"),
                Err(_) => assert_eq!("400", expected, "{given}"),
            }
        }
        for (given, expected) in [
            ("*", "*"),
            ("/a/%2e%2E/b", "/b"),
            ("/a%zz%", "/a%zz%"),
            ("/a/../b?x=/../y%41", "/b?x=/../y%41"),
            ("/a#b/../c?d", "/a"),
        ] {
            assert_eq!(normal(given).unwrap(), expected, "{given}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_normal_path_is_normal(path in "/[a-f0-9./%;\\\\]{0,40}") {
            if let Ok(once) = normal(&path) {
                proptest::prop_assert!(!once.split('/').any(|segment| segment == ".."), "{} from {}", once, path);
                proptest::prop_assert_eq!(normal(&once).unwrap(), once);
            }
        }
    }
}
