//! Ways in which servers read HTTP/1.1: the strict one, and the leniencies that smuggling lives on.

/// How a server reads.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dialect {
    pub(super) name: &'static str,
    /// A LF alone ends a line.
    pub(super) lone_feed: bool,
    /// A CR alone ends a line.
    pub(super) lone_return: bool,
    /// `content-length` wins over `transfer-encoding`.
    pub(super) length_wins: bool,
    /// Of several lengths the last counts.
    pub(super) last_length: bool,
    /// `transfer-encoding` is chunked when the word occurs in it.
    pub(super) chunked_anywhere: bool,
    /// Lines that begin with white space continue the one before.
    pub(super) folds: bool,
    /// White space around names does not matter.
    pub(super) trims_names: bool,
    /// Numbers as C's `strtol` reads them.
    pub(super) loose_numbers: bool,
}

const NONE: Dialect = Dialect {
    name: "strict",
    lone_feed: false,
    lone_return: false,
    length_wins: false,
    last_length: false,
    chunked_anywhere: false,
    folds: false,
    trims_names: false,
    loose_numbers: false,
};

/// One way to read; everything else is an error.
pub(super) const STRICT: Dialect = NONE;

/// Everything forgiven.
pub(super) const LENIENT: Dialect = Dialect {
    name: "lenient",
    lone_feed: true,
    chunked_anywhere: true,
    folds: true,
    trims_names: true,
    loose_numbers: true,
    ..NONE
};

/// All that a backend's bytes are read in.
pub(super) const DIALECTS: &[Dialect] = &[
    STRICT,
    LENIENT,
    Dialect {
        name: "LF ends lines",
        lone_feed: true,
        ..NONE
    },
    Dialect {
        name: "CR ends lines",
        lone_feed: true,
        lone_return: true,
        ..NONE
    },
    Dialect {
        name: "length wins",
        length_wins: true,
        ..LENIENT
    },
    Dialect {
        name: "last length wins",
        length_wins: true,
        last_length: true,
        ..LENIENT
    },
    Dialect {
        name: "folds",
        folds: true,
        ..NONE
    },
    Dialect {
        name: "trims names",
        trims_names: true,
        ..NONE
    },
    Dialect {
        name: "loose numbers",
        loose_numbers: true,
        ..NONE
    },
];

/// What a server found in the bytes of one connection.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// `METHOD target body` of every complete request.
    pub(super) requests: Vec<String>,
    /// `METHOD target` of one that is not complete.
    pub(super) begun: Option<String>,
}

/// A response at the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) body: String,
    pub(super) complete: bool,
}

struct Head {
    first: String,
    fields: Vec<(String, String)>,
}

/// Reads requests to the end of the bytes.
pub(super) fn requests(bytes: &[u8], dialect: &Dialect) -> Result<Reading, String> {
    let (mut reading, mut rest) = (Reading::default(), bytes);
    while !rest.is_empty() {
        let Some((head, after)) = head(rest, dialect)? else {
            let first = rest
                .split(|byte| matches!(byte, b'\r' | b'\n'))
                .next()
                .unwrap_or_default();
            reading.begun = Some(request_line(&String::from_utf8_lossy(first)));
            return Ok(reading);
        };
        let line = request_line(&head.first);
        match body(&head, after, dialect)? {
            Some((body, after)) => {
                let body = String::from_utf8_lossy(&body).into_owned();
                reading
                    .requests
                    .push(format!("{line} {body}").trim_end().to_owned());
                rest = after;
            }
            None => {
                reading.begun = Some(line);
                return Ok(reading);
            }
        }
    }
    Ok(reading)
}

/// Reads what a client received, strictly. `to_head` says that the first answer has no body.
pub(super) fn responses(bytes: &[u8], to_head: bool) -> Result<Vec<Response>, String> {
    let (mut found, mut rest, mut bodiless) = (Vec::new(), bytes, to_head);
    while !rest.is_empty() {
        let Some((head, after)) = head(rest, &STRICT)? else {
            return Err(format!("(half a head: {:?})", String::from_utf8_lossy(rest)));
        };
        let status = head.first.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status: u16 = status.ok_or_else(|| format!("(no status: {:?})", head.first))?;
        if status == 101 {
            found.push(Response {
                status,
                body: String::from_utf8_lossy(after).into_owned(),
                complete: true,
            });
            return Ok(found);
        }
        let informational = (100..200).contains(&status);
        if bodiless || informational || matches!(status, 204 | 304) {
            bodiless &= informational;
            found.push(Response {
                status,
                body: String::new(),
                complete: true,
            });
            rest = after;
            continue;
        }
        let (complete, text, after) = match body(&head, after, &STRICT)? {
            Some((body, after)) => (true, body, after),
            None => (false, Vec::new(), &b""[..]),
        };
        found.push(Response {
            status,
            body: String::from_utf8_lossy(&text).into_owned(),
            complete,
        });
        rest = after;
    }
    Ok(found)
}

