//! Keeps what stands: follows both Secrets (a plugged-in authority is replaced while everybody serves), drives the
//! rotation of our own root, and says in ConfigMap `amime-ca` how it is. Who annotates that ConfigMap with
//! `amime.io/rotate` asks for a rotation.
//!
//! The Secret is written first and followed afterwards, with its version as condition: of several replicas one wins,
//! and the others take over what it wrote.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use daemon::{Drain, clock};
use futures_util::StreamExt;
use identity::{Authority, Bundle};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use serde_json::{Value, json};
use tokio::sync::watch as latest;

use super::issued::Issued;
use super::publish::Published;
use super::root;
use super::rotation::{Facts, Next, Phase, Proxy, Rotation};
use super::standing::{Source, Standing};
use crate::push::Connections;

/// The ConfigMap.
const STATUS: &str = "amime-ca";
/// Asks for a rotation; each value once.
const ROTATE: &str = "amime.io/rotate";
const WHILE_ROTATING: Duration = Duration::from_secs(1);
const AT_REST: Duration = Duration::from_secs(30);
/// For one question or write.
const DEADLINE: Duration = Duration::from_secs(15);
/// Our own root is replaced when this part of its life is left (Istio: a fifth).
const GRACE: u32 = 5;

/// What it looks at to decide.
pub(crate) struct Sight {
    pub(crate) connections: Connections,
    pub(crate) issued: Issued,
    pub(crate) published: Published,
    /// The longest validity of a certificate.
    pub(crate) longest: Duration,
}

/// The keeper. One for each controller.
pub(crate) struct Keeper {
    client: kube::Client,
    namespace: String,
    standing: latest::Sender<Arc<Standing>>,
    sight: Sight,
    /// The request that was answered last, and why it was refused if it was.
    answered: (String, Option<String>),
    waiting: Vec<String>,
    told: Value,
}

impl Keeper {
    pub(crate) fn new(
        client: kube::Client,
        namespace: String,
        standing: latest::Sender<Arc<Standing>>,
        sight: Sight,
    ) -> Self {
        Self {
            client,
            namespace,
            standing,
            sight,
            answered: Default::default(),
            waiting: Vec::new(),
            told: Value::Null,
        }
    }

    /// Keeps until the drain begins.
    pub(crate) async fn run(mut self, mut drain: Drain) {
        let named = |name: &str| watcher::Config::default().fields(&format!("metadata.name={name}"));
        let secrets = || Api::<Secret>::namespaced(self.client.clone(), &self.namespace);
        let maps = Api::<ConfigMap>::namespaced(self.client.clone(), &self.namespace);
        let mut own = std::pin::pin!(watch(secrets(), named(root::OWN)).default_backoff());
        let mut plugged_in = std::pin::pin!(watch(secrets(), named(root::PLUGGED_IN)).default_backoff());
        let mut asked = std::pin::pin!(watch(maps, named(STATUS)).default_backoff());
        let mut due = clock::now();
        loop {
            let outcome = tokio::select! {
                () = drain.wait() => return,
                Some(event) = own.next() => self.reload_after(event).await,
                Some(event) = plugged_in.next() => self.reload_after(event).await,
                Some(Ok(Event::Apply(map) | Event::InitApply(map))) = asked.next() => self.answer(&map).await,
                () = clock::sleep_until(due) => {
                    let outcome = self.step().await;
                    due = clock::now() + AT_REST;
                    outcome
                }
            };
            if let Err(error) = outcome {
                tracing::warn!(
                    scope = "ca",
                    error = format!("{error:#}"),
                    "certificate authority not kept"
                );
            }
            if self.standing.borrow().rotation.is_some() {
                due = due.min(clock::now() + WHILE_ROTATING);
            }
        }
    }

    async fn reload_after(&mut self, event: Result<Event<Secret>, watcher::Error>) -> Result<()> {
        match event {
            Ok(Event::Apply(_) | Event::InitApply(_) | Event::Delete(_)) => self.reload().await,
            Ok(Event::Init | Event::InitDone) => Ok(()),
            Err(error) => {
                tracing::debug!(scope = "ca", %error, "watch interrupted");
                Ok(())
            }
        }
    }

