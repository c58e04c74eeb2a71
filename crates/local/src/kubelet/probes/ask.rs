//! Asking a container how it is: HTTP, TCP, gRPC, or a command in it.
//!
//! Connections are made from the node's namespace to the pod's address, like any client's.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, Bytes};
use daemon::clock;
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::{Container, ExecAction, HTTPGetAction, LifecycleHandler, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

use crate::kubelet::exec::{self, Target};

/// How much of an answer is looked at; kubelet's own limit.
const LONGEST: usize = 10 << 10;

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
        let mut request = http::Request::get(self.path.as_str()).header(http::header::HOST, &self.host);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if !self
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("user-agent"))
        {
            request = request.header(http::header::USER_AGENT, "kube-probe/1.33");
        }
        let request = request
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        let stream = connect(self.at).await?;
        if self.secure {
            get(super::secure::wrap(stream, &self.host).await?, request).await
        } else {
            get(stream, request).await
        }
    }
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
            Self::Grpc { at, service } => Box::pin(check(*at, service)).await,
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

async fn get(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    request: http::Request<Empty<Bytes>>,
) -> Result<u16, String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let answer = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        Ok(response.status().as_u16())
    };
    tokio::select! {
        answer = answer => answer,
        // It may end together with the answer, and then the answer counts.
        Err(error) = connection => Err(error.to_string()),
    }
}

/// `grpc.health.v1.Health/Check`. <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>
async fn check(at: SocketAddr, service: &str) -> Result<(), String> {
    let text = |error: hyper::Error| error.to_string();
    let stream = connect(at).await?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(text)?;
    let answer = async {
        let request = http::Request::post(format!("http://{at}/grpc.health.v1.Health/Check"))
            .header(http::header::CONTENT_TYPE, "application/grpc")
            .header(http::header::TE, "trailers")
            .body(Full::new(health_request(service)))
            .map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(text)?;
        let body = Limited::new(response.into_body(), LONGEST)
            .collect()
            .await
            .map_err(|error| error.to_string())?;
        match serving(body.to_bytes()) {
            Some(true) => Ok(()),
            Some(false) => Err("service unhealthy (responded with \"NOT_SERVING\")".to_owned()),
            None => Err(
                "this server does not implement the grpc health protocol (grpc.health.v1.Health)".to_owned(),
            ),
        }
    };
    tokio::select! {
        answer = answer => answer,
        ended = connection => Err(ended.map_or_else(|error| error.to_string(), |()| "connection closed".to_owned())),
    }
}

/// A frame with field 1, the service's name.
fn health_request(service: &str) -> Bytes {
    let service = &service.as_bytes()[..service.len().min(100)];
    let length = u8::try_from(service.len()).expect("at most 100");
    let message = if service.is_empty() {
        vec![]
    } else {
        [&[0x0a, length], service].concat()
    };
    let size = u8::try_from(message.len()).expect("at most 102");
    [&[0, 0, 0, 0, size], message.as_slice()].concat().into()
}

/// Whether field 1 is 1, SERVING; `None` when there is no message.
fn serving(mut body: Bytes) -> Option<bool> {
    if body.len() < 5 {
        return None;
    }
    body.advance(5);
    Some(body.as_ref() == [0x08, 0x01])
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

    #[test]
    fn a_health_check_is_framed_and_read() {
        assert_eq!(health_request("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(
            health_request("ab").as_ref(),
            [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']
        );
        assert_eq!(serving(Bytes::from_static(&[0, 0, 0, 0, 2, 8, 1])), Some(true));
        assert_eq!(serving(Bytes::from_static(&[0, 0, 0, 0, 2, 8, 2])), Some(false));
        assert_eq!(serving(Bytes::new()), None);
    }
}
