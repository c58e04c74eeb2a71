//! The header that tells a server who the client is, before anything else on a connection
//! (<https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt>).

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use snapshot::ProxyProtocol;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const VERSION_2_PROXY: u8 = 0x21;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// The header for a connection from `client`, who meant to go to `destination`.
pub(crate) fn header(version: ProxyProtocol, client: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let (source, target) = one_family(client.ip(), destination.ip());
    match version {
        ProxyProtocol::V1 => {
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let mut line = format!("PROXY {family} {source} {target} ");
            write!(line, "{} {}\r\n", client.port(), destination.port()).expect("a String takes everything");
            line.into_bytes()
        }
        ProxyProtocol::V2 => {
            let addresses = [octets(source), octets(target)].concat();
            let length = u16::try_from(addresses.len() + 4).expect("two addresses and two ports");
            let family = if source.is_ipv4() { TCP4 } else { TCP6 };
            [
                SIGNATURE,
                &[VERSION_2_PROXY, family],
                &length.to_be_bytes(),
                &addresses,
                &client.port().to_be_bytes(),
                &destination.port().to_be_bytes(),
            ]
            .concat()
        }
    }
}

/// Both as IPv4, or else both as IPv6.
fn one_family(source: IpAddr, target: IpAddr) -> (IpAddr, IpAddr) {
    let (source, target) = (source.to_canonical(), target.to_canonical());
    if source.is_ipv4() == target.is_ipv4() {
        return (source, target);
    }
    let six = |address: IpAddr| match address {
        IpAddr::V4(four) => IpAddr::V6(four.to_ipv6_mapped()),
        IpAddr::V6(_) => address,
    };
    (six(source), six(target))
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(version: ProxyProtocol, client: &str, destination: &str) -> Vec<u8> {
        header(version, client.parse().unwrap(), destination.parse().unwrap())
    }

    #[test]
    fn version_1_is_a_line() {
        let line =
            |client, destination| String::from_utf8(of(ProxyProtocol::V1, client, destination)).unwrap();
        assert_eq!(
            line("10.0.0.1:1234", "10.96.0.1:80"),
            "PROXY TCP4 10.0.0.1 10.96.0.1 1234 80\r\n"
        );
        assert_eq!(
            line("[fd00::1]:1", "[fd00::2]:2"),
            "PROXY TCP6 fd00::1 fd00::2 1 2\r\n"
        );
        assert_eq!(
            line("[::ffff:10.0.0.1]:1", "10.96.0.1:2"),
            "PROXY TCP4 10.0.0.1 10.96.0.1 1 2\r\n"
        );
    }

    #[test]
    fn version_2_is_binary() {
        let bytes = of(ProxyProtocol::V2, "10.0.0.1:258", "10.96.0.1:80");
        assert_eq!(bytes[..12], *b"\r\n\r\n\0\r\nQUIT\n");
        assert_eq!(bytes[12..16], [0x21, 0x11, 0, 12]);
        assert_eq!(bytes[16..], [10, 0, 0, 1, 10, 96, 0, 1, 1, 2, 0, 80]);
        let bytes = of(ProxyProtocol::V2, "[fd00::1]:1", "10.0.0.1:2");
        assert_eq!((bytes[13], bytes[15], bytes.len()), (0x21, 36, 52));
    }
}
