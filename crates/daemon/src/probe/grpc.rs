//! `grpc.health.v1.Health/Check`. <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>

use std::net::SocketAddr;

use bytes::{Buf, Bytes};
use http::header::{CONTENT_TYPE, HeaderValue, TE, USER_AGENT};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::{LONGEST, over};

/// Asks the server at the other end of `stream` for the health of a service of its.
///
/// # Errors
/// Why it is not serving, for people.
pub async fn check(
    stream: TcpStream,
    at: SocketAddr,
    service: &str,
    agent: HeaderValue,
) -> Result<(), String> {
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let request = http::Request::post(format!("http://{at}/grpc.health.v1.Health/Check"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, agent)
        .body(Full::new(question(service)))
        .map_err(|error| error.to_string())?;
    let answer = over(connection, async {
        let response = sender.send_request(request).await;
        let body = response.map_err(|error| error.to_string())?.into_body();
        let body = Limited::new(body, LONGEST).collect().await;
        Ok(body.map_err(|error| error.to_string())?.to_bytes())
    });
    match serving(answer.await?) {
        Some(true) => Ok(()),
        Some(false) => Err("service unhealthy (responded with \"NOT_SERVING\")".to_owned()),
        None => {
            Err("this server does not implement the grpc health protocol (grpc.health.v1.Health)".to_owned())
        }
    }
}

/// A frame with field 1, the service's name.
fn question(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length > 0x7f {
            message.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
            length >>= 7;
        }
        message.push(u8::try_from(length).expect("seven bits are left"));
        message.extend_from_slice(service.as_bytes());
    }
    let size = u32::try_from(message.len()).expect("names are shorter than 4 GiB");
    [&[0], &size.to_be_bytes()[..], &message].concat().into()
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
    use super::*;

    #[test]
    fn a_health_check_is_framed_and_read() {
        assert_eq!(question("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(question("ab").as_ref(), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = question(&"x".repeat(300));
        assert_eq!(long[..9], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02, b'x']);
        assert_eq!(serving(Bytes::from_static(&[0, 0, 0, 0, 2, 8, 1])), Some(true));
        assert_eq!(serving(Bytes::from_static(&[0, 0, 0, 0, 2, 8, 2])), Some(false));
        assert_eq!(serving(Bytes::new()), None);
    }
}
