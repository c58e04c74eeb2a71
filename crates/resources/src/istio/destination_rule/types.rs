//! The fields of a DestinationRule. Documentation comments become descriptions in the CRD.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::Meta;
use crate::istio::structural::AtMostOneOf;
use crate::istio::{Duration, PortSelector, WorkloadSelector};

/// The object.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct DestinationRule {
    #[serde(default)]
    pub metadata: Meta,
    pub spec: DestinationRuleSpec,
}

/// Policies for traffic to a host.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DestinationRuleSpec {
    /// Name of a service, or a wildcard. A name without a dot is looked up in the namespace of this object.
    pub host: String,
    /// Policy for all of the host.
    pub traffic_policy: Option<TrafficPolicy>,
    /// Named groups of endpoints, chosen by label, that routes can send traffic to.
    #[serde(default)]
    pub subsets: Vec<Subset>,
    /// Namespaces that may see this object; `.` is its own, `*` is every one and the default.
    #[serde(default)]
    pub export_to: Vec<String>,
    /// Clients that apply this object; all by default.
    pub workload_selector: Option<WorkloadSelector>,
}

/// A named group of endpoints.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Subset {
    /// Name, unique in the object.
    pub name: String,
    /// Labels that an endpoint must have, all of them.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Policy for this subset; its parts replace those of the host.
    pub traffic_policy: Option<TrafficPolicy>,
}

/// How a client treats a host or subset.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TrafficPolicy {
    /// How an endpoint is picked.
    pub load_balancer: Option<LoadBalancer>,
    /// Limits on connections and requests.
    pub connection_pool: Option<ConnectionPool>,
    /// When a failing endpoint is set aside.
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS to the endpoints.
    pub tls: Option<ClientTls>,
    /// Policies for single ports; they replace all of the above.
    #[schemars(length(max = 4096))]
    pub port_level_settings: Vec<PortPolicy>,
    /// Wrap connections in HTTP CONNECT to a proxy.
    pub tunnel: Option<Tunnel>,
    /// Begin connections with a PROXY protocol header.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Limit on retries in proportion to requests.
    pub retry_budget: Option<RetryBudget>,
}

/// Policy for one port.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PortPolicy {
    /// The port of the service.
    pub port: Option<PortSelector>,
    /// How an endpoint is picked.
    pub load_balancer: Option<LoadBalancer>,
    /// Limits on connections and requests.
    pub connection_pool: Option<ConnectionPool>,
    /// When a failing endpoint is set aside.
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS to the endpoints.
    pub tls: Option<ClientTls>,
}

/// How an endpoint is picked.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(transform = AtMostOneOf("simple consistentHash"))]
pub struct LoadBalancer {
    /// A plain algorithm.
    pub simple: Option<SimpleLoadBalancer>,
    /// The same endpoint for the same key.
    pub consistent_hash: Option<ConsistentHash>,
    /// Preference for near endpoints.
    pub locality_lb_setting: Option<LocalityLoadBalancer>,
    /// Zone-aware routing inside the region of the client.
    pub zone_aware_lb_setting: Option<ZoneAwareLoadBalancer>,
    /// Deprecated; use warmup.
    pub warmup_duration_secs: Option<Duration>,
    /// Let new endpoints start slowly.
    pub warmup: Option<Warmup>,
}

/// `LEAST_CONN` is the old name of `LEAST_REQUEST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SimpleLoadBalancer {
    Unspecified,
    LeastConn,
    Random,
    Passthrough,
    RoundRobin,
    LeastRequest,
}

/// The same endpoint for the same key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(
    transform = AtMostOneOf("httpHeaderName httpCookie useSourceIp httpQueryParameterName"),
    transform = AtMostOneOf("ringHash maglev")
)]
pub struct ConsistentHash {
    /// The key is a header.
    pub http_header_name: Option<String>,
    /// The key is a cookie.
    pub http_cookie: Option<HttpCookie>,
    /// The key is the address of the client.
    pub use_source_ip: Option<bool>,
    /// The key is a query parameter.
    pub http_query_parameter_name: Option<String>,
    /// Hash ring; the default.
    pub ring_hash: Option<RingHash>,
    /// Maglev table.
    pub maglev: Option<Maglev>,
    /// Deprecated; use ringHash.
    pub minimum_ring_size: Option<u64>,
}

