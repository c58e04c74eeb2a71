//! Start-up settings from Istio's environment variables and files, one small parser per group.
//!
//! Values that change while the proxy runs are no settings: they come in a Snapshot. Reading is pure: a parser
//! gets a lookup function, so that tests need no environment.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use snapshot::endpoint::Workload;

pub use crate::application_probes::Probers;

/// Everything a proxy must know before it has talked to anybody.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who this proxy is.
    pub node: Node,
    /// Where its Snapshot and certificates come from.
    pub discovery: Discovery,
    /// What its certificate is like.
    pub certificates: Certificates,
    /// Addresses it binds.
    pub listen: Listen,
    /// How it tells its own connections from those it captures.
    pub capture: Capture,
    /// Data workers (`concurrency`); 1 in a sidecar.
    pub workers: usize,
    /// `terminationDrainDuration`: what `Running::stop` should be given.
    pub drain: Duration,
    /// What kubelets ask the proxy instead of the application (`ISTIO_KUBE_APP_PROBERS`).
    pub probers: Probers,
}

/// Who this proxy is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// `sidecar` or `router`.
    pub role: String,
    /// Pod name.
    pub pod: String,
    /// Namespace.
    pub namespace: String,
    /// First address of the pod.
    pub address: Option<IpAddr>,
    /// ServiceAccount.
    pub service_account: String,
    /// Trust domain, `cluster.local` unless set.
    pub trust_domain: String,
    /// DNS suffix of services, `cluster.local` unless set.
    pub domain: String,
    /// Labels of the pod.
    pub labels: BTreeMap<String, String>,
    /// `ISTIO_META_CLUSTER_ID`.
    pub cluster: String,
    /// `ISTIO_META_WORKLOAD_NAME`, the owner of the pod.
    pub workload: String,
    /// All other `ISTIO_META_*`, names without that prefix.
    pub metadata: BTreeMap<String, String>,
    /// Name of the host, for formats that ask for it.
    pub hostname: String,
    /// The environment, for formats that ask for a variable of it.
    pub environment: BTreeMap<String, String>,
}

/// Where Snapshot and certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// `host:port` of the control plane.
    pub address: String,
    /// `host:port` of the certificate authority.
    pub ca_address: String,
    /// The projected token that proves who this proxy is.
    pub token: PathBuf,
    /// The root certificate that the control plane is checked with.
    pub root: PathBuf,
}

/// What the certificate of this proxy's workload is like.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificates {
    /// Where somebody puts `cert-chain.pem`, `key.pem`, `root-cert.pem` and perhaps `ca-crl.pem` for us
    /// (`FILE_MOUNTED_CERTS`); `None` asks the certificate authority.
    pub mounted: Option<PathBuf>,
    /// What is asked for (`SECRET_TTL`).
    pub lifetime: Duration,
    /// It is renewed when this part of its life is left (`SECRET_GRACE_PERIOD_RATIO`),
    pub grace: f64,
    /// or so much sooner or later, by chance (`SECRET_GRACE_PERIOD_RATIO_JITTER`).
    pub jitter: f64,
}

impl Default for Certificates {
    fn default() -> Self {
        Self {
            mounted: None,
            lifetime: Duration::from_secs(24 * 3600),
            grace: 0.5,
            jitter: 0.01,
        }
    }
}

/// Addresses to bind. Tests bind port 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Captured outbound connections.
    pub outbound: SocketAddr,
    /// Captured inbound connections.
    pub inbound: SocketAddr,
    /// Admin pages; loopback only.
    pub admin: SocketAddr,
    /// Agent's pages: merged metrics, health.
    pub agent: SocketAddr,
    /// `/healthz/ready` for the kubelet.
    pub health: SocketAddr,
    /// `/stats/prometheus`.
    pub metrics: SocketAddr,
}

/// How the proxy's own connections escape capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capture {
    /// Capture rules are in force: their exemption is tested before the proxy says that it is ready.
    pub in_force: bool,
    /// The mark set on connections of the proxy; `None` relies on the proxy's user.
    pub mark: Option<u32>,
}

