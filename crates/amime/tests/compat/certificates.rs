//! Certificates of the table's world, made anew for each run: a root, one for the backends, one for clients, and a
//! root that signed neither.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
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
    let (certificate, key) = signed(&root, "backend", &NAMES);
    let (client, client_key) = signed(&root, "client", &["client.example"]);
    json!({
        "ca.crt": root.pem(),
        "other-ca.crt": stranger.pem(),
        "tls.crt": certificate, "tls.key": key,
        "client.crt": client, "client.key": client_key,
    })
}

fn issuer(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

fn signed(issuer: &CertifiedIssuer<'static, KeyPair>, name: &str, names: &[&str]) -> (String, String) {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.subject_alt_names = names
        .iter()
        .map(|name| SanType::DnsName((*name).try_into().unwrap()))
        .collect();
    let key = KeyPair::generate().unwrap();
    let certificate = parameters.signed_by(&key, issuer).unwrap();
    (certificate.pem(), key.serialize_pem())
}
