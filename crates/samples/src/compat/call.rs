//! What the caller is told to do, and what it tells afterwards: one line of JSON each.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    #[default]
    Http,
    Grpc,
    /// Lines, the server first.
    Tcp,
    /// Any upgrade of HTTP/1.1, then lines.
    Upgrade,
    /// Bytes as they stand in `body`, and whatever comes back.
    Raw,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    #[serde(default)]
    pub(super) kind: Kind,
    /// `host:port` to connect to.
    pub(super) address: String,
    /// Speak TLS first, with this server name.
    pub(super) sni: Option<String>,
    #[serde(default)]
    pub(super) http: String,
    #[serde(default)]
    pub(super) method: String,
    #[serde(default)]
    pub(super) authority: String,
    #[serde(default)]
    pub(super) target: String,
    #[serde(default)]
    pub(super) headers: Vec<(String, String)>,
    #[serde(default)]
    pub(super) body: String,
    /// Messages of gRPC, lines of the others.
    #[serde(default)]
    pub(super) send: Vec<String>,
    /// Send before anything was received.
    #[serde(default)]
    pub(super) client_first: bool,
    /// More than once: one after the other, each with a connection of its own.
    #[serde(default = "once")]
    pub(super) repeat: usize,
    /// At the same time.
    #[serde(default = "once")]
    pub(super) parallel: usize,
    /// All on one connection (HTTP).
    #[serde(default)]
    pub(super) one_connection: bool,
    /// Between one and the next of them.
    #[serde(default)]
    pub(super) pause_ms: u64,
    #[serde(default = "deadline")]
    pub(super) deadline_ms: u64,
}

fn once() -> usize {
    1
}

fn deadline() -> u64 {
    15_000
}

impl Call {
    /// With `$N` replaced by the number of the repetition.
    pub(super) fn numbered(&self, number: usize) -> Self {
        let put = |text: &String| text.replace("$N", &number.to_string());
        Self {
            target: put(&self.target),
            body: put(&self.body),
            headers: self
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), put(value)))
                .collect(),
            ..self.clone()
        }
    }
}

/// How a call ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) status: Option<u16>,
    pub(super) version: Option<&'static str>,
    pub(super) headers: BTreeMap<String, Vec<String>>,
    pub(super) trailers: BTreeMap<String, Vec<String>>,
    pub(super) body: Vec<u8>,
    /// Messages of gRPC, lines of the others.
    pub(super) lines: Vec<String>,
    pub(super) error: Option<String>,
    pub(super) milliseconds: u64,
}

/// Longer bodies are told by length and a sum.
const LONGEST_TOLD: usize = 64 << 10;

impl Outcome {
    pub(super) fn to_json(&self) -> Value {
        let body = if self.body.len() <= LONGEST_TOLD {
            json!(String::from_utf8_lossy(&self.body))
        } else {
            let sum = self
                .body
                .iter()
                .fold(0u32, |sum, byte| sum.rotate_left(5) ^ u32::from(*byte));
            json!(format!("{} bytes, sum {sum:08x}", self.body.len()))
        };
        json!({
            "status": self.status, "version": self.version, "headers": self.headers, "trailers": self.trailers,
            "body": body, "lines": self.lines, "error": self.error, "ms": self.milliseconds,
        })
    }

    /// Who answered, or how it failed: one word for statistics.
    pub(super) fn word(&self) -> String {
        if let Some(error) = &self.error {
            return error.clone();
        }
        let named = |text: &str| {
            let told: Value = serde_json::from_str(text).ok()?;
            Some(told["name"].as_str()?.to_owned())
        };
        let name = named(&String::from_utf8_lossy(&self.body)).or_else(|| {
            let first = self.lines.first()?;
            Some(named(first).unwrap_or_else(|| first.clone()))
        });
        match (self.status, name) {
            (None | Some(200), Some(name)) => name,
            (Some(status), Some(name)) => format!("{status} {name}"),
            (Some(status), None) => status.to_string(),
            (None, None) => String::new(),
        }
    }
}
