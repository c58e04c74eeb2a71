//! A GET and the redirects it meets: those to the same host are followed, one to another host is the answer.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, HOST, HeaderMap, HeaderValue, LOCATION};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::{LONGEST, over, secure};

/// Requests for one answer, those to which redirects lead included.
const REQUESTS: usize = 10;

/// A GET request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Get {
    /// Who is asked.
    pub at: SocketAddr,
    /// With TLS; nobody's certificate is verified.
    pub secure: bool,
    /// Path and query.
    pub path: String,
    /// Headers, `host` among them.
    pub headers: HeaderMap,
}

impl Get {
    /// Asks over connections that `connect` opens.
    ///
    /// # Errors
    /// Why there is no answer, for people.
    pub async fn ask<F>(mut self, connect: impl Fn(SocketAddr) -> F) -> Result<Response<Bytes>, String>
    where
        F: Future<Output = Result<TcpStream, String>>,
    {
        for _ in 0..REQUESTS {
            let stream = connect(self.at).await?;
            let response = Box::pin(self.once(stream)).await?;
            match self.redirected(&response)? {
                None => return Ok(response),
                Some(next) => self = next,
            }
        }
        Err(format!("stopped after {REQUESTS} redirects"))
    }

    async fn once(&self, stream: TcpStream) -> Result<Response<Bytes>, String> {
        if !self.secure {
            return over_http1(stream, self.request()?).await;
        }
        let stream = secure::wrap(stream, self.at.ip()).await?;
        match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => over_http2(stream, self.http2_request()?).await,
            _ => over_http1(stream, self.request()?).await,
        }
    }

    fn request(&self) -> Result<Request<Empty<Bytes>>, String> {
        let request = Request::get(self.path.as_str()).body(Empty::new());
        let mut request = request.map_err(|error| error.to_string())?;
        request.headers_mut().clone_from(&self.headers);
        Ok(request)
    }

    /// HTTP/2 has the host in the URI, and no fields about the connection.
    fn http2_request(&self) -> Result<Request<Empty<Bytes>>, String> {
        let mut request = self.request()?;
        let host = request.headers_mut().remove(HOST);
        let host = host.map_or_else(|| self.at.to_string().into_bytes(), |host| host.as_bytes().into());
        let uri = Uri::builder()
            .scheme("https")
            .authority(host)
            .path_and_query(self.path.as_str())
            .build();
        *request.uri_mut() = uri.map_err(|error| error.to_string())?;
        request.headers_mut().remove(CONNECTION);
        Ok(request)
    }

    /// Where a redirect to the same host leads.
    fn redirected(&self, response: &Response<Bytes>) -> Result<Option<Self>, String> {
        let (301 | 302 | 303 | 307 | 308, Some(location)) =
            (response.status().as_u16(), response.headers().get(LOCATION))
        else {
            return Ok(None);
        };
        let wrong = || format!("failed to parse Location header {location:?}");
        let location = location.to_str().map_err(|_| wrong())?;
        let location = location.split('#').next().unwrap_or_default();
        let full = match location.strip_prefix("//") {
            Some(rest) if self.secure => format!("https://{rest}"),
            Some(rest) => format!("http://{rest}"),
            None if has_scheme(location) => location.to_owned(),
            None => {
                let path = resolve(&self.path, location);
                return Ok(Some(Self { path, ..self.clone() }));
            }
        };
        let secure = match full.split_once("://") {
            Some(("http", _)) => false,
            Some(("https", _)) => true,
            _ => return Ok(None),
        };
        let uri: Uri = full.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        if authority.host().trim_matches(['[', ']']).parse() != Ok::<IpAddr, _>(self.at.ip()) {
            return Ok(None);
        }
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let mut headers = self.headers.clone();
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| wrong())?;
        headers.insert(HOST, host);
        Ok(Some(Self {
            at: SocketAddr::new(self.at.ip(), port),
            secure,
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            headers,
        }))
    }
}

