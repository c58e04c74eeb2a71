//! Requests near the edges of policies: most are made from a value that a policy names.

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};

use super::authorization::{reads_tokens, values};
use super::model::Facts;
use super::words::{CLAIMS, HOSTS, METHODS, ODD_PATHS, PATHS, TEAM_VALUES, chance, near, one};
use crate::table::{Call, Expect};
use crate::tokens::ISSUER;

/// One request, and what it shows of itself to a policy.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    /// `outside`, `shop` or `far`.
    pub(super) from: &'static str,
    pub(super) port: u16,
    pub(super) method: String,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) headers: Vec<(&'static str, String)>,
    /// The claims beside issuer and lifetime, if it has a token.
    pub(super) claims: Option<Value>,
    pub(super) http2: bool,
}

/// Others are refused before any policy is asked.
const METHODS_OF_HTTP: [&str; 6] = ["GET", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH"];

/// Where each caller finds the service, and by which names a proxy on the way knows it.
fn names(from: &str) -> &'static [&'static str] {
    match from {
        "far" => &["guarded.shop", "guarded.shop.svc.cluster.local"],
        _ => &["guarded", "guarded.shop", "guarded.shop.svc.cluster.local"],
    }
}

pub(super) fn near_to(random: &mut StdRng, policies: &[Value]) -> Request {
    let from = one(random, &["outside", "outside", "shop", "far"]);
    let port = match random.random_range(0..12) {
        // What stock Envoy says to the mesh's own ports of that sort is no HTTP: see the list of differences.
        0 if from == "outside" => 9093,
        1 => 9091,
        _ => 9090,
    };
    let host = if from == "outside" && chance(random, 50) {
        let host = any_of(random, &values(policies, "hosts"), HOSTS);
        // What comes near may be no host at all.
        let host = host.replace(['/', ' '], "");
        if host.starts_with(':') || host.is_empty() {
            "guarded".to_owned()
        } else {
            host
        }
    } else {
        format!("{}:{port}", one(random, names(from)))
    };
    let mut headers = Vec::new();
    for _ in 0..random.random_range(0..=2) {
        let words: Vec<String> = values(policies, "request.headers[x-team]");
        headers.push(("x-team", any_of(random, &words, TEAM_VALUES)));
    }
    if chance(random, 25) {
        let address = one(
            random,
            &[
                "192.0.2.7",
                "192.0.2.200",
                "198.51.100.1",
                "192.0.2.7, 198.51.100.1",
                "nobody",
            ],
        );
        headers.push(("x-forwarded-for", address.to_owned()));
    }
    let claims = (reads_tokens(policies) && chance(random, 75)).then(|| claims(random));
    let method = any_of(random, &values(policies, "methods"), METHODS).to_uppercase();
    let method = if METHODS_OF_HTTP.contains(&method.as_str()) {
        method
    } else {
        "PUT".to_owned()
    };
    Request {
        from,
        port,
        method,
        host,
        path: path(random, policies),
        headers,
        claims,
        http2: chance(random, 15),
    }
}

fn path(random: &mut StdRng, policies: &[Value]) -> String {
    if chance(random, 30) {
        return one(random, ODD_PATHS).to_owned();
    }
    let path = any_of(random, &values(policies, "paths"), PATHS);
    let path = match path.starts_with('/') {
        true => path,
        false => format!("/{path}"),
    };
    match random.random_range(0..10) {
        0 => format!("{path}?q=/api"),
        _ => path,
    }
}

fn any_of(random: &mut StdRng, named: &[String], others: &[&str]) -> String {
    let pattern = if named.is_empty() || chance(random, 20) {
        one(random, others).to_owned()
    } else {
        named[random.random_range(0..named.len())].clone()
    };
    near(random, &pattern)
}

fn claims(random: &mut StdRng) -> Value {
    let mut claims = json!({"sub": one(random, &["alice", "alice", "bob"])});
    let role = |random: &mut StdRng| {
        let pattern = one(random, CLAIMS);
        near(random, pattern)
    };
    match random.random_range(0..4) {
        0 => claims["role"] = json!(role(random)),
        1 => claims["role"] = json!([role(random), role(random)]),
        _ => {}
    }
    match random.random_range(0..4) {
        0 => claims["aud"] = json!("one"),
        1 => claims["aud"] = json!(["two", "three"]),
        _ => {}
    }
    claims
}

impl Request {
    pub(super) fn facts(&self, tokens_count: bool) -> Facts {
        Facts {
            method: self.method.clone(),
            host: self.host.clone(),
            path: self.path.clone(),
            port: self.port,
            headers: self.headers.clone(),
            namespace: (self.from != "outside").then_some(self.from),
            claims: self.claims.clone().filter(|_| tokens_count).map(|mut claims| {
                claims["iss"] = ISSUER.into();
                claims
            }),
        }
    }

    /// In the form of the table; the status is what the model says, if it does.
    pub(super) fn call(&self, status: Option<u16>) -> Call {
        let mut headers = Map::from_iter([("host".to_owned(), json!(self.host))]);
        for (name, value) in &self.headers {
            let all = headers.entry((*name).to_owned()).or_insert_with(|| json!([]));
            all.as_array_mut()
                .expect("the host stands once")
                .push(json!(value));
        }
        if let Some(claims) = &self.claims {
            let recipe = json!({"claims": claims});
            headers.insert(
                "authorization".to_owned(),
                json!(format!("Bearer $TOKEN({recipe})")),
            );
        }
        let dialled = match self.from {
            "far" => "guarded.shop",
            _ => "guarded",
        };
        Call {
            method: Some(self.method.clone()),
            url: Some(format!("http://{dialled}:{}{}", self.port, self.path)),
            headers,
            http: self.http2.then(|| json!(2)),
            from: Some(self.from.to_owned()),
            expect: Expect {
                status,
                ..Expect::default()
            },
            ..Call::default()
        }
    }

    /// Simpler ones that may show the same.
    pub(super) fn simpler(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let mut add = |change: &dyn Fn(&mut Self)| {
            let mut simpler = self.clone();
            change(&mut simpler);
            if simpler != *self {
                all.push(simpler);
            }
        };
        add(&|request| request.http2 = false);
        add(&|request| request.claims = None);
        add(&|request| request.headers.clear());
        add(&|request| drop(request.headers.pop()));
        add(&|request| request.from = "outside");
        add(&|request| "GET".clone_into(&mut request.method));
        add(&|request| "/".clone_into(&mut request.path));
        all
    }
}
