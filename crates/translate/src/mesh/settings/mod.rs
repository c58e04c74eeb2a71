//! What holds for the whole mesh: the part of Istio's MeshConfig that shapes what proxies do.
//! <https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/>

pub(crate) mod extension_providers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use resources::istio::destination_rule::{H2UpgradePolicy, TcpKeepalive};
use resources::istio::virtual_service::HttpRetry;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use snapshot::ext_authz::LONGEST_BODY;
use snapshot::{AccessLog, Format, LogFormat, Template};

use crate::mtls;

use extension_providers::{ExtensionProviders, Provider};

/// Fields of MeshConfig that are read here.
pub const FIELDS: [&str; 13] = [
    "accessLogEncoding",
    "accessLogFile",
    "accessLogFormat",
    "connectTimeout",
    "defaultHttpRetryPolicy",
    "enableAutoMtls",
    extension_providers::FIELD,
    "h2UpgradePolicy",
    "meshMTLS",
    "outboundTrafficPolicy",
    "tcpKeepalive",
    "trustDomain",
    "trustDomainAliases",
];

/// Limit for establishing a connection, unless settings or a DestinationRule have one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Istio's text line, where no format is stated.
const TEXT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% \
    %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \
    \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
    %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \
    \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% \
    %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

/// The names of Istio's JSON lines, where no format is stated.
const JSON: [(&str, &str); 24] = [
    ("start_time", "%START_TIME%"),
    ("route_name", "%ROUTE_NAME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    (
        "connection_termination_details",
        "%CONNECTION_TERMINATION_DETAILS%",
    ),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    (
        "upstream_transport_failure_reason",
        "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    ),
];

/// What holds for the whole mesh.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeshSettings {
    /// Where proxies write down what passed through them.
    pub access_log: Option<Arc<AccessLog>>,
    /// `outboundTrafficPolicy`: what the mesh does not know is not called.
    pub registry_only: bool,
    connect_timeout: Option<Duration>,
    /// Parts that a DestinationRule leaves out.
    pub(crate) tcp_keepalive: Option<TcpKeepalive>,
    /// Requests to ports of HTTP/1.1 become HTTP/2, unless a DestinationRule says otherwise.
    pub(crate) h2_upgrade: bool,
    /// Where a rule says nothing.
    pub(crate) retries: Option<HttpRetry>,
    /// Identities and mutual TLS.
    pub(crate) mtls: mtls::Settings,
    /// Services that policies name.
    pub(crate) extension_providers: ExtensionProviders,
}

impl MeshSettings {
    /// Reads a MeshConfig.
    ///
    /// # Errors
    /// A field that cannot be understood, by name.
    pub fn read(mesh: &Map<String, Value>) -> Result<Self, String> {
        Ok(Self {
            access_log: access_log(mesh)?.map(Arc::new),
            registry_only: registry_only(mesh)?,
            connect_timeout: typed::<resources::istio::Duration>(mesh, "connectTimeout")?
                .map(|limit| limit.0),
            tcp_keepalive: typed(mesh, "tcpKeepalive")?,
            h2_upgrade: typed(mesh, "h2UpgradePolicy")? == Some(H2UpgradePolicy::Upgrade),
            retries: typed(mesh, "defaultHttpRetryPolicy")?,
            mtls: mtls::Settings::read(mesh)?,
            extension_providers: extension_providers::read(mesh)?,
        })
    }

    /// Providers that nothing here uses yet, with their kinds.
    pub fn unused_providers(&self) -> impl Iterator<Item = (&str, &str)> {
        let providers = self.extension_providers.iter();
        providers.filter_map(|(name, provider)| match provider {
            Provider::Other(kind) => Some((name.as_str(), kind.as_str())),
            Provider::ExtAuthzHttp(_) | Provider::ExtAuthzGrpc(_) => None,
        })
    }

