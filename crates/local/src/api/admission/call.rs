//! HTTPS to a webhook: one connection, one POST, one deadline for everything, an answer of bounded size.
//! Errors are texts as Go's HTTP client words them, because that is what people search for.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use daemon::clock;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Network;

/// The largest answer that is read.
const ANSWER_LIMIT: usize = 8 << 20;

/// Where a webhook listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// A name or an address to dial.
    pub(super) host: String,
    pub(super) port: u16,
    /// The name that its certificate must have.
    pub(super) server: String,
    /// Path and query.
    pub(super) path: String,
    /// For messages.
    pub(super) url: String,
}

impl Target {
    /// From `clientConfig.url`.
    pub(super) fn of_url(url: &str, timeout_seconds: u64) -> Result<Self, String> {
        let malformed = |why: &str| format!("parse \"{url}\": {why}");
        let parsed: http::Uri = url.parse().map_err(|_| malformed("invalid URL"))?;
        let host = parsed.host().ok_or_else(|| malformed("host must be specified"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let separator = if parsed.query().is_some() { '&' } else { '?' };
        let path = parsed
            .path_and_query()
            .map_or("/", http::uri::PathAndQuery::as_str);
        Ok(Self {
            port: parsed.port_u16().unwrap_or(443),
            server: host.clone(),
            host,
            path: format!("{path}{separator}timeout={timeout_seconds}s"),
            url: format!("{url}{separator}timeout={timeout_seconds}s"),
        })
    }
}

/// Sends `body` and gives the body of a 200.
pub(super) async fn post(
    target: &Target,
    roots: &str,
    network: Network,
    limit: Duration,
    body: Bytes,
) -> Result<Bytes, String> {
    let exchange = async {
        let stream = connect(target, roots, network).await?;
        exchange(target, stream, body).await
    };
    let outcome = clock::timeout(limit, exchange).await;
    let outcome = outcome.unwrap_or_else(|_| Err("context deadline exceeded".to_owned()));
    // Go names the request when there is no answer, and not when there is a bad one.
    outcome.unwrap_or_else(|why| Err(format!("Post \"{}\": {why}", target.url)))
}

async fn connect(target: &Target, roots: &str, network: Network) -> Result<TlsStream<TcpStream>, String> {
    const UNKNOWN: &str = "tls: failed to verify certificate: x509: certificate signed by unknown authority";
    if roots.trim().is_empty() {
        // There are no other roots that a webhook inside the cluster could have a certificate from.
        return Err(UNKNOWN.to_owned());
    }
    let config = identity::tls::client_config(roots, None, &[b"http/1.1"])
        .map_err(|error| format!("unable to load root certificates: {error}"))?;
    let stream = match network {
        Network::Own => TcpStream::connect((target.host.as_str(), target.port)).await,
        Network::Only(address) => TcpStream::connect(address).await,
    };
    let stream = stream.map_err(|error| dial_error(target, &error))?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let name = ServerName::try_from(target.server.clone()).map_err(|error| error.to_string())?;
    TlsConnector::from(config)
        .connect(name, stream)
        .await
        .map_err(|error| tls_error(target, &error))
}

fn dial_error(target: &Target, error: &io::Error) -> String {
    let Target { host, port, .. } = target;
    let what = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "connect: connection timed out".to_owned(),
        _ if host.parse::<IpAddr>().is_err() => return format!("dial tcp: lookup {host}: {error}"),
        _ => error.to_string(),
    };
    format!("dial tcp {host}:{port}: {what}")
}

fn tls_error(target: &Target, error: &io::Error) -> String {
    use rustls::{CertificateError, Error};
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let why = match inner {
        Some(Error::InvalidCertificate(why)) => why,
        Some(other) => return format!("remote error: tls: {other}"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => return "EOF".to_owned(),
        None => return error.to_string(),
    };
    let what = match why {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "certificate signed by unknown authority".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired or is not yet valid".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!(
                "certificate is not valid for any names, but wanted to match {}",
                target.server
            )
        }
        other => format!("{other:?}"),
    };
    format!("tls: failed to verify certificate: x509: {what}")
}

/// An answer, good or bad; or why there is none.
type Answered = Result<Result<Bytes, String>, String>;

async fn exchange(target: &Target, stream: TlsStream<TcpStream>, body: Bytes) -> Answered {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let request = Request::post(&target.path)
        .header(HOST, format!("{}:{}", target.server, target.port))
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, "kube-apiserver-admission")
        .body(Full::new(body))
        .map_err(|error| error.to_string())?;
    let answer = async move {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        Ok(if status == StatusCode::OK {
            Ok(body)
        } else {
            Err(refused(status, &body))
        })
    };
    // The connection is driven here and not by a task of its own, so that a deadline ends both.
    let (mut answer, mut connection) = (std::pin::pin!(answer), std::pin::pin!(connection));
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            outcome = &mut answer => return outcome,
            _ = &mut connection, if open => open = false,
        }
    }
}

fn refused(status: StatusCode, body: &Bytes) -> String {
    let text = String::from_utf8_lossy(body);
    let text: String = text.trim().chars().take(512).collect();
    match status {
        StatusCode::NOT_FOUND => "the server could not find the requested resource".to_owned(),
        _ if status.is_server_error() => {
            format!("an error on the server ({text:?}) has prevented the request from succeeding")
        }
        _ => format!("the server rejected our request for an unknown reason ({status}: {text:?})"),
    }
}
