//! What a pod's annotations ask of its sidecar: read once, checked, and everything that is not done is named.
//!
//! <https://istio.io/latest/docs/reference/config/annotations/>

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::Settings;
use crate::install::values::CaptureExemption;

/// Annotations that have their effect here; the rest of the prefixes below is reported.
const SUPPORTED: [&str; 26] = [
    "inject.istio.io/templates",
    "proxy.istio.io/config",
    "proxy.istio.io/overrides",
    "readiness.status.sidecar.istio.io/failureThreshold",
    "readiness.status.sidecar.istio.io/initialDelaySeconds",
    "readiness.status.sidecar.istio.io/periodSeconds",
    "sidecar.istio.io/componentLogLevel",
    "sidecar.istio.io/agentLogLevel",
    "sidecar.istio.io/inject",
    "sidecar.istio.io/interceptionMode",
    "sidecar.istio.io/logLevel",
    "sidecar.istio.io/nativeSidecar",
    "sidecar.istio.io/proxyCPU",
    "sidecar.istio.io/proxyCPULimit",
    "sidecar.istio.io/proxyImage",
    "sidecar.istio.io/proxyMemory",
    "sidecar.istio.io/proxyMemoryLimit",
    "sidecar.istio.io/rewriteAppHTTPProbers",
    "sidecar.istio.io/status",
    "sidecar.istio.io/userVolume",
    "sidecar.istio.io/userVolumeMount",
    "status.sidecar.istio.io/port",
    "traffic.sidecar.istio.io/excludeInboundPorts",
    "traffic.sidecar.istio.io/excludeOutboundIPRanges",
    "traffic.sidecar.istio.io/excludeOutboundPorts",
    "traffic.sidecar.istio.io/includeOutboundIPRanges",
];
const ALSO_SUPPORTED: [&str; 3] = [
    "traffic.sidecar.istio.io/includeInboundPorts",
    "traffic.sidecar.istio.io/includeOutboundPorts",
    "traffic.sidecar.istio.io/excludeInterfaces",
];

const STATUS_PORT: &str = "status.sidecar.istio.io/port";

/// Where Istio's annotations for sidecars live.
const PREFIXES: [&str; 7] = [
    "inject.istio.io/",
    "prometheus.istio.io/",
    "proxy.istio.io/",
    "readiness.status.sidecar.istio.io/",
    "sidecar.istio.io/",
    "status.sidecar.istio.io/",
    "traffic.sidecar.istio.io/",
];

/// Annotations and values, combined.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wishes {
    pub(super) image: String,
    pub(super) log_level: String,
    pub(super) component_log_level: String,
    pub(super) agent_log_level: String,
    /// `None`: capture nothing.
    pub(super) capture: Option<Capture>,
    pub(super) native_sidecar: bool,
    /// Of the sidecar itself.
    pub(super) probes: Option<Probes>,
    /// Whether the application's probes and hooks are turned to the sidecar.
    pub(super) rewrite_probes: bool,
    /// Where the sidecar is asked about the application.
    pub(super) status_port: u16,
    pub(super) resources: Map<String, Value>,
    pub(super) volumes: Vec<Value>,
    pub(super) volume_mounts: Vec<Value>,
    /// Istio's ProxyConfig, the pod's over the mesh's.
    pub(super) proxy_config: Map<String, Value>,
    pub(super) warnings: Vec<String>,
}

/// Which traffic goes through the proxy, in the words of Istio's flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Capture {
    pub(super) include_ip_ranges: String,
    pub(super) exclude_ip_ranges: String,
    pub(super) include_inbound_ports: String,
    pub(super) exclude_inbound_ports: String,
    pub(super) include_outbound_ports: String,
    pub(super) exclude_outbound_ports: String,
    pub(super) exclude_interfaces: String,
    pub(super) exemption: CaptureExemption,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Probes {
    pub(super) initial_delay_seconds: u32,
    pub(super) period_seconds: u32,
    pub(super) failure_threshold: u32,
}

/// One warning for each annotation that is Istio's and has no effect here.
pub(super) fn warnings(pod: &Value) -> Vec<String> {
    let annotations = pod.pointer("/metadata/annotations").and_then(Value::as_object);
    let known = |name: &String| SUPPORTED.contains(&name.as_str()) || ALSO_SUPPORTED.contains(&name.as_str());
    annotations
        .into_iter()
        .flatten()
        .map(|(name, _)| name)
        .filter(|name| PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && !known(name))
        .map(|name| format!("annotation {name} is not supported and has no effect"))
        .collect()
}

