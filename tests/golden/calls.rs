//! The file `calls.yaml` of a case, and how outcomes are written in it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::Deserialize;
use serde_json::{Map, Value};
use snapshot::Direction;
use translate::Call;
use translate::explain::{Answer, Caller, Outcome, Request, Target};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Calls {
    /// The pod whose proxy asks: `namespace/name`.
    pub(crate) from: String,
    /// Other files of the mesh, by path in the repository.
    #[serde(default)]
    pub(crate) with: Vec<String>,
    /// Settings of the mesh: a MeshConfig.
    #[serde(default)]
    pub(crate) mesh: Map<String, Value>,
    /// Mutual TLS wraps whatever a case is about in the same way: it is off unless this is said.
    #[serde(default)]
    pub(crate) mutual_tls: bool,
    #[serde(default)]
    pub(crate) calls: Vec<OneCall>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OneCall {
    /// `GET backend:9090/path`, or `TCP 10.96.0.1:5432` for a connection that does not speak HTTP, or `TLS …`.
    pub(crate) call: String,
    /// Where the connection goes, if that is not the address or port in `call`.
    #[serde(default)]
    to: Option<SocketAddr>,
    #[serde(default)]
    inbound: bool,
    /// The server name that a `TLS` call asks for.
    #[serde(default)]
    sni: String,
    /// The client is a proxy of the mesh, and speaks mutual TLS.
    #[serde(default)]
    mutual: bool,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The address that the call comes from.
    #[serde(default)]
    peer: Option<IpAddr>,
    /// The name in the caller's certificate.
    #[serde(default)]
    identity: Option<String>,
    /// The content of the caller's token.
    #[serde(default)]
    claims: Option<serde_json::Value>,
    /// See [`outcome_text`].
    pub(crate) expect: String,
    #[serde(default)]
    pub(crate) route: Option<String>,
    #[serde(default)]
    pub(crate) listener: Option<String>,
    /// Whether the connection is under mutual TLS, and why.
    #[serde(default)]
    pub(crate) security: Option<String>,
    /// The policy that refuses, and the line of its rule in `input.yaml`: `shop/viewers:7`; `none`.
    #[serde(default)]
    pub(crate) denied_by: Option<String>,
    /// The clusters of those who are asked whether the call may pass, and the line of the rule because of which they
    /// are: `outbound|9000||authz.shop.svc.cluster.local for shop/viewers:7`.
    #[serde(default)]
    pub(crate) asks: Vec<String>,
    /// Limits that it counts for: policy and name, in the order of asking.
    #[serde(default)]
    pub(crate) limits: Option<Vec<String>>,
}

impl OneCall {
    pub(crate) fn to_call(&self) -> Call {
        let (method, url) = self.call.split_once(' ').expect("a call is a method and a URL");
        let slash = url.find('/').unwrap_or(url.len());
        let (authority, path) = url.split_at(slash);
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "80"));
        let port = port.parse().expect("a port is a number");
        let address = host.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let request = Request {
            method: method.into(),
            path: path.into(),
            authority: authority.into(),
            headers: self.headers.clone().into_iter().collect(),
        };
        Call {
            direction: if self.inbound {
                Direction::Inbound
            } else {
                Direction::Outbound
            },
            destination: self.to.unwrap_or(SocketAddr::new(address, port)),
            server_name: (method == "TLS").then(|| self.sni.clone()),
            mutual: self.mutual,
            request: (!["TCP", "TLS"].contains(&method)).then_some(request),
            caller: Caller {
                address: self.peer.unwrap_or(Caller::default().address),
                identity: self.identity.clone(),
                claims: self.claims.clone(),
            },
        }
    }
}

/// What is said of the first place that a call may go to, or of how it came.
pub(crate) fn security_text(outcome: &Outcome) -> Option<&str> {
    match &outcome.answer {
        _ if outcome.security.is_some() => outcome.security.as_deref(),
        Answer::Forward(targets) => targets.first()?.security.as_deref(),
        _ => None,
    }
}

/// `CLUSTER -> ADDRESS ADDRESS`, several by weight as `90% CLUSTER -> …, 10% CLUSTER -> …`, `503 NC CLUSTER`,
/// `404 NR`, `301 LOCATION`, or `closed`. What the upstream gets instead of what was sent comes after the cluster:
/// `CLUSTER as AUTHORITY/PATH -> …`.
pub(crate) fn outcome_text(outcome: &Outcome) -> String {
    match &outcome.answer {
        Answer::Close => "closed".into(),
        Answer::Respond { status, flag, body } => [&status.to_string(), flag, body]
            .map(String::as_str)
            .join(" ")
            .trim_end()
            .to_owned(),
        Answer::Redirect { status, location } => format!("{status} {location}"),
        Answer::Forward(targets) if targets.len() == 1 => target_text(&targets[0], outcome.path.as_deref()),
        Answer::Forward(targets) => {
            let total: u32 = targets.iter().map(|target| target.weight).sum();
            let share = |target: &Target| {
                format!(
                    "{}% {}",
                    target.weight * 100 / total,
                    target_text(target, outcome.path.as_deref())
                )
            };
            targets.iter().map(share).collect::<Vec<_>>().join(", ")
        }
    }
}

fn target_text(target: &Target, path: Option<&str>) -> String {
    let instead = [target.authority.as_deref(), path]
        .map(Option::unwrap_or_default)
        .concat();
    let cluster = match instead.as_str() {
        "" => target.cluster.to_string(),
        instead => format!("{} as {instead}", target.cluster),
    };
    let endpoints: Vec<_> = target.endpoints.iter().map(SocketAddr::to_string).collect();
    match (target.failure, endpoints.is_empty()) {
        (Some(flag), _) => format!("503 {flag} {cluster}"),
        (None, true) => cluster,
        (None, false) => format!("{cluster} -> {}", endpoints.join(" ")),
    }
}
