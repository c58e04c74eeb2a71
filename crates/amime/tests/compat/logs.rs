//! What the proxies write down about calls: access logs of Istio's fields as JSON, followed as they are written, and
//! told apart by the mark of each call.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use daemon::Tasks;
use futures_util::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{LogParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::policy;
use crate::world::Side;

/// A proxy writes its lines down this soon; a machine that is busy needs more.
const WRITTEN: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(20);
/// Istio's fields without those of the moment, and the mark.
const FIELDS: [(&str, &str); 22] = [
    ("call", "%REQ(X-CALL)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    (
        "connection_termination_details",
        "%CONNECTION_TERMINATION_DETAILS%",
    ),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("grpc_status", "%GRPC_STATUS%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("route_name", "%ROUTE_NAME%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    (
        "upstream_transport_failure_reason",
        "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    ),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
];
/// Addresses whose ports the system chooses.
const OF_CONNECTIONS: [&str; 2] = ["downstream_remote_address", "upstream_local_address"];

/// Providers that policies of the table may ask. The backends do as they are told: by the path of the request, or by a header that
/// the provider adds.
fn providers() -> Vec<Value> {
    let other = |settings: Value| {
        let mut provider = json!({"service": "other.shop.svc.cluster.local", "port": 9090, "timeout": "2s"});
        if let (Some(provider), Value::Object(settings)) = (provider.as_object_mut(), settings) {
            provider.extend(settings);
        }
        json!({ "envoyExtAuthzHttp": provider })
    };
    let mut providers = [
        ("by-path", other(json!({}))),
        (
            "denies",
            other(json!({
                "includeAdditionalHeadersInCheck": {"x-backend": "/status/403"},
                "includeRequestHeadersInCheck": ["x-told", "x-begin-*", "*-end"],
                "headersToDownstreamOnDeny": ["x-none"],
            })),
        ),
        (
            "allows",
            other(json!({
                "includeAdditionalHeadersInCheck":
                    {"x-backend": "/headers?x-user=me&x-more-a=1&x-client=told&x-secret=s"},
                "headersToUpstreamOnAllow": ["x-user", "x-more-*"],
                "headersToDownstreamOnAllow": ["x-client"],
            })),
        ),
        (
            "fails",
            other(
                json!({"includeAdditionalHeadersInCheck": {"x-backend": "/status/503"}, "statusOnError": "401"}),
            ),
        ),
        (
            "fails-open",
            other(json!({"includeAdditionalHeadersInCheck": {"x-backend": "/status/503"}, "failOpen": true})),
        ),
        ("silent", other(json!({"port": 9094, "timeout": "0.3s"}))),
        (
            "sees-bodies",
            other(json!({
                "includeAdditionalHeadersInCheck": {"x-backend": "/status/403"},
                "includeRequestBodyInCheck": {"maxRequestBytes": 8},
            })),
        ),
        (
            "sees-beginnings",
            other(json!({
                "includeAdditionalHeadersInCheck": {"x-backend": "/status/403"},
                "includeRequestBodyInCheck": {"maxRequestBytes": 8, "allowPartialMessage": true},
            })),
        ),
        (
            "elsewhere",
            other(json!({"service": "nobody.shop.svc.cluster.local"})),
        ),
    ];
    for (name, provider) in &mut providers {
        provider["name"] = json!(name);
    }
    providers.into_iter().map(|(_, provider)| provider).collect()
}

/// Has proxies log, and gives policies somebody to ask: those of the table, and those of the suite `policy`.
pub(crate) async fn switch_on(client: &Client) {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "istio-system");
    let map = maps.get("istio").await.unwrap();
    let mesh = map
        .data
        .and_then(|mut data| data.remove("mesh"))
        .unwrap_or_default();
    let format: Value = FIELDS
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    let mut asked = providers();
    asked.extend(policy::providers());
    let mesh = format!(
        "{mesh}\naccessLogFile: /dev/stdout\naccessLogEncoding: JSON\naccessLogFormat: {}\nextensionProviders: {}\n",
        json!(format.to_string()),
        json!(asked)
    );
    let change = Patch::Merge(json!({"data": {"mesh": mesh}}));
    maps.patch("istio", &PatchParams::default(), &change)
        .await
        .unwrap();
}

/// The lines of all proxies of a world.
pub(crate) struct Logs {
    lines: Arc<Mutex<Vec<Line>>>,
    /// What addresses of pods are called.
    names: Vec<(String, String)>,
    _tasks: Tasks,
}

struct Line {
    /// The application beside the proxy that wrote it.
    by: String,
    fields: Value,
}

impl Logs {
    /// Follows each pod that has a proxy of one side or the other. `addresses` are those of pods by namespace and name.
    pub(crate) async fn follow(client: &Client, addresses: &BTreeMap<String, String>) -> Self {
        let (tasks, lines) = (Tasks::new(), Arc::<Mutex<Vec<Line>>>::default());
        for pod in addresses.keys() {
            if !Side::BOTH.into_iter().any(|side| pod.ends_with(side.name())) {
                continue;
            }
            let (namespace, name) = pod.split_once('/').unwrap();
            let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
            let how = LogParams {
                container: Some("istio-proxy".to_owned()),
                follow: true,
                ..LogParams::default()
            };
            let mut stream = pods.log_stream(name, &how).await.unwrap().lines();
            let (by, lines) = (plain_name(pod), lines.clone());
            tasks.spawn("log", async move {
                // What is no JSON is not of the access log.
                while let Ok(Some(line)) = stream.try_next().await {
                    if let Ok(fields) = serde_json::from_str(&line) {
                        let by = by.clone();
                        lines.lock().unwrap().push(Line { by, fields });
                    }
                }
            });
        }
        let mut names: Vec<(String, String)> = addresses
            .iter()
            .map(|(pod, address)| (address.clone(), plain_name(pod)))
            .collect();
        // The longer first: one address may be the beginning of another.
        names.sort_by_key(|(address, _)| std::cmp::Reverse(address.len()));
        Self {
            lines,
            names,
            _tasks: tasks,
        }
    }

    /// Forgets what was written so far.
    pub(crate) fn forget(&self) {
        self.lines.lock().unwrap().clear();
    }

    /// What both sides wrote about calls with these marks, as soon as both have written as much; what is still lacking
    /// after a while is not written.
    pub(crate) async fn about(&self, marks: &[String; 2]) -> [BTreeMap<String, String>; 2] {
        let begun = Instant::now();
        loop {
            let [one, other] = [0, 1].map(|index| self.of(&marks[index]));
            let writers = |fields: &BTreeMap<String, String>| -> Vec<String> {
                let flags = fields.keys().filter(|name| name.ends_with(".response_flags"));
                flags.cloned().collect()
            };
            let enough = !writers(&one).is_empty() && writers(&one) == writers(&other);
            if enough || begun.elapsed() > WRITTEN {
                return [one, other];
            }
            sleep(POLL).await;
        }
    }

    /// Those of the names that our side wrote about calls with this mark, as soon as all are there.
    pub(crate) async fn of_amime(&self, mark: &str, names: &[String]) -> BTreeMap<String, String> {
        let begun = Instant::now();
        loop {
            let mut found = self.of(mark);
            found.retain(|name, _| names.contains(name));
            if found.len() == names.len() || begun.elapsed() > WRITTEN {
                return found;
            }
            sleep(POLL).await;
        }
    }

    /// `log.client.response_flags` and so on. A client of one side may come to the server of the other.
    fn of(&self, mark: &str) -> BTreeMap<String, String> {
        let lines = self.lines.lock().unwrap();
        let mut told = BTreeMap::new();
        let mut counts = BTreeMap::<&str, usize>::new();
        for line in lines.iter().filter(|line| line.fields["call"] == mark) {
            let count = counts.entry(&line.by).or_default();
            *count += 1;
            let by = if *count > 1 {
                format!("{}{count}", line.by)
            } else {
                line.by.clone()
            };
            for (name, _) in FIELDS.iter().skip(1) {
                told.insert(format!("log.{by}.{name}"), self.plain(name, &line.fields[*name]));
            }
        }
        told
    }

    /// Without what differs from side to side and from connection to connection.
    fn plain(&self, name: &str, value: &Value) -> String {
        let mut text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        for (address, pod) in &self.names {
            text = text.replace(&format!("{address}:"), &format!("{pod}:"));
        }
        match text.rsplit_once(':') {
            Some((host, _)) if OF_CONNECTIONS.contains(&name) => format!("{host}:<port>"),
            _ => text,
        }
    }
}

/// `shop/backend-v1` and `shop/client-envoy` are `backend` and `client`.
fn plain_name(pod: &str) -> String {
    let name = pod.rsplit('/').next().unwrap_or(pod);
    let of_side = Side::BOTH
        .into_iter()
        .find_map(|side| name.strip_suffix(&format!("-{}", side.name())));
    crate::outcome::application(of_side.unwrap_or(name)).to_owned()
}
