//! The table: cases with objects and calls, read from YAML. The form is described in `tests/compat/README.md`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::place;
use crate::tokens;

/// One file.
pub(crate) struct Feature {
    pub(crate) name: String,
    pub(crate) cases: Vec<Case>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) covers: Vec<String>,
    #[serde(default)]
    pub(crate) apply: Vec<Value>,
    /// Comes once the objects above are in force for a while.
    #[serde(default)]
    pub(crate) later: Later,
    pub(crate) calls: Vec<Call>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Later {
    pub(crate) after_ms: u64,
    pub(crate) apply: Vec<Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Call {
    pub(crate) get: Option<String>,
    pub(crate) head: Option<String>,
    pub(crate) post: Option<String>,
    pub(crate) put: Option<String>,
    pub(crate) patch: Option<String>,
    pub(crate) delete: Option<String>,
    pub(crate) options: Option<String>,
    pub(crate) connect: Option<String>,
    pub(crate) websocket: Option<String>,
    pub(crate) grpc: Option<String>,
    pub(crate) tcp: Option<String>,
    pub(crate) tls: Option<String>,
    pub(crate) raw: Option<String>,
    /// Any other method.
    pub(crate) method: Option<String>,
    pub(crate) url: Option<String>,
    pub(crate) headers: Map<String, Value>,
    pub(crate) body: Option<String>,
    pub(crate) http: Option<Value>,
    pub(crate) send: Vec<String>,
    pub(crate) client_first: bool,
    pub(crate) sni: Option<String>,
    /// Whom to connect to, when it is not whom the URL names.
    pub(crate) dial: Option<String>,
    /// `shop` (the client there), `far`, or `outside`.
    pub(crate) from: Option<String>,
    pub(crate) repeat: Option<usize>,
    pub(crate) parallel: Option<usize>,
    pub(crate) one_connection: bool,
    /// Milliseconds between one and the next of them.
    pub(crate) pause: u64,
    /// The answers to repetitions are compared one by one.
    pub(crate) sequence: bool,
    pub(crate) deadline: Option<u64>,
    pub(crate) expect: Expect,
}

/// What must hold on both sides.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Expect {
    pub(crate) status: Option<u16>,
    pub(crate) body: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) lines: Option<Vec<String>>,
    /// `null`: not there.
    pub(crate) headers: BTreeMap<String, Option<String>>,
    pub(crate) trailers: BTreeMap<String, Option<String>>,
    /// One name, or the names that are possible.
    pub(crate) upstream: Option<Value>,
    pub(crate) upstream_path: Option<String>,
    pub(crate) upstream_method: Option<String>,
    pub(crate) upstream_authority: Option<String>,
    pub(crate) upstream_version: Option<String>,
    pub(crate) upstream_headers: BTreeMap<String, Option<String>>,
    /// What proxies wrote about it: `client.response_flags` and so on.
    pub(crate) log: BTreeMap<String, Option<String>>,
    /// Requests that reached any backend.
    pub(crate) arrivals: Option<usize>,
    /// Of repetitions, by name or failure.
    pub(crate) shares: BTreeMap<String, f64>,
    /// How many different answers repetitions had.
    pub(crate) distinct: Option<usize>,
    /// Which ones that are depends on addresses, which the two sides do not share.
    pub(crate) anybody: bool,
    /// How often each answer came, exactly.
    pub(crate) counts: BTreeMap<String, usize>,
    pub(crate) at_least_ms: Option<u64>,
    pub(crate) at_most_ms: Option<u64>,
}

/// The files whose name contains one of the wanted words, or whose cases do.
pub(crate) fn read(wanted: &str) -> Vec<Feature> {
    let features = of_folder("table", wanted);
    assert!(!features.is_empty(), "no case of the table is called {wanted:?}");
    features
}

/// The same of another folder of `tests/compat`.
pub(crate) fn of_folder(folder: &str, wanted: &str) -> Vec<Feature> {
    let mut files: Vec<_> = std::fs::read_dir(place().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    let words: Vec<&str> = wanted.split(',').filter(|word| !word.is_empty()).collect();
    let is_wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    let mut features = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let cases: Vec<Case> =
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let cases: Vec<Case> = cases
            .into_iter()
            .filter(|case| is_wanted(&name) || words.iter().any(|word| case.name.contains(word)))
            .collect();
        if !cases.is_empty() {
            features.push(Feature { name, cases });
        }
    }
    features
}

impl Call {
    /// One line for people.
    pub(crate) fn line(&self) -> String {
        let (verb, target) = self.what();
        let mut line = format!("{verb} {}", target.lines().next().unwrap_or_default());
        for (name, value) in &self.headers {
            line.push_str(&format!(
                " {name}={}",
                value.as_str().map_or_else(|| value.to_string(), str::to_owned)
            ));
        }
        for (what, count) in [("repeat", self.repeat), ("parallel", self.parallel)] {
            if let Some(count) = count {
                line.push_str(&format!(" {what}={count}"));
            }
        }
        line
    }

    pub(crate) fn what(&self) -> (&str, &str) {
        let named = [
            ("GET", &self.get),
            ("HEAD", &self.head),
            ("POST", &self.post),
            ("PUT", &self.put),
            ("PATCH", &self.patch),
            ("DELETE", &self.delete),
            ("OPTIONS", &self.options),
            ("CONNECT", &self.connect),
            ("websocket", &self.websocket),
            ("grpc", &self.grpc),
            ("tcp", &self.tcp),
            ("tls", &self.tls),
            ("raw", &self.raw),
            (self.method.as_deref().unwrap_or("GET"), &self.url),
        ];
        let found = named
            .into_iter()
            .find_map(|(verb, target)| Some((verb, target.as_deref()?)));
        found.unwrap_or_else(|| panic!("a call without get, post, grpc, tcp … : {self:?}"))
    }

    /// With the tokens that it asks for.
    pub(crate) fn with_tokens(&self) -> Self {
        let mut call = self.clone();
        let targets = [
            &mut call.get,
            &mut call.head,
            &mut call.post,
            &mut call.put,
            &mut call.patch,
            &mut call.delete,
            &mut call.options,
            &mut call.websocket,
            &mut call.raw,
            &mut call.url,
        ];
        for target in targets.into_iter().flatten() {
            *target = tokens::with_tokens(target);
        }
        for value in call.headers.values_mut() {
            match value {
                Value::String(text) => *text = tokens::with_tokens(text),
                Value::Array(items) => {
                    for item in items {
                        if let Value::String(text) = item {
                            *text = tokens::with_tokens(text);
                        }
                    }
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {}
            }
        }
        call
    }

    pub(crate) fn times(&self) -> usize {
        self.repeat.or(self.parallel).unwrap_or(1)
    }
}
