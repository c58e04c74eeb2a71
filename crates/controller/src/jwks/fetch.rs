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
use identity::tls::SYSTEM_ROOTS;
use identity::tls::rustls::ClientConfig;
use identity::tls::rustls::pki_types::ServerName;
use serde_json::Value;
use snapshot::Subnet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use translate::KeySource;

use super::Settings;
use super::budget::NoRoom;
use super::url::Url;

/// As many as Go's client follows.
const REDIRECTS: usize = 10;
/// What OpenID Connect Discovery adds to an issuer.
const DISCOVERY: &str = "/.well-known/openid-configuration";
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
    KeySet(#[from] KeySetError),
    /// There is no room to keep the answer.
    #[error("there is no room for them: {0}")]
    NoRoom(#[from] NoRoom),
    /// It took too long.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

impl FetchError {
    /// What those who wrote the policy are told: the kind of failure. Whoever may write policies could otherwise ask
    /// the controller which addresses and ports of the inside answer, and how; the log has it all.
    pub(super) fn told(&self) -> String {
        let kind = match self {
            Self::Address(_) => "it is not an http or https address",
            Self::Blocked { .. } => "connections to its address are not allowed",
            Self::Downgrade | Self::Redirects | Self::Location => "it redirects to where nobody follows",
            Self::Name { .. }
            | Self::Connect { .. }
            | Self::Tls(_)
            | Self::Http(_)
            | Self::Status(_)
            | Self::Body
            | Self::Timeout(_) => {
                "no server that can be reached and believed answers with success in time (the log of istiod says more)"
            }
            Self::NoAuthorities(_) => "istiod knows no authorities for https",
            Self::TooLarge | Self::Discovery | Self::KeySet(_) | Self::NoRoom(_) => return self.to_string(),
        };
        kind.to_owned()
    }
}

/// Fetches.
pub(super) struct Fetcher {
    blocked: Vec<Subnet>,
    loopback: bool,
    tls: Result<Arc<ClientConfig>, Arc<str>>,
}

impl Fetcher {
    pub(super) fn new(settings: &Settings) -> Self {
        let tls = if settings.insecure {
            let everybody = identity::tls::Origination::default();
            everybody.config().map_err(|error| error.to_string())
        } else {
            authorities().and_then(|roots| {
                identity::tls::client_config(&roots, None, &[b"http/1.1"]).map_err(|error| error.to_string())
            })
        };
        Self {
            blocked: settings.blocked.clone(),
            loopback: settings.loopback,
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
        faces(address).into_iter().find_map(|face| self.why_not(face))
    }

    fn why_not(&self, address: IpAddr) -> Option<&'static str> {
        if is_link_local(address) {
            return Some("link-local");
        }
        if is_metadata(address) {
            return Some("a known cloud metadata address");
        }
        // The system takes the unspecified address for its own.
        let own = match address {
            IpAddr::V4(own) if own.is_unspecified() => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            IpAddr::V6(own) if own.is_unspecified() => Some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
            _ => None,
        };
        let blocked = |address| self.blocked.iter().any(|subnet| subnet.contains(address));
        if blocked(address) || own.is_some_and(blocked) {
            return Some("in a blocked CIDR range");
        }
        let loopback = address.is_loopback() || own.is_some();
        (loopback && !self.loopback).then_some("loopback")
    }
}

/// An address, and those of version 4 that it may lead to: mapped, by 6to4 (RFC 3056), by NAT64 (RFC 6052), or by a
/// NAT64 of the network's own (RFC 8215), which may place the address in four ways.
fn faces(address: IpAddr) -> Vec<IpAddr> {
    let canonical = address.to_canonical();
    let IpAddr::V6(six) = canonical else {
        return vec![canonical];
    };
    let octets = six.octets();
    let four = |places: [usize; 4]| IpAddr::V4(Ipv4Addr::from(places.map(|place| octets[place])));
    let inside = match six.segments() {
        [0x2002, ..] => vec![four([2, 3, 4, 5])],
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => vec![four([12, 13, 14, 15])],
        [0x64, 0xff9b, 1, ..] => {
            let ways = [[6, 7, 9, 10], [7, 9, 10, 11], [9, 10, 11, 12], [12, 13, 14, 15]];
            // Read in a way that it was not written, it may begin with zeros, which lead nowhere.
            let leads_somewhere = |way: &[usize; 4]| octets[way[0]] != 0;
            ways.into_iter().filter(leads_somewhere).map(four).collect()
        }
        _ => Vec::new(),
    };
    std::iter::once(canonical).chain(inside).collect()
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => four.is_link_local() || matches!(four.octets(), [224, 0, 0, _]),
        IpAddr::V6(six) => six.is_unicast_link_local() || six.segments()[0] & 0xff0f == 0xff02,
    }
}

/// Services that tell a machine who it is, where they are not link-local.
fn is_metadata(address: IpAddr) -> bool {
    /// Alibaba's, Azure's and Oracle's.
    const FOUR: [[u8; 4]; 3] = [[100, 100, 100, 200], [168, 63, 129, 16], [192, 0, 0, 192]];
    /// Google's.
    const SIX: [u16; 8] = [0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254];
    match address {
        IpAddr::V4(four) => FOUR.contains(&four.octets()),
        // The first is Amazon's.
        IpAddr::V6(six) => six.segments()[..2] == [0xfd00, 0x0ec2] || six.segments() == SIX,
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
    let system = SYSTEM_ROOTS
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok());
    let extra = std::fs::read_to_string(EXTRA).ok();
    match (system, extra) {
        (None, None) => Err(format!("neither {} nor {EXTRA} can be read", SYSTEM_ROOTS[0])),
        (system, extra) => Ok([system.unwrap_or_default(), extra.unwrap_or_default()].join("\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetcher(blocked: &[&str], loopback: bool) -> Fetcher {
        Fetcher::new(&Settings {
            blocked: blocked.iter().map(|subnet| subnet.parse().unwrap()).collect(),
            insecure: true,
            loopback,
            ..Settings::default()
        })
    }

    fn check(fetcher: &Fetcher, addresses: &[&str], blocked: bool) {
        for address in addresses {
            let reason = fetcher.is_blocked(address.parse().unwrap());
            assert_eq!(reason.is_some(), blocked, "{address}: {reason:?}");
        }
    }

    const LOOPBACK: [&str; 8] = [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "2002:7f00:1::",
        "64:ff9b:1::7f00:1",
    ];

    #[test]
    fn some_addresses_are_never_connected_to() {
        let open = fetcher(&[], true);
        let never = [
            "169.254.169.254",
            "169.254.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "fe80::1",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd20:ce::254",
            "224.0.0.1",
            "ff02::1",
            "2002:a9fe:a9fe::1",
            "64:ff9b:1:a9fe:a9:fe00::",
            "64:ff9b:1:a9:fe:a9fe::",
            "64:ff9b:1:0:a9:fea9:fe00::",
            "64:ff9b:1::a9fe:a9fe",
            "64:ff9b:1::a83f:8110",
        ];
        check(&open, &never, true);
        let others = [
            "10.0.0.1",
            "192.0.2.1",
            "fd00::1",
            "fd20:ce::1",
            "100.100.100.201",
            "2002:c000:201::1",
            "64:ff9b:1::c000:201",
        ];
        check(&open, &others, false);
        check(&open, &LOOPBACK, false);
        check(&fetcher(&["127.0.0.0/8", "::1/128"], true), &LOOPBACK, true);
        check(&fetcher(&["127.0.0.0/8", "::1/128"], true), &others, false);
    }

    #[test]
    fn the_controllers_own_loopback_is_for_nobody_unless_a_setting_says_so() {
        let usual = fetcher(&[], false);
        check(&usual, &LOOPBACK, true);
        check(&usual, &["10.0.0.1", "fd00::1"], false);
    }

    #[test]
    fn who_wrote_the_policy_cannot_tell_what_is_at_an_address_of_the_inside() {
        let address = SocketAddr::from(([10, 0, 0, 1], 22));
        let failures = [
            FetchError::Connect {
                address,
                error: io::ErrorKind::ConnectionRefused.into(),
            },
            FetchError::Name {
                host: "db.other".to_owned(),
                error: io::ErrorKind::NotFound.into(),
            },
            FetchError::Tls(io::ErrorKind::InvalidData.into()),
            FetchError::Status(StatusCode::FORBIDDEN),
            FetchError::Timeout(Duration::from_secs(5)),
            FetchError::Body,
        ];
        for failure in &failures {
            assert_eq!(failure.told(), failures[0].told(), "{failure}");
        }
        let blocked = FetchError::Blocked {
            address: address.ip(),
            reason: "link-local",
        };
        assert!(!blocked.told().contains("10.0.0.1"));
    }
}