    /// Providers that ask to be told more of bodies than proxies read ahead ([`LONGEST_BODY`]).
    pub fn providers_of_long_bodies(&self) -> impl Iterator<Item = &str> {
        let providers = self.extension_providers.iter();
        providers.filter_map(|(name, provider)| {
            let body = match provider {
                Provider::ExtAuthzHttp(http) => http.include_request_body_in_check,
                Provider::ExtAuthzGrpc(grpc) => grpc.include_request_body_in_check,
                Provider::Other(_) => None,
            };
            body.filter(|body| body.max_request_bytes > LONGEST_BODY)
                .map(|_| name.as_str())
        })
    }

    /// The trust domain of the mesh: that of all identities that its authority gives.
    pub fn trust_domain(&self) -> &str {
        self.mtls.domains()[0]
    }

    /// All whose identities count as the mesh's own.
    pub fn trust_domains(&self) -> Vec<&str> {
        self.mtls.domains()
    }

    /// Limit for establishing a connection, unless a DestinationRule has one.
    pub(crate) fn connect_timeout(&self) -> Duration {
        self.connect_timeout.unwrap_or(CONNECT_TIMEOUT)
    }
}

fn registry_only(mesh: &Map<String, Value>) -> Result<bool, String> {
    let policy = typed::<Map<String, Value>>(mesh, "outboundTrafficPolicy")?.unwrap_or_default();
    if policy.contains_key("tls") {
        return Err("outboundTrafficPolicy.tls: ALLOW_ANY_DYNAMIC_DNS is not supported".to_owned());
    }
    match text(&policy, "mode")? {
        "" | "ALLOW_ANY" => Ok(false),
        "REGISTRY_ONLY" => Ok(true),
        other => Err(format!(
            "outboundTrafficPolicy.mode: {other:?} is neither ALLOW_ANY nor REGISTRY_ONLY"
        )),
    }
}

pub(crate) fn typed<T: DeserializeOwned>(mesh: &Map<String, Value>, name: &str) -> Result<Option<T>, String> {
    let value = mesh.get(name).filter(|value| !value.is_null());
    let read = value.map(|value| T::deserialize(value)).transpose();
    read.map_err(|error| format!("{name}: {error}"))
}

fn access_log(mesh: &Map<String, Value>) -> Result<Option<AccessLog>, String> {
    let path = text(mesh, "accessLogFile")?;
    let format = text(mesh, "accessLogFormat")?;
    let format = match text(mesh, "accessLogEncoding")? {
        "" | "TEXT" => text_format(format),
        "JSON" => json_format(format),
        other => return Err(format!("accessLogEncoding: {other:?} is neither TEXT nor JSON")),
    };
    let format = format.map_err(|error| format!("accessLogFormat: {error}"))?;
    Ok((!path.is_empty()).then(|| AccessLog {
        path: path.to_owned(),
        format,
        only_flags: Vec::new(),
    }))
}

fn text<'m>(mesh: &'m Map<String, Value>, name: &str) -> Result<&'m str, String> {
    match mesh.get(name) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(format!("{name}: is not a text")),
    }
}

/// A line ends, whether the user said so or not.
fn text_format(stated: &str) -> Result<LogFormat, String> {
    let line = match stated {
        "" => TEXT.to_owned(),
        stated if stated.ends_with('\n') => stated.to_owned(),
        stated => format!("{stated}\n"),
    };
    parse(&line).map(LogFormat::Text)
}

fn json_format(stated: &str) -> Result<LogFormat, String> {
    if stated.is_empty() {
        let fields = JSON.map(|(name, format)| Ok((name.to_owned(), Template::Text(parse(format)?))));
        return fields
            .into_iter()
            .collect::<Result<_, String>>()
            .map(LogFormat::Json);
    }
    let object: BTreeMap<String, Value> =
        serde_json::from_str(stated).map_err(|error| format!("is not a JSON object: {error}"))?;
    object_template(object).map(LogFormat::Json)
}

fn object_template(
    object: impl IntoIterator<Item = (String, Value)>,
) -> Result<BTreeMap<String, Template>, String> {
    let fields = object.into_iter();
    fields.map(|(name, value)| Ok((name, template(value)?))).collect()
}

