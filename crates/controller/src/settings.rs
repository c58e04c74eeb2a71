//! Start-up settings: Istio's flags and environment variables, where an equivalent exists.
//!
//! An unknown flag is an error. Of the environment only `PILOT_*`, `ISTIO_*` and `ENABLE_*` are ours to judge; those
//! that we do not know become one warning.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub use crate::ca::signer::Lifetimes;
use crate::install::set::nearest;
use crate::jwks;

/// What the controller is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The mesh's own namespace.
    pub namespace: String,
    /// The pod that this runs in; empty outside of a cluster.
    pub pod: String,
    /// The cluster's name in the mesh.
    pub cluster: String,
    /// Suffix of the names of services.
    pub domain: String,
    pub listen: Listen,
    /// Filter of the log, in Istio's or tracing's form.
    pub log_level: String,
    pub log_as_json: bool,
    /// Quiet that a push waits for.
    pub debounce_after: Duration,
    /// The longest that a push waits for quiet.
    pub debounce_max: Duration,
    /// When proxies are asked to connect anew, so that replicas share the load.
    pub connection_age: Duration,
    /// How long a stop waits for what is in flight.
    pub shutdown: Duration,
    /// Outside of a cluster, or to override.
    pub kubeconfig: Option<PathBuf>,
    /// Sidecars as init containers that stay.
    pub native_sidecars: bool,
    /// Of workloads' certificates.
    pub lifetimes: Lifetimes,
    /// How keys of issuers are fetched.
    pub keys: jwks::Settings,
    /// For the log, once there is one.
    pub warnings: Vec<String>,
}

/// Where it listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Readiness and debug pages.
    pub http: SocketAddr,
    /// Admission webhooks.
    pub webhook: SocketAddr,
    /// Discovery and certificates, over TLS.
    pub xds: SocketAddr,
    /// Metrics.
    pub monitoring: SocketAddr,
}

/// Environment variables by name.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

const FLAGS: [&str; 12] = [
    "clusterID",
    "domain",
    "grpcAddr",
    "httpAddr",
    "httpsAddr",
    "keepaliveMaxServerConnectionAge",
    "kubeconfig",
    "log_as_json",
    "log_output_level",
    "monitoringAddr",
    "secureGRPCAddr",
    "shutdownDuration",
];
const VARIABLES: [&str; 4] = [
    "ENABLE_NATIVE_SIDECARS",
    "PILOT_DEBOUNCE_AFTER",
    "PILOT_DEBOUNCE_MAX",
    "PILOT_JWT_PUB_KEY_REFRESH_INTERVAL",
];

impl Default for Settings {
    fn default() -> Self {
        let any = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
        Self {
            namespace: "istio-system".to_owned(),
            pod: String::new(),
            cluster: "Kubernetes".to_owned(),
            domain: "cluster.local".to_owned(),
            listen: Listen {
                http: any(8080),
                webhook: any(15017),
                xds: any(15012),
                monitoring: any(15014),
            },
            log_level: "default:info".to_owned(),
            log_as_json: false,
            debounce_after: Duration::from_millis(100),
            debounce_max: Duration::from_secs(10),
            connection_age: Duration::from_secs(30 * 60),
            shutdown: Duration::from_secs(10),
            kubeconfig: None,
            native_sidecars: false,
            lifetimes: Lifetimes::default(),
            keys: jwks::Settings::default(),
            warnings: Vec::new(),
        }
    }
}

