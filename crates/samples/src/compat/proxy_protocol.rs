//! The header of the [PROXY protocol](https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt), versions 1 and 2, in
//! front of a connection.

use std::io::Result;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;

const FIRST: &[u8] = b"PROXY ";
const SECOND: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// A line of version 1 has at most so many bytes.
const LONGEST: usize = 107;
const TCP4: u8 = 0x11;

/// Takes the header from a connection that begins with one: its version, family and destination, `1 TCP4 192.0.2.1:80`.
pub(super) async fn take(stream: &mut TcpStream) -> Result<Option<String>> {
    let mut begin = [0; SECOND.len()];
    let length = stream.peek(&mut begin).await?;
    if begin[..length].starts_with(FIRST) {
        first(stream).await.map(Some)
    } else if begin == *SECOND {
        second(stream).await.map(Some)
    } else {
        Ok(None)
    }
}

async fn first(stream: &mut (impl AsyncRead + Unpin)) -> Result<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") && line.len() < LONGEST {
        line.push(stream.read_u8().await?);
    }
    let line = String::from_utf8_lossy(&line);
    Ok(match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["PROXY", family, _, destination, _, port] => format!("1 {family} {destination}:{port}"),
        _ => format!("1 {}", line.trim_end()),
    })
}

async fn second(stream: &mut (impl AsyncRead + Unpin)) -> Result<String> {
    let mut head = [0; SECOND.len() + 4];
    stream.read_exact(&mut head).await?;
    let [.., family, high, low] = head;
    let mut rest = vec![0; usize::from(u16::from_be_bytes([high, low]))];
    stream.read_exact(&mut rest).await?;
    Ok(match (family, &rest[..]) {
        (TCP4, [_, _, _, _, a, b, c, d, _, _, high, low, ..]) => {
            let port = u16::from_be_bytes([*high, *low]);
            format!("2 TCP4 {}", SocketAddr::from(([*a, *b, *c, *d], port)))
        }
        _ => format!("2 {family:#04x}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_versions_tell_where_the_connection_was_going() {
        let line = b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 9090\r\n";
        assert_eq!(first(&mut &line[..]).await.unwrap(), "1 TCP4 192.0.2.2:9090");
        let unknown = b"PROXY UNKNOWN\r\n";
        assert_eq!(first(&mut &unknown[..]).await.unwrap(), "1 PROXY UNKNOWN");
        let addresses = [192, 0, 2, 1, 192, 0, 2, 2, 0x9c, 0x40, 0x23, 0x82];
        let binary = [&SECOND[..], &[0x21, TCP4, 0, 12], &addresses].concat();
        assert_eq!(second(&mut &binary[..]).await.unwrap(), "2 TCP4 192.0.2.2:9090");
    }
}
