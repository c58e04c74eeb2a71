//! TLS of clients: what they agree on, who is let in, and that certificates may change while connections come.

use std::sync::Arc;

use identity::Keypair;
use identity::tls::tokio_rustls::{TlsConnector, client::TlsStream};
use snapshot::{Certificate, CertificateFiles, ChainMatch, ServerTls, Snapshot, TransportProtocol, Trust};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::transport::{HOUR, Trusted, now};
use super::world::{Backend, World, all_to, ok};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

fn server_tls(trusted: &Trusted, name: &str, protocols: &[&str]) -> ServerTls {
    let path = |file: String| trusted.folder.path().join(file);
    let (chain, key) = (path(format!("{name}.pem")), path(format!("{name}-key.pem")));
    trusted.certificate(&[name]).store(&chain, &key).unwrap();
    let text = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    ServerTls {
        application_protocols: protocols.iter().map(|name| (*name).to_owned()).collect(),
        ..ServerTls::new(Certificate::Files(CertificateFiles {
            chain: text(chain),
            key: text(key),
        }))
    }
}

/// Port 80 speaks TLS; the backend says which scheme it was told.
async fn world(tls: ServerTls) -> (World, Backend) {
    let backend = Backend::start(|head| {
        let scheme = head
            .lines()
            .find_map(|line| line.strip_prefix("x-forwarded-proto: "));
        ok(scheme.unwrap_or("-"))
    })
    .await;
    let world = World::start(encrypted(all_to(&[backend.address]), tls)).await;
    (world, backend)
}

fn encrypted(mut snapshot: Snapshot, tls: ServerTls) -> Snapshot {
    let mut listener = (**snapshot.listeners.get("0.0.0.0_80").unwrap()).clone();
    listener.default_chain.as_mut().unwrap().tls = Some(tls);
    snapshot.listeners.insert(listener);
    snapshot
}

struct Caller<'a> {
    trusted: &'a Trusted,
    keypair: Option<Keypair>,
    protocols: &'a [&'a str],
}

impl Caller<'_> {
    async fn connect(&self, world: &World, name: &'static str) -> Option<TlsStream<TcpStream>> {
        let protocols: Vec<&[u8]> = self.protocols.iter().map(|name| name.as_bytes()).collect();
        let roots = self.trusted.authority.certificate_pem();
        let config = identity::tls::client_config(&roots, self.keypair.as_ref(), &protocols).unwrap();
        let connector = TlsConnector::from(Arc::clone(&config));
        let stream = world.connect().await.stream;
        connector.connect(name.try_into().unwrap(), stream).await.ok()
    }

    /// The agreed protocol, and the last line of the answer to a request over HTTP/1.1.
    async fn call(&self, world: &World, name: &'static str) -> Option<(Option<String>, String)> {
        let mut session = self.connect(world, name).await?;
        let agreed = session.get_ref().1.alpn_protocol();
        let agreed = agreed.map(|name| String::from_utf8_lossy(name).into_owned());
        session.write_all(REQUEST).await.ok()?;
        let mut answer = String::new();
        session.read_to_string(&mut answer).await.ok()?;
        Some((agreed, answer.rsplit('\n').next()?.to_owned()))
    }
}

fn nobody(trusted: &Trusted) -> Caller<'_> {
    Caller {
        trusted,
        keypair: None,
        protocols: &[],
    }
}

#[tokio::test]
async fn a_protocol_is_agreed_on_where_both_know_one_and_requests_are_https() {
    let trusted = Trusted::new();
    let (world, _backend) = world(server_tls(&trusted, "a.example", &["h2", "http/1.1"])).await;
    for (offered, agreed) in [
        (vec!["http/1.1"], Some("http/1.1")),
        (vec!["spdy/3", "http/1.1"], Some("http/1.1")),
        (vec![], None),
        (vec!["spdy/3"], None),
    ] {
        let caller = Caller {
            protocols: &offered,
            ..nobody(&trusted)
        };
        let expected = (agreed.map(str::to_owned), "https".to_owned());
        assert_eq!(
            caller.call(&world, "a.example").await,
            Some(expected),
            "{offered:?}"
        );
    }
    let caller = Caller {
        protocols: &["h2"],
        ..nobody(&trusted)
    };
    let session = caller.connect(&world, "a.example").await.unwrap();
    assert_eq!(session.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut send, connection) = h2::client::handshake(session).await.unwrap();
    let request = http::Request::get("https://a.example/").body(()).unwrap();
    let talk = async {
        let (response, _) = send.send_request(request, true).unwrap();
        response.await.unwrap().status()
    };
    tokio::select! {
        status = talk => assert_eq!(status, 200),
        _ = connection => panic!("the connection ended"),
    }
}

