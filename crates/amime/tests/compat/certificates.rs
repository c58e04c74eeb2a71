//! Certificates of the table's world, made anew for each run: a root, one for the backends, one for clients, and a
//! root that signed neither.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa,
    KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use serde_json::{Value, json};

/// Names that the backends' certificate is for.
const NAMES: [&str; 6] = [
    "backend.shop.svc.cluster.local",
    "other.shop.svc.cluster.local",
    "plain.shop.svc.cluster.local",
    "backend",
    "one.example",
    "two.example",
];

/// Serial numbers.
const BACKEND: u64 = 17;
const CLIENT: u64 = 18;

/// A Secret with all of them.
pub(crate) fn secret(namespace: &str, made: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "compat", "namespace": namespace},
        "stringData": made,
    })
}

pub(crate) fn make() -> Value {
    let root = issuer("compat root");
    let stranger = issuer("another root");
    let (certificate, key) = signed(&root, "backend", &NAMES, BACKEND);
    let (client, client_key) = signed(&root, "client", &["client.example"], CLIENT);
    json!({
        "ca.crt": root.pem(),
        "other-ca.crt": stranger.pem(),
        "tls.crt": certificate, "tls.key": key,
        "client.crt": client, "client.key": client_key,
        "backend.crl": revoked(&root, BACKEND), "client.crl": revoked(&root, CLIENT),
    })
}

fn issuer(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

/// The issuer takes a certificate back.
fn revoked(issuer: &CertifiedIssuer<'static, KeyPair>, serial: u64) -> String {
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2020, 1, 1),
        next_update: date_time_ymd(2099, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(issuer).unwrap().pem().unwrap()
}

fn signed(
    issuer: &CertifiedIssuer<'static, KeyPair>,
    name: &str,
    names: &[&str],
    serial: u64,
) -> (String, String) {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.serial_number = Some(SerialNumber::from(serial));
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.subject_alt_names = names
        .iter()
        .map(|name| SanType::DnsName((*name).try_into().unwrap()))
        .collect();
    let key = KeyPair::generate().unwrap();
    let certificate = parameters.signed_by(&key, issuer).unwrap();
    (certificate.pem(), key.serialize_pem())
}
