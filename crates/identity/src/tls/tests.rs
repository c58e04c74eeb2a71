//! Handshakes in memory: who is let in, and who is not.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::SupportedKxGroup;
use rustls::{ClientConnection, HandshakeKind, NamedGroup, ServerConnection};

use super::*;
use crate::Authority;

const HOUR: Duration = Duration::from_secs(3600);

fn authority() -> Authority {
    Authority::generate("test", HOUR, crate::now()).unwrap()
}

fn server_keypair(authority: &Authority) -> Keypair {
    authority
        .issue_server(&["server.test"], HOUR, crate::now())
        .unwrap()
}

/// Carries bytes between the two until both have finished, and returns them.
fn shake(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    name: &str,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let mut client = ClientConnection::new(client, name.to_owned().try_into().unwrap())?;
    let mut server = ServerConnection::new(server)?;
    while client.is_handshaking() || server.is_handshaking() || client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets()?;
        }
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
    }
    Ok((client, server))
}

#[test]
fn client_and_server_agree_on_the_protocol() {
    let authority = authority();
    let server = server_config(&server_keypair(&authority), None, &[b"h2", b"http/1.1"]).unwrap();
    let client = client_config(authority.root_pem(), None, &[b"h2"]).unwrap();
    let (client, _) = shake(client, server, "server.test").unwrap();
    assert_eq!(client.alpn_protocol(), Some(&b"h2"[..]));
}

#[test]
fn a_client_refuses_another_name_and_another_root() {
    let authority = authority();
    let server = server_config(&server_keypair(&authority), None, &[]).unwrap();
    let client = client_config(authority.root_pem(), None, &[]).unwrap();
    assert!(shake(client, server.clone(), "other.test").is_err());
    let stranger = client_config(self::authority().root_pem(), None, &[]).unwrap();
    assert!(shake(stranger, server, "server.test").is_err());
}

#[test]
fn a_server_reads_the_certificate_that_a_client_shows() {
    let authority = authority();
    let own = authority
        .issue_client("admin", "system:masters", HOUR, crate::now())
        .unwrap();
    let server = server_config(&server_keypair(&authority), Some(authority.root_pem()), &[]).unwrap();
    let client = client_config(authority.root_pem(), Some(&own), &[]).unwrap();
    let (_, server) = shake(client, server, "server.test").unwrap();
    let peer = PeerCertificate::of(server.peer_certificates().unwrap()).unwrap();
    assert_eq!(peer.common_name.as_deref(), Some("admin"));
}

#[test]
fn a_server_that_insists_refuses_a_client_without_certificate() {
    let authority = authority();
    let server = server_config(&server_keypair(&authority), Some(authority.root_pem()), &[]).unwrap();
    let client = client_config(authority.root_pem(), None, &[]).unwrap();
    assert!(shake(client, server, "server.test").is_err());
}

#[test]
fn a_server_with_optional_clients_lets_in_none_but_not_a_strangers_certificate() {
    let authority = authority();
    let server =
        server_config_optional_client(&server_keypair(&authority), authority.root_pem(), &[]).unwrap();
    let without = client_config(authority.root_pem(), None, &[]).unwrap();
    let (_, connection) = shake(without, server.clone(), "server.test").unwrap();
    assert!(connection.peer_certificates().is_none());
    let strange = self::authority()
        .issue_client("admin", "x", HOUR, crate::now())
        .unwrap();
    let with = client_config(authority.root_pem(), Some(&strange), &[]).unwrap();
    assert!(shake(with, server, "server.test").is_err());
}

#[test]
fn an_expired_certificate_is_refused() {
    let authority = authority();
    let past = crate::now() - Duration::from_secs(600);
    let expired = authority
        .issue_server(&["server.test"], Duration::from_secs(60), past)
        .unwrap();
    let server = server_config(&expired, None, &[]).unwrap();
    let client = client_config(authority.root_pem(), None, &[]).unwrap();
    assert!(shake(client, server, "server.test").is_err());
}

#[test]
fn roots_that_are_no_certificates_are_refused() {
    for roots in [
        "",
        "hello",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        assert!(client_config(roots, None, &[]).is_err(), "{roots:?}");
    }
    assert!(PeerCertificate::of(&[]).is_err());
    assert!(PeerCertificate::of(&[CertificateDer::from(vec![0; 8])]).is_err());
}

#[test]
fn two_uris_are_no_identity() {
    let names = ["spiffe://a/ns/b/sa/c", "spiffe://a/ns/b/sa/d"];
    let keypair = authority().issue_server(&names, HOUR, crate::now()).unwrap();
    assert_eq!(PeerCertificate::of(&keypair.chain).unwrap().spiffe_id(), None);
}

const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";

fn workload(authority: &Authority, name: &str, lifetime: Duration) -> Keypair {
    authority.issue_workload(&[name], lifetime, crate::now()).unwrap()
}