/// Whether a reference begins with a scheme (RFC 3986, 4.1).
fn has_scheme(location: &str) -> bool {
    let scheme = location.split_once(':').map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter))
    })
}

/// A relative reference against the path of the request (RFC 3986, 5.2).
fn resolve(base: &str, location: &str) -> String {
    let base_path = base.split('?').next().unwrap_or_default();
    let joined = match location {
        "" => return base.to_owned(),
        query if query.starts_with('?') => return format!("{base_path}{query}"),
        absolute if absolute.starts_with('/') => absolute.to_owned(),
        relative => {
            let folder = base_path.rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{folder}/{relative}")
        }
    };
    let (path, query) = joined.split_at(joined.find('?').unwrap_or(joined.len()));
    let mut kept = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            other => {
                kept.push(other);
                continue;
            }
        }
        if segments.peek().is_none() {
            kept.push("");
        }
    }
    format!("/{}{query}", kept.join("/"))
}

async fn over_http1<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<Response<Bytes>, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    over(connection, async {
        let response = sender.send_request(request).await;
        whole(response.map_err(|error| error.to_string())?).await
    })
    .await
}

async fn over_http2<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<Response<Bytes>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    over(connection, async {
        let response = sender.send_request(request).await;
        whole(response.map_err(|error| error.to_string())?).await
    })
    .await
}

/// The answer with as much of its body as is looked at.
async fn whole(response: Response<Incoming>) -> Result<Response<Bytes>, String> {
    let (head, mut body) = response.into_parts();
    let mut read = BytesMut::new();
    while read.len() < LONGEST
        && let Some(frame) = body.frame().await
    {
        if let Ok(data) = frame.map_err(|error| error.to_string())?.into_data() {
            read.extend_from_slice(&data);
        }
    }
    read.truncate(LONGEST);
    Ok(Response::from_parts(head, read.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Get {
        Get {
            at: "10.244.0.7:8080".parse().unwrap(),
            secure: false,
            path: path.to_owned(),
            headers: HeaderMap::from_iter([(HOST, HeaderValue::from_static("a.b"))]),
        }
    }

    fn after(path: &str, status: u16, location: &str) -> Result<Option<Get>, String> {
        let response = Response::builder().status(status).header(LOCATION, location);
        get(path).redirected(&response.body(Bytes::new()).unwrap())
    }

    #[test]
    fn a_redirect_within_the_host_keeps_what_it_does_not_name() {
        for (location, path) in [
            ("/live?x=1#top", "/live?x=1"),
            ("live", "/health/live"),
            ("../live/.", "/live/"),
            ("?again", "/health/ready?again"),
            ("/a/../../b", "/b"),
            ("", "/health/ready?x"),
            ("a/b:c", "/health/a/b:c"),
        ] {
            let expected = get(path);
            assert_eq!(
                after("/health/ready?x", 302, location),
                Ok(Some(expected)),
                "{location}"
            );
        }
    }

    #[test]
    fn a_redirect_to_another_port_of_the_host_takes_its_name() {
        let next = after("/", 307, "https://10.244.0.7/x").unwrap().unwrap();
        assert_eq!(
            (next.at.port(), next.secure, next.path.as_str()),
            (443, true, "/x")
        );
        assert_eq!(next.headers[HOST], "10.244.0.7");
        let next = after("/", 308, "//10.244.0.7:81").unwrap().unwrap();
        assert_eq!(
            (next.at.port(), next.secure, next.path.as_str()),
            (81, false, "/")
        );
        assert_eq!(next.headers[HOST], "10.244.0.7:81");
    }

    #[test]
    fn a_redirect_elsewhere_is_the_answer() {
        for location in ["http://a.b/", "https://10.244.0.8:8080/", "mailto:x", "//other"] {
            assert_eq!(after("/", 302, location), Ok(None), "{location}");
        }
        assert_eq!(
            after("/", 304, "/x"),
            Ok(None),
            "a status that is about something else"
        );
        assert!(after("/", 302, "http://10.244.0.7:8080:9/").is_err());
    }
}
