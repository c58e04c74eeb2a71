//! Keeps what stands: follows both Secrets (a plugged-in authority is replaced while everybody serves), drives the
//! rotation of our own root, and says in ConfigMap `amime-ca` how it is. Who annotates that ConfigMap with
//! `amime.io/rotate` asks for a rotation, or something of the one under way ([`requests`]).
//!
//! The Secret is written first and followed afterwards, with its version as condition. Of several replicas one answers
//! and decides, upon what all of them see ([`super::replicas`]); the others take over what it wrote.

mod requests;
mod steps;

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use daemon::clock::Due;
use daemon::{Drain, clock};
use futures_util::{StreamExt, TryStreamExt, stream};
use identity::Keypair;
use identity::tls::PeerCertificate;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use serde_json::{Value, json};
use tokio::sync::watch as latest;
use xds::Dialect;

use super::issued::Issued;
use super::publish::Published;
use super::replicas::{Replicas, View};
use super::root;
use super::rotation::{Belief, Facts, Next, Proxy, Rotation};
use super::standing::{Source, Standing};
use super::status::{self, Progress, Status};
use crate::push::Connections;
use crate::push::status::Connection;

const WHILE_ROTATING: Duration = Duration::from_secs(1);
const AT_REST: Duration = Duration::from_secs(30);
/// For one question or write.
const DEADLINE: Duration = Duration::from_secs(15);
/// Our own root is replaced when this part of its life is left (Istio: a fifth).
const GRACE: u32 = 5;
/// After a rotation was left, none begins by itself for so long.
const REST: Duration = Duration::from_secs(3600);
/// Who asks for the roots does so in its first messages: within this time, in seconds.
const YOUNG: u64 = 10;
/// Pods that are looked for at once.
const AT_ONCE: usize = 5;
/// Names in the status.
const TOLD: usize = 10;

/// What it looks at to decide.
pub(crate) struct Sight {
    pub(crate) connections: Connections,
    pub(crate) issued: Issued,
    /// The roots that every namespace has.
    pub(crate) published: Published,
    /// The roots that the API server has for our webhooks.
    pub(crate) webhooks: Published,
    /// The longest validity of a certificate.
    pub(crate) longest: Duration,
}

/// The keeper. One for each controller.
pub(crate) struct Keeper {
    client: kube::Client,
    namespace: String,
    standing: latest::Sender<Arc<Standing>>,
    sight: Sight,
    replicas: Replicas,
    /// Since when this process sees anything; seconds since 1970.
    since: u64,
    /// What is asked for, and not answered yet.
    asked: Option<String>,
    /// The request that was answered last, and why it was refused if it was.
    answered: (String, Option<String>),
    waiting: Vec<String>,
    /// Proxies that no root of ours reaches.
    mounted: Vec<String>,
    /// The pod that was looked for last.
    looked_for: String,
    told: Value,
    /// Until then no rotation begins by itself: somebody left one.
    rests: Option<Due>,
    /// The Secrets could not be taken over; after that pause they are looked at again.
    behind: Option<Duration>,
}

impl Keeper {
    /// `namespace` and `pod` are our own.
    pub(crate) fn new(
        client: kube::Client,
        (namespace, pod): (String, String),
        standing: latest::Sender<Arc<Standing>>,
        sight: Sight,
    ) -> Self {
        Self {
            replicas: Replicas::new(&client, &namespace, pod),
            client,
            namespace,
            standing,
            sight,
            since: clock::unix_seconds(),
            asked: None,
            answered: Default::default(),
            waiting: Vec::new(),
            mounted: Vec::new(),
            looked_for: String::new(),
            told: Value::Null,
            rests: None,
            behind: None,
        }
    }

