//! Who a proxy says it is, and whether the caller may say so.
//!
//! Istio's node id is `sidecar~<address>~<pod>.<namespace>~<domain>`; labels and the rest come in the metadata.

use resources::{Key, Kind, Resource};
use translate::Mesh;
use xds::{Dialect, Node};

pub use crate::ca::authenticate::Caller;
use crate::ca::service::cut;

/// Address, pod, namespace and domain have 40, 253, 63 and 253 letters at most.
const LONGEST: usize = 640;

/// A proxy, as it introduces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The whole id.
    pub id: String,
    /// The same for translation.
    pub node: translate::Node,
    /// `ISTIO_VERSION` of its metadata.
    pub version: String,
    /// What it understands.
    pub dialect: Dialect,
}

/// Why a proxy is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No node in the first message.
    #[error("the first request names no node")]
    NoNode,
    /// Not Istio's form.
    #[error("node id {0:?} is not of the form sidecar~address~pod.namespace~domain")]
    Malformed(String),
    /// The caller is somebody else.
    #[error("{caller} may not ask for {node}")]
    NotTheCaller {
        /// Who called.
        caller: String,
        /// For whom.
        node: String,
    },
}

impl Peer {
    /// Reads what the first message of a stream says.
    ///
    /// # Errors
    /// [`Refused`] for what is not Istio's form.
    pub fn of(introduction: Option<&Node>) -> Result<Self, Refused> {
        let introduction = introduction.ok_or(Refused::NoNode)?;
        let id = introduction.id.as_str();
        let known = translate::Node::from_id(id).filter(|_| id.len() <= LONGEST);
        let known = known.ok_or_else(|| Refused::Malformed(cut(id).to_owned()))?;
        let text = |name: &str| introduction.text(name).to_owned();
        // Istio's way to say that a node is a gRPC client without a proxy.
        let proxyless = text("GENERATOR") == "grpc";
        let node = translate::Node {
            role: match proxyless {
                true => translate::Role::Proxyless,
                false => known.role,
            },
            labels: introduction.labels.clone(),
            service_account: text("SERVICE_ACCOUNT"),
            cluster: text("CLUSTER_ID"),
            locality: introduction.locality.clone(),
            ..known
        };
        Ok(Self {
            id: id.to_owned(),
            node,
            version: text("ISTIO_VERSION"),
            dialect: match introduction.agent.as_str() {
                _ if proxyless => Dialect::Grpc,
                Node::AMIME => Dialect::Amime,
                _ => Dialect::Envoy,
            },
        })
    }

    /// `pod.namespace`, as istioctl names proxies.
    pub fn name(&self) -> String {
        format!("{}.{}", self.node.pod_name, self.node.namespace)
    }

    /// Checks that the caller, whose token was judged, is this proxy: same namespace, and the same service
    /// account and pod where both sides name one. The account is the token's from then on.
    ///
    /// # Errors
    /// [`Refused::NotTheCaller`].
    pub fn confirm(mut self, caller: &Caller) -> Result<Self, Refused> {
        let account = &self.node.service_account;
        let same_account = account.is_empty() || *account == caller.service_account;
        let same_pod = caller.pod.as_ref().is_none_or(|pod| *pod == self.node.pod_name);
        if self.node.namespace != caller.namespace || !same_account || !same_pod {
            return Err(Refused::NotTheCaller {
                caller: format!("{}/{}", caller.namespace, caller.service_account),
                node: self.id,
            });
        }
        self.node.service_account.clone_from(&caller.service_account);
        Ok(self)
    }

    /// Checks a pod that only the proxy itself names, because its token is bound to none: a pod of the mesh runs under
    /// the caller's account. To a rotation of the root such a caller is its account, whatever pod it names.
    ///
    /// # Errors
    /// [`Refused::NotTheCaller`].
    pub fn check_account(&self, caller: &Caller, mesh: &Mesh) -> Result<(), Refused> {
        let key = Key::new(Kind::Pod, &self.node.namespace, &self.node.pod_name);
        let (None, Some(Resource::Pod(pod))) = (&caller.pod, mesh.get(&key)) else {
            return Ok(());
        };
        let account = match pod.spec.service_account_name.as_str() {
            "" => "default",
            account => account,
        };
        if account == caller.service_account {
            return Ok(());
        }
        Err(Refused::NotTheCaller {
            caller: format!("{}/{}", caller.namespace, caller.service_account),
            node: self.id.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(id: &str) -> Result<Peer, Refused> {
        Peer::of(Some(&Node {
            id: id.to_owned(),
            ..Node::default()
        }))
    }

    #[test]
    fn an_id_of_istios_form_is_taken_apart() {
        let peer = peer("sidecar~10.0.0.7~backend-0-abc.shop~shop.svc.cluster.local").unwrap();
        assert_eq!(peer.name(), "backend-0-abc.shop");
        assert_eq!(peer.dialect, Dialect::Envoy);
    }

    #[test]
    fn anything_else_is_refused() {
        for id in [
            "",
            "sidecar",
            "sidecar~x~a.b~c",
            "sidecar~10.0.0.1~ab~c",
            "ztunnel~10.0.0.1~a.b~c",
        ] {
            assert_eq!(peer(id), Err(Refused::Malformed(id.into())));
        }
        assert_eq!(Peer::of(None), Err(Refused::NoNode));
        let long = format!("sidecar~10.0.0.1~{}.b~c", "a".repeat(LONGEST));
        assert_eq!(peer(&long), Err(Refused::Malformed(long[..256].into())));
    }

    #[test]
    fn a_caller_may_only_ask_for_itself() {
        let mut peer = peer("sidecar~10.0.0.7~a.shop~d").unwrap();
        let caller = |namespace: &str, account: &str, pod: Option<&str>| Caller {
            namespace: namespace.into(),
            service_account: account.into(),
            pod: pod.map(str::to_owned),
            until: None,
        };
        let confirmed = peer.clone().confirm(&caller("shop", "x", Some("a"))).unwrap();
        assert_eq!(confirmed.node.service_account, "x");
        assert!(peer.clone().confirm(&caller("shop", "x", None)).is_ok());
        assert!(peer.clone().confirm(&caller("other", "x", None)).is_err());
        assert!(peer.clone().confirm(&caller("shop", "x", Some("b"))).is_err());
        peer.node.service_account = "y".into();
        assert!(peer.confirm(&caller("shop", "x", Some("a"))).is_err());
    }

    #[test]
    fn a_pod_that_no_token_vouches_for_runs_under_the_callers_account() {
        let peer = peer("sidecar~10.0.0.7~a.shop~d").unwrap();
        let pod = serde_json::json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "shop"},
            "spec": {"serviceAccountName": "x"},
        });
        let mesh = Mesh::of([Resource::from_object(&pod).unwrap().resource]);
        let caller = |account: &str, pod: Option<&str>| Caller {
            namespace: "shop".into(),
            service_account: account.into(),
            pod: pod.map(str::to_owned),
            until: None,
        };
        assert!(peer.check_account(&caller("x", None), &mesh).is_ok());
        assert!(peer.check_account(&caller("y", None), &mesh).is_err());
        assert!(
            peer.check_account(&caller("y", None), &Mesh::default()).is_ok(),
            "it is no pod"
        );
        assert!(
            peer.check_account(&caller("y", Some("a")), &mesh).is_ok(),
            "the token says so"
        );
    }
}
