//! Peers that a proxy turns away in the handshake: of another trust domain, taken back by their authority, or too slow.

use std::sync::Arc;
use std::time::Duration;

use daemon::{Tasks, clock};
use identity::tls::rustls::{ClientConnection, HandshakeKind};
use identity::{Authority, Bundle, Keypair};
use rcgen::{
    CertificateParams, CertificateRevocationListParams, DnType, Issuer, KeyIdMethod, KeyPair,
    RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use snapshot::SubjectMatch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use xds::secrets::Trusted;

use super::mesh::{
    CLIENT, GET, Mesh, SERVER, authority, changed, inbound, outbound, somebody, strict, telling,
};
use super::sessions::Caller;
use super::transport::{HOUR, now};
use super::world::{PATIENCE, World};
use crate::Workload;
use crate::tls::TlsError;
use crate::tls::renewal;
use crate::tls::server::Server;
use crate::transport::Transport;

#[tokio::test]
async fn a_peer_of_another_trust_domain_is_refused() {
    let root = authority("root");
    for (client, server, good) in [
        (CLIENT, SERVER, true),
        ("spiffe://elsewhere/ns/shop/sa/client", SERVER, false),
        (
            "spiffe://cluster.local.elsewhere/ns/shop/sa/client",
            SERVER,
            false,
        ),
        (
            "spiffe://elsewhere/cluster.local/ns/shop/sa/client",
            SERVER,
            false,
        ),
        ("https://cluster.local/ns/shop/sa/client", SERVER, false),
        (CLIENT, "spiffe://elsewhere/ns/shop/sa/server", false),
        (
            CLIENT,
            "spiffe://cluster.local.elsewhere/ns/shop/sa/server",
            false,
        ),
    ] {
        let mesh = Mesh::start(somebody(&root, client), somebody(&root, server)).await;
        let answer = mesh.client.call(GET).await;
        let expected = if good { (200, 1) } else { (503, 0) };
        let seen = (answer.status, mesh.backend.requests());
        assert_eq!(seen, expected, "{client} to {server}: {answer:?}");
    }
}

#[tokio::test]
async fn what_is_refused_is_counted_by_its_reason() {
    let root = authority("root");
    let backend = telling().await;
    let server = changed(inbound(backend.address), |listener| {
        let chain = listener.default_chain.as_mut().unwrap();
        chain.tls.as_mut().unwrap().handshake_timeout = Some(Duration::from_millis(200));
    });
    let server = World::of(somebody(&root, SERVER), server).await;
    let at = server.running.addresses["inbound"];
    for caller in [
        somebody(&root, "spiffe://elsewhere/ns/shop/sa/client"),
        somebody(&authority("other"), CLIENT),
    ] {
        let client = World::of(caller, outbound(&[(at, true)])).await;
        assert_eq!(client.call(GET).await.status, 503);
    }
    let mut plain = server.connect_inbound().await.stream;
    plain.write_all(GET.as_bytes()).await.unwrap();
    let stalled = server.connect_inbound().await;
    // A connection that the client broke off is tried three times; the other client takes its session for good.
    for (reason, expected) in [
        ("certificate", 1.0),
        ("by_client", 3.0),
        ("protocol", 1.0),
        ("timeout", 1.0),
    ] {
        let label = format!("reason=\"{reason}\"");
        let labels = [label.as_str()];
        let count = || server.metric("amime_refused_connections_total", &labels);
        let counted = async { while count().await != Some(expected) {} };
        let counted = clock::timeout(PATIENCE, counted).await;
        assert!(counted.is_ok(), "{reason}: {:?}", count().await);
    }
    drop((plain, stalled));
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn a_trust_domain_that_is_an_alias_is_let_in() {
    let root = authority("root");
    let backend = telling().await;
    let server = changed(inbound(backend.address), |listener| {
        let chain = listener.default_chain.as_mut().unwrap();
        let alias = SubjectMatch::Prefix {
            prefix: "spiffe://elsewhere/".into(),
        };
        chain.tls.as_mut().unwrap().client_names.push(alias);
    });
    let server = World::of(somebody(&root, SERVER), server).await;
    let at = server.running.addresses["inbound"];
    let client = somebody(&root, "spiffe://elsewhere/ns/shop/sa/client");
    let client = World::of(client, outbound(&[(at, true)])).await;
    assert_eq!(client.call(GET).await.status, 200);
}

fn issuer(authority: &Authority) -> Issuer<'static, KeyPair> {
    let key = KeyPair::from_pem(&authority.key_pem()).unwrap();
    Issuer::from_ca_cert_pem(&authority.certificate_pem(), key).unwrap()
}

/// A workload's certificate with a number that a list can name.
fn numbered(authority: &Authority, name: &str, number: u64) -> Keypair {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.serial_number = Some(SerialNumber::from(number));
    parameters.distinguished_name.push(DnType::CommonName, "x");
    parameters.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
    let key = KeyPair::generate().unwrap();
    let certificate = parameters.signed_by(&key, &issuer(authority)).unwrap();
    Keypair::from_pem(&certificate.pem(), &key.serialize_pem()).unwrap()
}

/// What an authority takes back, as `ca-crl.pem` has it.
fn list(authority: &Authority, numbers: &[u64]) -> String {
    let revoked = numbers.iter().map(|number| RevokedCertParams {
        serial_number: SerialNumber::from(*number),
        revocation_time: date_time_ymd(2020, 1, 1),
        reason_code: None,
        invalidity_date: None,
    });
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2020, 1, 1),
        next_update: date_time_ymd(2099, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(&issuer(authority)).unwrap().pem().unwrap()
}

/// Who believes these authorities but for what the lists name.
fn believing_but(workload: &Workload, authorities: &[&Authority], lists: &str) {
    let pem: String = authorities.iter().map(|authority| authority.root_pem()).collect();
    let roots = Bundle::from_pem(&pem).unwrap();
    let revoked = Some(lists.to_owned());
    workload.believe(&Arc::new(Trusted { roots, revoked }));
}

#[tokio::test]
async fn a_peer_whose_certificate_was_revoked_is_refused() {
    const OF_CLIENT: u64 = 7;
    const OF_SERVER: u64 = 8;
    let (root, other) = (authority("root"), authority("other"));
    for (name, lists, good) in [
        ("nobody", list(&root, &[]), true),
        ("somebody else", list(&root, &[9]), true),
        ("the client", list(&root, &[9, OF_CLIENT]), false),
        ("the server", list(&root, &[OF_SERVER]), false),
        ("another authority's", list(&other, &[OF_CLIENT]), true),
        (
            "the client, in the second list",
            list(&other, &[]) + &list(&root, &[OF_CLIENT]),
            false,
        ),
    ] {
        let workload = |who, number| {
            let workload = Workload::default();
            workload.show(numbered(&root, who, number), None);
            believing_but(&workload, &[&root, &other], &lists);
            workload
        };
        let mesh = Mesh::start(workload(CLIENT, OF_CLIENT), workload(SERVER, OF_SERVER)).await;
        let answer = mesh.client.call(GET).await;
        let expected = if good { (200, 1) } else { (503, 0) };
        let seen = (answer.status, mesh.backend.requests());
        assert_eq!(seen, expected, "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn a_session_does_not_outlive_the_revocation_of_its_certificate() {
    let root = authority("root");
    let server = somebody(&root, SERVER);
    let backend = telling().await;
    let world = World::of(server.clone(), inbound(backend.address)).await;
    let callers = [7, 8].map(|number| Caller::new(&numbered(&root, CLIENT, number), root.root_pem()));
    for caller in &callers {
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let answer = caller.call(&world).await;
            assert_eq!(answer.map(|(kind, _)| kind), Some(expected));
        }
    }
    believing_but(&server, &[&root], &list(&root, &[7]));
    assert_eq!(callers[0].call(&world).await, None);
    let answer = callers[1].call(&world).await;
    assert_eq!(
        answer.map(|(kind, _)| kind),
        Some(HandshakeKind::Full),
        "others show their certificate once more"
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_mounted_beside_certificates_is_believed_once_it_can_be_read() {
    let root = authority("root");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let own = root.issue_workload(&[SERVER], HOUR, now()).unwrap();
    own.store(&path("cert-chain.pem"), &path("key.pem")).unwrap();
    std::fs::write(path("root-cert.pem"), root.root_pem()).unwrap();
    let workload = Workload::default();
    let follow = renewal::follow_files(folder.path().to_owned(), workload.clone());
    let check = async {
        workload.completed().await;
        let list = list(&root, &[7]);
        let broken = &list[..list.len() / 2];
        for (mounted, believed) in [(broken, None), (&list, Some(&*list))] {
            std::fs::write(path("ca-crl.pem"), mounted).unwrap();
            clock::sleep(2 * renewal::LOOK).await;
            let material = workload.now();
            let trusted = material.trusted.as_ref().unwrap();
            assert_eq!(trusted.revoked.as_deref(), believed);
        }
    };
    tokio::select! {
        () = follow => {}
        () = check => {}
    }
}

/// What a client begins a handshake with.
fn client_hello(root: &Authority) -> Vec<u8> {
    let config = identity::tls::client_config(root.root_pem(), None, &[b"h2"]).unwrap();
    let mut session = ClientConnection::new(config, "server".try_into().unwrap()).unwrap();
    let mut hello = Vec::new();
    session.write_tls(&mut hello).unwrap();
    hello
}

/// Beginnings that nothing comes after.
fn beginnings(root: &Authority) -> [Vec<u8>; 3] {
    let hello = client_hello(root);
    [Vec::new(), hello[..hello.len() / 2].to_vec(), hello]
}

#[tokio::test]
async fn a_handshake_that_does_not_go_on_ends_in_time() {
    const LIMIT: Duration = Duration::from_millis(200);
    let root = authority("root");
    let backend = telling().await;
    let server = changed(inbound(backend.address), |listener| {
        let chain = listener.default_chain.as_mut().unwrap();
        chain.tls.as_mut().unwrap().handshake_timeout = Some(LIMIT);
    });
    let server = World::of(somebody(&root, SERVER), server).await;
    let at = server.running.addresses["inbound"];
    let client = World::of(somebody(&root, CLIENT), outbound(&[(at, true)])).await;
    let begun = clock::now();
    let mut stalled = Vec::new();
    for beginning in beginnings(&root) {
        let mut stream = server.connect_inbound().await.stream;
        stream.write_all(&beginning).await.unwrap();
        stalled.push(stream);
    }
    assert_eq!(client.call(GET).await.status, 200, "they hold up nobody");
    for mut stream in stalled {
        // The last of them gets the server's part of the handshake before. Closing with bytes unread is a reset.
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest);
        let _ = clock::timeout(PATIENCE, end).await.expect("it ends");
        let took = clock::now() - begun;
        assert!(took >= LIMIT, "it had its time: {took:?}");
    }
    assert_eq!(backend.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_handshake_has_a_limit_where_none_is_stated() {
    let root = authority("root");
    let workload = somebody(&root, SERVER);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for beginning in beginnings(&root) {
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(&beginning).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let begun = clock::now();
        let server = Server::new(&strict());
        let outcome = server.accept(Transport::new(stream), None, &workload).await;
        assert!(matches!(outcome, Err(TlsError::TooLong)), "{outcome:?}");
        assert_eq!((clock::now() - begun).as_secs(), 15);
    }
}

#[tokio::test]
async fn a_server_that_does_not_shake_hands_is_given_up_in_time() {
    const LIMIT: Duration = Duration::from_millis(100);
    let root = authority("root");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, tasks) = (listener.local_addr().unwrap(), Tasks::new());
    tasks.spawn("silent", async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
        }
    });
    let mut snapshot = outbound(&[(address, true)]);
    let mut cluster = snapshot.clusters.get("a").unwrap().as_ref().clone();
    cluster.connect_timeout = LIMIT;
    snapshot.clusters.insert(cluster);
    let client = World::of(somebody(&root, CLIENT), snapshot).await;
    let begun = clock::now();
    assert_eq!(client.call(GET).await.status, 503);
    assert!(clock::now() - begun >= LIMIT);
    tasks.stop(Duration::ZERO).await;
}
