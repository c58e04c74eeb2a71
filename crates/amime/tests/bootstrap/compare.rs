//! Answers without what is different each time, and what is different between two.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::client::Call;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Answer {
    status: u16,
    /// In order of their names.
    headers: Vec<(String, String)>,
    body: String,
    /// What a backend says that it saw.
    seen: BTreeMap<String, String>,
}

/// Shares of repeated calls may be apart by this.
const SHARE: f64 = 0.15;

impl Answer {
    pub(crate) fn broken(reason: &str) -> Self {
        Self::of(0, Vec::new(), reason.as_bytes())
    }

    pub(crate) fn bytes(bytes: &[u8]) -> Self {
        Self::of(1, Vec::new(), bytes)
    }

    pub(crate) fn of(status: u16, headers: Vec<(String, String)>, body: &[u8]) -> Self {
        let mut headers: Vec<_> = headers.into_iter().map(steady).collect();
        headers.sort();
        let text = String::from_utf8_lossy(body).into_owned();
        let seen = match serde_json::from_str::<Value>(&text) {
            Ok(Value::Object(seen)) if seen.contains_key("name") => seen,
            _ => serde_json::Map::new(),
        };
        let body = if seen.is_empty() { text } else { String::new() };
        // The length of what a backend saw depends on what it saw.
        let from_backend = headers
            .iter()
            .any(|(name, _)| name == "x-envoy-upstream-service-time");
        if from_backend {
            headers.retain(|(name, _)| name != "content-length");
        }
        Self {
            status,
            headers,
            body,
            seen: seen
                .iter()
                .map(|(name, value)| (name.clone(), seen_text(name, value)))
                .collect(),
        }
    }

    /// With the protocol that the two ends of TLS agreed on.
    pub(crate) fn over(mut self, agreed: Option<Vec<u8>>) -> Self {
        if let Some(protocol) = agreed {
            let protocol = String::from_utf8_lossy(&protocol).into_owned();
            self.headers.push(("(agreed)".to_owned(), protocol));
        }
        self
    }

    pub(crate) fn http1(bytes: &[u8], bodiless: bool) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let body = &bytes[end + 4..];
        let chunked = headers
            .iter()
            .any(|(name, value)| name == "transfer-encoding" && value == "chunked");
        let body = if chunked && !bodiless {
            unchunked(body)
        } else {
            body.to_vec()
        };
        Some(Self::of(status, headers, &body))
    }
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") {
        let length = usize::from_str_radix(&String::from_utf8_lossy(&bytes[..end]), 16).unwrap_or(0);
        let rest = &bytes[end + 2..];
        body.extend_from_slice(rest.get(..length).unwrap_or_default());
        bytes = rest.get(length + 2..).unwrap_or_default();
    }
    body
}

/// A header without what is different each time.
fn steady((name, value): (String, String)) -> (String, String) {
    let is_uuid = value.len() == 36 && value.bytes().filter(|byte| *byte == b'-').count() == 4;
    let value = match name.as_str() {
        "date" => "(date)".to_owned(),
        "x-envoy-upstream-service-time" => "(time)".to_owned(),
        "x-request-id" if is_uuid => "(new)".to_owned(),
        "x-ratelimit-reset" => "(time)".to_owned(),
        // Later tries have what is left.
        "x-envoy-expected-rq-timeout-ms" => match value.parse::<u32>() {
            Ok(left) if left > 1000 => format!("{}", left.div_ceil(500) * 500),
            _ => value,
        },
        _ => value,
    };
    (name, value)
}

fn seen_text(name: &str, value: &Value) -> String {
    if name != "headers" {
        return value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    }
    let pairs = value.as_array().into_iter().flatten().filter_map(|pair| {
        let text = |index: usize| pair[index].as_str().map(str::to_owned);
        Some(steady((text(0)?, text(1)?)))
    });
    let mut lines: Vec<_> = pairs.map(|(name, value)| format!("{name}: {value}")).collect();
    lines.sort();
    lines.join("\n")
}

/// What is different, one line each.
pub(crate) fn differences(call: &Call, ours: &[Answer], theirs: &[Answer]) -> Vec<String> {
    let mut found = Vec::new();
    if let [ours] = ours
        && let [theirs] = theirs
    {
        of_two(ours, theirs, &mut found);
    } else {
        of_many(ours, theirs, &mut found);
    }
    if let Some(status) = call.status
        && let Some(other) = theirs.iter().find(|answer| answer.status != status)
    {
        found.push(format!("Envoy's status is {}, not {status}", other.status));
    }
    found
}

fn of_two(ours: &Answer, theirs: &Answer, found: &mut Vec<String>) {
    if ours.status != theirs.status {
        found.push(format!("status {} for {}", ours.status, theirs.status));
    }
    only_in(&ours.headers, &theirs.headers, "has header", found);
    only_in(&theirs.headers, &ours.headers, "lacks header", found);
    if ours.body != theirs.body {
        found.push(format!("body {:?} for {:?}", ours.body, theirs.body));
    }
    for name in ["name", "method", "path", "body"] {
        if ours.seen.get(name) != theirs.seen.get(name) {
            found.push(format!(
                "backend saw {name} {:?} for {:?}",
                ours.seen.get(name),
                theirs.seen.get(name)
            ));
        }
    }
    let lines = |answer: &Answer| {
        let lines = answer.seen.get("headers").map(String::as_str).unwrap_or_default();
        lines
            .lines()
            .map(|line| (line.to_owned(), String::new()))
            .collect::<Vec<_>>()
    };
    only_in(&lines(ours), &lines(theirs), "backend saw", found);
    only_in(&lines(theirs), &lines(ours), "backend did not see", found);
}

fn only_in(one: &[(String, String)], other: &[(String, String)], words: &str, found: &mut Vec<String>) {
    for (name, value) in one.iter().filter(|pair| !other.contains(pair)) {
        found.push(format!("{words} {name}: {value}"));
    }
}

/// The shares of backends and statuses.
fn of_many(ours: &[Answer], theirs: &[Answer], found: &mut Vec<String>) {
    let shares = |answers: &[Answer]| {
        let mut shares = BTreeMap::<_, f64>::new();
        for answer in answers {
            let key = (
                answer.status,
                answer.seen.get("name").cloned().unwrap_or_default(),
            );
            #[allow(clippy::cast_precision_loss, reason = "a few hundred")]
            let part = 1.0 / answers.len() as f64;
            *shares.entry(key).or_default() += part;
        }
        shares
    };
    let (ours, theirs) = (shares(ours), shares(theirs));
    let keys = ours
        .keys()
        .chain(theirs.keys())
        .collect::<std::collections::BTreeSet<_>>();
    for key in keys {
        let share = |shares: &BTreeMap<_, f64>| shares.get(key).copied().unwrap_or(0.0);
        if (share(&ours) - share(&theirs)).abs() > SHARE {
            found.push(format!(
                "{key:?} has the share {:.2} for {:.2}",
                share(&ours),
                share(&theirs)
            ));
        }
    }
}