/// A cookie as key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct HttpCookie {
    /// Name.
    pub name: String,
    /// Path of a cookie that the proxy makes.
    #[serde(default)]
    pub path: String,
    /// Life of a cookie that the proxy makes; without it none is made.
    pub ttl: Option<Duration>,
    /// More attributes of a cookie that the proxy makes.
    #[serde(default)]
    pub attributes: Vec<CookieAttribute>,
}

/// An attribute of a cookie.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct CookieAttribute {
    /// Name.
    pub name: String,
    /// Value.
    #[serde(default)]
    pub value: String,
}

/// Hash ring.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RingHash {
    /// Least number of entries; 1024 by default.
    pub minimum_ring_size: Option<u64>,
}

/// Maglev table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Maglev {
    /// Size of the table, a prime number; 65537 by default.
    pub table_size: Option<u64>,
}

/// Preference for near endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LocalityLoadBalancer {
    /// Shares by locality.
    pub distribute: Vec<Distribute>,
    /// Where to turn when a region fails.
    pub failover: Vec<Failover>,
    /// Labels that define how near an endpoint is.
    pub failover_priority: Vec<String>,
    /// Whether any of this applies; true by default.
    pub enabled: Option<bool>,
}

/// Shares of the traffic from one locality.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Distribute {
    /// Where the client is: `region/zone/subzone`, with `*` at the end.
    pub from: String,
    /// Percentages by locality of the endpoint; their sum is 100.
    pub to: BTreeMap<String, u32>,
}

/// Failover from one region to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Failover {
    /// The region that fails.
    pub from: String,
    /// The region that helps.
    pub to: String,
}

/// Zone-aware routing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ZoneAwareLoadBalancer {
    /// Whether any of this applies; true by default.
    pub enabled: Option<bool>,
    /// Where to turn when a region fails.
    pub failover: Vec<Failover>,
    /// Labels that define how near an endpoint is.
    pub failover_priority: Vec<String>,
    /// Least number of endpoints for zones to matter; 6 by default.
    #[schemars(range(min = 1))]
    pub min_cluster_size: Option<u64>,
}

/// Slow start.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Warmup {
    /// How long.
    pub duration: Duration,
    /// Share to begin with; 10 by default.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub minimum_percent: Option<f64>,
    /// Shape of the curve; 1 is a line.
    #[schemars(range(min = 0.0))]
    pub aggression: Option<f64>,
}

/// Limits on connections and requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConnectionPool {
    /// For all connections.
    pub tcp: Option<TcpPool>,
    /// For HTTP.
    pub http: Option<HttpPool>,
}

/// Limits on connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpPool {
    /// Connections at once; no limit by default.
    pub max_connections: Option<i32>,
    /// Limit for establishing a connection; 10s by default.
    pub connect_timeout: Option<Duration>,
    /// TCP keepalive.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Longest life of a connection.
    pub max_connection_duration: Option<Duration>,
    /// Longest silence of a connection; 1h by default, 0s is no limit.
    pub idle_timeout: Option<Duration>,
}

/// TCP keepalive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TcpKeepalive {
    /// Probes without answer before a connection is given up.
    pub probes: Option<u32>,
    /// Silence before the first probe.
    pub time: Option<Duration>,
    /// Pause between probes.
    pub interval: Option<Duration>,
}

