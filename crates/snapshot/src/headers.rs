//! Changes to header fields. Istio: `Headers` of a VirtualService; Envoy: `request_headers_to_add` and its kin.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::format::{Format, FormatError, Piece};

/// Changes to the fields of one message: first those to remove go, then each of `set` replaces all of its name,
/// then each of `add` comes after those that are there. Values are worked out before anything is changed but
/// removals, as Envoy does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HeaderOperations {
    /// Names, lower case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// Fields that replace all of their name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<HeaderField>,
    /// Fields that are added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<HeaderField>,
    /// Fields that are added where there is none of their name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_if_absent: Vec<HeaderField>,
    /// Fields that replace all of their name, where there is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overwrite: Vec<HeaderField>,
}

/// A field to write. One whose value comes out empty is left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeaderField {
    /// Lower case.
    pub name: String,
    /// Its value.
    pub value: Format,
}

/// Why a field cannot be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderProblem {
    /// The name is no token (RFC 9110, 5.6.2).
    Name,
    /// The value holds a control character.
    Value,
    /// The field frames the message or belongs to one hop; changing it would let requests be smuggled.
    Framing,
    /// The value is no format.
    Format(FormatError),
}

impl fmt::Display for HeaderProblem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => out.write_str("not a header name"),
            Self::Value => out.write_str("a control character in the value"),
            Self::Framing => out.write_str("the proxy frames messages itself"),
            Self::Format(error) => error.fmt(out),
        }
    }
}

/// Fields of one hop, and those that say how long a message is.
const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether a field (lower case) frames its message or belongs to one hop: the proxy's own business, whoever asks for it.
/// Pseudo-headers are no fields at all.
pub fn frames_messages(name: &str) -> bool {
    name.starts_with(':') || FRAMING.contains(&name)
}

impl HeaderField {
    /// A field that can be written.
    ///
    /// # Errors
    /// See [`HeaderProblem`].
    pub fn new(name: &str, value: &str) -> Result<Self, HeaderProblem> {
        let name = name.to_ascii_lowercase();
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(HeaderProblem::Name);
        }
        if frames_messages(&name) {
            return Err(HeaderProblem::Framing);
        }
        let value = Format::parse(value).map_err(HeaderProblem::Format)?;
        let is_clean = |piece: &Piece| match piece {
            Piece::Text(text) => !text.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t'),
            Piece::Command(_) => true,
        };
        match value.pieces().iter().all(is_clean) {
            true => Ok(Self { name, value }),
            false => Err(HeaderProblem::Value),
        }
    }
}

impl HeaderOperations {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_would_break_the_message_is_refused() {
        let wrong = |name: &str, value: &str| HeaderField::new(name, value).unwrap_err();
        assert_eq!(wrong("x y", "1"), HeaderProblem::Name);
        assert_eq!(wrong("", "1"), HeaderProblem::Name);
        assert_eq!(wrong("x-a", "1\r\nx-b: 2"), HeaderProblem::Value);
        assert_eq!(wrong("Content-Length", "0"), HeaderProblem::Framing);
        assert_eq!(wrong("Trailer", "x-a"), HeaderProblem::Framing);
        assert_eq!(wrong("x-a", "50%"), HeaderProblem::Format(FormatError::Unclosed));
        assert_eq!(HeaderField::new("X-A", "1").unwrap().name, "x-a");
    }
}