/// Environment variables by name.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Settings {
    /// Reads the environment and the files that injection mounts.
    ///
    /// # Errors
    /// A variable that is set and cannot be understood, by name.
    pub fn from_env() -> Result<Self> {
        #[allow(
            clippy::disallowed_methods,
            reason = "settings are read here and nowhere else"
        )]
        let lookup = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let metadata = std::env::vars()
            .filter_map(|(name, value)| Some((name.strip_prefix("ISTIO_META_")?.to_owned(), value)))
            .collect();
        let labels = std::fs::read_to_string("/etc/istio/pod/labels").unwrap_or_default();
        let mut settings = Self::read(&lookup, metadata, &labels)?;
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        hostname.trim().clone_into(&mut settings.node.hostname);
        let variables = std::env::vars_os();
        settings.node.environment = variables
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Ok(settings)
    }

    fn read(lookup: Lookup<'_>, metadata: BTreeMap<String, String>, labels: &str) -> Result<Self> {
        let proxy = ProxyConfig::read(lookup)?;
        Ok(Self {
            node: Node::read(lookup, metadata, downward_labels(labels)),
            discovery: Discovery::read(lookup, &proxy),
            certificates: Certificates::read(lookup)?,
            listen: Listen::read(lookup, &proxy)?,
            capture: Capture::read(lookup)?,
            workers: workers(&proxy),
            drain: proxy.drain,
            probers: probers(lookup)?,
        })
    }
}

impl Node {
    fn read(
        lookup: Lookup<'_>,
        mut metadata: BTreeMap<String, String>,
        labels: BTreeMap<String, String>,
    ) -> Self {
        let text = |name: &str, or: &str| lookup(name).unwrap_or_else(|| or.to_owned());
        let pod = text("POD_NAME", "");
        Self {
            role: text("ISTIO_META_ROLE", "sidecar"),
            namespace: text("POD_NAMESPACE", "default"),
            address: lookup("INSTANCE_IP").and_then(|text| text.split(',').next()?.parse().ok()),
            service_account: text("SERVICE_ACCOUNT", "default"),
            trust_domain: text("TRUST_DOMAIN", "cluster.local"),
            domain: text("DOMAIN", "cluster.local"),
            labels,
            cluster: metadata
                .remove("CLUSTER_ID")
                .unwrap_or_else(|| "Kubernetes".to_owned()),
            workload: metadata.remove("WORKLOAD_NAME").unwrap_or_else(|| pod.clone()),
            pod,
            metadata,
            ..Self::default()
        }
    }

    /// Istio's node id: `sidecar~10.0.0.1~pod.ns~ns.svc.cluster.local`.
    pub fn id(&self) -> String {
        let address = self.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let Self {
            role,
            pod,
            namespace,
            domain,
            ..
        } = self;
        format!("{role}~{address}~{pod}.{namespace}~{namespace}.svc.{domain}")
    }

    /// This proxy's workload, as it appears in metrics.
    pub fn workload(&self) -> Workload {
        let label = |names: &[&str]| names.iter().find_map(|name| self.labels.get(*name)).cloned();
        Workload {
            name: self.workload.clone(),
            namespace: self.namespace.clone(),
            canonical_name: label(&["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"])
                .unwrap_or_else(|| self.workload.clone()),
            canonical_revision: label(&[
                "service.istio.io/canonical-revision",
                "app.kubernetes.io/version",
                "version",
            ])
            .unwrap_or_else(|| "latest".to_owned()),
            cluster: self.cluster.clone(),
        }
    }

    /// `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
    pub fn spiffe_id(&self) -> String {
        format!(
            "spiffe://{}/ns/{}/sa/{}",
            self.trust_domain, self.namespace, self.service_account
        )
    }
}

impl Discovery {
    fn read(lookup: Lookup<'_>, proxy: &ProxyConfig) -> Self {
        let address = proxy.discovery_address.clone();
        let address = address.unwrap_or_else(|| "istiod.istio-system.svc:15012".to_owned());
        let path = |name: &str, or: &str| PathBuf::from(lookup(name).unwrap_or_else(|| or.to_owned()));
        Self {
            ca_address: lookup("CA_ADDR").unwrap_or_else(|| address.clone()),
            address,
            token: path("ISTIO_TOKEN_PATH", "/var/run/secrets/tokens/istio-token"),
            root: path("XDS_ROOT_CA", "/var/run/secrets/istio/root-cert.pem"),
        }
    }
}

