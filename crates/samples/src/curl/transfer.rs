//! One transfer: connect or reuse, send, receive, write.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::Failure;
use super::options::Options;
use super::url::Url;

/// Connections that are kept for the next transfer: the last one, as loops call one host.
#[derive(Default)]
pub(super) struct Connections {
    last: Option<(String, u16, Sender)>,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// As curl's default.
const MOST_REDIRECTS: usize = 50;

/// One exchange of a transfer.
struct Step {
    url: Url,
    /// A GET without a body, whatever was asked at first.
    plain: bool,
    /// When the transfer began.
    start: Instant,
}

/// What `--write-out` may print.
#[derive(Default)]
struct Facts {
    status: u16,
    version: &'static str,
    size: usize,
    connect: Duration,
    first_byte: Duration,
    total: Duration,
    connects: u32,
}

impl Connections {
    /// Runs one transfer and prints its outcome.
    pub(super) async fn transfer(&mut self, options: &Options, url: &Url) -> Result<(), Failure> {
        let start = Instant::now();
        let mut facts = Facts::default();
        let work = self.follow(options, url, start, &mut facts);
        let outcome = match options.max_time {
            Some(limit) => tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
                let waited = limit.as_millis();
                Err(Failure::new(
                    28,
                    format!("Operation timed out after {waited} milliseconds"),
                ))
            }),
            None => work.await,
        };
        if outcome.is_err() {
            self.last = None;
        }
        facts.total = start.elapsed();
        if let Some(format) = &options.write_out {
            print!("{}", write_out(format, &facts, url));
            let _ = std::io::stdout().flush();
        }
        outcome
    }

    /// One exchange, and those that redirects lead to. A form that is redirected becomes a plain question.
    async fn follow(
        &mut self,
        options: &Options,
        url: &Url,
        start: Instant,
        facts: &mut Facts,
    ) -> Result<(), Failure> {
        let mut step = Step {
            url: url.clone(),
            plain: false,
            start,
        };
        for _ in 0..=MOST_REDIRECTS {
            match self.exchange(options, &step, facts).await? {
                Some(location) => {
                    step.plain |=
                        matches!(facts.status, 301..=303) && options.method.is_none() && !options.head;
                    step.url = step.url.redirected(&location)?;
                }
                None => return Ok(()),
            }
        }
        Err(Failure::new(
            47,
            format!("Maximum ({MOST_REDIRECTS}) redirects followed"),
        ))
    }

    /// Where to go next, if the answer is a redirect that is to be followed.
    async fn exchange(
        &mut self,
        options: &Options,
        step: &Step,
        facts: &mut Facts,
    ) -> Result<Option<String>, Failure> {
        let Step { url, start, .. } = step;
        let mut sender = self.connection(options, url, facts).await?;
        facts.connect = start.elapsed();
        let request = request(options, step)?;
        if options.verbose {
            eprintln!("> {} {} HTTP/1.1", request.method(), url.target);
            request
                .headers()
                .iter()
                .for_each(|(name, value)| eprintln!("> {name}: {}", text(value)));
        }
        let reply = sender.send(request).await?;
        facts.first_byte = start.elapsed();
        facts.status = reply.status().as_u16();
        facts.version = version(&reply);
        let head = head(&reply);
        if options.verbose {
            head.lines().for_each(|line| eprintln!("< {line}"));
        }
        let failed = options.fail && facts.status >= 400;
        let next = reply.headers().get(header::LOCATION).map(text);
        let next = next.filter(|_| options.follow && matches!(facts.status, 301..=303 | 307 | 308));
        let mut sink = Sink::open(options)?;
        if options.include || options.head {
            sink.write(head.as_bytes())?;
        }
        let mut body = reply.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Failure::new(18, format!("transfer closed: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            facts.size += data.len();
            if !failed && next.is_none() {
                sink.write(&data)?;
            }
        }
        if !matches!(sender, Sender::Http1(ref sender) if sender.is_closed()) {
            self.last = Some((url.host.clone(), url.port, sender));
        }
        if failed {
            return Err(Failure::new(
                22,
                format!("The requested URL returned error: {}", facts.status),
            ));
        }
        Ok(next)
    }

    /// The connection of the transfer before if it goes to the same place and still works, else a new one.
    async fn connection(
        &mut self,
        options: &Options,
        url: &Url,
        facts: &mut Facts,
    ) -> Result<Sender, Failure> {
        if let Some((host, port, mut sender)) = self.last.take()
            && (host.as_str(), port) == (url.host.as_str(), url.port)
            && sender.ready().await
        {
            return Ok(sender);
        }
        facts.connects = 1;
        let place = (url.host.as_str(), url.port);
        let refused = |why: &dyn std::fmt::Display| {
            Failure::new(
                7,
                format!("Failed to connect to {} port {}: {why}", url.host, url.port),
            )
        };
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host(place)
            .await
            .map(Iterator::collect)
            .map_err(|_| Failure::new(6, format!("Could not resolve host: {}", url.host)))?;
        // Connects to the first address that takes the connection.
        let connect = TcpStream::connect(addresses.as_slice());
        let stream = match options.connect_timeout {
            Some(limit) => tokio::time::timeout(limit, connect)
                .await
                .map_err(|_| Failure::new(28, "Connection timed out".to_owned()))?,
            None => connect.await,
        }
        .map_err(|error| refused(&error))?;
        let _ = stream.set_nodelay(true);
        handshake(stream, options.http2)
            .await
            .map_err(|error| refused(&error))
    }
}

