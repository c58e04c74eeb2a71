//! `extensionProviders` of MeshConfig: services outside of the mesh's own configuration that policies name. Those that
//! decide about requests are read; the others are known by kind, so that whoever names one is told.
//!
//! What Istio refuses to read is refused here. What it finds out only when a policy names the provider (a service that
//! does not exist, a pattern that takes everything) is left for then: [`crate::ext_authz`].

use std::collections::BTreeMap;

use resources::istio::Duration;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Kinds of providers that nothing here uses yet.
const OTHERS: [&str; 14] = [
    "datadog",
    "envoyFileAccessLog",
    "envoyHttpAls",
    "envoyOtelAls",
    "envoyTcpAls",
    "lightstep",
    "opencensus",
    "opentelemetry",
    "prometheus",
    "sds",
    "skywalking",
    "stackdriver",
    "wasm",
    "zipkin",
];

/// The statuses that Envoy has a name for.
const STATUSES: [(u16, u16); 13] = [
    (0, 0),
    (100, 100),
    (200, 208),
    (226, 226),
    (300, 305),
    (307, 308),
    (400, 417),
    (421, 424),
    (426, 426),
    (428, 429),
    (431, 431),
    (500, 508),
    (510, 511),
];

/// All providers, by name.
pub(crate) type ExtensionProviders = BTreeMap<String, Provider>;

/// What a provider is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Provider {
    /// It decides about requests, over HTTP.
    ExtAuthzHttp(Box<ExtAuthzHttp>),
    /// It decides about requests and connections, over gRPC.
    ExtAuthzGrpc(Box<ExtAuthzGrpc>),
    /// Something else, of that kind.
    Other(String),
}

/// `envoyExtAuthzHttp`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ExtAuthzHttp {
    pub(crate) service: String,
    pub(crate) port: u32,
    pub(crate) timeout: Option<Duration>,
    pub(crate) path_prefix: String,
    pub(crate) fail_open: bool,
    pub(crate) clear_route_cache: bool,
    pub(crate) status_on_error: String,
    /// The older name of the next one, which counts where that is empty.
    pub(crate) include_headers_in_check: Vec<String>,
    pub(crate) include_request_headers_in_check: Vec<String>,
    pub(crate) include_additional_headers_in_check: BTreeMap<String, String>,
    pub(crate) include_request_body_in_check: Option<RequestBody>,
    pub(crate) headers_to_upstream_on_allow: Vec<String>,
    pub(crate) headers_to_downstream_on_deny: Vec<String>,
    pub(crate) headers_to_downstream_on_allow: Vec<String>,
}

/// `envoyExtAuthzGrpc`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ExtAuthzGrpc {
    pub(crate) service: String,
    pub(crate) port: u32,
    pub(crate) timeout: Option<Duration>,
    pub(crate) fail_open: bool,
    pub(crate) clear_route_cache: bool,
    pub(crate) status_on_error: String,
    pub(crate) include_request_body_in_check: Option<RequestBody>,
}

/// `includeRequestBodyInCheck`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct RequestBody {
    pub(crate) max_request_bytes: u32,
    pub(crate) allow_partial_message: bool,
    pub(crate) pack_as_bytes: bool,
}

impl Provider {
    /// Host of its service, perhaps with a namespace before it, if it is one that is asked.
    pub(crate) fn service(&self) -> Option<&str> {
        match self {
            Self::ExtAuthzHttp(provider) => Some(&provider.service),
            Self::ExtAuthzGrpc(provider) => Some(&provider.service),
            Self::Other(_) => None,
        }
    }
}

/// Reads the list.
///
/// # Errors
/// The first provider that is none, by its place.
pub(super) fn read(mesh: &Map<String, Value>) -> Result<ExtensionProviders, String> {
    let list: Vec<Map<String, Value>> = super::typed(mesh, FIELD)?.unwrap_or_default();
    let mut providers = ExtensionProviders::new();
    for (index, mut entry) in list.into_iter().enumerate() {
        let wrong = |problem: String| format!("{FIELD}[{index}]: {problem}");
        let name = match entry.remove("name") {
            Some(Value::String(name)) if !name.is_empty() => name,
            _ => return Err(wrong("empty extension provider name".to_owned())),
        };
        let provider = one(entry).map_err(|problem| wrong(format!("{name}: {problem}")))?;
        if providers.contains_key(&name) {
            return Err(wrong(format!("duplicate extension provider name {name}")));
        }
        providers.insert(name, provider);
    }
    Ok(providers)
}

pub(super) const FIELD: &str = "extensionProviders";

fn one(mut entry: Map<String, Value>) -> Result<Provider, String> {
    entry.retain(|_, value| !value.is_null());
    let mut kinds = entry.into_iter();
    let (Some((kind, value)), None) = (kinds.next(), kinds.next()) else {
        return Err("must be of exactly one kind".to_owned());
    };
    let provider = match kind.as_str() {
        "envoyExtAuthzHttp" => Provider::ExtAuthzHttp(Box::new(of_kind(&kind, value)?)),
        "envoyExtAuthzGrpc" => Provider::ExtAuthzGrpc(Box::new(of_kind(&kind, value)?)),
        other if OTHERS.contains(&other) => return Ok(Provider::Other(kind)),
        other => return Err(format!("unsupported provider: {other}")),
    };
    validate(&provider).map_err(|problem| format!("{kind}: {problem}"))?;
    Ok(provider)
}

fn of_kind<T: DeserializeOwned>(kind: &str, value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| format!("{kind}: {error}"))
}