    /// Takes over what the Secrets hold now. What cannot be used leaves the former authority in force.
    async fn reload(&mut self) -> Result<()> {
        let secrets = self.secrets();
        let loaded = in_time(root::load(&secrets)).await;
        let Some(next) = loaded.context("the former certificate authority stays in force")? else {
            // Somebody removed the Secret: the mesh lives on with what is known, and the next start makes another one.
            return Ok(());
        };
        self.adopt(next);
        Ok(())
    }

    fn adopt(&self, next: Standing) {
        self.standing.send_if_modified(|known| {
            let new = !known.is_same(&next);
            if new {
                let (signer, roots) = (next.signer(), next.trusted.roots.fingerprints().count());
                tracing::info!(scope = "ca", signer, roots, "certificate authority changed");
                *known = Arc::new(next);
            }
            new
        });
    }

    /// Somebody may have asked for a rotation.
    async fn answer(&mut self, map: &ConfigMap) -> Result<()> {
        let Some(request) = map.metadata.annotations.as_ref().and_then(|all| all.get(ROTATE)) else {
            return Ok(());
        };
        let answered = map.data.as_ref().and_then(|data| data.get("answered"));
        if answered == Some(request) || self.answered.0 == *request {
            return Ok(());
        }
        let outcome = self.begin().await;
        let refused = outcome.as_ref().err().map(|error| format!("{error:#}"));
        self.answered = (request.clone(), refused);
        self.tell().await?;
        outcome
    }

    async fn begin(&mut self) -> Result<()> {
        let standing = self.standing.borrow().clone();
        if standing.source == Source::PluggedIn {
            bail!(
                "the certificate authority is plugged in: add the new root to root-cert.pem of Secret {}, and then replace the signer",
                root::PLUGGED_IN
            );
        }
        if standing.rotation.is_some() {
            bail!("a rotation is under way");
        }
        let coming = Authority::generate(&self.organisation(), root::LIFETIME, clock::wall())?;
        let next = trusting(&standing, coming, clock::unix_seconds())?;
        tracing::info!(
            scope = "ca",
            to = next.rotation.as_ref().map(|rotation| &*rotation.to),
            "rotation begins"
        );
        self.store(&standing, next).await
    }

    /// The name in our own root, which the next one has as well.
    fn organisation(&self) -> String {
        let standing = self.standing.borrow();
        let facts = identity::Keypair::from_pem(
            &standing.authority.certificate_pem(),
            &standing.authority.key_pem(),
        )
        .and_then(|keypair| keypair.facts());
        let organisations = facts.map(|facts| facts.organisations).unwrap_or_default();
        organisations
            .into_iter()
            .next()
            .unwrap_or_else(|| "cluster.local".to_owned())
    }

    /// Looks whether something is due.
    async fn step(&mut self) -> Result<()> {
        let standing = self.standing.borrow().clone();
        self.waiting.clear();
        if let Some(rotation) = &standing.rotation {
            let facts = self.facts(&standing);
            match rotation.next(&facts) {
                Next::Wait(reasons) => {
                    self.waiting = reasons;
                    self.forget_the_dead(&standing, rotation, &facts).await?;
                }
                Next::Switch(rotation) => self.store(&standing, renewing(&standing, rotation)?).await?,
                Next::Note(rotation) => self.store(&standing, noted(&standing, rotation)?).await?,
                Next::Finish => self.store(&standing, finished(&standing, rotation)?).await?,
            }
        } else if is_old(&standing) {
            self.begin().await?;
        }
        self.tell().await
    }