    /// Keeps until the drain begins.
    pub(crate) async fn run(mut self, mut drain: Drain) {
        let named = |name: &str| watcher::Config::default().fields(&format!("metadata.name={name}"));
        let secrets = || Api::<Secret>::namespaced(self.client.clone(), &self.namespace);
        let maps = Api::<ConfigMap>::namespaced(self.client.clone(), &self.namespace);
        let mut own = std::pin::pin!(watch(secrets(), named(root::OWN)).default_backoff());
        let mut plugged_in = std::pin::pin!(watch(secrets(), named(root::PLUGGED_IN)).default_backoff());
        let mut asked = std::pin::pin!(watch(maps, named(status::MAP)).default_backoff());
        let mut due = clock::now();
        loop {
            let outcome = tokio::select! {
                () = drain.wait() => return,
                Some(event) = own.next() => self.reload_after(event).await,
                Some(event) = plugged_in.next() => self.reload_after(event).await,
                Some(event) = asked.next() => {
                    if let Ok(Event::Apply(map) | Event::InitApply(map)) = event
                        && self.hear(&map)
                    {
                        due = clock::now();
                    }
                    Ok(())
                }
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
            if self.standing.borrow().rotation.is_some() || self.asked.is_some() {
                due = due.min(clock::now() + WHILE_ROTATING);
            }
            if let Some(pause) = self.behind {
                due = due.min(clock::now() + pause);
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
        let loaded = in_time(root::load(&secrets, (self.sight.longest, clock::wall()))).await;
        // No other event tells of the same change: whoever did not answer may answer soon, what is not valid yet will be.
        self.behind = match loaded {
            Ok(_) => None,
            Err(_) => Some(
                self.behind
                    .map_or(WHILE_ROTATING, |pause| (2 * pause).min(AT_REST)),
            ),
        };
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

    /// Somebody may have asked for something. Whether that is news.
    fn hear(&mut self, map: &ConfigMap) -> bool {
        if json!(map.data) != self.told {
            // Another replica wrote it: what we said last stands there no more.
            self.told = Value::Null;
        }
        let annotations = map.metadata.annotations.as_ref();
        let request = annotations.and_then(|all| all.get(status::ROTATE)).cloned();
        let entry = |name: &str| map.data.as_ref().and_then(|data| data.get(name));
        let answered = entry("answered");
        if let Some(request) = &request
            && answered == Some(request)
            && self.answered.0 != *request
        {
            // Who leads again must not answer with a request from before.
            let refused = entry("status").and_then(|status| refusal(status));
            self.answered = (request.clone(), refused);
        }
        let open = request.filter(|request| answered != Some(request) && self.answered.0 != *request);
        let news = open.is_some() && open != self.asked;
        self.asked = open;
        news
    }

    async fn answer(&mut self) -> Result<()> {
        let Some(request) = self.asked.clone() else {
            return Ok(());
        };
        let refused = self.fulfil(&request).await?;
        self.asked = None;
        self.answered = (request, refused);
        Ok(())
    }

    /// Looks whether something is due. Who leads says how it is in any case.
    async fn step(&mut self) -> Result<()> {
        let view = in_time(self.replicas.look()).await?;
        let outcome = self.act(&view).await;
        if !view.leads {
            return outcome;
        }
        let told = self.tell().await;
        outcome.and(told)
    }

    async fn act(&mut self, view: &View) -> Result<()> {
        if view.leads {
            self.answer().await?;
        }
        self.reread().await;
        let standing = self.standing.borrow().clone();
        let mut facts = self.facts(&standing);
        in_time(self.replicas.tell(view, &facts, &standing)).await?;
        if !view.leads {
            return Ok(());
        }
        in_time(self.replicas.hear(view, &standing, &mut facts)).await?;
        self.mounted = mounted(&facts);
        if let Some(rotation) = &standing.rotation {
            return self.decide(&standing, rotation, &facts).await;
        }
        self.waiting.clear();
        let rests = self.rests.is_some_and(|until| !until.has_come());
        if is_due(&standing) && !rests {
            self.begin().await?;
        }
        Ok(())
    }

    /// Reads once more what could not be read, and when former roots have been believed for long enough.
    async fn reread(&mut self) {
        let read_again = self.standing.borrow().read_again;
        let is_over = read_again.is_some_and(|until| until <= clock::unix_seconds());
        if (self.behind.is_some() || is_over)
            && let Err(error) = self.reload().await
        {
            let error = format!("{error:#}");
            tracing::warn!(scope = "ca", error, "certificate authority not read again");
        }
    }

    async fn decide(&mut self, standing: &Standing, rotation: &Rotation, facts: &Facts) -> Result<()> {
        let next = match rotation.next(facts) {
            Next::Wait(reasons) => {
                self.waiting = reasons;
                return self.forget_the_gone(standing, rotation, facts).await;
            }
            Next::Note(rotation) => {
                self.store(standing, steps::noted(standing, rotation)?).await?;
                // In a large mesh something is new each time, and yet some are gone.
                let noted = self.standing.borrow().clone();
                return match &noted.rotation {
                    Some(rotation) => self.forget_the_gone(&noted, rotation, facts).await,
                    None => Ok(()),
                };
            }
            Next::Switch(rotation) => steps::renewing(standing, rotation)?,
            Next::Finish => steps::finished(standing, rotation)?,
        };
        self.store(standing, next).await
    }

    /// Pods that are gone use no certificate.
    async fn forget_the_gone(
        &mut self,
        standing: &Standing,
        rotation: &Rotation,
        facts: &Facts,
    ) -> Result<()> {
        let names = rotation.missing(facts, &self.looked_for);
        let Some(last) = names.last() else { return Ok(()) };
        last.clone_into(&mut self.looked_for);
        let client = &self.client;
        let found = stream::iter(names).map(|name| async move {
            let there = is_there(client, &name).await?;
            Ok::<_, anyhow::Error>((!there).then_some(name))
        });
        let gone: Vec<Option<String>> = in_time(found.buffered(AT_ONCE).try_collect()).await?;
        let gone: Vec<String> = gone.into_iter().flatten().collect();
        if gone.is_empty() {
            return Ok(());
        }
        let next = steps::noted(standing, rotation.without_pods(&gone, facts.now))?;
        self.store(standing, next).await
    }

    /// What is known here.
    fn facts(&self, standing: &Standing) -> Facts {
        let now = clock::unix_seconds();
        let bundle = standing.trusted.version();
        let proxies = self.sight.connections.all();
        let proxies = proxies.into_iter().map(|connection| Proxy {
            belief: belief(&connection, &bundle, now),
            name: connection.name,
        });
        Facts {
            now,
            since: self.since,
            unheard: Vec::new(),
            proxies: proxies.collect(),
            published: self.sight.published.has_everywhere(standing.roots()),
            webhooks: self.sight.webhooks.has_everywhere(standing.roots()),
            issued: self.sight.issued.valid(now),
            longest: self.sight.longest.as_secs(),
            crowded: None,
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
            let secret = root::replaced(stored, &next)?;
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
            match maps.patch(status::MAP, &PatchParams::default(), &patch).await {
                Err(kube::Error::Api(problem)) if problem.is_not_found() => {
                    let map =
                        serde_json::from_value(json!({"metadata": {"name": status::MAP}, "data": data}))?;
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

    fn status(&self) -> Status {
        let standing = self.standing.borrow();
        let expires = standing.expires().duration_since(UNIX_EPOCH).unwrap_or_default();
        let rotation = standing.rotation.as_ref().map(|rotation| Progress {
            phase: rotation.phase,
            to: rotation.to.clone(),
            begun: rotation.begun,
            waiting_for: self.waiting.clone(),
        });
        let source = match standing.source {
            Source::PluggedIn => root::PLUGGED_IN,
            Source::Own => root::OWN,
        };
        Status {
            source: source.to_owned(),
            signer: standing.signer(),
            expires: expires.as_secs(),
            roots: standing.trusted.roots.fingerprints().collect(),
            revocation_lists: standing.trusted.revoked.is_some(),
            rotation,
            mounted: self.mounted.clone(),
            refused: self.answered.1.clone(),
        }
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let outcome = clock::timeout(DEADLINE, work).await;
    outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("the API server did not answer in time")))
}

/// Whether our own root is to be replaced without being asked: it nears its end, and no former root is believed, beside
/// which no rotation begins.
fn is_due(standing: &Standing) -> bool {
    is_old(standing) && standing.read_again.is_none()
}

/// Whether our own root nears its end, in proportion to its own life.
fn is_old(standing: &Standing) -> bool {
    let Some(certificate) = certificate(standing) else {
        return false;
    };
    let life = certificate.expires.duration_since(certificate.begins);
    let left = standing.expires().duration_since(clock::wall());
    standing.source == Source::Own && left.unwrap_or_default() < life.unwrap_or_default() / GRACE
}

/// What the certificate that signs says of itself.
fn certificate(standing: &Standing) -> Option<PeerCertificate> {
    let authority = &standing.authority;
    let keypair = Keypair::from_pem(&authority.certificate_pem(), &authority.key_pem());
    keypair.and_then(|keypair| keypair.facts()).ok()
}

/// Why the last request was refused, as a replica has told.
fn refusal(told: &str) -> Option<String> {
    serde_json::from_str::<Status>(told).ok()?.refused
}

/// What a connection tells of its proxy. `bundle` is the version that it should have acknowledged.
fn belief(connection: &Connection, bundle: &str, now: u64) -> Belief {
    match connection.roots.as_deref() {
        Some(acknowledged) if acknowledged == bundle => Belief::Acknowledged,
        Some(_) => Belief::Lagging,
        // It may be about to ask.
        None if now.saturating_sub(connection.connected) < YOUNG => Belief::Unsaid,
        // Ours ask, unless their certificates and roots are files of somebody else's.
        None if connection.peer.dialect == Dialect::Amime => Belief::Mounted,
        None => Belief::File,
    }
}

fn mounted(facts: &Facts) -> Vec<String> {
    let mounted = facts
        .proxies
        .iter()
        .filter(|proxy| proxy.belief == Belief::Mounted);
    mounted.take(TOLD).map(|proxy| proxy.name.clone()).collect()
}

/// Whether a pod may still use its certificate: one that has ended never runs again.
async fn is_there(client: &kube::Client, name: &str) -> Result<bool> {
    let (namespace, pod) = name.split_once('/').unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let phase = |pod: Pod| pod.status.and_then(|status| status.phase).unwrap_or_default();
    let found = pods.get_opt(pod).await?.map(phase);
    Ok(found.is_some_and(|phase| !matches!(phase.as_str(), "Succeeded" | "Failed")))
}

#[cfg(test)]
mod tests;
