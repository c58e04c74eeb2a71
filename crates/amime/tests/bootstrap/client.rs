//! Calls as the files of calls state them, over HTTP/1.1, HTTP/2 without upgrade, TLS, or plain bytes.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use identity::Keypair;
use identity::tls::rustls::{self, pki_types::ServerName};
use identity::tls::tokio_rustls::{TlsConnector, client::TlsStream};
use serde::Deserialize;

use crate::Places;
use crate::compare::Answer;

type Secured = TlsStream<tokio::net::TcpStream>;

const PATIENCE: Duration = Duration::from_secs(20);

/// One call, or several of the same.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Call {
    /// Method and path: `GET /x`.
    #[serde(default)]
    pub(crate) call: String,
    /// Bytes to send instead.
    #[serde(default)]
    pub(crate) tcp: Option<String>,
    /// Which port of the file.
    #[serde(default = "front")]
    pub(crate) port: String,
    #[serde(default = "host")]
    pub(crate) host: String,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) body: String,
    /// `1.0`, `1.1` or `2`.
    #[serde(default = "version")]
    pub(crate) http: String,
    /// The server name of TLS.
    #[serde(default)]
    pub(crate) tls: Option<String>,
    /// Protocols that the client of TLS offers; the version's own unless stated.
    #[serde(default)]
    pub(crate) alpn: Option<Vec<String>>,
    /// The client shows a certificate: `client`, which the file's authority signed, or `stranger`.
    #[serde(default)]
    pub(crate) certificate: Option<String>,
    /// Made so many times; the shares of the answers are compared.
    #[serde(default = "once")]
    pub(crate) repeat: usize,
    /// Status that both must give, so that they do not agree on an accident.
    pub(crate) status: Option<u16>,
}

fn front() -> String {
    "FRONT".to_owned()
}
fn host() -> String {
    "test.example.org".to_owned()
}
fn version() -> String {
    "1.1".to_owned()
}
fn once() -> usize {
    1
}

impl fmt::Display for Call {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            call,
            port,
            host,
            headers,
            http,
            tls,
            ..
        } = self;
        if let Some(name) = tls {
            write!(out, "TLS to {name}, ")?;
        }
        match &self.tcp {
            Some(bytes) => write!(out, "{port}: {bytes:?}"),
            None => write!(out, "{port}: {call} (host {host}, HTTP/{http}, {headers:?})"),
        }
    }
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// Makes a call, as often as it says.
pub(crate) fn make(call: &Call, places: &Places) -> Vec<Answer> {
    (0..call.repeat)
        .map(|_| {
            let made = match call.http.as_str() {
                "2" => http2(call, places),
                _ => plain(call, places),
            };
            made.unwrap_or_else(|error| Answer::broken(&error))
        })
        .collect()
}

fn connect(call: &Call, places: &Places) -> Result<TcpStream, String> {
    let port: u16 = places
        .get(&format!("PORT_{}", call.port))
        .parse()
        .expect("a port");
    let stream =
        TcpStream::connect(("127.0.0.1", port)).map_err(|error| format!("connect: {}", error.kind()))?;
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    Ok(stream)
}

fn plain(call: &Call, places: &Places) -> Result<Answer, String> {
    let stream = connect(call, places)?;
    let mut agreed = None;
    let mut stream: Box<dyn Stream> = match &call.tls {
        Some(name) => {
            let stream = tls(stream, name, call, places)?;
            agreed = stream.conn.alpn_protocol().map(<[u8]>::to_vec);
            Box::new(stream)
        }
        None => Box::new(stream),
    };
    let request = match &call.tcp {
        Some(bytes) => format!("{bytes}\n"),
        None => head(call) + &call.body,
    };
    stream
        .write_all(request.as_bytes())
        .map_err(|error| format!("write: {}", error.kind()))?;
    let mut answer = Vec::new();
    // TLS may end without saying so.
    let _ = stream.read_to_end(&mut answer);
    match call.tcp {
        Some(_) => Ok(Answer::bytes(&answer)),
        None => Answer::http1(&answer, call.call.starts_with("HEAD "))
            .map(|answer| answer.over(agreed))
            .ok_or_else(|| format!("answered {:?}", String::from_utf8_lossy(&answer))),
    }
}

fn head(call: &Call) -> String {
    let mut head = format!(
        "{} HTTP/{}\r\nhost: {}\r\nconnection: close\r\n",
        call.call, call.http, call.host
    );
    for (name, value) in &call.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !call.body.is_empty() {
        head.push_str(&format!("content-length: {}\r\n", call.body.len()));
    }
    head + "\r\n"
}