/// A server of the mesh that lets in who leads to those roots and has one of those names.
fn mesh_server(own: &Keypair, roots: &str, names: &[PeerName], sessions: &Sessions) -> Arc<ServerConfig> {
    let acceptance = Acceptance {
        keypair: own,
        clients: Some(Clients {
            roots,
            revoked: None,
            required: true,
            are_workloads: true,
            names: names.to_vec(),
        }),
        application_protocols: vec!["istio".to_owned()],
        only_1_3: false,
        sessions: Some(sessions),
    };
    acceptance.config().unwrap()
}

fn mesh_client(own: &Keypair, roots: &str, names: &[PeerName]) -> Arc<ClientConfig> {
    let origination = Origination {
        roots: Some(roots),
        is_workload: true,
        names: names.to_vec(),
        keypair: Some(own),
        application_protocols: vec!["istio".to_owned()],
        ..Origination::default()
    };
    origination.config().unwrap()
}

#[test]
fn workloads_know_each_other_by_their_names() {
    let authority = authority();
    let (own, roots) = (workload(&authority, CART, HOUR), authority.root_pem());
    let sessions = Sessions::new().unwrap();
    let domain = |name: &str| PeerName::Prefix(format!("spiffe://{name}/"));
    let exact = |name: &str| PeerName::Exact(name.to_owned());
    for (asked_by_server, asked_by_client, good) in [
        (vec![], vec![], true),
        (vec![domain("cluster.local")], vec![exact(CART)], true),
        (
            vec![domain("other"), domain("cluster.local")],
            vec![exact("x"), exact(CART)],
            true,
        ),
        (vec![domain("other")], vec![], false),
        (
            vec![],
            vec![exact("spiffe://cluster.local/ns/shop/sa/card")],
            false,
        ),
        (vec![domain("cluster.loca")], vec![], false),
    ] {
        let server = mesh_server(&own, roots, &asked_by_server, &sessions);
        let client = mesh_client(&own, roots, &asked_by_client);
        let outcome = shake(client, server, "backend").map(drop);
        assert_eq!(
            outcome.is_ok(),
            good,
            "{asked_by_server:?} {asked_by_client:?} {outcome:?}"
        );
    }
}

#[test]
fn a_workload_whose_chain_has_expired_is_refused_by_both_ends() {
    let authority = authority();
    let (good, roots) = (workload(&authority, CART, HOUR), authority.root_pem());
    let past = crate::now() - Duration::from_secs(600);
    let expired = authority
        .issue_workload(&[CART], Duration::from_secs(60), past)
        .unwrap();
    let sessions = Sessions::new().unwrap();
    for (server, client) in [(&good, &expired), (&expired, &good)] {
        let server = mesh_server(server, roots, &[], &sessions);
        assert!(shake(mesh_client(client, roots, &[]), server, "backend").is_err());
    }
}

#[test]
fn a_workload_with_other_than_one_uri_is_refused_by_both_ends() {
    let authority = authority();
    let (good, roots) = (workload(&authority, CART, HOUR), authority.root_pem());
    let sessions = Sessions::new().unwrap();
    let domain = [PeerName::Prefix("spiffe://cluster.local/".to_owned())];
    let twice = [CART, "spiffe://cluster.local/ns/kube-system/sa/admin"];
    let none = ["spiffe.cluster.local"];
    for names in [&twice[..], &none] {
        let odd = authority.issue_workload(names, HOUR, crate::now()).unwrap();
        for wanted in [&domain[..], &[]] {
            for (server, client) in [(&good, &odd), (&odd, &good)] {
                let server = mesh_server(server, roots, wanted, &sessions);
                let outcome = shake(mesh_client(client, roots, wanted), server, "backend").map(drop);
                assert!(outcome.is_err(), "{names:?} {wanted:?}");
            }
        }
    }
}

#[test]
fn what_will_judge_is_asked_whether_a_list_can_be_used() {
    let root = include_str!("testdata/root.pem");
    assert!(check_trust(root, None).is_ok());
    assert!(check_trust(root, Some(include_str!("testdata/list.pem"))).is_ok());
    for list in [
        include_str!("testdata/list_v1.pem"),
        include_str!("testdata/list_without_end.pem"),
        "nothing",
    ] {
        assert!(check_trust(root, Some(list)).is_err(), "{list}");
    }
    assert!(check_trust("nothing", None).is_err());
}

