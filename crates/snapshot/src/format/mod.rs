//! Text with places for what is known about a request: `%REQ(x-user?:authority)%`, `%UPSTREAM_HOST%`.
//!
//! One language for header operations and access logs: Envoy's substitution format
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#format-strings>).
//! A [`Format`] is parsed when it is made, so one that exists can be written out. Operators that nobody here can
//! fill are refused by name.

mod operator;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use operator::{GrpcStatus, HeaderName, Operator};

/// A format string, parsed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Format {
    source: String,
    pieces: Vec<Piece>,
}

/// A part of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Written as it is.
    Text(String),
    /// Filled in.
    Command(Command),
}

/// A place to fill in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// With what.
    pub operator: Operator,
    /// At most so many bytes of it.
    pub limit: Option<usize>,
}

/// What is wrong with a format string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormatError {
    /// A `%` without its partner. `%%` is a percent sign.
    Unclosed,
    /// No such operator here.
    Unknown(String),
    /// `REQ`, `RESP`, `ENVIRONMENT` … need a name in parentheses.
    Argument(String),
    /// After a colon stands a number of bytes.
    Limit(String),
}

impl fmt::Display for FormatError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unclosed => out.write_str("a % without its partner; write %% for a percent sign"),
            Self::Unknown(name) => write!(out, "unknown operator {name}"),
            Self::Argument(text) => write!(out, "{text} needs a name, as in REQ(x-user)"),
            Self::Limit(text) => write!(out, "{text:?} is not a number of bytes"),
        }
    }
}

impl std::error::Error for FormatError {}

impl Format {
    /// Parses a format.
    ///
    /// # Errors
    /// See [`FormatError`].
    pub fn parse(source: &str) -> Result<Self, FormatError> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut left = source;
        while let Some((before, after)) = left.split_once('%') {
            text.push_str(before);
            if let Some(rest) = after.strip_prefix('%') {
                text.push('%');
                left = rest;
                continue;
            }
            let (command, rest) = split_command(after)?;
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            pieces.push(Piece::Command(parse_command(command)?));
            left = rest;
        }
        text.push_str(left);
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(Self {
            source: source.to_owned(),
            pieces,
        })
    }

    /// A format that writes exactly this text.
    pub fn text(text: &str) -> Self {
        Self {
            source: text.replace('%', "%%"),
            pieces: vec![Piece::Text(text.to_owned())],
        }
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Its parts in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }
}

impl TryFrom<String> for Format {
    type Error = FormatError;

    fn try_from(source: String) -> Result<Self, FormatError> {
        Self::parse(&source)
    }
}

impl From<Format> for String {
    fn from(format: Format) -> Self {
        format.source
    }
}

/// A command and what follows its closing percent sign. An argument in parentheses may have percent signs itself.
fn split_command(text: &str) -> Result<(&str, &str), FormatError> {
    let name = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let argument = match name.map(|end| &text[end..]) {
        Some(after) if after.starts_with('(') => after.find(')').map(|end| name.unwrap_or_default() + end),
        _ => name,
    };
    let from = argument.ok_or(FormatError::Unclosed)?;
    let end = text[from..].find('%').ok_or(FormatError::Unclosed)? + from;
    Ok((&text[..end], &text[end + 1..]))
}

/// `REQ(name?alternative):limit`, `PROTOCOL`.
fn parse_command(command: &str) -> Result<Command, FormatError> {
    let closing = command.rfind(')').unwrap_or(0);
    let (head, limit) = match command[closing..].find(':') {
        Some(colon) => (&command[..closing + colon], Some(&command[closing + colon + 1..])),
        None => (command, None),
    };
    let limit = limit.map(|text| text.parse().map_err(|_| FormatError::Limit(text.to_owned())));
    let operator = match head.split_once('(') {
        Some((name, argument)) => match argument.strip_suffix(')') {
            Some(argument) => Operator::parse(name, Some(argument))?,
            None => return Err(FormatError::Argument(head.to_owned())),
        },
        None => Operator::parse(head, None)?,
    };
    Ok(Command {
        operator,
        limit: limit.transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_places_come_in_order() {
        let format = Format::parse("%PROTOCOL% 100%% of %REQ(X-User?:AUTHORITY):8%!").unwrap();
        let user = HeaderName {
            name: "x-user".to_owned(),
            alternative: Some(":authority".to_owned()),
        };
        let command = |operator, limit| Piece::Command(Command { operator, limit });
        let text = |text: &str| Piece::Text(text.to_owned());
        assert_eq!(
            format.pieces(),
            [
                command(Operator::Protocol, None),
                text(" 100% of "),
                command(Operator::RequestHeader(user), Some(8)),
                text("!"),
            ]
        );
    }

    #[test]
    fn what_cannot_be_written_out_is_refused() {
        let wrong = |source: &str| Format::parse(source).unwrap_err();
        assert_eq!(wrong("50%"), FormatError::Unclosed);
        assert_eq!(wrong("%NOPE%"), FormatError::Unknown("NOPE".to_owned()));
        assert_eq!(wrong("%REQ%"), FormatError::Argument("REQ".to_owned()));
        assert_eq!(wrong("%REQ()%"), FormatError::Argument("REQ()".to_owned()));
        assert_eq!(wrong("%REQ(a):x%"), FormatError::Limit("x".to_owned()));
        assert_eq!(wrong("%REQ(a"), FormatError::Unclosed);
        assert_eq!(
            wrong("%DOWNSTREAM_WIRE_BYTES_SENT%"),
            FormatError::Unknown("DOWNSTREAM_WIRE_BYTES_SENT".to_owned())
        );
        assert_eq!(
            wrong("%GRPC_STATUS(LOUD)%"),
            FormatError::Unknown("GRPC_STATUS(LOUD)".to_owned())
        );
    }

    #[test]
    fn an_argument_may_have_percent_signs_and_colons() {
        let format = Format::parse("%START_TIME(%H:%M:%S)% %DYNAMIC_METADATA(a:b):3%").unwrap();
        let operators: Vec<_> = format
            .pieces()
            .iter()
            .filter_map(|piece| match piece {
                Piece::Command(command) => Some((command.operator.clone(), command.limit)),
                Piece::Text(_) => None,
            })
            .collect();
        let time = Operator::StartTime(Some("%H:%M:%S".to_owned()));
        let metadata = Operator::DynamicMetadata(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(operators, [(time, None), (metadata, Some(3))]);
    }

    #[test]
    fn a_plain_text_stays_what_it_is() {
        let format = Format::text("100%");
        assert_eq!(Format::parse(format.source()).unwrap(), format);
    }
}
