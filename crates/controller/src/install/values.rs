//! What an installation can be told, under the names of Istio's charts.
//!
//! A value stands here when it has an effect; every other name is refused with a suggestion ([`super::set`]).
//! <https://istio.io/latest/docs/reference/config/istio.operator.v1alpha1/>

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The revision label of an installation without revision.
pub const REVISION: &str = "default";

/// All values; `Values::default()` is a complete installation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Values {
    pub global: Global,
    pub pilot: Pilot,
    pub sidecar_injector_webhook: SidecarInjectorWebhook,
    /// Istio's MeshConfig, verbatim.
    pub mesh_config: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Global {
    pub istio_namespace: String,
    /// Registry and organisation of the images.
    pub hub: String,
    pub tag: String,
    pub image_pull_policy: String,
    /// Names of Secrets; they must exist wherever sidecars are injected.
    pub image_pull_secrets: Vec<String>,
    pub log_as_json: bool,
    pub logging: Logging,
    pub priority_class_name: String,
    #[serde(rename = "meshID")]
    pub mesh_id: String,
    pub network: String,
    pub multi_cluster: MultiCluster,
    /// How capture knows the proxy's own traffic.
    pub capture_exemption: CaptureExemption,
    pub proxy: Proxy,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Logging {
    pub level: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MultiCluster {
    pub cluster_name: String,
}

/// Never both at once: a second exemption is a way around the mesh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CaptureExemption {
    /// By its user, 1337. The sidecar needs no capability.
    #[default]
    Uid,
    /// By a mark on its packets. The sidecar keeps NET_ADMIN; for machines where only one user exists.
    Mark,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Proxy {
    pub image: String,
    pub auto_inject: AutoInject,
    pub cluster_domain: String,
    pub log_level: String,
    pub component_log_level: String,
    #[serde(rename = "includeIPRanges")]
    pub include_ip_ranges: String,
    #[serde(rename = "excludeIPRanges")]
    pub exclude_ip_ranges: String,
    pub include_inbound_ports: String,
    pub exclude_inbound_ports: String,
    pub include_outbound_ports: String,
    pub exclude_outbound_ports: String,
    pub readiness_initial_delay_seconds: u32,
    pub readiness_period_seconds: u32,
    pub readiness_failure_threshold: u32,
    pub startup_probe: StartupProbe,
    /// Verbatim, as a container's `resources`.
    pub resources: Map<String, Value>,
    /// Verbatim, as a container's `lifecycle`.
    pub lifecycle: Map<String, Value>,
    pub hold_application_until_proxy_starts: bool,
    /// Runs the sidecar as an init container that stays (Kubernetes 1.29 and later). Istio's charts say this by
    /// `pilot.env.ENABLE_NATIVE_SIDECARS`, which is understood too.
    pub native_sidecar: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AutoInject {
    /// Pods that the webhook selects, unless they refuse.
    #[default]
    Enabled,
    /// Only pods that ask for it.
    Disabled,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StartupProbe {
    pub enabled: bool,
    pub failure_threshold: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pilot {
    pub image: String,
    pub replica_count: u32,
    pub resources: Map<String, Value>,
    pub env: BTreeMap<String, Value>,
    pub node_selector: BTreeMap<String, String>,
    pub tolerations: Vec<Value>,
    pub affinity: Map<String, Value>,
    pub pod_annotations: BTreeMap<String, String>,
    pub pod_labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SidecarInjectorWebhook {
    /// Label selectors; a pod that one of them matches is never injected, unless it asks by its own label.
    pub never_inject_selector: Vec<Value>,
    /// Label selectors; a pod that one of them matches is injected, unless it refuses by its own label.
    pub always_inject_selector: Vec<Value>,
    pub injected_annotations: BTreeMap<String, String>,
    /// Injects in every namespace that does not refuse.
    pub enable_namespaces_by_default: bool,
    pub reinvocation_policy: String,
    /// Turns the probes of applications to their sidecars, unless an annotation says otherwise.
    #[serde(rename = "rewriteAppHTTPProbe")]
    pub rewrite_app_http_probe: bool,
}

impl Values {
    /// The image of a role: as it is when it names a registry, else below `hub` with `tag`.
    pub fn image(&self, name: &str) -> String {
        if name.contains('/') {
            return name.to_owned();
        }
        format!("{}/{name}:{}", self.global.hub, self.global.tag)
    }

    /// The address at which proxies find the controller.
    pub fn discovery_address(&self) -> String {
        format!("istiod.{}.svc:15012", self.global.istio_namespace)
    }
}

impl Default for Global {
    fn default() -> Self {
        Self {
            istio_namespace: "istio-system".to_owned(),
            hub: "amime".to_owned(),
            tag: env!("CARGO_PKG_VERSION").to_owned(),
            image_pull_policy: String::new(),
            image_pull_secrets: Vec::new(),
            log_as_json: false,
            logging: Logging::default(),
            priority_class_name: String::new(),
            mesh_id: String::new(),
            network: String::new(),
            multi_cluster: MultiCluster::default(),
            capture_exemption: CaptureExemption::default(),
            proxy: Proxy::default(),
        }
    }
}

impl Default for Logging {
    fn default() -> Self {
        Self {
            level: "default:info".to_owned(),
        }
    }
}

impl Default for MultiCluster {
    fn default() -> Self {
        Self {
            cluster_name: "Kubernetes".to_owned(),
        }
    }
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            image: "proxyv2".to_owned(),
            auto_inject: AutoInject::default(),
            cluster_domain: "cluster.local".to_owned(),
            log_level: "warning".to_owned(),
            component_log_level: "misc:error".to_owned(),
            include_ip_ranges: "*".to_owned(),
            exclude_ip_ranges: String::new(),
            include_inbound_ports: "*".to_owned(),
            exclude_inbound_ports: String::new(),
            include_outbound_ports: String::new(),
            exclude_outbound_ports: String::new(),
            readiness_initial_delay_seconds: 0,
            readiness_period_seconds: 15,
            readiness_failure_threshold: 4,
            startup_probe: StartupProbe::default(),
            resources: object(json!({
                "requests": {"cpu": "100m", "memory": "128Mi"},
                "limits": {"cpu": "2000m", "memory": "1024Mi"},
            })),
            lifecycle: Map::new(),
            hold_application_until_proxy_starts: false,
            native_sidecar: false,
        }
    }
}

impl Default for StartupProbe {
    fn default() -> Self {
        Self {
            enabled: true,
            failure_threshold: 600,
        }
    }
}

impl Default for Pilot {
    fn default() -> Self {
        Self {
            image: "pilot".to_owned(),
            replica_count: 1,
            resources: object(json!({"requests": {"cpu": "100m", "memory": "256Mi"}})),
            env: BTreeMap::new(),
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            affinity: Map::new(),
            pod_annotations: BTreeMap::new(),
            pod_labels: BTreeMap::new(),
        }
    }
}

impl Default for SidecarInjectorWebhook {
    fn default() -> Self {
        Self {
            never_inject_selector: Vec::new(),
            always_inject_selector: Vec::new(),
            injected_annotations: BTreeMap::new(),
            enable_namespaces_by_default: false,
            reinvocation_policy: "Never".to_owned(),
            rewrite_app_http_probe: true,
        }
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_their_json_form() {
        let values = Values::default();
        let json = serde_json::to_value(&values).unwrap();
        assert_eq!(serde_json::from_value::<Values>(json).unwrap(), values);
    }

    #[test]
    fn an_image_with_a_registry_stays_as_it_is() {
        let values = Values::default();
        assert_eq!(values.image("proxyv2"), "amime/proxyv2:0.0.0");
        assert_eq!(
            values.image("registry.example/proxy:1"),
            "registry.example/proxy:1"
        );
    }
}