impl Certificates {
    fn read(lookup: Lookup<'_>) -> Result<Self> {
        let usual = Self::default();
        let part = |name: &str, or: f64| match lookup(name) {
            None => Ok(or),
            Some(text) => match text.parse() {
                Ok(part) if (0.0..=1.0).contains(&part) => Ok(part),
                _ => anyhow::bail!("{name}={text}: not a number from 0 to 1"),
            },
        };
        let lifetime = match lookup("SECRET_TTL") {
            None => usual.lifetime,
            Some(text) => go_duration(&text).with_context(|| format!("SECRET_TTL={text}: not a duration"))?,
        };
        let mounted = match lookup("FILE_MOUNTED_CERTS").as_deref() {
            None | Some("false") => None,
            Some("true") => Some(PathBuf::from("/etc/certs")),
            Some(other) => anyhow::bail!("FILE_MOUNTED_CERTS={other}: neither true nor false"),
        };
        Ok(Self {
            mounted,
            lifetime,
            grace: part("SECRET_GRACE_PERIOD_RATIO", usual.grace)?,
            jitter: part("SECRET_GRACE_PERIOD_RATIO_JITTER", usual.jitter)?,
        })
    }
}

impl Listen {
    /// Where which pages are.
    pub(crate) fn pages(&self) -> [(&'static str, SocketAddr); 4] {
        [
            ("admin", self.admin),
            ("agent", self.agent),
            ("health", self.health),
            ("metrics", self.metrics),
        ]
    }

    fn read(lookup: Lookup<'_>, proxy: &ProxyConfig) -> Result<Self> {
        let any = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
        let port = |name: &str, or: u16| match lookup(name) {
            Some(text) => text.parse().with_context(|| format!("{name}={text}: not a port")),
            None => Ok(or),
        };
        Ok(Self {
            outbound: any(15001),
            inbound: any(15006),
            admin: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), proxy.admin_port),
            agent: any(proxy.status_port),
            health: any(port("ENVOY_STATUS_PORT", 15021)?),
            metrics: any(port("ENVOY_PROMETHEUS_PORT", 15090)?),
        })
    }
}

impl Capture {
    fn read(lookup: Lookup<'_>) -> Result<Self> {
        let mode = lookup("ISTIO_META_INTERCEPTION_MODE");
        let mark = match lookup("AMIME_CAPTURE_MARK") {
            Some(text) => Some(
                text.parse()
                    .with_context(|| format!("AMIME_CAPTURE_MARK={text}: not a mark"))?,
            ),
            None => None,
        };
        Ok(Self {
            in_force: mode.is_some_and(|mode| mode != "NONE"),
            mark,
        })
    }
}

fn probers(lookup: Lookup<'_>) -> Result<Probers> {
    const NAME: &str = "ISTIO_KUBE_APP_PROBERS";
    let text = lookup(NAME).unwrap_or_else(|| "{}".to_owned());
    Probers::read(&text).context(NAME)
}

fn workers(proxy: &ProxyConfig) -> usize {
    match proxy.concurrency {
        Some(0) => daemon::runtimes::parallelism(),
        Some(count) => count,
        None => 1,
    }
}

/// The part of Istio's ProxyConfig that matters at start; JSON in `PROXY_CONFIG`.
#[derive(Debug, PartialEq, Eq)]
struct ProxyConfig {
    discovery_address: Option<String>,
    concurrency: Option<usize>,
    drain: Duration,
    admin_port: u16,
    status_port: u16,
}

impl ProxyConfig {
    fn read(lookup: Lookup<'_>) -> Result<Self> {
        let text = lookup("PROXY_CONFIG").unwrap_or_else(|| "{}".to_owned());
        let json: serde_json::Value =
            serde_json::from_str(&text).with_context(|| format!("PROXY_CONFIG={text}"))?;
        let port = |name: &str, or| {
            json[name]
                .as_u64()
                .and_then(|port| port.try_into().ok())
                .unwrap_or(or)
        };
        let drain = match json["terminationDrainDuration"].as_str() {
            Some(text) => duration(text).with_context(|| format!("terminationDrainDuration: {text}"))?,
            None => Duration::from_secs(5),
        };
        Ok(Self {
            discovery_address: json["discoveryAddress"].as_str().map(str::to_owned),
            concurrency: json["concurrency"]
                .as_u64()
                .and_then(|count| count.try_into().ok()),
            drain,
            admin_port: port("proxyAdminPort", 15000),
            status_port: port("statusPort", 15020),
        })
    }
}

