//! Probes and hooks of kubelets that injection turned to the proxy: it makes them as they were meant, from within the pod.
//!
//! A kubelet has no identity in the mesh, so its own connections would be refused where only mutual TLS or certain callers
//! are let in. Only what is configured is asked, once for each time that the kubelet asks, within its time, over connections
//! that leave from 127.0.0.6 like those of the inbound proxy, which capture lets pass.
//! <https://istio.io/latest/docs/ops/configuration/mesh/app-health-check/>

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use daemon::admin::{Reply, reply, text};
use daemon::clock;
use daemon::probe::{Get, check};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, StatusCode};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::redirect::INBOUND_SOURCE;
use crate::upstream::connect::{Way, connect};

/// Kubernetes' default, where injection was not told.
const PROBE: Duration = Duration::from_secs(1);
/// Hooks have no time of their own: a kubelet waits as long as the pod may take to end, and then goes away.
const HOOK: Duration = Duration::from_secs(3600);
/// Headers about the connection on which the kubelet asks, and one that says what only a proxy knows.
const NOT_PASSED_ON: [HeaderName; 9] = [
    HeaderName::from_static("x-forwarded-client-cert"),
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What to ask the application, by the path at which the proxy is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probers(BTreeMap<String, Prober>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Prober {
    action: Action,
    port: u16,
    timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    Get { path: String, secure: bool },
    Connect,
    Grpc { service: String },
}

impl Probers {
    /// Reads Istio's `ISTIO_KUBE_APP_PROBERS`.
    ///
    /// # Errors
    /// The path whose entry cannot be understood, and why.
    pub(crate) fn read(text: &str) -> Result<Self> {
        let given: BTreeMap<String, Value> = serde_json::from_str(text)?;
        let probers = given.into_iter().map(|(path, value)| {
            let prober = Prober::read(&path, &value).with_context(|| path.clone())?;
            Ok((path, prober))
        });
        probers.collect::<Result<_>>().map(Self)
    }

    /// The longest time that one of them may take.
    pub(crate) fn patience(&self) -> Duration {
        let timeouts = self.0.values().map(|prober| prober.timeout);
        timeouts.max().unwrap_or_default()
    }
}

impl Prober {
    fn read(path: &str, value: &Value) -> Result<Self> {
        let words: Vec<&str> = path.split('/').collect();
        let default = match words.as_slice() {
            ["", "app-health", name, "readyz" | "livez" | "startupz"] if !name.is_empty() => PROBE,
            ["", "app-lifecycle", name, "prestopz" | "poststartz"] if !name.is_empty() => HOOK,
            _ => anyhow::bail!("not the path of a probe or a hook"),
        };
        let text = |handler: &Value, name: &str| handler[name].as_str().unwrap_or_default().to_owned();
        let (get, connect, grpc) = (&value["httpGet"], &value["tcpSocket"], &value["grpc"]);
        let (handler, action) = match [get, connect, grpc].map(Value::is_object) {
            [true, false, false] => {
                let path = text(get, "path");
                let path = match path.starts_with('/') {
                    true => path,
                    false => format!("/{path}"),
                };
                let secure = get["scheme"] == "HTTPS";
                (get, Action::Get { path, secure })
            }
            [false, true, false] => (connect, Action::Connect),
            [false, false, true] => {
                let service = text(grpc, "service");
                (grpc, Action::Grpc { service })
            }
            _ => anyhow::bail!("not one of httpGet, tcpSocket and grpc"),
        };
        let port = handler["port"].as_u64().and_then(|port| port.try_into().ok());
        let port = port.context("the port is not a number of a port")?;
        ensure!(port > 0, "the port is 0");
        let seconds = value["timeoutSeconds"].as_u64().filter(|seconds| *seconds > 0);
        Ok(Self {
            action,
            port,
            timeout: seconds.map_or(default, |seconds| Duration::from_secs(seconds).min(HOOK)),
        })
    }
}

/// The application beside this proxy, and what may be asked of it.
#[derive(Clone, Debug)]
pub(crate) struct Application {
    pub(crate) probers: Probers,
    pub(crate) address: IpAddr,
    pub(crate) mark: Option<u32>,
}

/// One probe under way.
struct Asked<'a> {
    application: &'a Application,
    prober: &'a Prober,
    request: &'a Request<Bytes>,
    /// Where the proxy was asked.
    own: u16,
}

impl Application {
    /// The application at the pod's address; without a known one, on loopback.
    pub(crate) fn beside(probers: Probers, pod: Option<IpAddr>, mark: Option<u32>) -> Self {
        Self {
            probers,
            address: pod.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            mark,
        }
    }

    /// Makes the probe that the path of `request` stands for; it came to port `own`.
    pub(crate) async fn answer(&self, request: &Request<Bytes>, own: u16) -> Reply {
        let path = request.uri().path();
        let Some(prober) = self.probers.0.get(path) else {
            return text(
                StatusCode::BAD_REQUEST,
                format!("no probe is configured for {path}\n"),
            );
        };
        let asked = Asked {
            application: self,
            prober,
            request,
            own,
        };
        let answer = clock::timeout(prober.timeout, asked.ask()).await;
        answer
            .unwrap_or_else(|_| Err(format!("no answer within {:?}", prober.timeout)))
            .unwrap_or_else(|why| {
                tracing::warn!(scope = "probes", path, why, "a probe of the application failed");
                text(StatusCode::INTERNAL_SERVER_ERROR, why + "\n")
            })
    }
}

impl Asked<'_> {
    async fn ask(&self) -> Result<Reply, String> {
        let at = self.at();
        match &self.prober.action {
            Action::Get { path, secure } => self.get(path, *secure).await,
            Action::Connect => {
                self.connect(at).await?;
                Ok(text(StatusCode::OK, ""))
            }
            Action::Grpc { service } => {
                let agent = self.request.headers().get(header::USER_AGENT).cloned();
                let agent = agent.unwrap_or(HeaderValue::from_static("kube-probe"));
                Box::pin(check(self.connect(at).await?, at, service, agent)).await?;
                Ok(text(StatusCode::OK, ""))
            }
        }
    }

    /// The application's status and the beginning of its body. A redirect to another host is success, as for kubelets;
    /// without its place it could not be passed on.
    async fn get(&self, path: &str, secure: bool) -> Result<Reply, String> {
        let get = Get {
            at: self.at(),
            secure,
            path: path.to_owned(),
            headers: self.headers(),
        };
        let response = get.ask(|at| self.connect(at)).await?;
        Ok(match response.status() {
            status if status.is_redirection() => text(StatusCode::OK, ""),
            status => reply(status, "text/plain; charset=utf-8", response.into_body()),
        })
    }

    fn at(&self) -> SocketAddr {
        SocketAddr::new(self.application.address, self.prober.port)
    }

    /// Those of the kubelet, which has them from the probe.
    fn headers(&self) -> HeaderMap {
        let given = self.request.headers();
        let mut headers = given.clone();
        for name in NOT_PASSED_ON {
            headers.remove(name);
        }
        headers.insert(header::HOST, host(given.get(header::HOST), self.own, self.at()));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        headers
    }

    async fn connect(&self, at: SocketAddr) -> Result<TcpStream, String> {
        if at.port() == self.own {
            return Err(format!("{at} is this proxy itself"));
        }
        let way = Way {
            source: Some(IpAddr::V4(INBOUND_SOURCE.0)),
            mark: self.application.mark,
            timeout: self.prober.timeout,
            keepalive: None,
        };
        let transport = connect(at, way).await.map_err(|error| format!("{at}: {error}"))?;
        Ok(transport.into_socket().expect("nothing has been read of it"))
    }
}