/// Reads everything; the error says which annotation cannot be understood and why.
pub(super) fn read(pod: &Value, settings: &Settings) -> Result<Wishes, String> {
    let reader = Reader { pod };
    let proxy = &settings.values.global.proxy;
    let webhook = &settings.values.sidecar_injector_webhook;
    let mut warnings = Vec::new();
    reader.check_templates()?;
    let mut proxy_config = reader.proxy_config(settings)?;
    let status_port = reader.status_port(&mut proxy_config)?;
    let probes = reader.probes(settings)?;
    let text = |name: &str, default: &str| reader.text(name).unwrap_or(default).to_owned();
    Ok(Wishes {
        image: settings
            .values
            .image(&text("sidecar.istio.io/proxyImage", &proxy.image)),
        log_level: text("sidecar.istio.io/logLevel", &proxy.log_level),
        component_log_level: text("sidecar.istio.io/componentLogLevel", &proxy.component_log_level),
        agent_log_level: text(
            "sidecar.istio.io/agentLogLevel",
            &settings.values.global.logging.level,
        ),
        capture: reader.capture(settings, &mut warnings)?,
        native_sidecar: reader.native_sidecar(settings, &proxy_config, &mut warnings)?,
        rewrite_probes: reader
            .boolean("sidecar.istio.io/rewriteAppHTTPProbers")?
            .unwrap_or(webhook.rewrite_app_http_probe)
            && probes.is_some(),
        probes,
        status_port,
        resources: reader.resources(&proxy.resources),
        volumes: reader.named_objects("sidecar.istio.io/userVolume")?,
        volume_mounts: reader.named_objects("sidecar.istio.io/userVolumeMount")?,
        proxy_config,
        warnings,
    })
}

struct Reader<'a> {
    pod: &'a Value,
}

