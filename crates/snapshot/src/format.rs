//! Text with places for what is known about a request: `%REQ(x-user?:authority)%`, `%UPSTREAM_HOST%`.
//!
//! Operators that are only for access logs (`%RESPONSE_FLAGS%` …) come with the access log; until then they are
//! refused by name. The syntax is Envoy's substitution format, which Istio's header operations and access logs are written in
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#format-strings>).
//! A [`Format`] is parsed when it is made, so one that exists can be written out.

use std::fmt;

use serde::{Deserialize, Serialize};

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

/// A header of a request or a response, or else another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderName {
    /// Lower case.
    pub name: String,
    /// Taken when the first is absent.
    pub alternative: Option<String>,
}

macro_rules! operators {
    ($($(#[$about:meta])* $variant:ident = $name:literal,)*) => {
        /// What fills a place.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Operator {
            /// `REQ(name?alternative)`.
            RequestHeader(HeaderName),
            /// `RESP(name?alternative)`.
            ResponseHeader(HeaderName),
            $($(#[$about])* $variant,)*
        }

        impl Operator {
            fn plain(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

operators! {
    /// When the request began: ISO 8601, UTC, milliseconds.
    StartTime = "START_TIME",
    /// `HTTP/1.1`, `HTTP/2`.
    Protocol = "PROTOCOL",
    /// Address of the endpoint.
    UpstreamHost = "UPSTREAM_HOST",
    /// Name of the cluster.
    UpstreamCluster = "UPSTREAM_CLUSTER",
    /// Address that the client called.
    DownstreamLocalAddress = "DOWNSTREAM_LOCAL_ADDRESS",
    /// The same without port.
    DownstreamLocalAddressWithoutPort = "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    /// Its port.
    DownstreamLocalPort = "DOWNSTREAM_LOCAL_PORT",
    /// Address of the client.
    DownstreamRemoteAddress = "DOWNSTREAM_REMOTE_ADDRESS",
    /// The same without port.
    DownstreamRemoteAddressWithoutPort = "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    /// Its port.
    DownstreamRemotePort = "DOWNSTREAM_REMOTE_PORT",
    /// Name of the route.
    RouteName = "ROUTE_NAME",
}

/// What is wrong with a format string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormatError {
    /// A `%` without its partner. `%%` is a percent sign.
    Unclosed,
    /// No such operator here.
    Unknown(String),
    /// `REQ` and `RESP` need a header name in parentheses.
    Argument(String),
    /// After a colon stands a number of bytes.
    Limit(String),
}

impl fmt::Display for FormatError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unclosed => out.write_str("a % without its partner; write %% for a percent sign"),
            Self::Unknown(name) => write!(out, "unknown operator {name}"),
            Self::Argument(text) => write!(out, "{text} needs a header name, as in REQ(x-user)"),
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
            let (command, rest) = after.split_once('%').ok_or(FormatError::Unclosed)?;
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

/// `REQ(name?alternative):limit`, `PROTOCOL`.
fn parse_command(command: &str) -> Result<Command, FormatError> {
    let closing = command.rfind(')').unwrap_or(0);
    let (head, limit) = match command[closing..].find(':') {
        Some(colon) => (&command[..closing + colon], Some(&command[closing + colon + 1..])),
        None => (command, None),
    };
    let limit = limit.map(|text| text.parse().map_err(|_| FormatError::Limit(text.to_owned())));
    let operator = match head.split_once('(') {
        Some((name, argument)) => {
            let argument = argument.strip_suffix(')').filter(|argument| !argument.is_empty());
            let header = header(argument.ok_or_else(|| FormatError::Argument(head.to_owned()))?);
            match name {
                "REQ" => Operator::RequestHeader(header),
                "RESP" => Operator::ResponseHeader(header),
                _ => return Err(FormatError::Unknown(head.to_owned())),
            }
        }
        None if matches!(head, "REQ" | "RESP") => return Err(FormatError::Argument(head.to_owned())),
        None => Operator::plain(head).ok_or_else(|| FormatError::Unknown(head.to_owned()))?,
    };
    Ok(Command {
        operator,
        limit: limit.transpose()?,
    })
}

fn header(argument: &str) -> HeaderName {
    let (name, alternative) = match argument.split_once('?') {
        Some((name, alternative)) => (name, Some(alternative.to_ascii_lowercase())),
        None => (argument, None),
    };
    HeaderName {
        name: name.to_ascii_lowercase(),
        alternative,
    }
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
    }

    #[test]
    fn a_plain_text_stays_what_it_is() {
        let format = Format::text("100%");
        assert_eq!(Format::parse(format.source()).unwrap(), format);
    }
}
