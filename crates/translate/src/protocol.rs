//! The protocol of a service port, from `appProtocol` or the prefix of its name.
//!
//! Rules: <https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/>.

use resources::kubernetes::Port;
use snapshot::cluster::UpstreamHttp;

/// What a port of a service speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// HTTP/2 and gRPC: HTTP/2 to the endpoints.
    Http2,
    /// As HTTP/2; calls of gRPC-Web become gRPC.
    GrpcWeb,
    /// TLS that is passed through.
    Tls,
    /// Opaque bytes, or a protocol that is treated so.
    Tcp,
    /// Not handled by the mesh.
    Udp,
    /// Not said: told by the first bytes of each connection.
    Unknown,
}

/// Ports of protocols in which the server speaks first; looking for the client's first bytes would hang.
const SERVER_FIRST: [u16; 4] = [25, 53, 3306, 27017];

impl Protocol {
    /// The protocol of a service port.
    pub fn of(port: &Port) -> Self {
        if !["", "TCP"].contains(&port.protocol.as_str()) {
            return Self::Udp;
        }
        let by_app_protocol = port.app_protocol.as_deref().and_then(Self::from_app_protocol);
        match by_app_protocol.or_else(|| Self::from_port_name(&port.name)) {
            Some(protocol) => protocol,
            None if SERVER_FIRST.contains(&port.port) => Self::Tcp,
            None => Self::Unknown,
        }
    }

    fn from_app_protocol(name: &str) -> Option<Self> {
        match name {
            "kubernetes.io/h2c" => Some(Self::Http2),
            "kubernetes.io/ws" => Some(Self::Http),
            "kubernetes.io/wss" => Some(Self::Tls),
            _ => Self::from_name(name),
        }
    }

    /// Up to the first dash; `grpc-web` alone has one of its own.
    fn from_port_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        if name == "grpc-web" || name.starts_with("grpc-web-") {
            return Some(Self::GrpcWeb);
        }
        Self::from_name(name.split('-').next().unwrap_or_default())
    }

    fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "http" => Self::Http,
            "http2" | "grpc" => Self::Http2,
            "grpc-web" => Self::GrpcWeb,
            "https" | "tls" => Self::Tls,
            "tcp" | "mongo" | "mysql" | "redis" => Self::Tcp,
            "udp" => Self::Udp,
            _ => return None,
        })
    }

    /// Whether requests are routed one by one, without looking at the bytes first.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::GrpcWeb)
    }

    /// The version of HTTP spoken to the endpoints.
    pub(crate) fn upstream_http(self) -> UpstreamHttp {
        match self {
            Self::Http2 | Self::GrpcWeb => UpstreamHttp::Http2,
            Self::Unknown => UpstreamHttp::Downstream,
            Self::Http | Self::Tls | Self::Tcp | Self::Udp => UpstreamHttp::Http1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_decides_up_to_its_first_dash_and_app_protocol_overrides_it() {
        let of = |name: &str, app_protocol: Option<&str>, port| {
            Protocol::of(&Port {
                name: name.into(),
                app_protocol: app_protocol.map(String::from),
                port,
                ..Port::default()
            })
        };
        assert_eq!(of("http", None, 80), Protocol::Http);
        assert_eq!(of("HTTP-web", None, 80), Protocol::Http);
        assert_eq!(of("grpc-web", None, 80), Protocol::GrpcWeb);
        assert_eq!(of("GRPC-Web-public", None, 80), Protocol::GrpcWeb);
        assert_eq!(of("grpc-webby", None, 80), Protocol::Http2);
        assert_eq!(of("x", Some("grpc-web"), 80), Protocol::GrpcWeb);
        assert_eq!(of("grpcfoo", None, 80), Protocol::Unknown);
        assert_eq!(of("", None, 3306), Protocol::Tcp);
        assert_eq!(of("http", Some("tcp"), 80), Protocol::Tcp);
        assert_eq!(of("http", Some("company.com/own"), 80), Protocol::Http);
        assert_eq!(of("x", Some("kubernetes.io/h2c"), 80), Protocol::Http2);
    }
}
