//! Asking a container how it is: HTTP, TCP, gRPC, or a command in it.
//!
//! Connections are made from the node's namespace to the pod's address, like any client's.

use std::net::SocketAddr;
use std::time::Duration;

use daemon::clock;
use daemon::probe::{Get, LONGEST, check};
use http::header::{HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use k8s_openapi::api::core::v1::{Container, ExecAction, HTTPGetAction, LifecycleHandler, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

use crate::kubelet::exec::{self, Target};

/// Who asks.
const AGENT: HeaderValue = HeaderValue::from_static("kube-probe/1.33");

/// What is asked. Plain data, made from a probe or a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Http(HttpGet),
    Tcp(SocketAddr),
    Grpc { at: SocketAddr, service: String },
    Command(Vec<String>),
    Sleep(Duration),
}

/// A GET request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpGet {
    at: SocketAddr,
    host: String,
    path: String,
    headers: Vec<(String, String)>,
    secure: bool,
}

impl HttpGet {
    async fn ask(&self) -> Result<(), String> {
        let Self { at, path, .. } = self;
        let url = format!("{}://{at}{path}", if self.secure { "https" } else { "http" });
        match self.status().await {
            Ok(200..=399) => Ok(()),
            Ok(code) => Err(format!("HTTP probe failed with statuscode: {code}")),
            Err(why) => Err(format!("Get \"{url}\": {why}")),
        }
    }

    async fn status(&self) -> Result<u16, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let name: HeaderName = name
                .parse()
                .map_err(|_| format!("invalid header field name {name:?}"))?;
            headers.append(name, header(value)?);
        }
        headers.insert(HOST, header(&self.host)?);
        if !headers.contains_key(USER_AGENT) {
            headers.insert(USER_AGENT, AGENT);
        }
        let get = Get {
            at: self.at,
            secure: self.secure,
            path: self.path.clone(),
            headers,
        };
        Ok(get.ask(connect).await?.status().as_u16())
    }
}

fn header(value: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(value).map_err(|_| format!("invalid header field value {value:?}"))
}

impl Question {
    pub(crate) fn of_probe(probe: &Probe, container: &Container, pod: &str) -> Result<Self, String> {
        if let Some(grpc) = &probe.grpc {
            let service = grpc.service.clone().unwrap_or_default();
            return Ok(Self::Grpc {
                at: address(pod, &IntOrString::Int(grpc.port), container)?,
                service,
            });
        }
        if let Some(tcp) = &probe.tcp_socket {
            return Ok(Self::Tcp(address(
                tcp.host.as_deref().unwrap_or(pod),
                &tcp.port,
                container,
            )?));
        }
        Self::of(probe.http_get.as_ref(), probe.exec.as_ref(), container, pod)
    }

    pub(crate) fn of_hook(hook: &LifecycleHandler, container: &Container, pod: &str) -> Result<Self, String> {
        if let Some(sleep) = &hook.sleep {
            return Ok(Self::Sleep(Duration::from_secs(
                u64::try_from(sleep.seconds).unwrap_or(0),
            )));
        }
        Self::of(hook.http_get.as_ref(), hook.exec.as_ref(), container, pod)
    }

    fn of(
        get: Option<&HTTPGetAction>,
        command: Option<&ExecAction>,
        container: &Container,
        pod: &str,
    ) -> Result<Self, String> {
        if let Some(get) = get {
            let host = get.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(pod);
            let at = address(host, &get.port, container)?;
            let path = get.path.as_deref().unwrap_or("/");
            let headers = get.http_headers.iter().flatten();
            let mut headers: Vec<_> = headers
                .map(|header| (header.name.clone(), header.value.clone()))
                .collect();
            let stated = headers
                .iter()
                .position(|(name, _)| name.eq_ignore_ascii_case("host"));
            let host = stated.map_or_else(|| at.to_string(), |position| headers.remove(position).1);
            let path = if path.starts_with('/') {
                path.to_owned()
            } else {
                format!("/{path}")
            };
            return Ok(Self::Http(HttpGet {
                at,
                host,
                path,
                headers,
                secure: get.scheme.as_deref() == Some("HTTPS"),
            }));
        }
        match command {
            Some(action) => Ok(Self::Command(action.command.clone().unwrap_or_default())),
            None => Err("missing probe handler".to_owned()),
        }
    }

    /// Asks; the error is what the event says. The caller sets the limit.
    pub(crate) async fn ask(&self, target: &Target) -> Result<(), String> {
        match self {
            Self::Http(get) => Box::pin(get.ask()).await,
            Self::Tcp(at) => connect(*at).await.map(drop),
            Self::Grpc { at, service } => Box::pin(serving(*at, service)).await,
            Self::Command(command) => {
                let (code, output) = exec::collect(target, command, LONGEST)
                    .await
                    .map_err(|error| format!("{error:#}"))?;
                if code == 0 { Ok(()) } else { Err(output) }
            }
            Self::Sleep(duration) => {
                clock::sleep(*duration).await;
                Ok(())
            }
        }
    }
}

async fn serving(at: SocketAddr, service: &str) -> Result<(), String> {
    check(connect(at).await?, at, service, AGENT).await
}

fn address(host: &str, port: &IntOrString, container: &Container) -> Result<SocketAddr, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let named = ports
                .find(|port| port.name.as_deref() == Some(name))
                .map(|port| port.container_port);
            named
                .or_else(|| name.parse().ok())
                .ok_or_else(|| format!("couldn't find port: {name}"))?
        }
    };
    let number = u16::try_from(number).map_err(|_| format!("invalid port number: {number}"))?;
    let host = if host.is_empty() || host == "localhost" {
        "127.0.0.1"
    } else {
        host
    };
    let address = host
        .parse()
        .map_err(|_| format!("the host of a probe must be an address here: {host}"))?;
    Ok(SocketAddr::new(address, number))
}

async fn connect(at: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(at).await.map_err(|error| {
        let why = if error.kind() == std::io::ErrorKind::ConnectionRefused {
            "connect: connection refused".to_owned()
        } else {
            error.to_string()
        };
        format!("dial tcp {at}: {why}")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn question(probe: serde_json::Value) -> Result<Question, String> {
        let container = json!({"name": "c", "ports": [{"name": "web", "containerPort": 8080}]});
        let container = serde_json::from_value(container).unwrap();
        Question::of_probe(&serde_json::from_value(probe).unwrap(), &container, "10.244.0.2")
    }

    #[test]
    fn ports_are_found_by_name_and_the_pod_s_address_is_the_default() {
        let found = question(
            json!({"httpGet": {"path": "healthz", "port": "web", "httpHeaders": [{"name": "Host", "value": "a.b"}]}}),
        );
        assert_eq!(
            found.unwrap(),
            Question::Http(HttpGet {
                at: "10.244.0.2:8080".parse().unwrap(),
                host: "a.b".to_owned(),
                path: "/healthz".to_owned(),
                headers: vec![],
                secure: false
            })
        );
        assert_eq!(
            question(json!({"tcpSocket": {"port": 9}})).unwrap(),
            Question::Tcp("10.244.0.2:9".parse().unwrap())
        );
        assert_eq!(
            question(json!({"tcpSocket": {"port": "no"}})).unwrap_err(),
            "couldn't find port: no"
        );
        assert!(question(json!({})).is_err());
    }
}
