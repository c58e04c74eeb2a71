//! One fetch: over HTTP/1.1, with a limit in time, in size and in redirects, and never from an address that no key set
//! is at. Addresses are checked as they are connected to, so that neither a name nor a redirect leads past the check.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use daemon::clock;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use identity::jwt::{KeySetError, LARGEST_KEY_SET};
use identity::tls::rustls::ClientConfig;
use identity::tls::rustls::pki_types::ServerName;
use serde_json::Value;
use snapshot::Subnet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use translate::KeySource;

use super::url::Url;

/// As many as Go's client follows.
const REDIRECTS: usize = 10;
/// What OpenID Connect Discovery adds to an issuer.
const DISCOVERY: &str = "/.well-known/openid-configuration";
/// Where systems keep the authorities that they trust; the first that exists counts.
const SYSTEM: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Authorities besides those of the system, as Istio reads them.
const EXTRA: &str = "/cacerts/extra.pem";

/// Why keys were not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Not the address of a server.
    #[error("{0:?} is not an http or https address")]
    Address(String),
    /// A redirect from `https` to `http`.
    #[error("redirected from https to http")]
    Downgrade,
    /// One redirect after the other.
    #[error("redirected more than 10 times")]
    Redirects,
    /// A redirect that leads nowhere.
    #[error("redirected without a location")]
    Location,
    /// The name leads nowhere.
    #[error("{host} is not found: {error}")]
    Name {
        /// Which name.
        host: String,
        /// What the resolver said.
        error: io::Error,
    },
    /// An address that is not connected to.
    #[error("connection blocked: {address} is {reason}")]
    Blocked {
        /// Which address.
        address: IpAddr,
        /// Why.
        reason: &'static str,
    },
    /// No connection.
    #[error("cannot connect to {address}: {error}")]
    Connect {
        /// Where to.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// There are no authorities to believe.
    #[error("no authorities for https: {0}")]
    NoAuthorities(Arc<str>),
    /// The handshake failed.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// Not HTTP, or broken off.
    #[error("HTTP: {0}")]
    Http(hyper::Error),
    /// The answer is no success.
    #[error("status {}", .0.as_u16())]
    Status(StatusCode),
    /// More than a key set may have.
    #[error("the answer is larger than 1 MiB")]
    TooLarge,
    /// Broken off.
    #[error("the answer broke off")]
    Body,
    /// The issuer does not say where its keys are.
    #[error("invalid jwks_uri in openID discovery configuration")]
    Discovery,
    /// The answer is no key set.
    #[error("{0}")]
    KeySet(KeySetError),
    /// It took too long.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// Fetches.
pub(super) struct Fetcher {
    blocked: Vec<Subnet>,
    tls: Result<Arc<ClientConfig>, Arc<str>>,
}

impl Fetcher {
    pub(super) fn new(blocked: Vec<Subnet>, insecure: bool) -> Self {
        let tls = if insecure {
            let everybody = identity::tls::Origination::default();
            everybody.config().map_err(|error| error.to_string())
        } else {
            authorities().and_then(|roots| {
                identity::tls::client_config(&roots, None, &[b"http/1.1"]).map_err(|error| error.to_string())
            })
        };
        Self {
            blocked,
            tls: tls.map_err(Arc::from),
        }
    }

    /// The text at a source, within that time.
    pub(super) async fn fetch(&self, source: &KeySource, limit: Duration) -> Result<String, FetchError> {
        let fetch = async {
            match source {
                KeySource::Uri(uri) => self.get(uri).await,
                KeySource::Issuer(issuer) => self.discover(issuer).await,
            }
        };
        clock::timeout(limit, fetch)
            .await
            .unwrap_or(Err(FetchError::Timeout(limit)))
    }

    async fn discover(&self, issuer: &str) -> Result<String, FetchError> {
        let issuer = issuer.strip_suffix('/').unwrap_or(issuer);
        let document = self.get(&format!("{issuer}{DISCOVERY}")).await?;
        let document: Value = serde_json::from_str(&document).map_err(|_| FetchError::Discovery)?;
        let uri = document.get("jwks_uri").and_then(Value::as_str);
        self.get(uri.ok_or(FetchError::Discovery)?).await
    }

    async fn get(&self, address: &str) -> Result<String, FetchError> {
        let mut url = Url::parse(address)?;
        for _ in 0..=REDIRECTS {
            match self.ask(&url).await? {
                Answer::Text(text) => return Ok(text),
                Answer::Elsewhere(location) => url = url.join(&location)?,
            }
        }
        Err(FetchError::Redirects)
    }

    async fn ask(&self, url: &Url) -> Result<Answer, FetchError> {
        let stream = self.connect(url).await?;
        if !url.https {
            return exchange(url, stream).await;
        }
        let config = self.tls.clone().map_err(FetchError::NoAuthorities)?;
        let name =
            ServerName::try_from(url.host.clone()).map_err(|_| FetchError::Address(url.host.clone()))?;
        let secure = TlsConnector::from(config).connect(name, stream).await;
        exchange(url, secure.map_err(FetchError::Tls)?).await
    }

    /// Connects to the first address of the name that answers, if all are allowed.
    async fn connect(&self, url: &Url) -> Result<TcpStream, FetchError> {
        let found = tokio::net::lookup_host((url.host.as_str(), url.port)).await;
        let unknown = |error| FetchError::Name {
            host: url.host.clone(),
            error,
        };
        let mut last = unknown(io::ErrorKind::NotFound.into());
        for address in found.map_err(unknown)? {
            if let Some(reason) = self.is_blocked(address.ip()) {
                return Err(FetchError::Blocked {
                    address: address.ip(),
                    reason,
                });
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = FetchError::Connect { address, error },
            }
        }
        Err(last)
    }

    /// Why that address is not connected to.
    fn is_blocked(&self, address: IpAddr) -> Option<&'static str> {
        let address = plain(address);
        if is_link_local(address) {
            return Some("link-local");
        }
        if is_metadata(address) {
            return Some("a known cloud metadata address");
        }
        let blocked = |address| self.blocked.iter().any(|subnet| subnet.contains(address));
        // The system takes the unspecified address for its own.
        let own = match address {
            IpAddr::V4(own) if own.is_unspecified() => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            IpAddr::V6(own) if own.is_unspecified() => Some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
            _ => None,
        };
        (blocked(address) || own.is_some_and(blocked)).then_some("in a blocked CIDR range")
    }
}

