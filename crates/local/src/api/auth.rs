//! Who calls: client certificates (CN is the user, O the groups) and ServiceAccount tokens.

use std::collections::BTreeMap;

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

impl User {
    /// A part of the cluster itself, such as `system:kube-controller-manager`; may do everything.
    pub fn system(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            groups: vec!["system:masters".to_owned(), "system:authenticated".to_owned()],
            ..Self::default()
        }
    }
}
