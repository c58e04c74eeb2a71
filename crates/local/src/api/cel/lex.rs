//! From text to tokens. Pure.

use std::sync::Arc;

use super::value::Value;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Ident(String),
    Literal(Value),
    Sign(&'static str),
    End,
}

/// What is wrong, and at which byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Error {
    pub(super) at: usize,
    pub(super) what: String,
}

/// Longer ones first.
const SIGNS: [&str; 26] = [
    "&&", "||", "==", "!=", "<=", ">=", "[?", ".?", "(", ")", "[", "]", "{", "}", ".", ",", ":", "?", "+",
    "-", "*", "/", "%", "!", "<", ">",
];

impl Error {
    pub(super) fn new(at: usize, what: impl Into<String>) -> Self {
        Self {
            at,
            what: what.into(),
        }
    }

    /// `ERROR: <input>:1:3: …` with the line and a mark below it.
    pub(super) fn shown(&self, text: &str) -> String {
        let at = (0..=self.at.min(text.len()))
            .rev()
            .find(|&at| text.is_char_boundary(at))
            .unwrap_or(0);
        let before = &text[..at];
        let line = before.matches('\n').count() + 1;
        let begin = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = text[begin..at].chars().count();
        let source = text[begin..].lines().next().unwrap_or_default();
        let dots = ".".repeat(column);
        format!(
            "ERROR: <input>:{line}:{}: {}\n | {source}\n | {dots}^",
            column + 1,
            self.what
        )
    }
}

/// A token and where it begins.
pub(super) type Placed = (usize, Token);

/// A literal and how long it is.
type Read = (Value, usize);

/// All tokens with where they begin; the last one is [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, Error> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = skip(rest);
        let at = text.len() - rest.len();
        let Some(first) = rest.chars().next() else {
            tokens.push((at, Token::End));
            return Ok(tokens);
        };
        let (token, length) = if let Some((value, length)) = quoted(rest, at)? {
            (Token::Literal(value), length)
        } else if first.is_ascii_digit()
            || first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit())
        {
            let (value, length) = number(rest, at)?;
            (Token::Literal(value), length)
        } else if first.is_ascii_alphabetic() || first == '_' {
            let length = rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            (word(&rest[..length]), length)
        } else if first == '`' {
            let end = rest[1..]
                .find('`')
                .ok_or_else(|| Error::new(at, "Syntax error: token recognition error at: '`'"))?;
            (Token::Ident(rest[1..=end].to_owned()), end + 2)
        } else {
            let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
            let sign = sign.ok_or_else(|| {
                Error::new(at, format!("Syntax error: token recognition error at: '{first}'"))
            })?;
            // In `[?` and `.?` the question mark belongs to what is optional, in `a[b ?` it stands apart.
            (Token::Sign(sign), sign.len())
        };
        rest = &rest[length..];
        tokens.push((at, token));
    }
}

/// Past spaces and comments.
fn skip(mut rest: &str) -> &str {
    loop {
        rest = rest.trim_start();
        match rest.strip_prefix("//") {
            Some(comment) => rest = comment.find('\n').map_or("", |end| &comment[end..]),
            None => return rest,
        }
    }
}

fn word(word: &str) -> Token {
    match word {
        "true" => Token::Literal(Value::Bool(true)),
        "false" => Token::Literal(Value::Bool(false)),
        "null" => Token::Literal(Value::Null),
        "in" => Token::Sign("in"),
        other => Token::Ident(other.to_owned()),
    }
}

