//! What is asked, read from the command line: the call, who makes it, and where it is looked at.

use std::net::IpAddr;

use http::Uri;
use serde_json::Value;

use super::Arguments;
use super::problem::Problem;

/// What is asked.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) method: String,
    pub(super) speaks: Speaks,
    /// In lower case, as clients resolve it.
    pub(super) host: String,
    pub(super) port: u16,
    /// With query.
    pub(super) path: String,
    /// What the request names as its host.
    pub(super) authority: String,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) from: Option<PodName>,
    pub(super) to: Option<PodName>,
    pub(super) namespace: String,
    pub(super) caller: Stated,
}

/// What a client says on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    Http,
    /// TLS of its own.
    Tls,
    /// Anything else.
    Bytes,
}

/// What is known of the caller besides its pod.
#[derive(Debug, Default)]
pub(super) struct Stated {
    /// A name of its own, in full.
    pub(super) identity: Option<String>,
    /// A service account instead.
    pub(super) account: Option<PodName>,
    pub(super) claims: Option<Value>,
    pub(super) address: Option<IpAddr>,
}

/// `shop/client`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodName {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl PodName {
    /// `NS/NAME`, or a name in that namespace.
    pub(super) fn read(flag: &'static str, text: &str, namespace: &str) -> Result<Self, Problem> {
        let (namespace, name) = text.split_once('/').unwrap_or((namespace, text));
        let good = |part: &str| !part.is_empty() && !part.contains('/');
        if !good(namespace) || !good(name) {
            return Err(wrong(flag, text, "NAMESPACE/NAME is expected"));
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

impl std::fmt::Display for PodName {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}", self.namespace, self.name)
    }
}

fn wrong(flag: &'static str, value: &str, why: impl Into<String>) -> Problem {
    Problem::Value {
        flag,
        value: value.to_owned(),
        why: why.into(),
    }
}

impl Question {
    /// Reads what is asked about a call.
    pub(super) fn read(arguments: &Arguments) -> Result<Self, Problem> {
        let (Some(method), Some(url)) = (&arguments.method, &arguments.url) else {
            return Err(Problem::Nothing);
        };
        let place = Place::read(method, url)?;
        let namespace = arguments.namespace.as_str();
        let pod = |flag, text: &Option<String>| {
            let text = text.as_deref();
            text.map(|text| PodName::read(flag, text, namespace)).transpose()
        };
        let headers: Vec<_> = arguments
            .header
            .iter()
            .map(|text| header(text))
            .collect::<Result<_, _>>()?;
        let stated = headers.iter().rfind(|(name, _)| name == "host");
        let authority = stated.map(|(_, value)| value.clone());
        Ok(Self {
            method: method.to_ascii_uppercase(),
            speaks: place.speaks,
            authority: authority.unwrap_or(place.authority),
            host: place.host,
            port: place.port,
            path: place.path,
            headers: headers.into_iter().filter(|(name, _)| name != "host").collect(),
            from: pod("--from", &arguments.from)?,
            to: pod("--to", &arguments.to)?,
            namespace: namespace.to_owned(),
            caller: Stated {
                identity: arguments.identity.as_deref().map(identity).transpose()?,
                account: pod("--service-account", &arguments.service_account)?,
                claims: arguments.claims.as_deref().map(claims).transpose()?,
                address: arguments.source_ip,
            },
        })
    }
}

/// Where a URL points.
struct Place {
    speaks: Speaks,
    host: String,
    port: u16,
    path: String,
    authority: String,
}

impl Place {
    fn read(method: &str, url: &str) -> Result<Self, Problem> {
        let problem = |why: &str| Problem::Url {
            url: url.to_owned(),
            why: why.to_owned(),
        };
        let full = match (url.contains("://"), method) {
            (true, _) => url.to_owned(),
            (false, "TCP") => format!("tcp://{url}"),
            (false, "TLS") => format!("tls://{url}"),
            (false, _) => format!("http://{url}"),
        };
        let read: Uri = full
            .parse()
            .map_err(|error: http::uri::InvalidUri| problem(&error.to_string()))?;
        let (speaks, port) = match read.scheme_str() {
            Some("http") => (Speaks::Http, Some(80)),
            Some("https") => (Speaks::Tls, Some(443)),
            Some("tls") => (Speaks::Tls, None),
            Some("tcp") => (Speaks::Bytes, None),
            _ => return Err(problem("its scheme is none of http, https, tcp and tls")),
        };
        let port = read
            .port_u16()
            .or(port)
            .ok_or_else(|| problem("it has no port"))?;
        let host = read.host().unwrap_or_default().trim_matches(['[', ']']);
        if host.is_empty() || port == 0 {
            return Err(problem("it has no host or no port"));
        }
        let path = read.path_and_query().map_or("", |path| path.as_str());
        Ok(Self {
            speaks,
            host: host.trim_end_matches('.').to_ascii_lowercase(),
            port,
            path: if path.is_empty() { "/" } else { path }.to_owned(),
            authority: read
                .authority()
                .map_or("", |authority| authority.as_str())
                .to_owned(),
        })
    }
}

fn header(text: &str) -> Result<(String, String), Problem> {
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| wrong("-H", text, "\"NAME: VALUE\" is expected"))?;
    let name = http::HeaderName::from_bytes(name.trim().as_bytes());
    let name = name.map_err(|_| wrong("-H", text, "this is no name of a header"))?;
    Ok((name.as_str().to_owned(), value.trim().to_owned()))
}

fn identity(text: &str) -> Result<String, Problem> {
    match text.strip_prefix("spiffe://") {
        Some(rest) if !rest.is_empty() => Ok(text.to_owned()),
        _ => Err(wrong(
            "--identity",
            text,
            "spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/NAME is expected",
        )),
    }
}

fn claims(text: &str) -> Result<Value, Problem> {
    match serde_json::from_str(text) {
        Ok(claims @ Value::Object(_)) => Ok(claims),
        Ok(_) => Err(wrong("--claims", text, "a JSON object is expected")),
        Err(error) => Err(wrong("--claims", text, error.to_string())),
    }
}
