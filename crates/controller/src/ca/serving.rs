//! The controller's own certificate, under the names by which proxies and the API server call it; renewed at half of
//! its life and when the authority changes, without a connection noticing. Proxies may show theirs in return.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use arc_swap::ArcSwap;
use daemon::Drain;
use daemon::admin::Tls;
use daemon::clock::{self, Due};
use identity::Authority;
use identity::tls::{Acceptance, Clients};
use xds::secrets::Trusted;

use super::rotation::Phase;
use super::standing::{Latest, Standing};

const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Half of a life leaves the other half for trying again.
pub(crate) const RENEWAL: Duration = Duration::from_secs(12 * 3600);
const RETRY: Duration = Duration::from_secs(60);

/// TLS settings of the two servers; they differ in the protocol that they offer, and in whom they ask who he is.
#[derive(Clone)]
pub(crate) struct Serving {
    pub(crate) webhook: Tls,
    pub(crate) xds: Tls,
}

impl Serving {
    pub(crate) fn new(standing: &Standing, namespace: &str, now: SystemTime) -> Result<Self> {
        let keypair = presented(standing).issue_server(&names(namespace), LIFETIME, now)?;
        let webhook = identity::tls::server_config(&keypair, None, &[b"http/1.1"])?;
        let xds = Acceptance {
            keypair: &keypair,
            clients: Some(Clients {
                roots: standing.roots(),
                revoked: standing.trusted.revoked.as_deref(),
                required: false,
                are_workloads: true,
                names: Vec::new(),
            }),
            application_protocols: vec!["h2".to_owned()],
            only_1_3: false,
            sessions: None,
        };
        Ok(Self {
            webhook: Arc::new(ArcSwap::new(webhook)),
            xds: Arc::new(ArcSwap::new(xds.config()?)),
        })
    }

    /// Replaces the certificate whenever `wait` has passed or the authority has changed, until the drain begins.
    pub(crate) async fn renew(self, mut latest: Latest, namespace: String, wait: Duration, mut drain: Drain) {
        let mut due = Due::after(wait);
        let mut shown = Looks::of(&latest.borrow_and_update());
        loop {
            tokio::select! {
                () = drain.wait() => return,
                Ok(()) = latest.changed() => {}
                () = due.come() => {}
            }
            let standing = latest.borrow_and_update().clone();
            let looks = Looks::of(&standing);
            // A note of a rotation changes nothing here.
            if looks == shown && !due.has_come() {
                continue;
            }
            let next = match Self::new(&standing, &namespace, clock::wall()) {
                Ok(renewed) => {
                    self.webhook.store(renewed.webhook.load_full());
                    self.xds.store(renewed.xds.load_full());
                    shown = looks;
                    wait
                }
                Err(error) => {
                    tracing::error!(
                        scope = "ca",
                        error = format!("{error:#}"),
                        "own certificate not renewed"
                    );
                    RETRY
                }
            };
            due = Due::after(next);
        }
    }
}

/// What a certificate and its settings are made of.
#[derive(PartialEq, Eq)]
struct Looks {
    signer: String,
    trusted: Trusted,
}

impl Looks {
    fn of(standing: &Standing) -> Self {
        Self {
            signer: presented(standing).chain_pem(),
            trusted: standing.trusted.clone(),
        }
    }
}

/// The authority whose certificate the controller shows.
fn presented(standing: &Standing) -> &Authority {
    let renewing = standing
        .rotation
        .as_ref()
        .is_some_and(|rotation| rotation.phase == Phase::Renewing);
    let former = standing.other.as_ref().filter(|_| renewing);
    former.unwrap_or(&standing.authority)
}

fn names(namespace: &str) -> Vec<String> {
    ["istiod", "istiod-remote", "istio-pilot"]
        .iter()
        .map(|name| format!("{name}.{namespace}.svc"))
        .collect()
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::super::rotation::Rotation;
    use super::super::standing::Source;
    use super::*;

    fn standing() -> Standing {
        let authority = Authority::generate("test", 10 * LIFETIME, clock::wall()).unwrap();
        Standing::new(authority, Source::Own).unwrap()
    }

    #[test]
    fn the_old_root_signs_for_the_controller_until_a_rotation_is_all_but_over() {
        let mut standing = standing();
        let other = Authority::generate("other", 10 * LIFETIME, clock::wall()).unwrap();
        let (signs, shows) = (standing.authority.certificate_pem(), other.certificate_pem());
        standing.other = Some(other);
        for (phase, expected) in [
            (Phase::Trusting, &signs),
            (Phase::Renewing, &shows),
            (Phase::Closing, &signs),
        ] {
            standing.rotation = Some(Rotation {
                phase,
                ..Rotation::new("new".into(), 7)
            });
            assert_eq!(presented(&standing).certificate_pem(), *expected, "{phase:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_note_of_a_rotation_is_no_reason_for_another_certificate() {
        let mut noted = standing();
        let authority = Authority::from_pem(&noted.authority.certificate_pem(), &noted.authority.key_pem());
        let first = Arc::new(Standing::new(authority.unwrap(), Source::Own).unwrap());
        let serving = Serving::new(&first, "istio-system", clock::wall()).unwrap();
        let (change, latest) = watch::channel(first);
        let (_trigger, drain) = daemon::drain::channel();
        let before = serving.xds.load_full();
        let renewal = serving
            .clone()
            .renew(latest, "istio-system".to_owned(), RENEWAL, drain);
        let check = async {
            clock::sleep(Duration::from_secs(1)).await;
            noted.rotation = Some(Rotation::new("new".into(), 7));
            change.send_replace(Arc::new(noted));
            clock::sleep(Duration::from_secs(1)).await;
            assert!(Arc::ptr_eq(&before, &serving.xds.load_full()));
            change.send_replace(Arc::new(standing()));
            clock::sleep(Duration::from_secs(1)).await;
            assert!(!Arc::ptr_eq(&before, &serving.xds.load_full()));
        };
        tokio::select! {
            () = renewal => panic!("it ended"),
            () = check => {}
        }
    }

    #[tokio::test]
    async fn a_renewed_certificate_serves_the_next_connection() {
        let standing = Arc::new(standing());
        let serving = Serving::new(&standing, "istio-system", clock::wall()).unwrap();
        let (_change, latest) = watch::channel(standing);
        let (webhook, xds) = (serving.webhook.load_full(), serving.xds.load_full());
        let (trigger, drain) = daemon::drain::channel();
        let often = Duration::from_millis(1);
        let renewal = serving
            .clone()
            .renew(latest, "istio-system".to_owned(), often, drain);
        let check = async {
            while Arc::ptr_eq(&webhook, &serving.webhook.load_full())
                || Arc::ptr_eq(&xds, &serving.xds.load_full())
            {
                tokio::task::yield_now().await;
            }
            trigger.begin();
        };
        clock::timeout(Duration::from_secs(10), async { tokio::join!(renewal, check) })
            .await
            .unwrap();
    }
}