#[tokio::test]
async fn who_agreed_to_a_protocol_speaks_no_other() {
    let trusted = Trusted::new();
    let (world, backend) = world(server_tls(&trusted, "a.example", &["h2", "http/1.1"])).await;
    let caller = Caller {
        protocols: &["h2", "http/1.1"],
        ..nobody(&trusted)
    };
    let answer = caller.call(&world, "a.example").await;
    assert!(answer.is_none_or(|(agreed, _)| agreed.as_deref() == Some("h2")));
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn who_does_not_speak_tls_is_left_without_an_answer() {
    let trusted = Trusted::new();
    let (world, backend) = world(server_tls(&trusted, "a.example", &[])).await;
    for bytes in [REQUEST, b"\x16\x03\x01\x00\x02\x02\x00", b"\x16\x03\x01\xff\xff"] {
        let mut stream = world.connect().await.stream;
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        // At most a word about the failure: the record of an alert.
        assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
    }
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn certificates_of_clients_are_asked_for_and_must_be_good() {
    let trusted = Trusted::new();
    let stranger = Trusted::new();
    let issue = |by: &Trusted| by.authority.issue_client("c", "o", HOUR, now()).unwrap();
    for (required, without) in [(false, true), (true, false)] {
        let tls = ServerTls {
            client_trust: Trust::File(trusted.path()),
            require_client_certificate: required,
            ..server_tls(&trusted, "a.example", &[])
        };
        let (world, _backend) = world(tls).await;
        for (keypair, served) in [
            (None, without),
            (Some(issue(&trusted)), true),
            (Some(issue(&stranger)), false),
        ] {
            let shown = keypair.is_some();
            let caller = Caller {
                keypair,
                ..nobody(&trusted)
            };
            let answer = caller.call(&world, "a.example").await;
            assert_eq!(answer.is_some(), served, "required: {required}, shown: {shown}");
        }
    }
}

#[tokio::test]
async fn server_names_choose_the_certificate_and_what_is_read_for_that_is_not_lost() {
    let trusted = Trusted::new();
    let backend = Backend::saying("hi").await;
    let mut snapshot = all_to(&[backend.address]);
    let mut listener = (**snapshot.listeners.get("0.0.0.0_80").unwrap()).clone();
    listener.detect_tls = true;
    let plain = listener.default_chain.take().unwrap();
    let mut chains = vec![snapshot::Chain {
        matches: ChainMatch {
            transport_protocol: Some(TransportProtocol::RawBuffer),
            ..ChainMatch::default()
        },
        ..plain.clone()
    }];
    for name in ["a.example", "b.example"] {
        chains.push(snapshot::Chain {
            name: name.into(),
            matches: ChainMatch {
                server_names: vec![name.into()],
                ..ChainMatch::default()
            },
            tls: Some(server_tls(&trusted, name, &[])),
            filters: Vec::new(),
            ..plain.clone()
        });
    }
    listener.chains = chains;
    snapshot.listeners.insert(listener);
    let world = World::start(snapshot).await;
    for name in ["a.example", "b.example"] {
        // The client trusts a certificate for that name only.
        assert!(nobody(&trusted).call(&world, name).await.is_some(), "{name}");
    }
    assert_eq!(nobody(&trusted).call(&world, "c.example").await, None);
    assert_eq!(
        world.call("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.body,
        "hi",
        "plain text has its own chain"
    );
}

#[tokio::test]
async fn a_chain_without_usable_files_serves_nobody_until_they_are_there() {
    let trusted = Trusted::new();
    let tls = server_tls(&trusted, "a.example", &[]);
    let Certificate::Files(files) = tls.certificate.clone() else {
        unreachable!("it is in files")
    };
    let key = std::fs::read_to_string(&files.key).unwrap();
    std::fs::write(&files.key, "not a key").unwrap();
    let (world, _backend) = world(tls).await;
    assert_eq!(nobody(&trusted).call(&world, "a.example").await, None);
    std::fs::write(&files.key, key).unwrap();
    let served = async { while nobody(&trusted).call(&world, "a.example").await.is_none() {} };
    daemon::clock::timeout(super::world::PATIENCE, served)
        .await
        .unwrap();
}
