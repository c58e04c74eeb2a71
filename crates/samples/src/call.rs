//! One request, whole: what servers that look at all of it share. Its body is bounded in size and time.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Version};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::server::{self, Peer, Reply};

const LARGEST_BODY: usize = 16 << 20;
const BODY_LIMIT: Duration = Duration::from_secs(300);

/// One request, whole.
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    /// `:authority` of HTTP/2, or what an absolute target names.
    pub(crate) authority: Option<String>,
    pub(crate) version: Version,
    pub(crate) body: Bytes,
    pub(crate) peer: Peer,
}

impl Call {
    /// Reads the request to its end; what to answer when that can't be done.
    pub(crate) async fn read(request: Request<Incoming>, peer: Peer) -> Result<Self, Reply> {
        let (head, body) = request.into_parts();
        let body = match tokio::time::timeout(BODY_LIMIT, Limited::new(body, LARGEST_BODY).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => return Err(server::text(413, "request body too large")),
            Err(_) => return Err(server::text(408, "request body too slow")),
        };
        Ok(Self {
            method: head.method.as_str().to_owned(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers: head.headers,
            authority: head.uri.authority().map(ToString::to_string),
            version: head.version,
            body,
            peer,
        })
    }

    /// The value of a header, empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> String {
        let value = self
            .headers
            .get(name)
            .map(|value| String::from_utf8_lossy(value.as_bytes()));
        value.unwrap_or_default().into_owned()
    }

    /// Whom the caller meant.
    pub(crate) fn host(&self) -> String {
        self.authority.clone().unwrap_or_else(|| self.header("host"))
    }

    /// Path and query.
    pub(crate) fn target(&self) -> String {
        if self.query.is_empty() {
            self.path.clone()
        } else {
            format!("{}?{}", self.path, self.query)
        }
    }

    /// Every header with the list of its values, names as Go prints them.
    pub(crate) fn headers_as_go(&self) -> BTreeMap<String, Vec<String>> {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in &self.headers {
            all.entry(canonical(name.as_str()))
                .or_default()
                .push(String::from_utf8_lossy(value.as_bytes()).into_owned());
        }
        all
    }

    /// A cookie that the caller sent.
    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        cookies(&self.headers)
            .into_iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value)
    }

    /// The first value of a query parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        pairs(&self.query)
            .find(|(found, _)| found == name)
            .map(|(_, value)| value)
    }
}

/// Names and values of all cookies, in order.
pub(crate) fn cookies(headers: &HeaderMap) -> Vec<(String, String)> {
    let texts = headers.get_all(http::header::COOKIE).iter();
    let texts = texts.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let pair = |pair: &str| {
        let (name, value) = pair.trim().split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    };
    texts
        .flat_map(|text| text.split(';').filter_map(pair).collect::<Vec<_>>())
        .collect()
}

/// `x-request-id` → `X-Request-Id`.
pub(crate) fn canonical(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters
            .next()
            .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
            .unwrap_or_default()
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}

/// The pairs of a query or of a form.
pub(crate) fn pairs(text: &str) -> impl Iterator<Item = (String, String)> {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}

/// The same as JSON: each name with the list of its values.
pub(crate) fn lists(text: &str) -> Value {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in pairs(text) {
        all.entry(name).or_default().push(value);
    }
    json!(all)
}

/// `%41+b` → `A b`; what is not an escape stays.
pub(crate) fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes
            .get(at + 1..at + 3)
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (bytes[at], escape) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_and_broken_ones_stay() {
        assert_eq!(decoded("a%20b+c%zz%4%+1"), "a b c%zz%4% 1");
        assert_eq!(lists("a=1&a=2&b"), json!({"a": ["1", "2"], "b": [""]}));
    }

    #[test]
    fn cookies_of_several_headers_are_found() {
        let mut headers = HeaderMap::new();
        headers.append("cookie", "a=1; b=2=3".parse().unwrap());
        headers.append("cookie", "c=4;broken".parse().unwrap());
        let expected = [("a", "1"), ("b", "2=3"), ("c", "4")];
        assert_eq!(
            cookies(&headers),
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }
}
