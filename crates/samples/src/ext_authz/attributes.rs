//! `envoy.service.auth.v3.AttributeContext`: what a proxy tells of a request, read and printed as Go prints it.

use std::fmt;

use super::wire::{self, Value};

/// What is told of a request.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    pub(super) source: Option<Peer>,
    destination: Option<Peer>,
    time: Option<(u64, u64)>,
    id: String,
    method: String,
    headers: Vec<(String, String)>,
    pub(super) path: String,
    pub(super) host: String,
    scheme: String,
    size: u64,
    protocol: String,
    body: String,
    raw_body: Vec<u8>,
    context: Vec<(String, String)>,
}

/// One end of its connection.
#[derive(Debug, Default)]
pub(super) struct Peer {
    address: String,
    port: u64,
    service: String,
    pub(super) principal: String,
}

impl Attributes {
    /// Of a `CheckRequest`; `None` for bytes that are none.
    pub(super) fn of_question(message: &[u8]) -> Option<Self> {
        let mut attributes = Self::default();
        for message in messages(message, 1)? {
            for (field, value) in wire::fields(message)? {
                match (field, value) {
                    (1, Value::Bytes(peer)) => attributes.source = Some(Peer::of(peer)?),
                    (2, Value::Bytes(peer)) => attributes.destination = Some(Peer::of(peer)?),
                    (4, Value::Bytes(request)) => attributes.read_request(request)?,
                    (10, Value::Bytes(entry)) => attributes.context.push(pair(entry)?),
                    _ => {}
                }
            }
        }
        attributes.headers.sort();
        attributes.context.sort();
        Some(attributes)
    }

    /// The value of a header (lower case).
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    fn read_request(&mut self, message: &[u8]) -> Option<()> {
        for (field, value) in wire::fields(message)? {
            match (field, value) {
                (1, Value::Bytes(time)) => self.time = Some((number(time, 1)?, number(time, 2)?)),
                (2, Value::Bytes(http)) => self.read_http(http)?,
                _ => {}
            }
        }
        Some(())
    }

    fn read_http(&mut self, message: &[u8]) -> Option<()> {
        for (field, value) in wire::fields(message)? {
            match (field, value) {
                (1, Value::Bytes(text)) => self.id = string(text),
                (2, Value::Bytes(text)) => self.method = string(text),
                (3, Value::Bytes(entry)) => self.headers.push(pair(entry)?),
                (4, Value::Bytes(text)) => self.path = string(text),
                (5, Value::Bytes(text)) => self.host = string(text),
                (6, Value::Bytes(text)) => self.scheme = string(text),
                (9, Value::Number(size)) => self.size = size,
                (10, Value::Bytes(text)) => self.protocol = string(text),
                (11, Value::Bytes(text)) => self.body = string(text),
                (12, Value::Bytes(bytes)) => self.raw_body = bytes.to_vec(),
                _ => {}
            }
        }
        Some(())
    }
}

impl Peer {
    fn of(message: &[u8]) -> Option<Self> {
        let mut peer = Self::default();
        for (field, value) in wire::fields(message)? {
            match (field, value) {
                (1, Value::Bytes(address)) => {
                    for socket in messages(address, 1)? {
                        for (field, value) in wire::fields(socket)? {
                            match (field, value) {
                                (2, Value::Bytes(text)) => peer.address = string(text),
                                (3, Value::Number(port)) => peer.port = port,
                                _ => {}
                            }
                        }
                    }
                }
                (2, Value::Bytes(text)) => peer.service = string(text),
                (4, Value::Bytes(text)) => peer.principal = string(text),
                _ => {}
            }
        }
        Some(peer)
    }
}

impl fmt::Display for Attributes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = |name: &str, peer: &Option<Peer>| {
            let peer = peer.as_ref()?;
            Some(format!("{name}:{{{peer}}}"))
        };
        let time = self.time.map(|(seconds, nanos)| {
            let parts = [whole("seconds", seconds), whole("nanos", nanos)];
            format!("time:{{{}}}", joined(parts))
        });
        let mut http = vec![text("id", &self.id), text("method", &self.method)];
        let entry = |name: &str, (key, value): &(String, String)| {
            Some(format!(
                "{name}:{{{}}}",
                joined([text("key", key), text("value", value)])
            ))
        };
        http.extend(self.headers.iter().map(|header| entry("headers", header)));
        http.extend([
            text("path", &self.path),
            text("host", &self.host),
            text("scheme", &self.scheme),
            whole("size", self.size),
            text("protocol", &self.protocol),
            text("body", &self.body),
            text("raw_body", &String::from_utf8_lossy(&self.raw_body)),
        ]);
        let http = Some(joined(http)).filter(|http| !http.is_empty());
        let request = joined([time, http.map(|http| format!("http:{{{http}}}"))]);
        let mut all = vec![
            peer("source", &self.source),
            peer("destination", &self.destination),
            Some(format!("request:{{{request}}}")).filter(|_| !request.is_empty()),
        ];
        all.extend(
            self.context
                .iter()
                .map(|context| entry("context_extensions", context)),
        );
        out.write_str(&joined(all))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let socket = joined([text("address", &self.address), whole("port_value", self.port)]);
        let address = Some(format!("address:{{socket_address:{{{socket}}}}}"));
        out.write_str(&joined([
            address,
            text("service", &self.service),
            text("principal", &self.principal),
        ]))
    }
}

fn joined(parts: impl IntoIterator<Item = Option<String>>) -> String {
    parts.into_iter().flatten().collect::<Vec<_>>().join("  ")
}

/// What is empty is not told.
fn text(name: &str, value: &str) -> Option<String> {
    (!value.is_empty()).then(|| format!("{name}:{value:?}"))
}

fn whole(name: &str, value: u64) -> Option<String> {
    (value != 0).then(|| format!("{name}:{value}"))
}

fn messages(message: &[u8], wanted: u64) -> Option<Vec<&[u8]>> {
    let fields = wire::fields(message)?.into_iter();
    let messages = fields.filter_map(|(field, value)| match value {
        Value::Bytes(bytes) if field == wanted => Some(bytes),
        _ => None,
    });
    Some(messages.collect())
}

fn number(message: &[u8], wanted: u64) -> Option<u64> {
    let fields = wire::fields(message)?.into_iter();
    let mut numbers = fields.filter_map(|(field, value)| match value {
        Value::Number(number) if field == wanted => Some(number),
        _ => None,
    });
    Some(numbers.next().unwrap_or(0))
}

fn pair(entry: &[u8]) -> Option<(String, String)> {
    let part = |wanted| {
        Some(
            messages(entry, wanted)?
                .first()
                .map(|text| string(text))
                .unwrap_or_default(),
        )
    };
    Some((part(1)?, part(2)?))
}

fn string(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}