    /// Pods that are gone use no certificate.
    async fn forget_the_dead(
        &mut self,
        standing: &Standing,
        rotation: &Rotation,
        facts: &Facts,
    ) -> Result<()> {
        if rotation.phase != Phase::Renewing {
            return Ok(());
        }
        let mut gone = Vec::new();
        for name in rotation.missing(facts) {
            let Some((namespace, pod)) = name.split_once('/').filter(|(_, pod)| !pod.contains(':')) else {
                continue;
            };
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
            let found = in_time(async { Ok(pods.get_opt(pod).await?) }).await?;
            if found.is_none() {
                gone.push(name);
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        self.store(standing, noted(standing, rotation.without(&gone))?)
            .await
    }

    fn facts(&self, standing: &Standing) -> Facts {
        let now = clock::unix_seconds();
        let proxies = self.sight.connections.all();
        let proxies = proxies.into_iter().map(|connection| Proxy {
            name: format!(
                "{}/{}",
                connection.peer.node.namespace, connection.peer.node.pod_name
            ),
            holds: connection.holds_roots,
        });
        Facts {
            now,
            proxies: proxies.collect(),
            published: self.sight.published.has_everywhere(standing.roots()),
            issued: self.sight.issued.valid(now),
            longest: self.sight.longest.as_secs(),
        }
    }

    /// Writes what comes next, if nobody else wrote meanwhile, and follows it.
    async fn store(&mut self, before: &Standing, next: Standing) -> Result<()> {
        let secrets = self.secrets();
        let work = async {
            let stored = secrets.get(root::OWN).await?;
            let known = root::read(&stored, Source::Own)?;
            if !known.is_same(before) {
                bail!("Secret {} was changed by somebody else", root::OWN);
            }
            let mut secret = root::to_secret(&next, &self.namespace)?;
            secret.metadata = stored.metadata;
            secrets
                .replace(root::OWN, &PostParams::default(), &secret)
                .await?;
            Ok(())
        };
        let stored = in_time(work).await;
        if let Err(error) = stored {
            self.reload().await?;
            return Err(error.context("the next step of the rotation is tried again"));
        }
        self.adopt(next);
        Ok(())
    }

    /// Says how it is, where that is news, and that the last request was answered.
    async fn tell(&mut self) -> Result<()> {
        let (answered, _) = &self.answered;
        let mut data = json!({"status": serde_json::to_string_pretty(&self.status())?});
        if !answered.is_empty() {
            data["answered"] = json!(answered);
        }
        if data == self.told {
            return Ok(());
        }
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let work = async {
            let patch = Patch::Merge(json!({"data": data}));
            match maps.patch(STATUS, &PatchParams::default(), &patch).await {
                Err(kube::Error::Api(problem)) if problem.is_not_found() => {
                    let map = serde_json::from_value(json!({"metadata": {"name": STATUS}, "data": data}))?;
                    maps.create(&PostParams::default(), &map).await?;
                }
                outcome => drop(outcome?),
            }
            Ok(())
        };
        in_time(work)
            .await
            .context("cannot say how the certificate authority is")?;
        self.told = data;
        Ok(())
    }

    fn status(&self) -> Value {
        let standing = self.standing.borrow();
        let expires = standing.expires().duration_since(UNIX_EPOCH).unwrap_or_default();
        let rotation = standing.rotation.as_ref().map(|rotation| {
            json!({
                "phase": rotation.phase, "to": rotation.to, "begun": rotation.begun, "waitingFor": self.waiting,
            })
        });
        json!({
            "source": match standing.source {
                Source::PluggedIn => root::PLUGGED_IN,
                Source::Own => root::OWN,
            },
            "signer": standing.signer(),
            "expires": expires.as_secs(),
            "roots": standing.trusted.roots.fingerprints().collect::<Vec<_>>(),
            "revocationLists": standing.trusted.revoked.is_some(),
            "rotation": rotation,
            "refused": self.answered.1,
        })
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let outcome = clock::timeout(DEADLINE, work).await;
    outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("the API server did not answer in time")))
}

/// Whether our own root nears its end.
fn is_old(standing: &Standing) -> bool {
    let left = standing
        .expires()
        .duration_since(clock::wall())
        .unwrap_or_default();
    standing.source == Source::Own && left < root::LIFETIME / GRACE
}

/// The same authority among these roots.
fn among(authority: &Authority, roots: &Bundle) -> Result<Authority, identity::Error> {
    Authority::plugged_in(
        &authority.certificate_pem(),
        &authority.key_pem(),
        &authority.intermediates_pem(),
        roots.pem(),
    )
}

fn standing_of(authority: Authority, before: &Standing) -> Result<Standing, identity::Error> {
    let mut next = Standing::new(authority, before.source)?;
    next.trusted.revoked.clone_from(&before.trusted.revoked);
    Ok(next)
}

/// Both are believed, the old one signs.
fn trusting(before: &Standing, coming: Authority, now: u64) -> Result<Standing> {
    let new = Bundle::from_pem(coming.root_pem())?;
    let both = before.trusted.roots.followed_by(&new);
    let mut next = standing_of(among(&before.authority, &both)?, before)?;
    next.rotation = Some(Rotation::new(new.signer(), now));
    next.coming = Some(coming);
    Ok(next)
}

/// Both are believed, the new one signs. The key of the old one is forgotten.
fn renewing(before: &Standing, rotation: Rotation) -> Result<Standing> {
    let coming = before
        .coming
        .as_ref()
        .context("the authority that comes is not stored")?;
    let mut next = standing_of(among(coming, &before.trusted.roots)?, before)?;
    next.rotation = Some(rotation);
    Ok(next)
}

/// The rotation is a little further, and all else as it was.
fn noted(before: &Standing, rotation: Rotation) -> Result<Standing> {
    let mut next = standing_of(among(&before.authority, &before.trusted.roots)?, before)?;
    next.rotation = Some(rotation);
    Ok(next)
}

/// Only the new one is believed.
fn finished(before: &Standing, rotation: &Rotation) -> Result<Standing> {
    let only = Bundle::from_pem(&before.authority.certificate_pem())?;
    if only.signer() != rotation.to {
        bail!("the authority that signs is not the one that the rotation leads to");
    }
    Ok(standing_of(among(&before.authority, &only)?, before)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Standing {
        let authority = Authority::generate("cluster.local", root::LIFETIME, clock::wall()).unwrap();
        Standing::new(authority, Source::Own).unwrap()
    }

    fn signs_with(standing: &Standing) -> String {
        let leaf = standing
            .authority
            .issue_workload(&["spiffe://a/ns/b/sa/c"], Duration::from_secs(60), clock::wall())
            .unwrap();
        assert_eq!(leaf.chain.len(), 1, "a root signs by itself");
        standing.trusted.roots.led_by(&leaf.chain_pem()).unwrap().signer()
    }

    #[test]
    fn trust_comes_before_the_signature_and_goes_after_it() {
        let before = own();
        let old = before.signer();
        let coming = Authority::generate("new", root::LIFETIME, clock::wall()).unwrap();
        let new = Bundle::from_pem(coming.root_pem()).unwrap().signer();
        let both = |standing: &Standing| standing.trusted.roots.fingerprints().collect::<Vec<_>>();

        let trusting = trusting(&before, coming, 7).unwrap();
        assert_eq!(both(&trusting), [old.clone(), new.clone()]);
        assert_eq!(signs_with(&trusting), old);

        let rotation = trusting.rotation.clone().unwrap();
        let renewing = renewing(&trusting, rotation.clone()).unwrap();
        assert_eq!(both(&renewing), [new.clone(), old.clone()]);
        assert_eq!(signs_with(&renewing), new);
        assert!(renewing.coming.is_none());
        // What is stored in between is enough to go on.
        let stored = root::to_secret(&renewing, "istio-system").unwrap();
        let read = root::read(&stored, Source::Own).unwrap();

        let finished = finished(&read, &rotation).unwrap();
        assert_eq!(both(&finished), [new]);
        assert!(finished.rotation.is_none());
    }

    #[test]
    fn nothing_is_removed_unless_the_new_root_signs() {
        let before = own();
        let rotation = Rotation::new("another".into(), 7);
        assert!(finished(&before, &rotation).is_err());
        assert!(renewing(&before, rotation).is_err(), "nobody comes");
    }

    #[test]
    fn our_own_root_is_replaced_in_time() {
        assert!(!is_old(&own()));
        let nearly = Authority::generate("cluster.local", root::LIFETIME / 6, clock::wall()).unwrap();
        assert!(is_old(&Standing::new(nearly, Source::Own).unwrap()));
        let theirs = Authority::generate("cluster.local", root::LIFETIME / 6, clock::wall()).unwrap();
        assert!(!is_old(&Standing::new(theirs, Source::PluggedIn).unwrap()));
    }
}