/// An address of version 4 that wears one of version 6 (mapped, or NAT64), and others as they are.
fn plain(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => match six.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
            }
            _ => IpAddr::V6(six),
        },
        four @ IpAddr::V4(_) => four,
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => four.is_link_local() || matches!(four.octets(), [224, 0, 0, _]),
        IpAddr::V6(six) => six.is_unicast_link_local() || six.segments()[0] & 0xff0f == 0xff02,
    }
}

/// Services that tell a machine who it is, where they are not link-local: Alibaba's, and Amazon's over IPv6.
fn is_metadata(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => four.octets() == [100, 100, 100, 200],
        IpAddr::V6(six) => six.segments()[..2] == [0xfd00, 0x0ec2],
    }
}

/// What a server answers.
#[derive(Debug)]
enum Answer {
    Text(String),
    Elsewhere(String),
}

/// One request and its answer.
async fn exchange(
    url: &Url,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
) -> Result<Answer, FetchError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(FetchError::Http)?;
    let request = Request::get(url.path.as_str())
        .header(header::HOST, url.authority())
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| FetchError::Address(url.path.clone()))?;
    let mut answer = pin!(async {
        let response = sender.send_request(request).await.map_err(FetchError::Http)?;
        let status = response.status();
        if status.is_redirection() {
            return location(response.headers()).map(Answer::Elsewhere);
        }
        if !status.is_success() {
            return Err(FetchError::Status(status));
        }
        let body = Limited::new(response.into_body(), LARGEST_KEY_SET)
            .collect()
            .await;
        let bytes = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => FetchError::TooLarge,
            false => FetchError::Body,
        });
        let text = String::from_utf8(bytes?.to_bytes().into());
        text.map(Answer::Text)
            .map_err(|_| FetchError::KeySet(KeySetError::Json))
    });
    let mut connection = pin!(connection);
    tokio::select! {
        answer = &mut answer => return answer,
        // The connection moves the bytes; once it has ended, what came is still to be read.
        _ = &mut connection => {}
    }
    answer.await
}

fn location(headers: &HeaderMap) -> Result<String, FetchError> {
    let location = headers.get(header::LOCATION);
    let text = location.and_then(|location| location.to_str().ok());
    text.map(str::to_owned).ok_or(FetchError::Location)
}

fn authorities() -> Result<String, String> {
    let system = SYSTEM.iter().find_map(|path| std::fs::read_to_string(path).ok());
    let extra = std::fs::read_to_string(EXTRA).ok();
    match (system, extra) {
        (None, None) => Err(format!("neither {} nor {EXTRA} can be read", SYSTEM[0])),
        (system, extra) => Ok([system.unwrap_or_default(), extra.unwrap_or_default()].join("\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_addresses_are_never_connected_to() {
        let none = Fetcher::new(Vec::new(), true);
        for blocked in [
            "169.254.169.254",
            "169.254.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "fe80::1",
            "100.100.100.200",
            "fd00:ec2::254",
            "224.0.0.1",
            "ff02::1",
        ] {
            assert!(none.is_blocked(blocked.parse().unwrap()).is_some(), "{blocked}");
        }
        for allowed in [
            "127.0.0.1",
            "10.0.0.1",
            "::1",
            "192.0.2.1",
            "fd00::1",
            "100.100.100.201",
        ] {
            assert!(none.is_blocked(allowed.parse().unwrap()).is_none(), "{allowed}");
        }
        let some = Fetcher::new(
            vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
            true,
        );
        for blocked in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "::",
            "::1",
            "::ffff:127.0.0.1",
        ] {
            assert!(some.is_blocked(blocked.parse().unwrap()).is_some(), "{blocked}");
        }
        assert!(some.is_blocked("10.0.0.1".parse().unwrap()).is_none());
    }
}
