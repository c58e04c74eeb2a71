//! What is wrong with users' objects, written back as Kubernetes events, where `kubectl describe` shows it.
//!
//! After a quiet moment the findings of the latest picture are compared with those told before. A finding is one
//! event, told once; when it went away and came back, its count goes up.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use daemon::clock;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use resources::{Key, Level, Meta, Problem};
use serde_json::json;
use tokio::sync::watch;

use crate::push::World;

const COMPONENT: &str = "istiod";
/// A finding that passes within this is not worth telling.
const QUIET: Duration = Duration::from_secs(1);
/// When the API server did not take an event.
const RETRY: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(10);
/// Events written in one round; the others follow in the next.
const ROUND: usize = 100;
/// Events whose counts are kept.
const REMEMBERED: usize = 10_000;
/// The longest message that the API takes.
const LONGEST_MESSAGE: usize = 1024;

/// Findings worth an event, by the object that they are about. Hints are left to `analyze`.
type Findings = BTreeMap<Key, BTreeSet<Problem>>;

/// Writes events until no picture will come any more.
pub async fn write_events(client: kube::Client, mut worlds: watch::Receiver<Option<World>>) {
    let mut writer = Writer {
        client,
        told: Findings::new(),
        counts: HashMap::new(),
    };
    let mut left = false;
    loop {
        if left {
            let _ = clock::timeout(RETRY, worlds.changed()).await;
        } else if worlds.changed().await.is_err() {
            return;
        }
        clock::sleep(QUIET).await;
        let latest = worlds.borrow_and_update().clone();
        if let Some(world) = latest {
            left = writer.tell(&world, &findings(&world)).await;
        }
    }
}

struct Writer {
    client: kube::Client,
    told: Findings,
    /// How often each event was told, by its name.
    counts: HashMap<String, i32>,
}

fn findings(world: &World) -> Findings {
    let mut findings = Findings::new();
    for problem in translate::analyze(&world.mesh)
        .into_iter()
        .chain(world.problems.iter().cloned())
    {
        let worth_telling = problem.level() != Level::Info;
        if let Some(key) = problem.key.clone().filter(|_| worth_telling) {
            findings.entry(key).or_default().insert(problem);
        }
    }
    findings
}

impl Writer {
    /// Writes what was not told. Whether something is left for later.
    async fn tell(&mut self, world: &World, found: &Findings) -> bool {
        self.told.retain(|key, problems| {
            let still = found.get(key);
            problems.retain(|problem| still.is_some_and(|still| still.contains(problem)));
            !problems.is_empty()
        });
        let all = found
            .iter()
            .flat_map(|(key, problems)| problems.iter().map(move |problem| (key, problem)));
        let is_told =
            |key: &Key, problem: &Problem| self.told.get(key).is_some_and(|told| told.contains(problem));
        let new: Vec<_> = all
            .filter(|(key, problem)| !is_told(key, problem))
            .take(ROUND + 1)
            .collect();
        for (key, problem) in new.iter().take(ROUND) {
            let meta = world.mesh.get(key).map(resources::Resource::meta);
            let event = event(key, problem, meta, now());
            match clock::timeout(DEADLINE, self.write(event)).await {
                Ok(Ok(())) => {
                    self.told
                        .entry((*key).clone())
                        .or_default()
                        .insert((*problem).clone());
                }
                Ok(Err(error)) => {
                    tracing::warn!(object = %key, %error, "an event could not be written");
                    return true;
                }
                Err(_) => return true,
            }
        }
        new.len() > ROUND
    }

    /// Creates the event, or, where it exists, counts it. One that an earlier controller wrote is only refreshed.
    async fn write(&mut self, event: Event) -> Result<(), kube::Error> {
        if self.counts.len() >= REMEMBERED {
            self.counts.clear();
        }
        let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let name = event.metadata.name.as_deref().unwrap_or_default();
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => {
                self.counts.insert(name.to_owned(), 1);
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let mut patch = json!({"lastTimestamp": event.last_timestamp});
                if let Some(count) = self.counts.get_mut(name) {
                    *count = count.saturating_add(1);
                    patch["count"] = json!(count);
                }
                api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
                    .await
                    .map(drop)
            }
            Err(error) => Err(error),
        }
    }
}