/// The host that the kubelet asked for, with the application's port where it named the proxy's.
fn host(asked: Option<&HeaderValue>, own: u16, at: SocketAddr) -> HeaderValue {
    let text = match asked.map(HeaderValue::to_str) {
        Some(Ok(asked)) => match asked.strip_suffix(&format!(":{own}")) {
            Some(name) => format!("{name}:{}", at.port()),
            None => asked.to_owned(),
        },
        _ => at.to_string(),
    };
    HeaderValue::try_from(text).expect("made of the text of a header, or of an address")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_injection_writes_is_read() {
        let probers = Probers::read(
            r#"{"/app-health/a/readyz": {"httpGet": {"path": "health?x", "port": 80, "scheme": "HTTPS"}, "timeoutSeconds": 7},
                "/app-health/a/livez": {"tcpSocket": {"port": 9}},
                "/app-lifecycle/a/prestopz": {"grpc": {"port": 8, "service": "s"}}}"#,
        );
        let probers = probers.unwrap();
        let get = Action::Get {
            path: "/health?x".to_owned(),
            secure: true,
        };
        let prober = |path: &str| probers.0[path].clone();
        let ready = prober("/app-health/a/readyz");
        assert_eq!((ready.action, ready.timeout), (get, Duration::from_secs(7)));
        assert_eq!(prober("/app-health/a/livez").timeout, PROBE);
        assert_eq!(probers.patience(), HOOK);
    }

    #[test]
    fn an_entry_that_cannot_be_understood_is_named() {
        for (path, prober) in [
            ("/app-health/a/other", r#"{"tcpSocket": {"port": 9}}"#),
            ("/app-health//readyz", r#"{"tcpSocket": {"port": 9}}"#),
            ("/app-lifecycle/a/readyz", r#"{"tcpSocket": {"port": 9}}"#),
            ("/app-health/a/readyz", r#"{"tcpSocket": {"port": "web"}}"#),
            ("/app-health/a/readyz", r#"{"tcpSocket": {"port": 0}}"#),
            ("/app-health/a/readyz", r#"{"tcpSocket": {"port": 70000}}"#),
            ("/app-health/a/readyz", r#"{"exec": {"command": []}}"#),
            (
                "/app-health/a/readyz",
                r#"{"tcpSocket": {"port": 9}, "grpc": {"port": 9}}"#,
            ),
        ] {
            let error = Probers::read(&format!(r#"{{"{path}": {prober}}}"#)).unwrap_err();
            assert!(error.to_string().contains(path), "{error:#}");
        }
        assert!(Probers::read("[]").is_err());
    }

    #[test]
    fn the_host_is_the_kubelets_and_the_port_the_applications() {
        let at = "10.244.0.7:8080".parse().unwrap();
        for (asked, expected) in [
            (Some("10.244.0.7:15020"), "10.244.0.7:8080"),
            (Some("[fd00::1]:15020"), "[fd00::1]:8080"),
            (Some("example.com"), "example.com"),
            (Some("example.com:80"), "example.com:80"),
            (None, "10.244.0.7:8080"),
        ] {
            let asked = asked.map(HeaderValue::from_static);
            assert_eq!(host(asked.as_ref(), 15020, at), expected);
        }
    }
}
