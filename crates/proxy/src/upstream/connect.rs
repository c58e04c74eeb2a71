//! Opens a connection to an endpoint: from the cluster's source address, with the proxy's mark, within its time.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use snapshot::{ClientTls, TcpKeepalive};
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

use super::{Cluster, Endpoint, proxy_protocol};
use crate::error::UpstreamError;
use crate::http::codec::Version;
use crate::tls::client;
use crate::tls::peer::Peer;
use crate::tls::workload::Workload;
use crate::transport::Transport;

/// How to connect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) source: Option<IpAddr>,
    pub(crate) mark: Option<u32>,
    pub(crate) timeout: Duration,
    pub(crate) keepalive: Option<TcpKeepalive>,
}

/// Connects.
pub(crate) async fn connect(address: SocketAddr, way: Way) -> Result<Transport, UpstreamError> {
    let socket = open(address, way).map_err(UpstreamError::Connect)?;
    match daemon::clock::timeout(way.timeout, socket.connect(address)).await {
        Ok(Ok(stream)) => Ok(Transport::new(stream)),
        Ok(Err(error)) => Err(UpstreamError::Connect(error)),
        Err(_) => Err(UpstreamError::ConnectTimeout),
    }
}

/// Says who the client is and encrypts, as the cluster wants it, for that version of HTTP or for opaque bytes.
pub(crate) async fn prepare(
    mut transport: Transport,
    cluster: &Cluster,
    endpoint: &Endpoint,
    (workload, version): (&Workload, Option<Version>),
) -> Result<Transport, UpstreamError> {
    let purpose = &endpoint.pool.purpose;
    if let (Some(version), Some((client, destination))) = (cluster.facts.proxy_protocol, purpose.client) {
        let header = proxy_protocol::header(version, client, destination);
        transport
            .write_all(&header)
            .await
            .map_err(UpstreamError::Connect)?;
    }
    let Some(tls) = tls_to(cluster, endpoint) else {
        return Ok(transport);
    };
    let named = purpose.server_name.as_deref();
    let stated = Some(tls.server_name.as_str()).filter(|name| !name.is_empty());
    let connection = client::Connection {
        member: endpoint.address,
        named: named.is_some(),
        version,
    };
    let current = cluster.live.tls.current(tls, workload, connection)?;
    let Some(socket) = transport.into_socket() else {
        return Err(UpstreamError::Reset);
    };
    let address = endpoint.address.ip();
    let session = client::handshake(current.config, named.or(stated), address, socket).await?;
    let peer = Peer::of(session.get_ref().1, current.own);
    if let Some(peer) = &peer {
        cluster.live.tls.met(connection, peer);
    }
    Ok(Transport::secured(session, peer))
}

/// How connections to that member are encrypted: as the cluster states, or else as the member takes it.
pub(crate) fn tls_to<'c>(cluster: &'c Cluster, endpoint: &Endpoint) -> Option<&'c ClientTls> {
    let automatic = || cluster.facts.auto_tls.as_ref().filter(|_| endpoint.mutual);
    cluster.facts.tls.as_ref().or_else(automatic)
}

/// Whether this process may mark its connections at all.
pub(crate) fn may_mark(mark: u32) -> std::io::Result<()> {
    SockRef::from(&TcpSocket::new_v4()?).set_mark(mark)
}

fn open(address: SocketAddr, way: Way) -> std::io::Result<TcpSocket> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(mark) = way.mark {
        SockRef::from(&socket).set_mark(mark)?;
    }
    if let Some(keepalive) = way.keepalive {
        keep_alive(&socket, keepalive)?;
    }
    if let Some(source) = source_for(address, way.source) {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    Ok(socket)
}

/// What is not stated stays as the system has it.
fn keep_alive(socket: &TcpSocket, keepalive: TcpKeepalive) -> std::io::Result<()> {
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    let mut settings = socket2::TcpKeepalive::new();
    if let Some(time) = keepalive.time {
        settings = settings.with_time(seconds(time));
    }
    if let Some(interval) = keepalive.interval {
        settings = settings.with_interval(seconds(interval));
    }
    if let Some(probes) = keepalive.probes {
        settings = settings.with_retries(probes);
    }
    let socket = SockRef::from(socket);
    socket.set_keepalive(true)?;
    socket.set_tcp_keepalive(&settings)
}

/// The source in the family of the destination; Istio's 127.0.0.6 is `::6` there.
fn source_for(address: SocketAddr, source: Option<IpAddr>) -> Option<IpAddr> {
    match source? {
        IpAddr::V4(four) if address.is_ipv6() && four.octets() == [127, 0, 0, 6] => {
            Some(IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6)))
        }
        source if source.is_ipv4() == address.is_ipv4() => Some(source),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keepalive_is_set_as_stated() {
        let way = Way {
            source: None,
            mark: None,
            timeout: Duration::from_secs(1),
            keepalive: Some(TcpKeepalive {
                probes: Some(4),
                time: Some(300),
                interval: None,
            }),
        };
        let socket = open("127.0.0.1:1".parse().unwrap(), way).unwrap();
        let socket = SockRef::from(&socket);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(300));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
    }

    #[test]
    fn the_source_follows_the_family_of_the_destination() {
        let (four, six) = ("10.0.0.1:80".parse().unwrap(), "[fd00::1]:80".parse().unwrap());
        let source = Some("127.0.0.6".parse().unwrap());
        assert_eq!(source_for(four, source), source);
        assert_eq!(source_for(six, source), Some("::6".parse().unwrap()));
        assert_eq!(source_for(six, Some("10.0.0.9".parse().unwrap())), None);
        assert_eq!(source_for(four, None), None);
    }
}