impl<'a> Reader<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        self.pod.pointer("/metadata/annotations")?.get(name)?.as_str()
    }

    fn boolean(&self, name: &str) -> Result<Option<bool>, String> {
        match self.text(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(format!(
                "annotation {name}: {other:?} is neither \"true\" nor \"false\""
            )),
        }
    }

    fn number(&self, name: &str, default: u32) -> Result<u32, String> {
        let Some(text) = self.text(name) else {
            return Ok(default);
        };
        text.parse()
            .map_err(|_| format!("annotation {name}: {text:?} is not a number"))
    }

    fn check_templates(&self) -> Result<(), String> {
        let templates = self.text("inject.istio.io/templates").unwrap_or("sidecar");
        match templates
            .split(',')
            .map(str::trim)
            .find(|template| *template != "sidecar")
        {
            None => Ok(()),
            Some(other) => Err(format!(
                "requested template {other:?} not found; have \"sidecar\""
            )),
        }
    }

    /// Each field of the annotation replaces the mesh's, except `proxyMetadata`, whose entries are merged.
    fn proxy_config(&self, settings: &Settings) -> Result<Map<String, Value>, String> {
        const NAME: &str = "proxy.istio.io/config";
        let mut merged = settings.proxy_config.clone();
        let Some(text) = self.text(NAME) else {
            return Ok(merged);
        };
        let given: Map<String, Value> =
            serde_saphyr::from_str(text).map_err(|error| format!("annotation {NAME}: {error}"))?;
        for (name, value) in given {
            match (merged.get_mut(&name), value) {
                (Some(Value::Object(base)), Value::Object(over)) if name == "proxyMetadata" => {
                    base.extend(over)
                }
                (_, value) => {
                    merged.insert(name, value);
                }
            }
        }
        Ok(merged)
    }

    fn capture(&self, settings: &Settings, warnings: &mut Vec<String>) -> Result<Option<Capture>, String> {
        const MODE: &str = "sidecar.istio.io/interceptionMode";
        match self.text(MODE) {
            Some("NONE") => return Ok(None),
            None | Some("REDIRECT") => {}
            Some("TPROXY") => warnings.push(format!(
                "annotation {MODE}: TPROXY is not supported, REDIRECT is used"
            )),
            Some(other) => {
                return Err(format!(
                    "annotation {MODE}: {other:?} is not REDIRECT, TPROXY or NONE"
                ));
            }
        }
        let proxy = &settings.values.global.proxy;
        let ranges = |name: &str, default: &str| self.checked(name, default, is_range, "an IP range");
        let ports = |name: &str, default: &str| self.checked(name, default, is_port, "a port");
        Ok(Some(Capture {
            include_ip_ranges: ranges("includeOutboundIPRanges", &proxy.include_ip_ranges)?,
            exclude_ip_ranges: ranges("excludeOutboundIPRanges", &proxy.exclude_ip_ranges)?,
            include_inbound_ports: ports("includeInboundPorts", &proxy.include_inbound_ports)?,
            exclude_inbound_ports: ports("excludeInboundPorts", &proxy.exclude_inbound_ports)?,
            include_outbound_ports: ports("includeOutboundPorts", &proxy.include_outbound_ports)?,
            exclude_outbound_ports: ports("excludeOutboundPorts", &proxy.exclude_outbound_ports)?,
            exclude_interfaces: self.checked("excludeInterfaces", "", |name| name != "*", "an interface")?,
            exemption: settings.values.global.capture_exemption,
        }))
    }

    /// A list in which every item fits; `*` for all of them where the name says `include`.
    fn checked(
        &self,
        name: &str,
        default: &str,
        fits: fn(&str) -> bool,
        what: &str,
    ) -> Result<String, String> {
        let name = format!("traffic.sidecar.istio.io/{name}");
        let text = self.text(&name).unwrap_or(default);
        let items: Vec<&str> = text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .collect();
        if items == ["*"] && name.contains("include") {
            return Ok("*".to_owned());
        }
        match items.iter().find(|item| !fits(item)) {
            None => Ok(items.join(",")),
            Some(bad) => Err(format!("annotation {name}: {bad:?} is not {what}")),
        }
    }

    /// Holding the application back is what native sidecars do, so the wish for it makes the sidecar one.
    fn native_sidecar(
        &self,
        settings: &Settings,
        proxy_config: &Map<String, Value>,
        warnings: &mut Vec<String>,
    ) -> Result<bool, String> {
        let hold = proxy_config.get("holdApplicationUntilProxyStarts") == Some(&Value::Bool(true));
        let asked = self.boolean("sidecar.istio.io/nativeSidecar")?;
        if hold && asked == Some(false) {
            warnings.push(
                "holdApplicationUntilProxyStarts has no effect beside sidecar.istio.io/nativeSidecar: \"false\""
                    .to_owned(),
            );
        }
        Ok(asked.unwrap_or(hold || settings.native_sidecar || settings.values.global.proxy.native_sidecar))
    }

    /// How the sidecar's own readiness is asked; not at all where the annotation closes its status port.
    fn probes(&self, settings: &Settings) -> Result<Option<Probes>, String> {
        if self.number(STATUS_PORT, 1)? == 0 {
            return Ok(None);
        }
        let proxy = &settings.values.global.proxy;
        let number =
            |name: &str, default| self.number(&format!("readiness.status.sidecar.istio.io/{name}"), default);
        Ok(Some(Probes {
            initial_delay_seconds: number("initialDelaySeconds", proxy.readiness_initial_delay_seconds)?,
            period_seconds: number("periodSeconds", proxy.readiness_period_seconds)?,
            failure_threshold: number("failureThreshold", proxy.readiness_failure_threshold)?,
        }))
    }

    /// By the annotation, or else by the sidecar's configuration, which is made to say the same.
    fn status_port(&self, proxy_config: &mut Map<String, Value>) -> Result<u16, String> {
        const FIELD: &str = "statusPort";
        let configured = proxy_config.get(FIELD).and_then(Value::as_u64);
        let configured = configured
            .and_then(|port| u16::try_from(port).ok())
            .filter(|port| *port > 0);
        let default = configured.unwrap_or(15020);
        match self.number(STATUS_PORT, default.into())? {
            0 => Ok(default),
            port => {
                let port = u16::try_from(port)
                    .map_err(|_| format!("annotation {STATUS_PORT}: \"{port}\" is not a port"))?;
                if port != default {
                    proxy_config.insert(FIELD.to_owned(), port.into());
                }
                Ok(port)
            }
        }
    }

    /// One annotation replaces all of the defaults, so that a request alone does not meet a limit below it.
    fn resources(&self, defaults: &Map<String, Value>) -> Map<String, Value> {
        let mut chosen = Map::new();
        for (part, name, annotation) in [
            ("requests", "cpu", "sidecar.istio.io/proxyCPU"),
            ("requests", "memory", "sidecar.istio.io/proxyMemory"),
            ("limits", "cpu", "sidecar.istio.io/proxyCPULimit"),
            ("limits", "memory", "sidecar.istio.io/proxyMemoryLimit"),
        ] {
            if let Some(text) = self.text(annotation) {
                let part = chosen.entry(part).or_insert_with(|| Value::Object(Map::new()));
                part[name] = text.into();
            }
        }
        if chosen.is_empty() {
            defaults.clone()
        } else {
            chosen
        }
    }

    /// `{"name": {…}}` as `[{"name": "name", …}]`.
    fn named_objects(&self, annotation: &str) -> Result<Vec<Value>, String> {
        let Some(text) = self.text(annotation) else {
            return Ok(Vec::new());
        };
        let given: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| format!("annotation {annotation}: {error}"))?;
        given
            .into_iter()
            .map(|(name, mut object)| {
                let fields = object.as_object_mut();
                let fields =
                    fields.ok_or_else(|| format!("annotation {annotation}: {name:?} is not an object"))?;
                fields.insert("name".to_owned(), name.into());
                Ok(object)
            })
            .collect()
    }
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_range(text: &str) -> bool {
    let (address, bits) = text
        .split_once('/')
        .map_or((text, None), |(address, bits)| (address, Some(bits)));
    let Ok(address) = address.parse::<IpAddr>() else {
        return false;
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= most))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_one(name: &str, value: &str) -> Result<Wishes, String> {
        read(
            &json!({"metadata": {"annotations": {name: value}}}),
            &Settings::default(),
        )
    }

    #[test]
    fn values_that_cannot_be_understood_name_their_annotation() {
        for (name, value) in [
            ("inject.istio.io/templates", "grpc-agent"),
            ("proxy.istio.io/config", "a: [b"),
            ("readiness.status.sidecar.istio.io/periodSeconds", "soon"),
            ("sidecar.istio.io/interceptionMode", "MAGIC"),
            ("sidecar.istio.io/nativeSidecar", "yes"),
            ("sidecar.istio.io/rewriteAppHTTPProbers", "no"),
            ("sidecar.istio.io/userVolume", "[1]"),
            ("sidecar.istio.io/userVolume", r#"{"a": 1}"#),
            ("traffic.sidecar.istio.io/excludeInboundPorts", "80,http"),
            ("traffic.sidecar.istio.io/excludeInboundPorts", "*"),
            ("traffic.sidecar.istio.io/includeOutboundIPRanges", "10.0.0.0/33"),
        ] {
            let error = read_one(name, value).unwrap_err();
            let about = if name.ends_with("templates") {
                "grpc-agent"
            } else {
                name
            };
            assert!(error.contains(about), "{name}={value}: {error}");
        }
    }

    #[test]
    fn traffic_annotations_change_capture() {
        let capture = |name: &str, value: &str| read_one(name, value).unwrap().capture.unwrap();
        let ranges = capture(
            "traffic.sidecar.istio.io/includeOutboundIPRanges",
            "10.0.0.0/8, fd00::/8",
        );
        assert_eq!(ranges.include_ip_ranges, "10.0.0.0/8,fd00::/8");
        assert_eq!(
            capture("traffic.sidecar.istio.io/includeInboundPorts", "").include_inbound_ports,
            ""
        );
        assert_eq!(
            capture("traffic.sidecar.istio.io/excludeOutboundPorts", "25").exclude_outbound_ports,
            "25"
        );
        assert_eq!(
            read_one("sidecar.istio.io/interceptionMode", "NONE")
                .unwrap()
                .capture,
            None
        );
    }

    #[test]
    fn holding_the_application_makes_the_sidecar_native() {
        let wishes = read_one("proxy.istio.io/config", "holdApplicationUntilProxyStarts: true").unwrap();
        assert!(wishes.native_sidecar);
        assert!(
            !read_one("sidecar.istio.io/nativeSidecar", "false")
                .unwrap()
                .native_sidecar
        );
    }

    #[test]
    fn what_has_no_effect_is_named() {
        let pod = json!({"metadata": {"annotations": {
            "sidecar.istio.io/statsInclusionPrefixes": "x", "sidecar.istio.io/inject": "true", "other/x": "y",
        }}});
        let expected =
            "annotation sidecar.istio.io/statsInclusionPrefixes is not supported and has no effect";
        assert_eq!(warnings(&pod), [expected]);
        assert_eq!(
            read_one("sidecar.istio.io/interceptionMode", "TPROXY")
                .unwrap()
                .warnings
                .len(),
            1
        );
    }

    #[test]
    fn the_status_port_moves_with_its_annotation_and_zero_closes_it() {
        let moved = read_one(STATUS_PORT, "15999").unwrap();
        assert_eq!((moved.status_port, moved.rewrite_probes), (15999, true));
        assert_eq!(Value::Object(moved.proxy_config), json!({"statusPort": 15999}));
        let configured = read_one("proxy.istio.io/config", "statusPort: 15998").unwrap();
        assert_eq!(configured.status_port, 15998);
        let closed = read_one(STATUS_PORT, "0").unwrap();
        assert_eq!((closed.probes, closed.rewrite_probes), (None, false));
        assert!(read_one(STATUS_PORT, "70000").unwrap_err().contains("70000"));
    }

    #[test]
    fn a_request_alone_drops_the_default_limits() {
        let wishes = read_one("sidecar.istio.io/proxyCPU", "4").unwrap();
        assert_eq!(Value::Object(wishes.resources), json!({"requests": {"cpu": "4"}}));
    }
}
