//! One connection to the controller: TCP, then TLS that offers HTTP/2 and checks the server's name.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use identity::tls::rustls::pki_types::ServerName;
use identity::tls::tokio_rustls::TlsConnector;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tonic::transport::{Channel, Endpoint};

use super::client::{Settings, Trust};
use super::{CONNECTION_WINDOW, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, STREAM_WINDOW};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A byte stream, with TLS or without.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects. Trust is read anew each time, because root certificates rotate.
pub(super) async fn connect(settings: &Settings) -> io::Result<Channel> {
    let tls = match &settings.trust {
        Some(trust) => Some(tls(trust, &settings.server_name)?),
        None => None,
    };
    let address: Arc<str> = settings.address.as_str().into();
    let mark = settings.mark;
    let connector = tower::service_fn(move |_: http::Uri| open(address.clone(), mark, tls.clone()));
    let endpoint = Endpoint::from_shared(format!("http://{}", settings.server_name))
        .map_err(|error| io::Error::other(chain(&error)))?
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let connected = endpoint.connect_with_connector(connector).await;
    connected.map_err(|error| io::Error::other(chain(&error)))
}

async fn open(
    address: Arc<str>,
    mark: Option<u32>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
) -> io::Result<TokioIo<Box<dyn Stream>>> {
    let socket = dial(&address, mark).await?;
    socket.set_nodelay(true)?;
    let stream: Box<dyn Stream> = match tls {
        None => Box::new(socket),
        Some((connector, name)) => Box::new(connector.connect(name, socket).await?),
    };
    Ok(TokioIo::new(stream))
}

/// A connection to the first address of the name that answers.
async fn dial(address: &str, mark: Option<u32>) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host(address).await? {
        match socket(address, mark)?.connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn socket(address: SocketAddr, mark: Option<u32>) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(mark) = mark {
        let refused = |error| io::Error::other(format!("cannot set mark {mark} on a connection: {error}"));
        SockRef::from(&socket).set_mark(mark).map_err(refused)?;
    }
    Ok(socket)
}

fn tls(trust: &Trust, server_name: &str) -> io::Result<(TlsConnector, ServerName<'static>)> {
    let unusable = |problem: String| io::Error::other(format!("{}: {problem}", trust.file.display()));
    let roots = roots(trust).map_err(|error| unusable(error.to_string()))?;
    let config =
        identity::tls::client_config(&roots, None, &[b"h2"]).map_err(|error| unusable(error.to_string()))?;
    let name = ServerName::try_from(server_name.to_owned()).map_err(io::Error::other)?;
    Ok((TlsConnector::from(config), name))
}

/// Those of the file and those that were told. Once something was told, a file that cannot be read is no obstacle.
fn roots(trust: &Trust) -> io::Result<String> {
    let told = trust.told.as_ref().and_then(|told| told.borrow().clone());
    match (std::fs::read_to_string(&trust.file), told) {
        (Ok(file), Some(told)) => Ok(format!("{}\n{}", file.trim_end(), told.roots.pem())),
        (Err(_), Some(told)) => Ok(told.roots.pem().to_owned()),
        (file, None) => file,
    }
}

/// An error with its causes, which tonic hides behind "transport error".
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<_> = causes.map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use identity::{Authority, Bundle};
    use tokio::sync::watch;

    use super::*;
    use crate::secrets::Trusted;

    #[test]
    fn the_controller_is_trusted_by_the_file_and_by_what_it_told() {
        let directory = tempfile::tempdir().unwrap();
        let root = || {
            let now = std::time::SystemTime::UNIX_EPOCH + CONNECT_TIMEOUT;
            let authority = Authority::generate("test", CONNECT_TIMEOUT, now).unwrap();
            Bundle::from_pem(authority.root_pem()).unwrap()
        };
        let (mounted, told) = (root(), root());
        let trusted = Trusted {
            roots: told.clone(),
            revoked: None,
        };
        let (tell, listen) = watch::channel(None);
        let trust = Trust {
            file: directory.path().join("root-cert.pem"),
            told: Some(listen),
        };
        assert!(roots(&trust).is_err(), "there is neither");
        // As an editor leaves it, without a line's end.
        std::fs::write(&trust.file, mounted.pem().trim_end()).unwrap();
        let found = |trust: &Trust| Bundle::from_pem(&roots(trust).unwrap()).unwrap();
        assert_eq!(found(&trust), mounted);
        tell.send_replace(Some(Arc::new(trusted)));
        assert_eq!(found(&trust), mounted.followed_by(&told));
        std::fs::remove_file(&trust.file).unwrap();
        assert_eq!(found(&trust), told);
    }
}
