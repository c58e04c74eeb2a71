//! The controller's own certificate, under the names by which proxies and the API server call it; renewed at half of
//! its life and when the authority changes, without a connection noticing. Proxies may show theirs in return.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use arc_swap::ArcSwap;
use daemon::admin::Tls;
use daemon::{Drain, clock};
use identity::tls::{Acceptance, Clients};

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
        let keypair = standing
            .authority
            .issue_server(&names(namespace), LIFETIME, now)?;
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
        let mut next = wait;
        loop {
            tokio::select! {
                () = drain.wait() => return,
                Ok(()) = latest.changed() => {}
                () = clock::sleep(next) => {}
            }
            let standing = latest.borrow_and_update().clone();
            next = match Self::new(&standing, &namespace, clock::wall()) {
                Ok(renewed) => {
                    self.webhook.store(renewed.webhook.load_full());
                    self.xds.store(renewed.xds.load_full());
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
        }
    }
}

fn names(namespace: &str) -> Vec<String> {
    ["istiod", "istiod-remote", "istio-pilot"]
        .iter()
        .map(|name| format!("{name}.{namespace}.svc"))
        .collect()
}

#[cfg(test)]
mod tests {
    use identity::Authority;
    use tokio::sync::watch;

    use super::super::standing::Source;
    use super::*;

    #[tokio::test]
    async fn a_renewed_certificate_serves_the_next_connection() {
        let authority = Authority::generate("test", 10 * LIFETIME, clock::wall()).unwrap();
        let standing = Arc::new(Standing::new(authority, Source::Own).unwrap());
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
