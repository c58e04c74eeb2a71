//! TLS of clusters and of filter chains.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use snapshot::{CertificateFiles, ClientTls, ServerTls, Trust};

use super::{limit, name};

pub(super) fn server_tls() -> impl Strategy<Value = ServerTls> {
    let path = || "/[a-z]{1,9}";
    let certificate = (path(), path()).prop_map(|(chain, key)| CertificateFiles { chain, key });
    let protocols = vec(prop_oneof!["h2", "http/1.1"], 0..3);
    (certificate, protocols, of(path()), any::<bool>(), of(limit())).prop_map(
        |(certificate, application_protocols, client_trust, require, handshake_timeout)| ServerTls {
            certificate,
            application_protocols,
            require_client_certificate: require && client_trust.is_some(),
            client_trust,
            handshake_timeout,
        },
    )
}

pub(super) fn client_tls() -> impl Strategy<Value = ClientTls> {
    let path = || "/[a-z]{1,9}";
    let trust = prop_oneof![
        Just(Trust::Anybody),
        Just(Trust::System),
        path().prop_map(Trust::File)
    ];
    let names = ("[a-z.]{0,9}", vec(name(), 0..3), vec(name(), 0..3));
    let certificate = (path(), path()).prop_map(|(chain, key)| CertificateFiles { chain, key });
    (names, any::<(bool, bool)>(), trust, of(path()), of(certificate)).prop_map(
        |(names, flags, trust, revocation_list, certificate)| ClientTls {
            server_name: names.0,
            request_names_server: flags.0,
            trust,
            verify_request_host: flags.1,
            subject_alt_names: names.1,
            revocation_list,
            certificate,
            application_protocols: names.2,
        },
    )
}