impl Settings {
    /// Reads the words behind `amime controller`, and the process's environment.
    ///
    /// # Errors
    /// A flag that does not exist, or a value that cannot be understood, by name.
    pub fn from_env(arguments: &[String]) -> Result<Self> {
        #[allow(
            clippy::disallowed_methods,
            reason = "settings are read here and nowhere else"
        )]
        let lookup = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let mut settings = Self::read(arguments, &lookup)?;
        let names: Vec<String> = std::env::vars_os()
            .filter_map(|(name, _)| name.into_string().ok())
            .collect();
        settings.warnings.extend(unknown_variables(&names));
        Ok(settings)
    }

    fn read(arguments: &[String], lookup: Lookup<'_>) -> Result<Self> {
        let mut settings = Self::default();
        settings.read_environment(lookup)?;
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix("--") else {
                bail!("unexpected argument {word:?}")
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None if flag == "log_as_json" => (flag, "true".to_owned()),
                None => (
                    flag,
                    words
                        .next()
                        .with_context(|| format!("--{flag} needs a value"))?
                        .clone(),
                ),
            };
            settings
                .set_flag(name, &value)
                .with_context(|| format!("--{name}={value}"))?;
        }
        Ok(settings)
    }

    fn read_environment(&mut self, lookup: Lookup<'_>) -> Result<()> {
        let text = |name: &str, field: &mut String| {
            if let Some(value) = lookup(name) {
                *field = value;
            }
        };
        text("POD_NAMESPACE", &mut self.namespace);
        text("POD_NAME", &mut self.pod);
        text("CLUSTER_ID", &mut self.cluster);
        self.kubeconfig = lookup("KUBECONFIG").map(PathBuf::from);
        for (name, field) in [
            ("PILOT_DEBOUNCE_AFTER", &mut self.debounce_after),
            ("PILOT_DEBOUNCE_MAX", &mut self.debounce_max),
            ("DEFAULT_WORKLOAD_CERT_TTL", &mut self.lifetimes.usual),
            ("MAX_WORKLOAD_CERT_TTL", &mut self.lifetimes.longest),
            ("PILOT_JWT_PUB_KEY_REFRESH_INTERVAL", &mut self.keys.refresh),
        ] {
            if let Some(value) = lookup(name) {
                *field = duration(&value).with_context(|| format!("{name}={value}"))?;
            }
        }
        if self.lifetimes.usual > self.lifetimes.longest {
            bail!("DEFAULT_WORKLOAD_CERT_TTL is more than MAX_WORKLOAD_CERT_TTL");
        }
        // More often would be a flood.
        self.keys.refresh = self.keys.refresh.max(Duration::from_secs(1));
        if let Some(list) = lookup("BLOCKED_CIDRS_IN_JWKS_URIS") {
            let networks = list
                .split(',')
                .map(str::trim)
                .filter(|network| !network.is_empty());
            let read = networks.map(str::parse).collect::<Result<_, _>>();
            self.keys.blocked = read.with_context(|| format!("BLOCKED_CIDRS_IN_JWKS_URIS={list}"))?;
        }
        for (name, field) in [
            ("JWKS_RESOLVER_INSECURE_SKIP_VERIFY", &mut self.keys.insecure),
            ("AMIME_JWKS_FROM_LOOPBACK", &mut self.keys.loopback),
        ] {
            if let Some(value) = lookup(name) {
                let read = value.parse();
                *field = read.with_context(|| format!("{name}={value}: neither true nor false"))?;
            }
        }
        match lookup("ENABLE_NATIVE_SIDECARS").as_deref() {
            None | Some("false") => {}
            Some("true") => self.native_sidecars = true,
            Some("auto") => self
                .warnings
                .push("ENABLE_NATIVE_SIDECARS=auto is taken as false".to_owned()),
            Some(other) => bail!("ENABLE_NATIVE_SIDECARS={other}: neither true, false nor auto"),
        }
        Ok(())
    }

    fn set_flag(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "clusterID" => self.cluster = value.to_owned(),
            "domain" => self.domain = value.to_owned(),
            "grpcAddr" if value.is_empty() => {}
            "grpcAddr" => {
                bail!("discovery without TLS is not served; proxies use the port of --secureGRPCAddr")
            }
            "httpAddr" => self.listen.http = address(value)?,
            "httpsAddr" => self.listen.webhook = address(value)?,
            "keepaliveMaxServerConnectionAge" => self.connection_age = duration(value)?,
            "kubeconfig" => self.kubeconfig = Some(PathBuf::from(value)),
            "log_as_json" => self.log_as_json = value.parse().context("neither true nor false")?,
            "log_output_level" => self.log_level = value.to_owned(),
            "monitoringAddr" => self.listen.monitoring = address(value)?,
            "secureGRPCAddr" => self.listen.xds = address(value)?,
            "shutdownDuration" => self.shutdown = duration(value)?,
            _ => {
                let flags = FLAGS.map(str::to_owned);
                match nearest(name, flags.iter()) {
                    Some(near) => bail!("there is no such flag; did you mean --{near}?"),
                    None => bail!("there is no such flag"),
                }
            }
        }
        Ok(())
    }
}

/// `:8080` means all addresses.
fn address(text: &str) -> Result<SocketAddr> {
    let text = if text.starts_with(':') {
        format!("0.0.0.0{text}")
    } else {
        text.to_owned()
    };
    text.parse().context("not an address with a port")
}

/// Go's durations: `100ms`, `10s`, `1h30m`.
fn duration(text: &str) -> Result<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .context("a duration needs a unit")?;
        let unit_end = rest[digits..]
            .find(|c: char| c.is_ascii_digit())
            .map_or(rest.len(), |end| digits + end);
        let unit = match &rest[digits..unit_end] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            other => bail!("{other:?} is not one of the units ms, s, m, h"),
        };
        let number: f64 = rest[..digits].parse().context("not a duration")?;
        total = total.saturating_add(Duration::try_from_secs_f64(number * unit).context("not a duration")?);
        rest = &rest[unit_end..];
    }
    if text.is_empty() {
        bail!("not a duration");
    }
    Ok(total)
}

