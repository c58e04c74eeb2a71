//! Who calls: client certificates (CN is the user, O the groups) and ServiceAccount tokens.

use std::collections::BTreeMap;

use identity::tls::PeerCertificate;

use super::rbac::MASTERS;

/// Who calls, and what is known about the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    pub name: String,
    /// Of the ServiceAccount; empty for others.
    pub uid: String,
    pub groups: Vec<String>,
    /// `authentication.kubernetes.io/pod-name` and the like.
    pub extra: BTreeMap<String, Vec<String>>,
}

const AUTHENTICATED: &str = "system:authenticated";

impl User {
    /// A part of the cluster itself, such as `system:kube-controller-manager`; may do everything.
    pub fn system(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            groups: vec![MASTERS.to_owned(), AUTHENTICATED.to_owned()],
            ..Self::default()
        }
    }

    /// Somebody who has shown nothing.
    pub(super) fn anonymous() -> Self {
        Self {
            name: "system:anonymous".to_owned(),
            groups: vec!["system:unauthenticated".to_owned()],
            ..Self::default()
        }
    }

    /// Whom a client certificate names; it was checked by the handshake.
    pub(super) fn of_certificate(certificate: PeerCertificate) -> Option<Self> {
        let name = certificate.common_name.filter(|name| !name.is_empty())?;
        let groups = certificate
            .organisations
            .into_iter()
            .chain([AUTHENTICATED.to_owned()])
            .collect();
        Some(Self {
            name,
            groups,
            ..Self::default()
        })
    }
}