fn number(rest: &str, at: usize) -> Result<Read, Error> {
    let wrong = |kind: &str| Error::new(at, format!("invalid {kind} literal"));
    let digits = |text: &str, radix: fn(&char) -> bool| text.chars().take_while(radix).count();
    if let Some(hex) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
        let length = digits(hex, char::is_ascii_hexdigit);
        let number = u64::from_str_radix(&hex[..length], 16).map_err(|_| wrong("int"))?;
        let unsigned = hex[length..].starts_with(['u', 'U']);
        return whole(number, unsigned, length + 2).ok_or_else(|| wrong("int"));
    }
    let mut length = digits(rest, char::is_ascii_digit);
    let mut fraction = false;
    if rest[length..].starts_with('.') && rest[length + 1..].starts_with(|c: char| c.is_ascii_digit()) {
        fraction = true;
        length += 1 + digits(&rest[length + 1..], char::is_ascii_digit);
    }
    if rest[length..].starts_with(['e', 'E']) {
        let sign = usize::from(rest[length + 1..].starts_with(['+', '-']));
        let exponent = digits(&rest[length + 1 + sign..], char::is_ascii_digit);
        if exponent > 0 {
            fraction = true;
            length += 1 + sign + exponent;
        }
    }
    if fraction {
        let number = rest[..length].parse().map_err(|_| wrong("double"))?;
        return Ok((Value::Double(number), length));
    }
    let number = rest[..length].parse().map_err(|_| wrong("int"))?;
    let unsigned = rest[length..].starts_with(['u', 'U']);
    whole(number, unsigned, length).ok_or_else(|| wrong("int"))
}

fn whole(number: u64, unsigned: bool, length: usize) -> Option<Read> {
    if unsigned {
        return Some((Value::Uint(number), length + 1));
    }
    i64::try_from(number)
        .ok()
        .map(|number| (Value::Int(number), length))
}

/// A string or bytes literal, if one begins here.
fn quoted(rest: &str, at: usize) -> Result<Option<Read>, Error> {
    let letters = rest.chars().take(2).take_while(|c| "rRbB".contains(*c)).count();
    let prefix = &rest[..letters];
    if !rest[letters..].starts_with(['"', '\'']) {
        return Ok(None);
    }
    let (raw, bytes) = (prefix.contains(['r', 'R']), prefix.contains(['b', 'B']));
    let body = &rest[prefix.len()..];
    let quote = ["\"\"\"", "'''", "\"", "'"]
        .into_iter()
        .find(|quote| body.starts_with(quote))
        .expect("a quote was found");
    let mut out: Vec<u8> = Vec::new();
    let mut left = &body[quote.len()..];
    loop {
        if let Some(after) = left.strip_prefix(quote) {
            let length = rest.len() - after.len();
            let value = if bytes {
                Value::Bytes(out.into())
            } else {
                let text = String::from_utf8(out).map_err(|_| Error::new(at, "invalid string literal"))?;
                Value::String(Arc::from(text))
            };
            return Ok(Some((value, length)));
        }
        let Some(letter) = left.chars().next().filter(|c| *c != '\n' || quote.len() == 3) else {
            return Err(Error::new(at, "Syntax error: unterminated string literal"));
        };
        left = &left[letter.len_utf8()..];
        if letter == '\\' && !raw {
            left = escape(left, bytes, &mut out).ok_or_else(|| Error::new(at, "invalid escape sequence"))?;
        } else {
            out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

/// What follows a backslash; the rest after it.
fn escape<'a>(rest: &'a str, bytes: bool, out: &mut Vec<u8>) -> Option<&'a str> {
    let letter = rest.chars().next()?;
    let plain = match letter {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'v' => '\x0b',
        '\\' | '\'' | '"' | '`' | '?' => letter,
        _ => {
            let (length, radix, from) = match letter {
                'x' | 'X' => (2, 16, 1),
                'u' => (4, 16, 1),
                'U' => (8, 16, 1),
                '0'..='3' => (3, 8, 0),
                _ => return None,
            };
            let code = u32::from_str_radix(rest.get(from..from + length)?, radix).ok()?;
            if bytes && length < 4 {
                out.push(u8::try_from(code).ok()?);
            } else {
                let letter = char::from_u32(code)?;
                out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            }
            return Some(&rest[from + length..]);
        }
    };
    out.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes());
    Some(&rest[letter.len_utf8()..])
}
