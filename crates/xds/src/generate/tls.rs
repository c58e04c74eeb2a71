//! TLS of clusters and of filter chains.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use snapshot::{
    Certificate, CertificateDetails, CertificateFiles, CertificatePolicy, ClientCertificateHeader, ClientTls,
    ServerTls, SubjectMatch, TlsVersion, Trust,
};

use super::{limit, name};

fn path() -> impl Strategy<Value = String> {
    "/[a-z]{1,9}"
}

fn certificate() -> impl Strategy<Value = Certificate> {
    let files = (path(), path()).prop_map(|(chain, key)| CertificateFiles { chain, key });
    prop_oneof![files.prop_map(Certificate::Files), Just(Certificate::Workload)]
}

fn trust() -> impl Strategy<Value = Trust> {
    prop_oneof![
        Just(Trust::Anybody),
        Just(Trust::System),
        path().prop_map(Trust::File),
        Just(Trust::Mesh)
    ]
}

fn subjects() -> impl Strategy<Value = Vec<SubjectMatch>> {
    let subject = prop_oneof![
        name().prop_map(SubjectMatch::Exact),
        name().prop_map(|prefix| SubjectMatch::Prefix { prefix })
    ];
    vec(subject, 0..3)
}

pub(super) fn server_tls() -> impl Strategy<Value = ServerTls> {
    let protocols = vec(prop_oneof!["h2", "http/1.1"], 0..3);
    let version = prop_oneof![Just(TlsVersion::V12), Just(TlsVersion::V13)];
    let clients = (trust(), subjects(), any::<bool>());
    (certificate(), protocols, clients, version, of(limit())).prop_map(
        |(certificate, application_protocols, clients, minimum_version, handshake_timeout)| {
            let (client_trust, client_names, require) = clients;
            ServerTls {
                certificate,
                application_protocols,
                require_client_certificate: require && !client_trust.is_anybody(),
                // Of clients that others vouch for no name is known.
                client_names: match client_trust {
                    Trust::Mesh => client_names,
                    Trust::Anybody | Trust::System | Trust::File(_) => Vec::new(),
                },
                client_trust,
                minimum_version,
                handshake_timeout,
            }
        },
    )
}

pub(super) fn client_tls() -> impl Strategy<Value = ClientTls> {
    let names = ("[a-z.]{0,9}", subjects(), vec(name(), 0..3));
    (
        names,
        any::<(bool, bool)>(),
        trust(),
        of(path()),
        of(certificate()),
    )
        .prop_map(|(names, flags, trust, revocation_list, certificate)| ClientTls {
            server_name: names.0,
            request_names_server: flags.0,
            trust,
            verify_request_host: flags.1,
            subject_alt_names: names.1,
            revocation_list,
            certificate,
            application_protocols: names.2,
        })
}

/// TLS to all members, or to those that take the mesh's; the latter never asks for the host of a request.
pub(super) fn ways() -> impl Strategy<Value = (Option<ClientTls>, Option<ClientTls>)> {
    let auto = client_tls().prop_map(|tls| ClientTls {
        request_names_server: false,
        verify_request_host: false,
        ..tls
    });
    prop_oneof![
        of(client_tls()).prop_map(|tls| (tls, None)),
        auto.prop_map(|auto| (None, Some(auto)))
    ]
}

pub(super) fn client_certificate() -> impl Strategy<Value = ClientCertificateHeader> {
    let policy = prop_oneof![
        Just(CertificatePolicy::Sanitize),
        Just(CertificatePolicy::ForwardOnly),
        Just(CertificatePolicy::AppendForward),
        Just(CertificatePolicy::SanitizeSet),
        Just(CertificatePolicy::AlwaysForwardOnly)
    ];
    (policy, any::<[bool; 5]>()).prop_map(|(policy, [subject, certificate, chain, dns, uri])| {
        ClientCertificateHeader {
            policy,
            details: CertificateDetails {
                subject,
                certificate,
                chain,
                dns,
                uri,
            },
        }
    })
}
