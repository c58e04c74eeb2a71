//! What the replicas of the controller see together, while a root is replaced: each sees its own proxies and what it
//! signed itself, and says so in ConfigMap `amime-ca-POD`, which goes with its pod. The first of them by name decides
//! for all; that two believe to be the first for a moment does no harm, since what they store has a version.
//!
//! A replica that Kubernetes calls Ready and that has not said what it sees is waited for; of one that is not Ready counts
//! what it says, if it does. One that is alone writes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result};
use daemon::clock::{self, Instant};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::issued::Given;
use super::rotation::{Belief, Facts, Phase, Proxy};
use super::standing::Standing;

const LABELS: &str = "app=istiod,istio=pilot";
const KEY: &str = "report.json";
/// Said again when nothing has changed.
const OFTEN: Duration = Duration::from_secs(5);
/// What is older counts for nothing, in seconds. Clocks of nodes may differ a little.
const FRESH: u64 = 20;
/// Names of either kind that one replica tells: they fit into a ConfigMap.
const MOST: usize = 5_000;

/// What one replica sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Report {
    at: u64,
    since: u64,
    /// What it serves: the phase, and the version of the bundle.
    phase: Phase,
    bundle: String,
    proxies: Vec<Proxy>,
    /// Of each caller: whether its newest certificate is of the new root, until when it is valid, when it was given.
    given: BTreeMap<String, (bool, u64, u64)>,
    /// There are more than can be told: until when the last certificate of any of them is valid.
    crowded: Option<u64>,
}

impl Report {
    fn of(facts: &Facts, standing: &Standing) -> Option<Self> {
        let rotation = standing.rotation.as_ref()?;
        let given = facts.issued.iter().take(MOST);
        let given =
            given.map(|(name, given)| (name.clone(), (given.root == rotation.to, given.until, given.at)));
        let mut proxies = facts.proxies.clone();
        // Those that are waited for are told in any case.
        proxies.sort_by_key(|proxy| proxy.belief == Belief::Acknowledged);
        let untold = proxies.split_off(proxies.len().min(MOST));
        let crowded = (!untold.is_empty() || facts.issued.len() > MOST).then(|| {
            let last = facts.issued.values().map(|given| given.until).max();
            let all_are_known = untold.iter().all(|proxy| facts.issued.contains_key(&proxy.name));
            // Whoever is connected has a certificate, of another replica or of a former process perhaps.
            let forever = facts.now.saturating_add(facts.longest);
            last.filter(|_| all_are_known).unwrap_or(forever)
        });
        Some(Self {
            at: facts.now,
            since: facts.since,
            phase: rotation.phase,
            bundle: standing.trusted.version(),
            proxies,
            given: given.collect(),
            crowded,
        })
    }

    fn serves_the_same(&self, standing: &Standing) -> bool {
        let phase = standing.rotation.as_ref().map(|rotation| rotation.phase);
        phase == Some(self.phase) && standing.trusted.version() == self.bundle
    }

    fn is_fresh(&self, now: u64) -> bool {
        now.abs_diff(self.at) <= FRESH
    }

    /// Adds it to what is known. `to` is the root that comes.
    fn add_to(self, facts: &mut Facts, to: &str) {
        facts.since = facts.since.max(self.since);
        facts.crowded = facts.crowded.max(self.crowded);
        facts.proxies.extend(self.proxies);
        for (name, (new, until, at)) in self.given {
            let root = if new { to.to_owned() } else { String::new() };
            let given = Given { root, until, at };
            match facts.issued.get(&name) {
                Some(known) if known.at >= given.at => {}
                _ => drop(facts.issued.insert(name, given)),
            }
        }
    }
}

/// The replicas, as the API server tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    /// Whether this one decides.
    pub(super) leads: bool,
    /// All others, and whether they are Ready.
    others: BTreeMap<String, bool>,
    /// Of our own pod.
    uid: Option<String>,
}