fn template(value: Value) -> Result<Template, String> {
    Ok(match value {
        Value::Null => Template::Null,
        Value::Bool(value) => Template::Boolean(value),
        Value::Number(number) => Template::Number(number.as_f64().ok_or("a number is too large")?),
        Value::String(text) => Template::Text(parse(&text)?),
        Value::Array(values) => Template::List(values.into_iter().map(template).collect::<Result<_, _>>()?),
        Value::Object(object) => Template::Object(object_template(object)?),
    })
}

fn parse(format: &str) -> Result<Format, String> {
    Format::parse(format).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(mesh: Value) -> Result<MeshSettings, String> {
        let Value::Object(mesh) = mesh else {
            panic!("an object")
        };
        MeshSettings::read(&mesh)
    }

    #[test]
    fn nothing_is_written_down_unless_a_file_is_named() {
        assert_eq!(read(json!({})).unwrap(), MeshSettings::default());
        let stated = json!({"accessLogFormat": "%PROTOCOL%", "accessLogEncoding": "JSON"});
        assert!(read(stated).is_err(), "a text is no JSON object");
        let log = read(json!({"accessLogFile": "/dev/stdout"}))
            .unwrap()
            .access_log
            .unwrap();
        assert_eq!(log.path, "/dev/stdout");
        let LogFormat::Text(format) = &log.format else {
            panic!("text")
        };
        assert!(format.source().starts_with("[%START_TIME%] \"%REQ(:METHOD)%"));
        assert!(format.source().ends_with("%ROUTE_NAME%\n"));
    }

    #[test]
    fn formats_of_both_encodings_are_the_users() {
        let stated = json!({"accessLogFile": "/a", "accessLogFormat": "%PROTOCOL%"});
        let log = read(stated).unwrap().access_log.unwrap();
        assert_eq!(
            log.format,
            LogFormat::Text(Format::parse("%PROTOCOL%\n").unwrap())
        );
        let stated = json!({"accessLogFile": "/a", "accessLogEncoding": "JSON",
            "accessLogFormat": r#"{"code": "%RESPONSE_CODE%", "of": ["x", 1]}"#});
        let LogFormat::Json(object) = &read(stated).unwrap().access_log.unwrap().format.clone() else {
            panic!("JSON")
        };
        assert_eq!(object.len(), 2);
        let log = read(json!({"accessLogFile": "/a", "accessLogEncoding": "JSON"})).unwrap();
        let LogFormat::Json(object) = &log.access_log.unwrap().format.clone() else {
            panic!("JSON")
        };
        assert_eq!(object.len(), JSON.len());
    }

    #[test]
    fn providers_that_ask_for_more_of_bodies_than_there_is_are_known_by_name() {
        let provider = |name: &str, most: u32| {
            let body = json!({"maxRequestBytes": most});
            let http = json!({"service": "a", "port": 80, "includeRequestBodyInCheck": body});
            json!({"name": name, "envoyExtAuthzHttp": http})
        };
        let providers = [provider("some", LONGEST_BODY), provider("more", LONGEST_BODY + 1)];
        let settings = read(json!({"extensionProviders": providers})).unwrap();
        let named: Vec<_> = settings.providers_of_long_bodies().collect();
        assert_eq!(named, ["more"]);
    }

    #[test]
    fn what_cannot_be_understood_is_named() {
        for (mesh, part) in [
            (json!({"accessLogFile": 7}), "accessLogFile: is not a text"),
            (json!({"accessLogEncoding": "XML"}), "accessLogEncoding: \"XML\""),
            (
                json!({"accessLogFormat": "%CEL(x)%"}),
                "accessLogFormat: unknown operator CEL(x)",
            ),
            (json!({"connectTimeout": "soon"}), "connectTimeout: "),
            (json!({"tcpKeepalive": {"probes": "many"}}), "tcpKeepalive: "),
            (
                json!({"outboundTrafficPolicy": {"mode": "ALLOW_ANY_DYNAMIC_DNS"}}),
                "outboundTrafficPolicy.mode: \"ALLOW_ANY_DYNAMIC_DNS\"",
            ),
        ] {
            assert!(read(mesh.clone()).unwrap_err().starts_with(part), "{mesh}");
        }
    }
}