type Session = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

/// A session whose handshake is done. How a failed one is told differs between libraries; that it failed does not.
fn tls(mut stream: TcpStream, name: &str, call: &Call, places: &Places) -> Result<Session, String> {
    let name = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
    let mut session =
        rustls::ClientConnection::new(settings(call, places), name).map_err(|error| error.to_string())?;
    while session.is_handshaking() {
        let io = session.complete_io(&mut stream);
        io.map_err(|error| match error.kind() {
            ErrorKind::InvalidData => "the handshake failed".to_owned(),
            _ => "the handshake ended".to_owned(),
        })?;
    }
    Ok(rustls::StreamOwned::new(session, stream))
}

fn settings(call: &Call, places: &Places) -> Arc<rustls::ClientConfig> {
    let own = match call.http.as_str() {
        "2" => "h2",
        _ => "http/1.1",
    };
    let offered = call.alpn.clone().unwrap_or_else(|| vec![own.to_owned()]);
    let offered: Vec<&[u8]> = offered.iter().map(String::as_bytes).collect();
    let read = |name: &str| std::fs::read_to_string(places.directory.path().join(name)).expect("a file");
    let keypair = call.certificate.as_ref().map(|who| {
        let (chain, key) = (read(&format!("{who}.pem")), read(&format!("{who}-key.pem")));
        Keypair::from_pem(&chain, &key).expect("a certificate")
    });
    identity::tls::client_config(&read("ca.pem"), keypair.as_ref(), &offered).expect("settings")
}

async fn secured(call: &Call, name: &str, stream: TcpStream, places: &Places) -> Result<Secured, String> {
    let name = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
    let stream = tokio::net::TcpStream::from_std(stream).expect("on the event loop");
    let connector = TlsConnector::from(settings(call, places));
    let session = connector.connect(name, stream).await;
    session.map_err(|_| "the handshake failed".to_owned())
}

fn http2(call: &Call, places: &Places) -> Result<Answer, String> {
    let stream = connect(call, places)?;
    stream.set_nonblocking(true).expect("a socket");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("an event loop");
    runtime.block_on(async {
        let made = async {
            let Some(name) = &call.tls else {
                let stream = tokio::net::TcpStream::from_std(stream).expect("on the event loop");
                return exchange(call, stream)
                    .await
                    .map_err(|_| "HTTP/2 failed".to_owned());
            };
            let session = secured(call, name, stream, places).await?;
            let agreed = session.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            let answer = exchange(call, session)
                .await
                .map_err(|_| "HTTP/2 failed".to_owned())?;
            Ok(answer.over(agreed))
        };
        let made = tokio::time::timeout(PATIENCE, made).await;
        made.map_err(|_| "no answer in time".to_owned())?
    })
}

fn scheme(call: &Call) -> &'static str {
    if call.tls.is_some() { "https" } else { "http" }
}

async fn exchange(
    call: &Call,
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
) -> Result<Answer, h2::Error> {
    let (send, connection) = h2::client::handshake(stream).await?;
    let (method, path) = call.call.split_once(' ').expect("method and path");
    let mut request = http::Request::builder()
        .method(method)
        .version(http::Version::HTTP_2)
        .uri(format!("{}://{}{path}", scheme(call), call.host));
    for (name, value) in &call.headers {
        request = request.header(name, value);
    }
    let request = request.body(()).expect("a request");
    let talk = async {
        let mut send = send.ready().await?;
        let (response, mut body) = send.send_request(request, call.body.is_empty())?;
        if !call.body.is_empty() {
            body.send_data(call.body.clone().into(), true)?;
        }
        let (head, mut body) = response.await?.into_parts();
        let mut bytes = Vec::new();
        while let Some(piece) = body.data().await {
            let piece = piece?;
            let _ = body.flow_control().release_capacity(piece.len());
            bytes.extend_from_slice(&piece);
        }
        let trailers = body.trailers().await?.unwrap_or_default();
        let headers = head.headers.iter().chain(&trailers);
        let headers = headers.map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        });
        Ok(Answer::of(head.status.as_u16(), headers.collect(), &bytes))
    };
    tokio::select! {
        answer = talk => answer,
        ended = connection => Err(ended.err().unwrap_or_else(|| h2::Reason::NO_ERROR.into())),
    }
}
