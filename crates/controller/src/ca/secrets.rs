//! Keys and roots for one stream of discovery: whom to believe for everybody who asks, and a key made here for proxies
//! that make none themselves (stock Envoy without Istio's agent).

use std::sync::Arc;
use std::time::Duration;

use daemon::clock::{self, Due};
use identity::Keypair;
use xds::message::{Request, Response};
use xds::secrets::{ROOTS, Secret, Secrets, WORKLOAD};

use super::authenticate::Caller;
use super::signer::Signer;
use super::standing::{Latest, Standing};

/// After a key could not be made.
const RETRY: Duration = Duration::from_secs(10);

/// The secrets of one proxy.
pub(crate) struct Keys {
    signer: Signer,
    caller: Caller,
    secrets: Secrets,
    /// When the certificate is renewed, once there is one.
    renewal: Option<Due>,
    standing: Latest,
    /// What the proxy was told of.
    adopted: Option<Arc<Standing>>,
}

impl Keys {
    pub(crate) fn new(signer: Signer, caller: Caller) -> Self {
        Self {
            standing: signer.standing.clone(),
            adopted: None,
            signer,
            caller,
            secrets: Secrets::default(),
            renewal: None,
        }
    }

    /// Takes a message of the proxy, if it is about secrets.
    pub(crate) fn take(&mut self, request: &Request) {
        if let Some(refused) = self.secrets.request(request) {
            tracing::warn!(target: "ads", proxy = self.caller.name(), refused, "a proxy refuses a secret");
        }
        if self.secrets.wants(WORKLOAD) && self.renewal.is_none() {
            self.renew();
        }
    }

    /// Becomes ready when something has changed: another authority stands, or the certificate has come of age.
    pub(crate) async fn changed(&mut self) {
        let due = self.renewal;
        let renewal = async {
            match due {
                Some(due) => due.come().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Ok(()) = self.standing.changed() => {}
            () = renewal => {}
        }
    }

    /// Takes over what has changed.
    pub(crate) fn adopt(&mut self) {
        let standing = self.standing.borrow_and_update().clone();
        let known = self
            .adopted
            .as_ref()
            .is_some_and(|adopted| Arc::ptr_eq(adopted, &standing));
        let mut other_signer = false;
        if !known {
            self.secrets.set(ROOTS, Secret::roots(ROOTS, &standing.trusted));
            let signer = |standing: &Arc<Standing>| standing.authority.chain_pem();
            other_signer = self.adopted.as_ref().map(signer) != Some(signer(&standing));
            self.adopted = Some(standing);
        }
        // The certificate may have come of age, or lead to a root that goes. All else is no reason for another key.
        let of_age = self.renewal.is_some_and(|due| due.has_come());
        if of_age || (other_signer && self.renewal.is_some()) {
            self.renew();
        }
    }

    /// The next message to send.
    pub(crate) fn poll(&mut self) -> Option<Response> {
        self.secrets.poll()
    }

    /// The version of the bundle that the proxy has acknowledged; empty before the first, `None` when it never asked.
    pub(crate) fn acknowledged(&self) -> Option<Arc<str>> {
        self.secrets.acknowledged(ROOTS)
    }

    fn renew(&mut self) {
        self.renewal = Some(Due::after(match self.signer.issue(&self.caller) {
            Ok(keypair) => {
                self.secrets
                    .set(WORKLOAD, Secret::certificate(WORKLOAD, &keypair));
                half_of(&keypair)
            }
            Err(error) => {
                tracing::error!(scope = "ca", proxy = self.caller.name(), %error, "no key made for a proxy");
                RETRY
            }
        }));
    }
}

/// Half of what is left of its life.
fn half_of(keypair: &Keypair) -> Duration {
    let left = keypair
        .facts()
        .ok()
        .and_then(|facts| facts.expires.duration_since(clock::wall()).ok());
    left.map_or(RETRY, |left| (left / 2).max(Duration::from_millis(100)))
}

#[cfg(test)]
mod tests {
    use identity::Authority;
    use tokio::sync::watch;

    use super::super::issued::Issued;
    use super::super::rotation::Rotation;
    use super::super::signer::Lifetimes;
    use super::super::standing::Source;
    use super::*;

    fn standing() -> Arc<Standing> {
        let authority = Authority::generate("test", Duration::from_secs(3600), clock::wall()).unwrap();
        Arc::new(Standing::new(authority, Source::Own).unwrap())
    }

    /// The same authority once more.
    fn standing_of(other: &Standing) -> Standing {
        let authority = &other.authority;
        let again = Authority::from_pem(&authority.certificate_pem(), &authority.key_pem()).unwrap();
        Standing::new(again, Source::Own).unwrap()
    }

    fn asks(names: &[&str]) -> Request {
        Request {
            type_url: xds::secrets::TYPE_URL.into(),
            subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Request::default()
        }
    }

    fn names(response: Option<Response>) -> Vec<String> {
        let resources = response.into_iter().flat_map(|response| response.resources);
        resources.map(|resource| resource.name).collect()
    }

    fn acknowledge(keys: &mut Keys) -> Vec<String> {
        let response = keys.poll().unwrap();
        keys.take(&Request {
            type_url: xds::secrets::TYPE_URL.into(),
            response_nonce: response.nonce.clone(),
            ..Request::default()
        });
        names(Some(response))
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_made_for_who_asks_and_again_at_half_of_its_life_and_for_another_signer() {
        let first = standing();
        let (change, latest) = watch::channel(first.clone());
        let signer = Signer {
            standing: latest,
            settings: crate::live::known(),
            lifetimes: Lifetimes {
                usual: Duration::from_secs(100),
                ..Lifetimes::default()
            },
            issued: Issued::default(),
        };
        let caller = Caller {
            namespace: "shop".into(),
            service_account: "cart".into(),
            pod: None,
            until: None,
        };
        let mut keys = Keys::new(signer.clone(), caller);
        keys.adopt();
        assert!(
            keys.poll().is_none() && signer.issued.valid(0).is_empty(),
            "nobody asked"
        );
        assert_eq!(keys.acknowledged(), None);
        keys.take(&asks(&[ROOTS, WORKLOAD]));
        assert_eq!(keys.acknowledged().as_deref(), Some(""));
        assert_eq!(acknowledge(&mut keys), [ROOTS, WORKLOAD]);
        let version = |standing: &Arc<Standing>| Some(standing.trusted.version().into());
        assert_eq!(keys.acknowledged(), version(&first));

        let begun = clock::now();
        keys.changed().await;
        keys.adopt();
        let waited = clock::now() - begun;
        assert!(
            waited > Duration::from_secs(45) && waited < Duration::from_secs(51),
            "{waited:?}"
        );
        assert_eq!(acknowledge(&mut keys), [WORKLOAD]);

        let second = standing();
        change.send_replace(second.clone());
        keys.changed().await;
        keys.adopt();
        assert_eq!(keys.acknowledged(), version(&first), "the former one");
        assert_eq!(acknowledge(&mut keys), [ROOTS, WORKLOAD]);
        assert_eq!(keys.acknowledged(), version(&second));

        // The next note of a rotation: nothing of it is the proxy's business.
        let mut noted = standing_of(&second);
        noted.rotation = Some(Rotation::new("new".into(), 7));
        change.send_replace(Arc::new(noted));
        keys.changed().await;
        keys.adopt();
        assert!(keys.poll().is_none());
    }
}