#[test]
fn without_keys_of_sessions_every_handshake_is_a_full_one() {
    let authority = authority();
    let (own, roots) = (workload(&authority, CART, HOUR), authority.root_pem());
    let client = mesh_client(&own, roots, &[]);
    let acceptance = Acceptance {
        keypair: &own,
        clients: Some(mesh_clients(roots, None)),
        application_protocols: vec!["istio".to_owned()],
        only_1_3: false,
        sessions: None,
    };
    let server = acceptance.config().unwrap();
    for _ in 0..3 {
        let (client, _) = shake(client.clone(), server.clone(), "backend").unwrap();
        assert_eq!(client.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
}

#[test]
fn sessions_are_taken_up_again_until_their_keys_are_replaced() {
    use HandshakeKind::{Full, Resumed};
    let authority = authority();
    let (own, roots) = (workload(&authority, CART, HOUR), authority.root_pem());
    let client = mesh_client(&own, roots, &[]);
    let (first, second) = (Sessions::new().unwrap(), Sessions::new().unwrap());
    let mut kinds = Vec::new();
    for sessions in [&first, &first, &second] {
        let server = mesh_server(&own, roots, &[], sessions);
        let (client, server) = shake(client.clone(), server, "backend").unwrap();
        kinds.push(client.handshake_kind());
        let peer = PeerCertificate::of(server.peer_certificates().unwrap()).unwrap();
        assert_eq!(peer.uris, [CART], "also of a session that was taken up again");
    }
    assert_eq!(kinds, [Some(Full), Some(Resumed), Some(Full)]);
}

/// A server of others that takes these groups and gives no tickets.
fn server_of(keypair: &Keypair, groups: Vec<&'static dyn SupportedKxGroup>) -> Arc<ServerConfig> {
    let provider = CryptoProvider {
        kx_groups: groups,
        ..aws_lc_rs::default_provider()
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(keypair.chain.clone(), keypair.key.der().clone_key())
        .unwrap();
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

#[test]
fn no_server_has_to_ask_for_another_key_that_takes_x25519() {
    use HandshakeKind::{Full, FullWithHelloRetryRequest};
    let authority = authority();
    let (keypair, own) = (server_keypair(&authority), workload(&authority, CART, HOUR));
    let (x25519, p256, hybrid) = (kx_group::X25519, kx_group::SECP256R1, kx_group::X25519MLKEM768);
    for (groups, chosen, first) in [
        (vec![x25519], NamedGroup::X25519, Full),
        (vec![p256, x25519], NamedGroup::X25519, Full),
        (vec![hybrid, x25519], NamedGroup::X25519, Full),
        (vec![p256], NamedGroup::secp256r1, FullWithHelloRetryRequest),
    ] {
        let clients = [
            (&keypair, client_config(authority.root_pem(), None, &[]).unwrap()),
            (&own, mesh_client(&own, authority.root_pem(), &[])),
        ];
        for (keypair, client) in clients {
            let server = server_of(keypair, groups.clone());
            // Who has asked once need not ask again.
            for kind in [first, Full] {
                let (client, _) = shake(client.clone(), server.clone(), "server.test").unwrap();
                let group = client.negotiated_key_exchange_group().map(|group| group.name());
                assert_eq!((group, client.handshake_kind()), (Some(chosen), Some(kind)));
            }
        }
    }
    let named = for_clients().kx_groups;
    assert!(
        named.iter().all(|group| group.name() != hybrid.name()),
        "a server that prefers it would ask for a key of it"
    );
}

#[test]
fn a_client_gets_the_group_that_it_prefers() {
    let authority = authority();
    let server = server_config(&server_keypair(&authority), None, &[]).unwrap();
    let (x25519, p256, hybrid) = (kx_group::X25519, kx_group::SECP256R1, kx_group::X25519MLKEM768);
    let groups: [Vec<&'static dyn SupportedKxGroup>; 3] =
        [vec![x25519, hybrid], vec![hybrid, x25519], vec![p256, x25519]];
    for groups in groups {
        let preferred = groups[0].name();
        let provider = CryptoProvider {
            kx_groups: groups,
            ..aws_lc_rs::default_provider()
        };
        let client = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(root_store(authority.root_pem()).unwrap())
            .with_no_client_auth();
        let (client, _) = shake(Arc::new(client), server.clone(), "server.test").unwrap();
        let group = client.negotiated_key_exchange_group().map(|group| group.name());
        assert_eq!(
            (group, client.handshake_kind()),
            (Some(preferred), Some(HandshakeKind::Full))
        );
    }
}

#[test]
fn a_subject_is_written_as_in_rfc_2253() {
    let keypair = authority()
        .issue_client("a, b", "shop", HOUR, crate::now())
        .unwrap();
    assert_eq!(keypair.facts().unwrap().subject, "CN=a\\, b,O=shop");
    let keypair = workload(&authority(), CART, HOUR);
    assert_eq!(keypair.facts().unwrap().subject, "");
}

#[test]
fn a_fingerprint_is_the_sha_256_of_the_certificate() {
    let empty = CertificateDer::from(Vec::new());
    assert_eq!(
        fingerprint(&empty),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
}