/// `5s`, `1.5s`, `250ms`, `1m`, `1h`.
fn duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(split);
    let unit = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit).ok()
}

/// Parts of that kind one after the other: `24h0m0s`.
fn go_duration(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let unit = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let end = rest[unit..]
            .find(|c: char| c.is_ascii_digit())
            .map_or(rest.len(), |end| unit + end);
        total = total.checked_add(duration(&rest[..end])?)?;
        rest = &rest[end..];
    }
    (!total.is_zero()).then_some(total)
}

/// Labels as the downward API writes them: `name="value"`, one a line, quoted as in Go.
fn downward_labels(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let quoted =
        |value: &str| serde_json::from_str(value).unwrap_or_else(|_| value.trim_matches('"').to_owned());
    lines
        .map(|(name, value)| (name.to_owned(), quoted(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings> {
        let lookup = |name: &str| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        };
        let metadata = [
            ("CLUSTER_ID".to_owned(), "east".to_owned()),
            ("MESH_ID".to_owned(), "m".to_owned()),
        ];
        Settings::read(&lookup, metadata.into(), "app=\"backend\"\nversion=\"v1\"\n")
    }

    #[test]
    fn istio_variables_become_settings() {
        let settings = read(&[
            ("POD_NAME", "backend-0-abc"),
            ("POD_NAMESPACE", "shop"),
            ("INSTANCE_IP", "10.244.0.7"),
            ("PROXY_CONFIG", r#"{"discoveryAddress":"istiod.x.svc:15012","terminationDrainDuration":"2s","concurrency":3}"#),
            ("ISTIO_META_INTERCEPTION_MODE", "REDIRECT"),
        ])
        .unwrap();
        assert_eq!(
            settings.node.id(),
            "sidecar~10.244.0.7~backend-0-abc.shop~shop.svc.cluster.local"
        );
        assert_eq!(settings.discovery.ca_address, "istiod.x.svc:15012");
        assert_eq!((settings.drain, settings.workers), (Duration::from_secs(2), 3));
        assert!(settings.capture.in_force);
        assert_eq!(settings.node.metadata.keys().collect::<Vec<_>>(), ["MESH_ID"]);
        let workload = settings.node.workload();
        assert_eq!(
            (
                workload.canonical_name.as_str(),
                workload.canonical_revision.as_str()
            ),
            ("backend", "v1")
        );
        assert_eq!(workload.cluster, "east");
    }

    #[test]
    fn nothing_set_means_istio_defaults() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.discovery.address, "istiod.istio-system.svc:15012");
        assert_eq!((settings.workers, settings.drain), (1, Duration::from_secs(5)));
        assert_eq!(settings.listen.admin.to_string(), "127.0.0.1:15000");
        assert!(!settings.capture.in_force);
        assert_eq!(settings.certificates, Certificates::default());
    }

    #[test]
    fn certificates_are_as_istios_agent_would_have_them() {
        let settings = read(&[
            ("SECRET_TTL", "1h30m0s"),
            ("SECRET_GRACE_PERIOD_RATIO", "0.25"),
            ("FILE_MOUNTED_CERTS", "true"),
        ])
        .unwrap();
        let certificates = settings.certificates;
        assert_eq!(certificates.lifetime, Duration::from_secs(5400));
        assert_eq!((certificates.grace, certificates.jitter), (0.25, 0.01));
        assert_eq!(certificates.mounted, Some(PathBuf::from("/etc/certs")));
    }

    #[test]
    fn a_value_that_cannot_be_understood_is_named() {
        let error = read(&[("ENVOY_STATUS_PORT", "many")]).unwrap_err();
        assert!(
            format!("{error:#}").starts_with("ENVOY_STATUS_PORT=many: not a port"),
            "{error:#}"
        );
        for variable in [
            ("SECRET_TTL", "soon"),
            ("SECRET_TTL", "0s"),
            ("SECRET_GRACE_PERIOD_RATIO", "2"),
            ("FILE_MOUNTED_CERTS", "yes"),
            ("ISTIO_KUBE_APP_PROBERS", "[]"),
        ] {
            assert!(read(&[variable]).is_err(), "{variable:?}");
        }
        assert!(read(&[("PROXY_CONFIG", "{")]).is_err());
        assert!(read(&[("PROXY_CONFIG", r#"{"terminationDrainDuration":"soon"}"#)]).is_err());
    }
}
