//! The controller's own certificate, under the names by which proxies and the API server call it; renewed at half of
//! its life, without a connection noticing.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use arc_swap::ArcSwap;
use daemon::admin::Tls;
use daemon::{Drain, clock};
use identity::Authority;

const LIFETIME: Duration = Duration::from_secs(24 * 3600);
const RETRY: Duration = Duration::from_secs(60);

/// TLS settings of the two servers; they differ in the protocol that they offer.
#[derive(Clone)]
pub(crate) struct Serving {
    pub(crate) webhook: Tls,
    pub(crate) xds: Tls,
}

impl Serving {
    pub(crate) fn new(authority: &Authority, namespace: &str, now: SystemTime) -> Result<Self> {
        let keypair = authority.issue_server(&names(namespace), LIFETIME, now)?;
        Ok(Self {
            webhook: Arc::new(ArcSwap::new(identity::tls::server_config(
                &keypair,
                None,
                &[b"http/1.1"],
            )?)),
            xds: Arc::new(ArcSwap::new(identity::tls::server_config(
                &keypair,
                None,
                &[b"h2"],
            )?)),
        })
    }

    /// Replaces the certificate in time, until the drain begins.
    pub(crate) async fn renew(self, authority: Arc<Authority>, namespace: String, mut drain: Drain) {
        let mut wait = LIFETIME / 2;
        loop {
            tokio::select! {
                () = drain.wait() => return,
                () = clock::sleep(wait) => {}
            }
            match Self::new(&authority, &namespace, clock::wall()) {
                Ok(next) => {
                    self.webhook.store(next.webhook.load_full());
                    self.xds.store(next.xds.load_full());
                    wait = LIFETIME / 2;
                }
                Err(error) => {
                    tracing::error!(
                        scope = "ca",
                        error = format!("{error:#}"),
                        "own certificate not renewed"
                    );
                    wait = RETRY;
                }
            }
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
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_certificate_changes_at_half_of_its_life() {
        let authority = Authority::generate("test", 10 * LIFETIME, clock::wall()).unwrap();
        let serving = Serving::new(&authority, "istio-system", clock::wall()).unwrap();
        let before = serving.xds.load_full();
        let (trigger, drain) = daemon::drain::channel();
        let renewal = serving
            .clone()
            .renew(Arc::new(authority), "istio-system".to_owned(), drain);
        let check = async {
            clock::sleep(LIFETIME / 2 - Duration::from_secs(1)).await;
            assert!(Arc::ptr_eq(&before, &serving.xds.load_full()));
            clock::sleep(Duration::from_secs(2)).await;
            assert!(!Arc::ptr_eq(&before, &serving.xds.load_full()));
            trigger.begin();
        };
        tokio::join!(renewal, check);
    }
}
