//! `x-forwarded-client-cert`: tells the workload whose certificate the client showed. Once a request, before routing.
//!
//! Nobody but a proxy that has checked a certificate may say such a thing, so the header of others is removed unless
//! the handler believes them. Form and order are Envoy's.
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#x-forwarded-client-cert>

use std::borrow::Cow;

use snapshot::{CertificateDetails, CertificatePolicy};

use crate::http::codec::Request;
use crate::http::connection::Connection;
use crate::tls::peer::{Peer, peer_identity};

const NAME: &str = "x-forwarded-client-cert";

/// Removes, keeps or writes the header.
pub(crate) fn request(request: &mut Request, connection: &Connection) {
    let header = connection.chain.handler.options.client_certificate;
    let fields = &mut request.fields;
    if header.policy == CertificatePolicy::AlwaysForwardOnly {
        return;
    }
    let Some(peer) = peer_identity(connection).filter(|_| header.policy != CertificatePolicy::Sanitize)
    else {
        fields.remove(NAME);
        return;
    };
    match header.policy {
        CertificatePolicy::AppendForward => {
            let mut all: Vec<u8> = Vec::new();
            for said in fields.all(NAME).filter(|said| !said.is_empty()) {
                all.extend_from_slice(said);
                all.push(b',');
            }
            all.extend_from_slice(element(peer, header.details).as_bytes());
            fields.set(NAME, &all);
        }
        CertificatePolicy::SanitizeSet => fields.set(NAME, element(peer, header.details).as_bytes()),
        CertificatePolicy::ForwardOnly
        | CertificatePolicy::Sanitize
        | CertificatePolicy::AlwaysForwardOnly => {}
    }
}

/// What is said of one client.
fn element(peer: &Peer, details: CertificateDetails) -> String {
    let mut text = String::with_capacity(256);
    let mut say = |name: &str, value: &str| {
        if !text.is_empty() {
            text.push(';');
        }
        text.push_str(name);
        text.push('=');
        text.push_str(value);
    };
    if !peer.own.is_empty() {
        say("By", &peer.own);
    }
    say("Hash", &peer.fingerprint);
    if details.certificate {
        say("Cert", &quoted(&encoded(&identity::chain_pem(&peer.chain[..1]))));
    }
    if details.chain {
        say("Chain", &quoted(&encoded(&identity::chain_pem(&peer.chain))));
    }
    if details.subject {
        say("Subject", &quoted(&peer.certificate.subject));
    }
    if details.uri {
        match peer.certificate.uris.is_empty() {
            true => say("URI", ""),
            false => {
                let uris = peer.certificate.uris.iter();
                uris.for_each(|uri| say("URI", &plain_or_quoted(uri)));
            }
        }
    }
    if details.dns {
        peer.certificate
            .dns_names
            .iter()
            .for_each(|name| say("DNS", &plain_or_quoted(name)));
    }
    text
}

/// A name with one of the header's own signs could pass for another element. (Envoy 1.40 quotes subjects alone.)
fn plain_or_quoted(name: &str) -> Cow<'_, str> {
    match name.contains([';', ',', '"']) {
        true => quoted(&name.replace('\\', "\\\\").replace('"', "\\\"")).into(),
        false => name.into(),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// What PEM has and a header may not.
fn encoded(pem: &str) -> String {
    let mut text = String::with_capacity(pem.len() * 5 / 4);
    for letter in pem.chars() {
        match letter {
            '\n' => text.push_str("%0A"),
            ' ' => text.push_str("%20"),
            '+' => text.push_str("%2B"),
            '/' => text.push_str("%2F"),
            '=' => text.push_str("%3D"),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use identity::Authority;
    use snapshot::ClientCertificateHeader;

    use super::*;

    fn peer(uris: &[&str]) -> Peer {
        let hour = Duration::from_secs(3600);
        let now = daemon::clock::wall();
        let authority = Authority::generate("test", hour, now).unwrap();
        let keypair = authority.issue_workload(uris, hour, now).unwrap();
        let certificate = keypair.facts().unwrap();
        Peer {
            uri: uris.first().copied().unwrap_or_default().to_owned(),
            certificate,
            fingerprint: "abcd".to_owned(),
            chain: keypair.chain.clone(),
            own: "spiffe://cluster.local/ns/shop/sa/own".into(),
            version: "TLSv1.3",
        }
    }

    #[test]
    fn sidecars_tell_what_istios_do() {
        let peer = peer(&["spiffe://cluster.local/ns/shop/sa/cart"]);
        assert_eq!(
            element(&peer, ClientCertificateHeader::OF_SIDECARS.details),
            "By=spiffe://cluster.local/ns/shop/sa/own;Hash=abcd;Subject=\"\";URI=spiffe://cluster.local/ns/shop/sa/cart"
        );
    }

    #[test]
    fn a_name_with_the_headers_own_signs_is_quoted() {
        let details = CertificateDetails {
            uri: true,
            dns: true,
            ..CertificateDetails::default()
        };
        let told = |uris: &[&str]| {
            let told = element(&peer(uris), details);
            told.split_once("Hash=abcd;").unwrap().1.to_owned()
        };
        assert_eq!(
            told(&["https://other/;URI=spiffe://cluster.local/ns/shop/sa/admin,By=x"]),
            "URI=\"https://other/;URI=spiffe://cluster.local/ns/shop/sa/admin,By=x\""
        );
        assert_eq!(
            told(&["x\",Hash=y;URI=spiffe"]),
            "URI=;DNS=\"x\\\",Hash=y;URI=spiffe\""
        );
        assert_eq!(told(&["https://other/a"]), "URI=https://other/a");
    }

    #[test]
    fn every_detail_has_its_place() {
        let details = CertificateDetails {
            subject: true,
            certificate: true,
            chain: true,
            dns: true,
            uri: true,
        };
        let peer = peer(&["cart.shop"]);
        let pem = encoded(&identity::chain_pem(&peer.chain));
        assert_eq!(
            element(&peer, details),
            format!(
                "By=spiffe://cluster.local/ns/shop/sa/own;Hash=abcd;Cert=\"{pem}\";Chain=\"{pem}\";Subject=\"\";URI=;DNS=cart.shop"
            )
        );
        assert_eq!(encoded("a b\nc+/="), "a%20b%0Ac%2B%2F%3D");
    }
}