impl View {
    fn of(pods: Vec<Pod>, own: &str) -> Self {
        let mut view = Self::default();
        let mut ready = BTreeSet::new();
        for pod in pods {
            let name = pod.metadata.name.clone().unwrap_or_default();
            if is_ready(&pod) {
                ready.insert(name.clone());
            }
            match name == own {
                true => view.uid = pod.metadata.uid,
                false => drop(view.others.insert(name.clone(), ready.contains(&name))),
            }
        }
        // Outside of the cluster, and before anybody is ready, there is nobody to leave it to.
        view.leads = view.uid.is_none() || ready.first().is_none_or(|first| first == own);
        view
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Tells the others, and hears of them.
pub(super) struct Replicas {
    pods: Api<Pod>,
    maps: Api<ConfigMap>,
    own: String,
    told: Option<(Instant, Report)>,
}

impl Replicas {
    pub(super) fn new(client: &kube::Client, namespace: &str, own: String) -> Self {
        Self {
            pods: Api::namespaced(client.clone(), namespace),
            maps: Api::namespaced(client.clone(), namespace),
            own,
            told: None,
        }
    }

    pub(super) async fn look(&self) -> Result<View> {
        let pods = self.pods.list(&ListParams::default().labels(LABELS)).await;
        let pods = pods.context("cannot see the replicas of the controller")?;
        Ok(View::of(pods.items, &self.own))
    }

    /// Says what is seen here.
    pub(super) async fn tell(&mut self, view: &View, facts: &Facts, standing: &Standing) -> Result<()> {
        let (Some(uid), Some(report)) = (&view.uid, Report::of(facts, standing)) else {
            return Ok(());
        };
        if view.others.is_empty() {
            return Ok(());
        }
        let known = self.told.as_ref().is_some_and(|(at, told)| {
            let same = Report {
                at: told.at,
                ..report.clone()
            } == *told;
            same && clock::now() < *at + OFTEN
        });
        if known {
            return Ok(());
        }
        let name = map_of(&self.own);
        let map = json!({
            "metadata": {"name": name, "ownerReferences": [
                {"apiVersion": "v1", "kind": "Pod", "name": self.own, "uid": uid},
            ]},
            "data": {KEY: serde_json::to_string(&report)?},
        });
        self.write(&name, map)
            .await
            .context("cannot tell the other replicas")?;
        self.told = Some((clock::now(), report));
        Ok(())
    }

    async fn write(&self, name: &str, map: Value) -> Result<()> {
        let patch = Patch::Merge(&map);
        match self.maps.patch(name, &PatchParams::default(), &patch).await {
            Err(kube::Error::Api(problem)) if problem.is_not_found() => {
                let map = serde_json::from_value(map)?;
                self.maps.create(&PostParams::default(), &map).await?;
            }
            outcome => drop(outcome?),
        }
        Ok(())
    }

    /// Adds what the others see, and who of them has not said it.
    pub(super) async fn hear(&self, view: &View, standing: &Standing, facts: &mut Facts) -> Result<()> {
        let Some(rotation) = &standing.rotation else {
            return Ok(());
        };
        for (name, serves) in &view.others {
            let map = self.maps.get_opt(&map_of(name)).await?;
            let text = map.and_then(|map| map.data).and_then(|mut data| data.remove(KEY));
            let report = text.and_then(|text| serde_json::from_str::<Report>(&text).ok());
            let told = report.filter(|report| report.is_fresh(facts.now) && report.serves_the_same(standing));
            match told {
                Some(report) => report.add_to(facts, &rotation.to),
                None if *serves => facts.unheard.push(name.clone()),
                // It has ended, or is not there yet: its proxies are with the others, or come when it is.
                None => {}
            }
        }
        Ok(())
    }
}

fn map_of(pod: &str) -> String {
    format!("amime-ca-{pod}")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use identity::{Authority, Bundle};

    use super::super::rotation::Rotation;
    use super::super::standing::Source;
    use super::*;
    use crate::fake_api;

    fn pod(name: &str, ready: bool) -> Pod {
        let status = if ready { "True" } else { "False" };
        serde_json::from_value(json!({
            "metadata": {"name": name, "uid": format!("uid-{name}")},
            "status": {"conditions": [{"type": "Ready", "status": status}]},
        }))
        .unwrap()
    }

    fn standing() -> Standing {
        let authority = Authority::generate("test", Duration::from_secs(60), clock::wall()).unwrap();
        let to = Bundle::from_pem(authority.root_pem()).unwrap().signer();
        let mut standing = Standing::new(authority, Source::Own).unwrap();
        standing.rotation = Some(Rotation::new(to, 7));
        standing
    }

    fn facts(proxy: &str, root: &str, at: u64) -> Facts {
        let given = Given {
            root: root.to_owned(),
            until: 900,
            at,
        };
        Facts {
            now: 100,
            since: at,
            proxies: vec![Proxy {
                name: proxy.to_owned(),
                belief: Belief::Lagging,
            }],
            issued: BTreeMap::from([("shop/a".to_owned(), given)]),
            ..Facts::default()
        }
    }

    #[test]
    fn the_first_that_serves_decides_for_all() {
        let leads = |own: &str, pods: &[(&str, bool)]| {
            let pods = pods.iter().map(|(name, ready)| pod(name, *ready));
            View::of(pods.collect(), own).leads
        };
        assert!(leads("", &[]), "outside of a cluster");
        assert!(leads("a", &[("a", true), ("b", true)]));
        assert!(!leads("b", &[("a", true), ("b", true)]));
        assert!(leads("b", &[("a", false), ("b", true)]));
        assert!(leads("b", &[("a", false), ("b", false)]));
    }

    #[tokio::test]
    async fn what_another_replica_sees_counts_and_its_silence_does_too() {
        let maps = Arc::new(Mutex::new(BTreeMap::<String, Value>::new()));
        let client = fake_api::client(move |method, path, body| {
            let mut maps = maps.lock().unwrap();
            let name = path.rsplit('/').next().unwrap().to_owned();
            match (method.as_str(), maps.get(&name)) {
                ("POST", _) => {
                    let name = body["metadata"]["name"].as_str().unwrap().to_owned();
                    maps.insert(name, body.clone());
                    (201, body)
                }
                ("GET", Some(map)) => (200, map.clone()),
                _ => fake_api::failure(404, "NotFound", "not found"),
            }
        });
        let standing = standing();
        let to = standing.signer();
        let pods = || vec![pod("istiod-1", true), pod("istiod-2", true)];
        let one = Replicas::new(&client, "istio-system", "istiod-1".into());
        let mut two = Replicas::new(&client, "istio-system", "istiod-2".into());
        let view = View::of(pods(), "istiod-1");
        let mut seen = facts("shop/near", "old", 50);
        one.hear(&view, &standing, &mut seen).await.unwrap();
        assert_eq!(seen.unheard, ["istiod-2"]);

        let theirs = facts("shop/far", &to, 60);
        two.tell(&View::of(pods(), "istiod-2"), &theirs, &standing)
            .await
            .unwrap();
        let mut seen = facts("shop/near", "old", 50);
        one.hear(&view, &standing, &mut seen).await.unwrap();
        assert!(seen.unheard.is_empty());
        assert_eq!(seen.since, 60, "the youngest");
        assert_eq!(seen.issued["shop/a"].root, to, "the newer word");
        let names: Vec<_> = seen.proxies.iter().map(|proxy| proxy.name.as_str()).collect();
        assert_eq!(names, ["shop/near", "shop/far"]);

        for stale in [
            Facts {
                now: 100 + FRESH + 1,
                ..facts("shop/near", "old", 50)
            },
            facts("shop/near", "old", 50),
        ] {
            let mut other = self::standing();
            if stale.now > 100 {
                other = Standing {
                    rotation: standing.rotation.clone(),
                    ..other
                };
                other.trusted = standing.trusted.clone();
            }
            let mut seen = stale;
            one.hear(&view, &other, &mut seen).await.unwrap();
            assert_eq!(seen.unheard, ["istiod-2"], "it is late, or serves something else");
        }
    }

    #[test]
    fn a_report_fits_into_a_config_map() {
        let mut facts = facts("shop/a", "old", 1);
        let name = |number: usize| format!("a-long-namespace/some-deployment-6d8f9c7b5-{number:05}");
        facts.proxies = (0..2 * MOST)
            .map(|number| Proxy {
                name: name(number),
                belief: Belief::Acknowledged,
            })
            .collect();
        facts.proxies[2 * MOST - 1].belief = Belief::Lagging;
        let given = facts.issued["shop/a"].clone();
        facts.issued = (0..2 * MOST)
            .map(|number| (name(number), given.clone()))
            .collect();
        let report = Report::of(&facts, &standing()).unwrap();
        assert_eq!(report.crowded, Some(given.until), "of all of them it is known");
        assert_eq!(
            report.proxies[0].belief,
            Belief::Lagging,
            "who is waited for is told"
        );
        assert!(serde_json::to_string(&report).unwrap().len() < 1 << 20);
        facts.issued.remove(&name(2 * MOST - 2));
        let report = Report::of(&facts, &standing()).unwrap();
        assert_eq!(
            report.crowded,
            Some(facts.now + facts.longest),
            "of one it is not"
        );
    }
}
