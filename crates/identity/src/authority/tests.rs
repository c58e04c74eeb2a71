//! What an authority signs, and what it refuses.

use std::time::Duration;

use super::{Authority, Part};
use crate::tls::PeerCertificate;
use crate::{Error, PrivateKey, SpiffeId};

const HOUR: Duration = Duration::from_secs(3600);

fn authority() -> Authority {
    Authority::generate("cluster.local", 24 * HOUR, crate::now()).unwrap()
}

/// A request for `name`, signed by `key`.
fn request(key: &PrivateKey, name: &str) -> String {
    let mut parameters = rcgen::CertificateParams::default();
    parameters.subject_alt_names = vec![super::subject_name(name).unwrap()];
    parameters
        .serialize_request(&key.signing().unwrap())
        .unwrap()
        .pem()
        .unwrap()
}

#[test]
fn an_authority_survives_its_textual_form() {
    let authority = authority();
    let again = Authority::from_pem(&authority.certificate_pem(), &authority.key_pem()).unwrap();
    assert_eq!(again.root_pem(), authority.root_pem());
    assert_eq!(again.expires(), authority.expires());
}

#[test]
fn a_server_certificate_carries_its_names_and_lifetime() {
    let now = crate::now();
    let keypair = authority()
        .issue_server(&["istiod.istio-system.svc", "10.96.0.1"], HOUR, now)
        .unwrap();
    let certificate = PeerCertificate::of(&keypair.chain).unwrap();
    assert_eq!(certificate.dns_names, ["istiod.istio-system.svc"]);
    assert_eq!(
        certificate.addresses,
        ["10.96.0.1".parse::<std::net::IpAddr>().unwrap()]
    );
    let lifetime = certificate.expires.duration_since(now).unwrap();
    assert!(
        lifetime <= HOUR && lifetime > HOUR - Duration::from_secs(2),
        "{lifetime:?}"
    );
}

#[test]
fn a_client_certificate_carries_user_and_group() {
    let keypair = authority()
        .issue_client("admin", "system:masters", HOUR, crate::now())
        .unwrap();
    let certificate = PeerCertificate::of(&keypair.chain).unwrap();
    assert_eq!(certificate.common_name.as_deref(), Some("admin"));
    assert_eq!(certificate.organisations, ["system:masters"]);
}

#[test]
fn a_request_gets_the_proven_identity_whatever_it_asks_for() {
    let id = SpiffeId::new("cluster.local", "shop", "cart").unwrap();
    let key = PrivateKey::generate().unwrap();
    let request = request(&key, "spiffe://cluster.local/ns/kube-system/sa/admin");
    let chain = authority()
        .sign_csr(&request, &[id.to_string()], HOUR, crate::now())
        .unwrap();
    assert_eq!(PeerCertificate::of(&chain).unwrap().spiffe_id(), Some(id));
}

#[test]
fn a_damaged_request_is_refused() {
    let key = PrivateKey::generate().unwrap();
    let damaged = request(&key, "spiffe://a/ns/b/sa/c").replacen("MI", "MJ", 1);
    for text in [
        "",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        &damaged,
    ] {
        let result = authority().sign_csr(text, &["spiffe://a/ns/b/sa/c"], HOUR, crate::now());
        assert!(matches!(result, Err(Error::Malformed { .. })), "{text}");
    }
}

#[test]
fn nothing_outlives_its_issuer() {
    let authority = authority();
    let keypair = authority.issue_server(&["a"], 1000 * HOUR, crate::now()).unwrap();
    assert_eq!(
        PeerCertificate::of(&keypair.chain).unwrap().expires,
        authority.expires()
    );
}

#[test]
fn an_expired_authority_signs_nothing() {
    let result = authority().issue_server(&["a"], HOUR, crate::now() + 25 * HOUR);
    assert!(matches!(result.err(), Some(Error::AuthorityExpired)));
}

#[test]
fn a_leaf_cannot_become_an_authority() {
    let leaf = authority().issue_server(&["a"], HOUR, crate::now()).unwrap();
    assert!(matches!(
        Authority::from_pem(&leaf.chain_pem(), &leaf.key.key_pem()).err(),
        Some(Error::Malformed { .. })
    ));
}

#[test]
fn a_key_of_another_authority_is_refused() {
    let result = Authority::from_pem(authority().root_pem(), &authority().key_pem());
    assert!(matches!(result.err(), Some(Error::KeyMismatch)));
}

#[test]
fn names_that_no_certificate_may_carry_are_refused() {
    for name in ["", "two words", "schön"] {
        let result = authority().issue_server(&[name], HOUR, crate::now());
        assert!(matches!(result.err(), Some(Error::BadName(_))), "{name:?}");
    }
}

/// An authority below `root`, as it is plugged in: its certificate and its key.
fn intermediate(root: &Authority, lifetime: Duration, now: std::time::SystemTime) -> (String, String) {
    let key = PrivateKey::generate().unwrap();
    let mut parameters = super::parameters(lifetime, now, None).unwrap();
    parameters
        .distinguished_name
        .push(rcgen::DnType::CommonName, "intermediate");
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let certificate = parameters.signed_by(&key.signing().unwrap(), &root.issuer);
    (certificate.unwrap().pem(), key.key_pem())
}