fn unknown_variables(names: &[String]) -> Option<String> {
    let ours = |name: &str| {
        ["PILOT_", "ISTIO_", "ENABLE_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    };
    let mut unknown: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| ours(name) && !VARIABLES.contains(name))
        .collect();
    unknown.sort_unstable();
    (!unknown.is_empty()).then(|| {
        format!(
            "environment variables without effect here: {}",
            unknown.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Settings> {
        let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
        let lookup = |name: &str| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Settings::read(&arguments, &lookup)
    }

    #[test]
    fn flags_and_environment_are_istios() {
        let settings = read(
            &[
                "--monitoringAddr=:0",
                "--secureGRPCAddr",
                "127.0.0.1:0",
                "--log_as_json",
                "--grpcAddr=",
            ],
            &[
                ("POD_NAMESPACE", "mesh"),
                ("PILOT_DEBOUNCE_AFTER", "50ms"),
                ("ENABLE_NATIVE_SIDECARS", "true"),
                ("PILOT_JWT_PUB_KEY_REFRESH_INTERVAL", "1m"),
                ("BLOCKED_CIDRS_IN_JWKS_URIS", "10.0.0.0/8, fd00::/8"),
                ("AMIME_JWKS_FROM_LOOPBACK", "true"),
            ],
        )
        .unwrap();
        assert_eq!(settings.listen.monitoring.to_string(), "0.0.0.0:0");
        assert_eq!(settings.listen.xds.to_string(), "127.0.0.1:0");
        assert_eq!(
            (settings.namespace.as_str(), settings.debounce_after),
            ("mesh", Duration::from_millis(50))
        );
        assert!(settings.log_as_json && settings.native_sidecars);
        assert_eq!(settings.keys.refresh, Duration::from_secs(60));
        assert_eq!(settings.keys.blocked.len(), 2);
        assert!(settings.keys.loopback && !settings.keys.insecure);
    }

    #[test]
    fn what_cannot_be_understood_is_named() {
        for (arguments, variables, part) in [
            (vec!["--httpAddress=:1"], vec![], "--httpAddr?"),
            (vec!["--httpAddr=8080"], vec![], "--httpAddr=8080"),
            (vec!["--httpAddr"], vec![], "needs a value"),
            (vec!["serve"], vec![], "\"serve\""),
            (vec!["--grpcAddr=:15010"], vec![], "without TLS"),
            (
                vec![],
                vec![
                    ("DEFAULT_WORKLOAD_CERT_TTL", "48h"),
                    ("MAX_WORKLOAD_CERT_TTL", "24h"),
                ],
                "more than MAX_WORKLOAD_CERT_TTL",
            ),
            (
                vec![],
                vec![("PILOT_DEBOUNCE_MAX", "soon")],
                "PILOT_DEBOUNCE_MAX=soon",
            ),
            (
                vec![],
                vec![("ENABLE_NATIVE_SIDECARS", "yes")],
                "ENABLE_NATIVE_SIDECARS=yes",
            ),
            (
                vec![],
                vec![("BLOCKED_CIDRS_IN_JWKS_URIS", "10.0.0.0/8, ten")],
                "BLOCKED_CIDRS_IN_JWKS_URIS=10.0.0.0/8, ten",
            ),
            (
                vec![],
                vec![("AMIME_JWKS_FROM_LOOPBACK", "1")],
                "AMIME_JWKS_FROM_LOOPBACK=1: neither true nor false",
            ),
        ] {
            let error = format!("{:#}", read(&arguments, &variables).unwrap_err());
            assert!(error.contains(part), "{arguments:?} {variables:?}: {error}");
        }
    }

    #[test]
    fn durations_are_those_of_go() {
        assert_eq!(duration("1h30m").unwrap(), Duration::from_secs(5400));
        assert_eq!(duration("1.5s").unwrap(), Duration::from_millis(1500));
        for text in ["", "10", "s", "5 s", "5y", "-1s"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn variables_without_effect_are_listed_once() {
        let names = ["PILOT_X", "PILOT_DEBOUNCE_MAX", "ISTIO_Y", "HOME", "ISTIOD_PORT"].map(str::to_owned);
        let warning = unknown_variables(&names).unwrap();
        assert_eq!(
            warning,
            "environment variables without effect here: ISTIO_Y, PILOT_X"
        );
        assert_eq!(unknown_variables(&["HOME".to_owned()]), None);
    }
}