fn validate(provider: &Provider) -> Result<(), String> {
    let (service, port, status, path, body) = match provider {
        Provider::ExtAuthzHttp(http) => (
            &http.service,
            http.port,
            &http.status_on_error,
            http.path_prefix.as_str(),
            http.include_request_body_in_check,
        ),
        Provider::ExtAuthzGrpc(grpc) => (
            &grpc.service,
            grpc.port,
            &grpc.status_on_error,
            "",
            grpc.include_request_body_in_check,
        ),
        Provider::Other(_) => return Ok(()),
    };
    if !(1..=65535).contains(&port) {
        return Err(format!("port number {port} must be in the range 1..65535"));
    }
    validate_service(service)?;
    status_on_error(status)?;
    if !path.is_empty() && !path.starts_with('/') {
        return Err(format!("pathPrefix should begin with `/` but found {path:?}"));
    }
    match body {
        Some(body) if body.max_request_bytes == 0 => {
            Err("includeRequestBodyInCheck.maxRequestBytes must be greater than 0".to_owned())
        }
        _ => Ok(()),
    }
}

/// `[NAMESPACE/]HOST`.
fn validate_service(service: &str) -> Result<(), String> {
    if service.is_empty() {
        return Err("service must not be empty".to_owned());
    }
    let (namespace, host) = service.split_once('/').unwrap_or(("default", service));
    let label = |text: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&text.len())
            && text.bytes().all(inner)
            && !text.starts_with('-')
            && !text.ends_with('-')
    };
    let is_host = host.len() <= 255 && host.trim_end_matches('.').split('.').all(label);
    match label(namespace) && (is_host || host.parse::<std::net::IpAddr>().is_ok()) {
        true => Ok(()),
        false => Err(format!("invalid service fmt {service}")),
    }
}

/// The status, where one is stated.
///
/// # Errors
/// One that Envoy has no name for.
pub(crate) fn status_on_error(stated: &str) -> Result<Option<u16>, String> {
    if stated.is_empty() {
        return Ok(None);
    }
    let code = stated.parse::<u16>();
    let code = code.map_err(|error| format!("invalid statusOnError value {stated}: {error}"))?;
    match STATUSES
        .iter()
        .any(|(first, last)| (*first..=*last).contains(&code))
    {
        // Nothing stands for the default.
        true => Ok(Some(code).filter(|code| *code != 0)),
        false => Err(format!("unsupported statusOnError value {stated}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn providers(list: &Value) -> Result<ExtensionProviders, String> {
        let Value::Object(mesh) = json!({ FIELD: list }) else {
            unreachable!("an object")
        };
        read(&mesh)
    }

    #[test]
    fn every_field_of_both_kinds_is_read() {
        let http = json!({
            "service": "foo/ext-authz.foo.svc.cluster.local", "port": 8000, "timeout": "2s", "pathPrefix": "/check",
            "failOpen": true, "clearRouteCache": true, "statusOnError": "503",
            "includeHeadersInCheck": ["old"], "includeRequestHeadersInCheck": ["x-*"],
            "includeAdditionalHeadersInCheck": {"x-a": "b"},
            "includeRequestBodyInCheck": {"maxRequestBytes": 9, "allowPartialMessage": true, "packAsBytes": true},
            "headersToUpstreamOnAllow": ["a"], "headersToDownstreamOnDeny": ["b"], "headersToDownstreamOnAllow": ["c"],
        });
        let grpc = json!({"service": "a.example.com", "port": 9000, "includeRequestBodyInCheck": null});
        let list = json!([
            {"name": "h", "envoyExtAuthzHttp": http},
            {"name": "g", "envoyExtAuthzGrpc": grpc},
            {"name": "p", "prometheus": {}},
        ]);
        let providers = providers(&list).unwrap();
        let Provider::ExtAuthzHttp(http) = &providers["h"] else {
            panic!("HTTP")
        };
        assert_eq!(
            (http.port, http.path_prefix.as_str(), http.fail_open),
            (8000, "/check", true)
        );
        assert_eq!(http.include_additional_headers_in_check["x-a"], "b");
        assert!(matches!(&providers["g"], Provider::ExtAuthzGrpc(grpc) if grpc.port == 9000));
        assert_eq!(providers["p"], Provider::Other("prometheus".into()));
    }

    #[test]
    fn what_is_no_provider_is_refused_by_its_place() {
        let of = |field: &str, value: Value| {
            let mut http = json!({"service": "a.b", "port": 1});
            http[field] = value;
            providers(&json!([{"name": "x", "envoyExtAuthzHttp": http}])).unwrap_err()
        };
        assert_eq!(
            of("port", json!(0)),
            "extensionProviders[0]: x: envoyExtAuthzHttp: port number 0 must be in the range 1..65535"
        );
        assert!(of("service", json!("")).ends_with("service must not be empty"));
        assert!(of("service", json!("a b")).ends_with("invalid service fmt a b"));
        assert!(of("statusOnError", json!("299")).ends_with("unsupported statusOnError value 299"));
        assert!(of("pathPrefix", json!("check")).contains("pathPrefix should begin with `/`"));
        assert!(of("nonsense", json!(1)).contains("unknown field `nonsense`"));
        let two = json!([{"name": "x", "prometheus": {}}, {"name": "x", "prometheus": {}}]);
        assert!(
            providers(&two)
                .unwrap_err()
                .contains("duplicate extension provider name x")
        );
        assert!(
            providers(&json!([{"prometheus": {}}]))
                .unwrap_err()
                .contains("empty extension provider name")
        );
        assert!(
            providers(&json!([{"name": "x"}]))
                .unwrap_err()
                .contains("exactly one kind")
        );
        assert!(
            providers(&json!([{"name": "x", "magic": {}}]))
                .unwrap_err()
                .contains("unsupported provider: magic")
        );
    }
}