/// Limits on requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpPool {
    /// Requests waiting for a connection; no limit by default.
    pub http1_max_pending_requests: Option<i32>,
    /// Requests at once; no limit by default.
    pub http2_max_requests: Option<i32>,
    /// Requests on one connection; no limit by default.
    pub max_requests_per_connection: Option<i32>,
    /// Retries at once; no limit by default.
    pub max_retries: Option<i32>,
    /// Longest time without a request on a connection; 1h by default.
    pub idle_timeout: Option<Duration>,
    /// Whether HTTP/1.1 becomes HTTP/2.
    pub h2_upgrade_policy: Option<H2UpgradePolicy>,
    /// Speak the version of HTTP that the client speaks.
    pub use_client_protocol: Option<bool>,
    /// Streams at once on an HTTP/2 connection.
    pub max_concurrent_streams: Option<i32>,
    /// HTTP/2 pings.
    pub http2_keep_alive: Option<Http2KeepAlive>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum H2UpgradePolicy {
    Default,
    DoNotUpgrade,
    Upgrade,
}

/// HTTP/2 pings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Http2KeepAlive {
    /// Pause between pings.
    pub interval: Option<Duration>,
    /// Wait for an answer.
    pub timeout: Option<Duration>,
}

/// When a failing endpoint is set aside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OutlierDetection {
    /// Deprecated and without effect.
    pub consecutive_errors: Option<i32>,
    /// Count failures to connect apart from errors of the endpoint.
    pub split_external_local_origin_errors: Option<bool>,
    /// Failures to connect in a row.
    pub consecutive_local_origin_failures: Option<u32>,
    /// Answers 502, 503 or 504 in a row; off by default.
    pub consecutive_gateway_errors: Option<u32>,
    /// Answers 5xx in a row; 5 by default, 0 is off.
    #[serde(rename = "consecutive5xxErrors")]
    pub consecutive_5xx_errors: Option<u32>,
    /// Pause between looks; 10s by default.
    pub interval: Option<Duration>,
    /// How long an endpoint is set aside the first time; 30s by default.
    pub base_ejection_time: Option<Duration>,
    /// Largest share of endpoints set aside; 10 by default.
    #[schemars(range(min = 0, max = 100))]
    pub max_ejection_percent: Option<i32>,
    /// Least share of healthy endpoints; below it all are used.
    #[schemars(range(min = 0, max = 100))]
    pub min_health_percent: Option<i32>,
    /// Statuses that count as errors; 5xx by default.
    #[schemars(inner(range(min = 100, max = 599)))]
    pub outlier_detection_http_error_codes: Vec<u32>,
}

/// TLS to the endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientTls {
    /// Whether TLS is spoken, and with which certificates.
    pub mode: Option<TlsMode>,
    /// File with the certificate of the client.
    pub client_certificate: String,
    /// File with the key of the client.
    pub private_key: String,
    /// File with the authorities that may sign for the server.
    pub ca_certificates: String,
    /// Secret that holds all of these.
    pub credential_name: String,
    /// Names that the server's certificate must have one of.
    pub subject_alt_names: Vec<String>,
    /// Server name to ask for.
    pub sni: String,
    /// Accept any certificate.
    pub insecure_skip_verify: Option<bool>,
    /// File with revoked certificates.
    pub ca_crl: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TlsMode {
    Disable,
    Simple,
    Mutual,
    IstioMutual,
}

/// A proxy that connections are wrapped for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tunnel {
    /// `CONNECT` (default) or `POST`.
    #[serde(default)]
    pub protocol: String,
    /// Host that the proxy shall connect to.
    pub target_host: String,
    /// Port that the proxy shall connect to.
    pub target_port: u32,
}

/// PROXY protocol header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProxyProtocol {
    /// Version; V1 by default.
    pub version: Option<ProxyProtocolVersion>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum ProxyProtocolVersion {
    V1,
    V2,
}

/// Limit on retries in proportion to requests.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RetryBudget {
    /// Retries per hundred requests; 20 by default.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub percent: Option<f64>,
    /// Retries that are always allowed; 3 by default.
    pub min_retry_concurrency: Option<u32>,
    /// How long finished requests count.
    pub budget_interval: Option<Duration>,
}