fn request_line(line: &str) -> String {
    line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

fn head<'b>(bytes: &'b [u8], dialect: &Dialect) -> Result<AndRest<'b, Head>, String> {
    let mut lines: Vec<String> = Vec::new();
    let mut rest = bytes;
    loop {
        let Some((text, after)) = line(rest, dialect)? else {
            return Ok(None);
        };
        rest = after;
        if text.is_empty() && !lines.is_empty() {
            break;
        }
        let text = String::from_utf8_lossy(text).into_owned();
        match lines.last_mut() {
            Some(last) if dialect.folds && text.starts_with([' ', '\t']) => last.push_str(&text),
            _ if !text.is_empty() => lines.push(text),
            _ => {}
        }
    }
    let mut fields = Vec::new();
    for text in &lines[1..] {
        let (name, value) = text
            .split_once(':')
            .ok_or_else(|| format!("(no field: {text:?})"))?;
        let trimmed = if dialect.trims_names { name.trim() } else { name };
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if trimmed.is_empty() || !trimmed.bytes().all(token) {
            return Err(format!("(no name: {name:?})"));
        }
        fields.push((trimmed.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(Some((
        Head {
            first: lines.remove(0),
            fields,
        },
        rest,
    )))
}

/// A line without its end.
fn line<'b>(bytes: &'b [u8], dialect: &Dialect) -> Result<AndRest<'b, &'b [u8]>, String> {
    for (position, byte) in bytes.iter().enumerate() {
        match (byte, bytes.get(position + 1)) {
            (b'\r', Some(b'\n')) => return Ok(Some((&bytes[..position], &bytes[position + 2..]))),
            (b'\r', Some(_)) if dialect.lone_return => {
                return Ok(Some((&bytes[..position], &bytes[position + 1..])));
            }
            (b'\r', None) => return Ok(None),
            (b'\n', _) if dialect.lone_feed => {
                return Ok(Some((&bytes[..position], &bytes[position + 1..])));
            }
            (b'\r' | b'\n' | 0, _) => return Err(format!("(a line with {byte:#x})")),
            _ => {}
        }
    }
    Ok(None)
}

/// Something that is complete, and what follows it.
type AndRest<'b, T> = Option<(T, &'b [u8])>;

/// The body and what is behind it; `None` when it is not complete.
fn body<'b>(head: &Head, rest: &'b [u8], dialect: &Dialect) -> Result<AndRest<'b, Vec<u8>>, String> {
    let values = |wanted: &str| -> Vec<&str> {
        let fields = head.fields.iter().filter(|(name, _)| name == wanted);
        fields.map(|(_, value)| value.as_str()).collect()
    };
    let (codings, mut lengths) = (values("transfer-encoding"), values("content-length"));
    let strict = dialect.name == "strict";
    if strict && codings.len() + lengths.len() > 1 {
        return Err(format!("(lengths {codings:?} {lengths:?})"));
    }
    if dialect.last_length {
        lengths.reverse();
    }
    let chunked = codings.iter().any(|coding| match dialect.chunked_anywhere {
        true => coding.to_ascii_lowercase().contains("chunked"),
        false => coding.eq_ignore_ascii_case("chunked"),
    });
    if strict && !chunked && !codings.is_empty() {
        return Err(format!("(coding {codings:?})"));
    }
    let length = lengths
        .first()
        .map(|text| number(text, 10, dialect))
        .transpose()?;
    match length {
        Some(length) if !chunked || dialect.length_wins => {
            let complete = rest.len() as u64 >= length;
            Ok(complete
                .then(|| rest.split_at(length as usize))
                .map(|(body, rest)| (body.to_vec(), rest)))
        }
        _ if chunked => chunks(rest, dialect),
        _ => Ok(Some((Vec::new(), rest))),
    }
}

fn chunks<'b>(bytes: &'b [u8], dialect: &Dialect) -> Result<AndRest<'b, Vec<u8>>, String> {
    let (mut body, mut rest) = (Vec::new(), bytes);
    loop {
        let Some((size, after)) = line(rest, dialect)? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(size);
        let size = number(text.split(';').next().unwrap_or_default(), 16, dialect)?;
        if size == 0 {
            rest = after;
            break;
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let (Some(data), Some(after)) = (after.get(..size), after.get(size..)) else {
            return Ok(None);
        };
        body.extend_from_slice(data);
        match line(after, dialect)? {
            Some(([], after)) => rest = after,
            Some(_) => return Err("(a chunk longer than its size)".to_owned()),
            None => return Ok(None),
        }
    }
    loop {
        match line(rest, dialect)? {
            Some(([], after)) => return Ok(Some((body, after))),
            Some((_, after)) => rest = after,
            None => return Ok(None),
        }
    }
}

fn number(text: &str, radix: u32, dialect: &Dialect) -> Result<u64, String> {
    let text = if dialect.loose_numbers {
        let text = text.trim_start().trim_start_matches('+');
        let text = text.strip_prefix("0x").filter(|_| radix == 16).unwrap_or(text);
        &text[..text.find(|c: char| !c.is_digit(radix)).unwrap_or(text.len())]
    } else {
        text
    };
    if text.is_empty() || !text.chars().all(|c| c.is_digit(radix)) {
        return Err(format!("(no number: {text:?})"));
    }
    u64::from_str_radix(text, radix).map_err(|_| format!("(no number: {text:?})"))
}
