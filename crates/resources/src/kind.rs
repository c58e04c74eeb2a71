//! The kinds of resources that the mesh reads: a closed enum, and what the API calls each.

use std::fmt;

/// A kind of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Namespace,
    Node,
    Pod,
    Service,
    EndpointSlice,
    VirtualService,
    DestinationRule,
    AuthorizationPolicy,
    PeerAuthentication,
    RequestAuthentication,
    RateLimit,
}

/// What the API calls a kind.
struct Names {
    kind: &'static str,
    group: &'static str,
    /// Served versions that we read, preferred one first.
    versions: &'static [&'static str],
    plural: &'static str,
    /// How Istio writes the kind in paths of origins and in analyzer output.
    kebab: &'static str,
    namespaced: bool,
}

const ISTIO_VERSIONS: &[&str] = &["v1", "v1beta1", "v1alpha3"];
const SECURITY_VERSIONS: &[&str] = &["v1", "v1beta1"];

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Namespace,
        Self::Node,
        Self::Pod,
        Self::Service,
        Self::EndpointSlice,
        Self::VirtualService,
        Self::DestinationRule,
        Self::AuthorizationPolicy,
        Self::PeerAuthentication,
        Self::RequestAuthentication,
        Self::RateLimit,
    ];

    const fn names(self) -> Names {
        match self {
            Self::Namespace => core("Namespace", "namespaces", "namespace", false),
            Self::Node => core("Node", "nodes", "node", false),
            Self::Pod => core("Pod", "pods", "pod", true),
            Self::Service => core("Service", "services", "service", true),
            Self::EndpointSlice => Names {
                group: "discovery.k8s.io",
                ..core("EndpointSlice", "endpointslices", "endpoint-slice", true)
            },
            Self::VirtualService => networking("VirtualService", "virtualservices", "virtual-service"),
            Self::DestinationRule => networking("DestinationRule", "destinationrules", "destination-rule"),
            Self::AuthorizationPolicy => security(
                "AuthorizationPolicy",
                "authorizationpolicies",
                "authorization-policy",
            ),
            Self::PeerAuthentication => {
                security("PeerAuthentication", "peerauthentications", "peer-authentication")
            }
            Self::RequestAuthentication => security(
                "RequestAuthentication",
                "requestauthentications",
                "request-authentication",
            ),
            Self::RateLimit => Names {
                kind: "RateLimit",
                group: "policy.amime.io",
                versions: &["v1alpha1"],
                plural: "ratelimits",
                kebab: "rate-limit",
                namespaced: true,
            },
        }
    }

    /// `VirtualService`.
    pub fn as_str(self) -> &'static str {
        self.names().kind
    }

    /// `networking.istio.io`; empty for the core group.
    pub fn group(self) -> &'static str {
        self.names().group
    }

    /// The version to watch and to write.
    pub fn version(self) -> &'static str {
        self.names().versions[0]
    }

    /// All versions that are read, preferred one first.
    pub fn versions(self) -> &'static [&'static str] {
        self.names().versions
    }

    /// `networking.istio.io/v1`, `v1`.
    pub fn api_version(self) -> String {
        match self.group() {
            "" => self.version().into(),
            group => format!("{group}/{}", self.version()),
        }
    }

    /// `virtualservices`.
    pub fn plural(self) -> &'static str {
        self.names().plural
    }

    /// `virtual-service`.
    pub fn kebab(self) -> &'static str {
        self.names().kebab
    }

    /// Whether objects of this kind live in namespaces.
    pub fn namespaced(self) -> bool {
        self.names().namespaced
    }

    /// The kind behind `apiVersion` and `kind` of an object; `None` for kinds that the mesh does not read.
    pub fn from_object(api_version: &str, kind: &str) -> Option<Self> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self::ALL.into_iter().find(|known| {
            let names = known.names();
            names.kind == kind && names.group == group && names.versions.contains(&version)
        })
    }
}

const fn core(kind: &'static str, plural: &'static str, kebab: &'static str, namespaced: bool) -> Names {
    Names {
        kind,
        group: "",
        versions: &["v1"],
        plural,
        kebab,
        namespaced,
    }
}

const fn networking(kind: &'static str, plural: &'static str, kebab: &'static str) -> Names {
    Names {
        kind,
        group: "networking.istio.io",
        versions: ISTIO_VERSIONS,
        plural,
        kebab,
        namespaced: true,
    }
}

const fn security(kind: &'static str, plural: &'static str, kebab: &'static str) -> Names {
    Names {
        group: "security.istio.io",
        versions: SECURITY_VERSIONS,
        ..networking(kind, plural, kebab)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_istio_version_names_the_same_kind_and_foreign_kinds_are_none() {
        for version in ["v1", "v1beta1", "v1alpha3"] {
            let api_version = format!("networking.istio.io/{version}");
            assert_eq!(
                Kind::from_object(&api_version, "VirtualService"),
                Some(Kind::VirtualService)
            );
        }
        assert_eq!(
            Kind::from_object("security.istio.io/v1beta1", "PeerAuthentication"),
            Some(Kind::PeerAuthentication)
        );
        assert_eq!(
            Kind::from_object("security.istio.io/v1alpha3", "PeerAuthentication"),
            None
        );
        assert_eq!(Kind::from_object("v1", "Service"), Some(Kind::Service));
        assert_eq!(Kind::from_object("serving.knative.dev/v1", "Service"), None);
        assert_eq!(Kind::EndpointSlice.api_version(), "discovery.k8s.io/v1");
    }
}