fn now() -> Timestamp {
    Timestamp::try_from(clock::wall()).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn event(key: &Key, problem: &Problem, meta: Option<&Meta>, now: Timestamp) -> Event {
    // Events of cluster-wide objects live in `default`.
    let namespace = if key.namespace.is_empty() {
        "default"
    } else {
        &key.namespace
    };
    let present = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Event {
        metadata: ObjectMeta {
            name: Some(name(key, problem, meta)),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(key.kind.api_version()),
            kind: Some(key.kind.as_str().to_owned()),
            namespace: present(&key.namespace),
            name: Some(key.name.to_string()),
            uid: meta.and_then(|meta| present(&meta.uid)),
            field_path: present(&problem.field),
            ..ObjectReference::default()
        },
        reason: Some(problem.code.name().to_owned()),
        message: Some(message(problem)),
        type_: Some("Warning".to_owned()),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        source: Some(EventSource {
            component: Some(COMPONENT.to_owned()),
            host: None,
        }),
        reporting_component: Some(COMPONENT.to_owned()),
        ..Event::default()
    }
}

/// The same finding on the same object always has the same name, so that it is told once.
fn name(key: &Key, problem: &Problem, meta: Option<&Meta>) -> String {
    let mut hasher = DefaultHasher::new();
    meta.map(|meta| &meta.uid).hash(&mut hasher);
    (problem.code, &problem.field, &problem.message).hash(&mut hasher);
    format!("{}.{:016x}", key.name, hasher.finish())
}

fn message(problem: &Problem) -> String {
    let mut text = match problem.field.as_str() {
        "" => format!("[{}] {}", problem.code.as_str(), problem.message),
        field => format!("[{}] {field}: {}", problem.code.as_str(), problem.message),
    };
    let end = (0..=LONGEST_MESSAGE)
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or_default());
    text
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::Method;
    use resources::{Code, Kind};

    use super::*;
    use crate::fake_api;

    #[test]
    fn an_event_names_object_code_and_field_and_is_always_the_same() {
        let key = Key::new(Kind::VirtualService, "shop", "backend");
        let problem = Problem::new(
            Code::ReferencedResourceNotFound,
            &key,
            "spec.http[0]",
            "no such subset",
        );
        let meta = Meta {
            uid: "u1".into(),
            ..Meta::default()
        };
        let first = event(&key, &problem, Some(&meta), Timestamp::UNIX_EPOCH);
        assert_eq!(first.reason.as_deref(), Some("ReferencedResourceNotFound"));
        assert_eq!(
            first.message.as_deref(),
            Some("[IST0101] spec.http[0]: no such subset")
        );
        assert_eq!(first.involved_object.uid.as_deref(), Some("u1"));
        assert_eq!(first, event(&key, &problem, Some(&meta), Timestamp::UNIX_EPOCH));
        let reborn = event(&key, &problem, None, Timestamp::UNIX_EPOCH);
        assert_ne!(first.metadata.name, reborn.metadata.name);
    }

    #[tokio::test]
    async fn a_finding_is_told_once_and_counted_when_it_comes_back() {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let seen = calls.clone();
        let client = fake_api::client(move |method, _, body| {
            let mut seen = seen.lock().unwrap();
            let exists = seen.iter().any(|(method, _)| *method == Method::POST);
            seen.push((method.clone(), body.clone()));
            match *method == Method::POST && exists {
                true => fake_api::failure(409, "AlreadyExists", "it is there"),
                false => (200, json!({"metadata": {}, "involvedObject": {}})),
            }
        });
        let key = Key::new(Kind::VirtualService, "shop", "backend");
        let problem = Problem::new(Code::ReferencedResourceNotFound, &key, "", "no such subset");
        let found = Findings::from([(key, BTreeSet::from([problem]))]);
        let world = World {
            mesh: Arc::default(),
            problems: Arc::default(),
            number: 1,
            changed: clock::now(),
        };
        let mut writer = Writer {
            client,
            told: Findings::new(),
            counts: HashMap::new(),
        };
        for found in [&found, &found, &Findings::new(), &found] {
            assert!(!writer.tell(&world, found).await);
        }
        let calls = calls.lock().unwrap();
        let methods: Vec<_> = calls.iter().map(|(method, _)| method.as_str()).collect();
        assert_eq!(methods, ["POST", "POST", "PATCH"]);
        assert_eq!(calls[2].1["count"], 2);
    }

    #[test]
    fn a_long_message_is_cut_between_letters() {
        let key = Key::new(Kind::VirtualService, "shop", "backend");
        let problem = Problem::new(Code::SchemaWarning, &key, "", "ä".repeat(2000));
        let text = message(&problem);
        assert!(text.len() <= LONGEST_MESSAGE && text.len() > LONGEST_MESSAGE - 4);
    }
}