async fn handshake(stream: TcpStream, http2: bool) -> hyper::Result<Sender> {
    let stream = TokioIo::new(stream);
    if http2 {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
        tokio::spawn(connection);
        return Ok(Sender::Http2(sender));
    }
    let (sender, connection) = http1::handshake(stream).await?;
    tokio::spawn(connection);
    Ok(Sender::Http1(sender))
}

impl Sender {
    async fn ready(&mut self) -> bool {
        match self {
            Self::Http1(sender) => sender.ready().await.is_ok(),
            Self::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    async fn send(&mut self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
        let sent = match self {
            Self::Http1(sender) => sender.send_request(request).await,
            Self::Http2(sender) => {
                let authority = request.headers_mut().remove(header::HOST);
                *request.uri_mut() = absolute(&request, authority.as_ref())?;
                sender.send_request(request).await
            }
        };
        sent.map_err(|error| {
            if error.is_incomplete_message() || error.is_canceled() {
                Failure::new(52, "Empty reply from server")
            } else {
                Failure::new(56, format!("Recv failure: {error}"))
            }
        })
    }
}

/// HTTP/2 takes `:authority` and `:scheme` from the URI.
fn absolute(
    request: &Request<Full<Bytes>>,
    authority: Option<&http::HeaderValue>,
) -> Result<http::Uri, Failure> {
    let authority = authority.map(text).unwrap_or_default();
    format!("http://{authority}{}", request.uri())
        .parse()
        .map_err(|_| Failure::new(3, "URL using bad/illegal format or missing URL"))
}

fn request(options: &Options, step: &Step) -> Result<Request<Full<Bytes>>, Failure> {
    let url = &step.url;
    let body = options.body.clone().filter(|_| !step.plain);
    let method = if step.plain { "GET" } else { options.method() };
    let bad = |error: http::Error| Failure::new(3, error.to_string());
    let mut headers = vec![
        ("host".to_owned(), url.authority.clone()),
        ("user-agent".to_owned(), "curl/8.0.0".to_owned()),
        ("accept".to_owned(), "*/*".to_owned()),
    ];
    if body.is_some() {
        headers.push((
            "content-type".to_owned(),
            "application/x-www-form-urlencoded".to_owned(),
        ));
    }
    headers.retain(|(name, _)| !options.headers.iter().any(|(given, _)| given == name));
    headers.extend(
        options
            .headers
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .cloned(),
    );
    let mut request = Request::builder().method(method).uri(&url.target);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.body(Full::new(body.unwrap_or_default())).map_err(bad)
}

fn version(reply: &Response<Incoming>) -> &'static str {
    match reply.version() {
        http::Version::HTTP_2 => "2",
        http::Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

fn head(reply: &Response<Incoming>) -> String {
    let status = reply.status();
    let mut head = format!(
        "HTTP/{} {} {}\r\n",
        version(reply),
        status.as_u16(),
        status.canonical_reason().unwrap_or("")
    );
    for (name, value) in reply.headers() {
        head.push_str(&format!("{name}: {}\r\n", text(value)));
    }
    head + "\r\n"
}

fn text(value: &http::HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// Where a body goes.
enum Sink {
    Stdout,
    File(File),
}

impl Sink {
    fn open(options: &Options) -> Result<Self, Failure> {
        match options.output.as_deref() {
            None | Some("-") => Ok(Self::Stdout),
            Some(path) => File::create(path)
                .map(Self::File)
                .map_err(|error| Failure::new(23, format!("Failed to open {path}: {error}"))),
        }
    }

    fn write(&mut self, data: &[u8]) -> Result<(), Failure> {
        let written = match self {
            Self::Stdout => std::io::stdout()
                .write_all(data)
                .and_then(|()| std::io::stdout().flush()),
            Self::File(file) => file.write_all(data),
        };
        written.map_err(|error| Failure::new(23, format!("Failure writing output: {error}")))
    }
}

/// `--write-out`: `%{name}`, `\n`, `\t`, `\r`, `%%`.
fn write_out(format: &str, facts: &Facts, url: &Url) -> String {
    let format = format
        .replace("\\n", "\n")
        .replace("\\t", "\t")
        .replace("\\r", "\r");
    let mut out = String::new();
    let mut rest = format.as_str();
    while let Some(start) = rest.find('%') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        if let Some(tail) = rest.strip_prefix("%%") {
            out.push('%');
            rest = tail;
        } else if let Some((name, tail)) = rest.strip_prefix("%{").and_then(|tail| tail.split_once('}')) {
            out.push_str(&variable(name, facts, url));
            rest = tail;
        } else {
            out.push('%');
            rest = &rest[1..];
        }
    }
    out + rest
}

fn variable(name: &str, facts: &Facts, url: &Url) -> String {
    match name {
        "http_code" | "response_code" => format!("{:03}", facts.status),
        "http_version" => facts.version.to_owned(),
        "size_download" => facts.size.to_string(),
        "num_connects" => facts.connects.to_string(),
        "time_connect" => format!("{:.6}", facts.connect.as_secs_f64()),
        "time_starttransfer" => format!("{:.6}", facts.first_byte.as_secs_f64()),
        "time_total" => format!("{:.6}", facts.total.as_secs_f64()),
        "url" | "url_effective" => format!("http://{}{}", url.authority, url.target),
        _ => {
            eprintln!("curl: unknown --write-out variable: '{name}'");
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_out_fills_in_what_it_knows() {
        let facts = Facts {
            status: 200,
            size: 25,
            ..Facts::default()
        };
        let url = Url {
            host: "a".into(),
            port: 80,
            target: "/x".into(),
            authority: "a".into(),
        };
        assert_eq!(
            write_out("%{http_code} %{size_download} 100%%\\n", &facts, &url),
            "200 25 100%\n"
        );
        assert_eq!(write_out("%{url}%", &facts, &url), "http://a/x%");
    }
}
