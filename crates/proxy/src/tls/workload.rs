//! What this proxy is in the mesh: the certificate and key of its workload, and whom it believes.
//!
//! Replaced as a whole behind one pointer, so that handshakes take no lock that a renewal takes. Connections that are
//! open keep what they began with. The key is in memory only, in types of `identity`.

use std::sync::Arc;

use arc_swap::ArcSwap;
use identity::{Keypair, SpiffeId};
use tokio::sync::Notify;
use xds::secrets::Trusted;

/// What a proxy is, as all of its parts see it. Clones share it.
#[derive(Clone, Default)]
pub struct Workload(Arc<Shared>);

#[derive(Default)]
struct Shared {
    material: ArcSwap<Material>,
    /// Says that it changed; handshakes look at the material alone.
    changed: Notify,
}

/// One state of it.
#[derive(Clone, Default)]
pub(crate) struct Material {
    /// Grows with each change.
    pub(crate) number: u64,
    pub(crate) own: Option<Own>,
    pub(crate) trusted: Option<Arc<Trusted>>,
    /// Whether the controller itself said so.
    told: bool,
}

/// The certificate with its key.
#[derive(Clone)]
pub(crate) struct Own {
    pub(crate) keypair: Arc<Keypair>,
    /// Who it says that we are.
    pub(crate) uri: Arc<str>,
    /// Fingerprint of the root that it leads to, as far as its authority told.
    pub(crate) root: Option<Arc<str>>,
}

impl std::fmt::Debug for Workload {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let material = self.now();
        let own = material.own.as_ref().map(|own| own.uri.to_string());
        let mut out = formatter.debug_struct("Workload");
        out.field("number", &material.number)
            .field("own", &own)
            .finish_non_exhaustive()
    }
}

impl Workload {
    /// What it is now.
    pub(crate) fn now(&self) -> arc_swap::Guard<Arc<Material>> {
        self.0.material.load()
    }

    /// From now on it shows this.
    pub(crate) fn show(&self, keypair: Keypair, root: Option<&str>) {
        let facts = keypair.facts().ok();
        let uri = facts
            .and_then(|facts| facts.uris.into_iter().next())
            .unwrap_or_default();
        let own = Own {
            keypair: Arc::new(keypair),
            uri: uri.into(),
            root: root.map(Into::into),
        };
        self.change(|before| Material {
            number: before.number + 1,
            own: Some(own.clone()),
            ..before.clone()
        });
    }

    /// From now on it believes those: its controller says so. Whether that is news.
    pub(crate) fn believe(&self, trusted: &Arc<Trusted>) -> bool {
        self.trust(trusted, true)
    }

    /// It believes those, unless its controller has said, or says in this moment, whom to believe.
    pub(crate) fn assume(&self, trusted: &Arc<Trusted>) {
        self.trust(trusted, false);
    }

    fn trust(&self, trusted: &Arc<Trusted>, told: bool) -> bool {
        let mut news = false;
        self.change(|before| {
            let overruled = before.told && !told;
            news = !overruled && before.trusted.as_ref() != Some(trusted);
            Material {
                number: before.number + u64::from(news),
                trusted: match overruled {
                    true => before.trusted.clone(),
                    false => Some(trusted.clone()),
                },
                told: before.told || told,
                own: before.own.clone(),
            }
        });
        news
    }

    /// Who it is, as its certificate says; empty without one.
    pub(crate) fn uri(&self) -> Arc<str> {
        let material = self.now();
        material
            .own
            .as_ref()
            .map(|own| own.uri.clone())
            .unwrap_or_default()
    }

    /// Who it is, if its certificate names an identity of a mesh.
    pub fn id(&self) -> Option<SpiffeId> {
        self.uri().parse().ok()
    }

    /// Becomes ready when it can shake hands in the mesh.
    pub(crate) async fn completed(&self) {
        loop {
            let changed = self.0.changed.notified();
            {
                let material = self.now();
                if material.own.is_some() && material.trusted.is_some() {
                    return;
                }
            }
            changed.await;
        }
    }

    fn change(&self, mut next: impl FnMut(&Material) -> Material) {
        self.0.material.rcu(|before| next(before));
        self.0.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use daemon::clock;
    use identity::{Authority, Bundle};

    use super::*;

    #[tokio::test]
    async fn a_workload_is_complete_with_a_certificate_and_somebody_to_believe() {
        let hour = Duration::from_secs(3600);
        let authority = Authority::generate("test", hour, clock::wall()).unwrap();
        let name = "spiffe://cluster.local/ns/shop/sa/cart";
        let workload = Workload::default();
        let completed = workload.completed();
        let steps = async {
            workload.show(
                authority.issue_workload(&[name], hour, clock::wall()).unwrap(),
                None,
            );
            tokio::task::yield_now().await;
            let roots = Bundle::from_pem(authority.root_pem()).unwrap();
            let trusted = Arc::new(Trusted { roots, revoked: None });
            assert!(workload.believe(&trusted));
            assert!(!workload.believe(&trusted), "it is no news");
            let other = Authority::generate("other", hour, clock::wall()).unwrap();
            let roots = Bundle::from_pem(other.root_pem()).unwrap();
            workload.assume(&Arc::new(Trusted { roots, revoked: None }));
            assert_eq!(
                workload.now().trusted,
                Some(trusted),
                "the controller's word stands"
            );
        };
        clock::timeout(Duration::from_secs(10), async { tokio::join!(completed, steps) })
            .await
            .unwrap();
        assert_eq!(workload.id().unwrap().to_string(), name);
        assert_eq!(workload.now().number, 2);
        assert!(!format!("{workload:?}").contains("PRIVATE"));
    }
}