#[test]
fn nothing_outlives_what_leads_to_the_root() {
    let now = crate::now();
    let root = Authority::generate("root", 100 * HOUR, now).unwrap();
    let (between, between_key) = intermediate(&root, HOUR, now);
    let middle = Authority::plugged_in(&between, &between_key, "", root.root_pem()).unwrap();
    let (last, last_key) = intermediate(&root, 100 * HOUR, now);
    let signs = Authority::plugged_in(&last, &last_key, &between, root.root_pem()).unwrap();
    assert_eq!(signs.expires(), middle.expires());
    let leaf = signs
        .issue_workload(&["spiffe://a/ns/b/sa/c"], 24 * HOUR, now)
        .unwrap();
    assert!(leaf.facts().unwrap().expires <= middle.expires());
}

#[test]
fn an_intermediate_is_sent_along_and_the_root_is_not() {
    let now = crate::now();
    let root = authority();
    let (certificate, key) = intermediate(&root, HOUR, now);
    let chain = format!("{certificate}{}", root.root_pem());
    let plugged = Authority::plugged_in(&certificate, &key, &chain, root.root_pem()).unwrap();
    let leaf = plugged.issue_server(&["a"], HOUR, now).unwrap();
    assert_eq!(leaf.chain.len(), 2);
    assert_eq!(plugged.root_pem(), root.root_pem());
    assert_eq!(plugged.check(None, now), Ok(()));
}

#[test]
fn what_its_roots_would_not_believe_is_found_before_it_signs() {
    let now = crate::now();
    let at_fault =
        |authority: &Authority, revoked: Option<&str>, now| authority.check(revoked, now).unwrap_err().part;
    let (one, other) = (authority(), authority());
    assert_eq!(one.check(None, now), Ok(()));
    let (certificate, key) = (one.certificate_pem(), one.key_pem());
    let foreign = Authority::plugged_in(&certificate, &key, "", other.root_pem()).unwrap();
    assert_eq!(at_fault(&foreign, None, now), Part::Chain);
    assert_eq!(at_fault(&one, None, now + 25 * HOUR), Part::Certificate);

    // Root, an authority below it, and one below that.
    let (between, between_key) = intermediate(&one, HOUR, now);
    let middle = Authority::plugged_in(&between, &between_key, "", one.root_pem()).unwrap();
    let (last, last_key) = intermediate(&middle, 100 * HOUR, now);
    let missing = Authority::plugged_in(&last, &last_key, "", one.root_pem()).unwrap();
    assert_eq!(at_fault(&missing, None, now), Part::Chain);
    let whole = Authority::plugged_in(&last, &last_key, &between, one.root_pem()).unwrap();
    assert_eq!(whole.check(None, now), Ok(()));
    assert_eq!(at_fault(&whole, None, now + 2 * HOUR), Part::Chain);

    // A root is over before what it has signed.
    let (short, short_key) = intermediate(&one, 100 * HOUR, now);
    let outlived = Authority::plugged_in(&short, &short_key, "", one.root_pem()).unwrap();
    assert_eq!(at_fault(&outlived, None, now + 25 * HOUR), Part::Roots);

    let list = include_str!("../tls/testdata/list_v1.pem");
    assert_eq!(at_fault(&one, Some(list), now), Part::Revoked);
}

#[test]
fn a_list_that_revokes_the_authority_itself_is_found() {
    let now = crate::now();
    let root = authority();
    let (certificate, key) = intermediate(&root, HOUR, now);
    let plugged = Authority::plugged_in(&certificate, &key, "", root.root_pem()).unwrap();
    let facts = crate::Keypair::from_pem(&certificate, &key).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&facts.chain[0]).unwrap();
    let list = rcgen::CertificateRevocationListParams {
        this_update: now.into(),
        next_update: (now + HOUR).into(),
        crl_number: 1u64.into(),
        issuing_distribution_point: None,
        revoked_certs: vec![rcgen::RevokedCertParams {
            serial_number: rcgen::SerialNumber::from_slice(parsed.raw_serial()),
            revocation_time: now.into(),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&root.issuer).unwrap().pem().unwrap();
    assert_eq!(plugged.check(None, now), Ok(()));
    assert_eq!(plugged.check(Some(&list), now).unwrap_err().part, Part::Revoked);
}

#[test]
fn a_certificate_that_may_sign_no_others_is_refused() {
    let key = PrivateKey::generate().unwrap();
    let mut parameters = super::parameters(HOUR, crate::now(), None).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    let certificate = parameters.self_signed(&key.signing().unwrap()).unwrap().pem();
    let refused = Authority::from_pem(&certificate, &key.key_pem()).err().unwrap();
    assert!(refused.to_string().contains("keyCertSign"), "{refused}");
}
