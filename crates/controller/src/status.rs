//! What is wrong with users' objects, written back as Kubernetes events, where `kubectl describe` shows it.
//!
//! After a quiet moment the findings of the latest picture are compared with those told before. A finding is one
//! event, told once; when it went away and came back, or another controller told it, its count goes up.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use daemon::clock;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use resources::{Key, Level, Meta, Problem};
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
/// The longest message that the API takes.
const LONGEST_MESSAGE: usize = 1024;

/// Findings worth an event, by the object that they are about. Hints are left to `analyze`.
type Findings = BTreeMap<Key, BTreeSet<Problem>>;

/// Writes events until no picture will come any more.
pub async fn write_events(client: kube::Client, mut worlds: watch::Receiver<Option<World>>) {
    let mut told = Findings::new();
    let mut left = false;
    loop {
        if left {
            let _ = clock::timeout(RETRY, worlds.changed()).await;
        } else if worlds.changed().await.is_err() {
            return;
        }
        clock::sleep(QUIET).await;
        let Some(world) = worlds.borrow_and_update().clone() else {
            continue;
        };
        let found = findings(&world);
        told.retain(|key, problems| {
            let still = found.get(key);
            problems.retain(|problem| still.is_some_and(|still| still.contains(problem)));
            !problems.is_empty()
        });
        left = tell(&client, &world, &found, &mut told).await;
    }
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

/// Writes what was not told. Whether something is left for later.
async fn tell(client: &kube::Client, world: &World, found: &Findings, told: &mut Findings) -> bool {
    let mut written = 0;
    for (key, problems) in found {
        for problem in problems {
            if told.get(key).is_some_and(|told| told.contains(problem)) {
                continue;
            }
            if written == ROUND {
                return true;
            }
            written += 1;
            let meta = world.mesh.get(key).map(resources::Resource::meta);
            let event = event(key, problem, meta, now());
            match clock::timeout(DEADLINE, write(client, &event)).await {
                Ok(Ok(())) => {
                    told.entry(key.clone()).or_default().insert(problem.clone());
                }
                Ok(Err(error)) => {
                    tracing::warn!(object = %key, %error, "an event could not be written");
                    return true;
                }
                Err(_) => return true,
            }
        }
    }
    false
}

fn now() -> Timestamp {
    Timestamp::try_from(clock::wall()).unwrap_or(Timestamp::UNIX_EPOCH)
}

async fn write(client: &kube::Client, event: &Event) -> Result<(), kube::Error> {
    let namespace = event.metadata.namespace.as_deref().unwrap_or("default");
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    match api.create(&PostParams::default(), event).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let name = event.metadata.name.as_deref().unwrap_or_default();
            let before = api.get(name).await?;
            let patch = serde_json::json!({
                "count": before.count.unwrap_or(1).saturating_add(1),
                "lastTimestamp": event.last_timestamp,
            });
            api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
                .await
                .map(drop)
        }
        created => created.map(drop),
    }
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
    use resources::{Code, Kind};

    use super::*;

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

    #[test]
    fn a_long_message_is_cut_between_letters() {
        let key = Key::new(Kind::VirtualService, "shop", "backend");
        let problem = Problem::new(Code::SchemaWarning, &key, "", "ä".repeat(2000));
        let text = message(&problem);
        assert!(text.len() <= LONGEST_MESSAGE && text.len() > LONGEST_MESSAGE - 4);
    }
}
