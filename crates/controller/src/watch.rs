//! The Kubernetes API, a cluster's or the embedded one, as a stream of [`Event`]s: the only source there is.
//!
//! One watch per kind. A kind that the cluster does not have yet is asked for again, and counts as empty; an
//! object that cannot be read becomes problems, and the watch goes on.

use std::collections::BTreeSet;
use std::time::Duration;

use daemon::{Tasks, clock};
use futures_util::{StreamExt, pin_mut};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, TypeMeta};
use kube::runtime::watcher;
use resources::{Key, Kind, Problem, Resource};
use serde_json::Value;
use tokio::sync::mpsc;

/// After a failure; doubled up to the longest.
const RETRY: Duration = Duration::from_millis(200);
/// A CRD that was just installed is found within this.
const LONGEST_RETRY: Duration = Duration::from_secs(3);
/// Objects per page of a list.
const PAGE: u32 = 500;

/// What a watch tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An object is there, new or changed. `resource` is `None` when it could not be read: then what it said before
    /// stays in force ([`crate::store::Store`]).
    Present {
        /// Which object.
        key: Key,
        /// What it says.
        resource: Option<Resource>,
        /// What is wrong with it by itself.
        problems: Vec<Problem>,
    },
    /// An object is gone.
    Gone(Key),
    /// All objects of a kind have been told; those not among them are gone.
    Listed(Kind, BTreeSet<Key>),
}

/// Watches every kind that the mesh reads until the receiver is gone.
pub fn start(client: &kube::Client, events: &mpsc::Sender<Event>, tasks: &Tasks) {
    for kind in Kind::ALL {
        tasks.spawn(kind.as_str(), watch(client.clone(), kind, events.clone()));
    }
}

async fn watch(client: kube::Client, kind: Kind, events: mpsc::Sender<Event>) {
    let api: Api<DynamicObject> = Api::all_with(client, &api_resource(kind));
    let stream = watcher(api, watcher::Config::default().page_size(PAGE));
    pin_mut!(stream);
    let mut listing = BTreeSet::new();
    let mut failures = 0;
    while let Some(item) = stream.next().await {
        let event = match item {
            Ok(item) => {
                failures = 0;
                translate(kind, item, &mut listing)
            }
            Err(error) => {
                let wait = RETRY.saturating_mul(1 << failures.min(8)).min(LONGEST_RETRY);
                failures += 1;
                let missing = is_missing(&error);
                if missing {
                    tracing::debug!(%kind, "the cluster does not have this kind");
                } else {
                    tracing::warn!(%kind, error = %error, "watch interrupted; trying again");
                }
                clock::sleep(wait).await;
                missing.then(|| Event::Listed(kind, BTreeSet::new()))
            }
        };
        if let Some(event) = event
            && events.send(event).await.is_err()
        {
            return;
        }
    }
}

fn api_resource(kind: Kind) -> ApiResource {
    let kind_name = GroupVersionKind::gvk(kind.group(), kind.version(), kind.as_str());
    ApiResource::from_gvk_with_plural(&kind_name, kind.plural())
}

/// One event of kube's, as ours. `listing` collects what a list in progress has told.
fn translate(kind: Kind, item: watcher::Event<DynamicObject>, listing: &mut BTreeSet<Key>) -> Option<Event> {
    match item {
        watcher::Event::Init => {
            listing.clear();
            None
        }
        watcher::Event::InitApply(object) => {
            let event = present(kind, object);
            if let Event::Present { key, .. } = &event {
                listing.insert(key.clone());
            }
            Some(event)
        }
        watcher::Event::InitDone => Some(Event::Listed(kind, std::mem::take(listing))),
        watcher::Event::Apply(object) => Some(present(kind, object)),
        watcher::Event::Delete(object) => Some(Event::Gone(key_of(kind, &object))),
    }
}

fn key_of(kind: Kind, object: &DynamicObject) -> Key {
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    Key::new(
        kind,
        namespace,
        object.metadata.name.as_deref().unwrap_or_default(),
    )
}

fn present(kind: Kind, mut object: DynamicObject) -> Event {
    let key = key_of(kind, &object);
    // Items of a list do not carry their type.
    object.types = Some(TypeMeta {
        api_version: kind.api_version(),
        kind: kind.as_str().to_owned(),
    });
    object.metadata.managed_fields = None;
    let object = serde_json::to_value(object).unwrap_or(Value::Null);
    match Resource::from_object(&object) {
        Ok(decoded) => {
            let mut problems = decoded.warnings;
            problems.extend(decoded.resource.validate());
            Event::Present {
                key,
                resource: Some(decoded.resource),
                problems,
            }
        }
        Err(problem) => Event::Present {
            key,
            resource: None,
            problems: vec![problem],
        },
    }
}

/// Whether the API server says that there is no such kind.
fn is_missing(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 404,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn an_item_of_a_list_without_its_type_is_read() {
        let service = object(serde_json::json!({
            "metadata": {"name": "backend", "namespace": "shop"},
            "spec": {"clusterIP": "10.0.0.1", "ports": [{"name": "http", "port": 80}]},
        }));
        let mut listing = BTreeSet::new();
        let event = translate(Kind::Service, watcher::Event::InitApply(service), &mut listing);
        let Some(Event::Present {
            key,
            resource,
            problems,
        }) = event
        else {
            panic!("not an object: {event:?}");
        };
        assert_eq!(key, Key::new(Kind::Service, "shop", "backend"));
        assert_eq!((resource.is_some(), problems), (true, Vec::new()));
        let done = translate(Kind::Service, watcher::Event::InitDone, &mut listing);
        assert_eq!(done, Some(Event::Listed(Kind::Service, BTreeSet::from([key]))));
    }

    #[tokio::test]
    async fn a_kind_that_comes_later_counts_as_empty_until_then() {
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let client = crate::fake_api::client(move |_, path, _| {
            let first = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
            let list = serde_json::json!({
                "metadata": {"resourceVersion": "1"},
                "items": [{"metadata": {"name": "backend", "namespace": "shop"}, "spec": {"hosts": ["backend"]}}],
            });
            match (first, path.contains("watch=true")) {
                (true, _) => {
                    crate::fake_api::failure(404, "NotFound", "the server could not find the resource")
                }
                (false, false) => (200, list),
                (false, true) => (200, Value::Null),
            }
        });
        let (events, mut told) = mpsc::channel(4);
        let tasks = Tasks::new();
        tasks.spawn("watch", watch(client, Kind::VirtualService, events));
        let key = Key::new(Kind::VirtualService, "shop", "backend");
        assert_eq!(
            told.recv().await,
            Some(Event::Listed(Kind::VirtualService, BTreeSet::new()))
        );
        let Some(Event::Present {
            key: found, resource, ..
        }) = told.recv().await
        else {
            panic!("no object");
        };
        assert_eq!((found, resource.is_some()), (key.clone(), true));
        let done = Event::Listed(Kind::VirtualService, BTreeSet::from([key]));
        assert_eq!(told.recv().await, Some(done));
        tasks.stop(Duration::from_secs(5)).await;
    }

    #[test]
    fn an_object_that_cannot_be_read_becomes_a_problem_with_its_field() {
        let broken = object(serde_json::json!({
            "metadata": {"name": "backend", "namespace": "shop"},
            "spec": {"hosts": "not a list"},
        }));
        let Event::Present {
            resource, problems, ..
        } = present(Kind::VirtualService, broken)
        else {
            panic!("not an object");
        };
        assert_eq!(resource, None);
        assert!(problems[0].field.starts_with("spec.hosts"), "{problems:?}");
    }

    #[test]
    fn a_policy_that_cannot_be_read_any_more_stays_in_force_and_is_told_by_name() {
        let mut store = Store::new();
        for (kind, spec) in [
            (
                Kind::AuthorizationPolicy,
                serde_json::json!({"action": "DENY", "rules": [{}]}),
            ),
            (
                Kind::PeerAuthentication,
                serde_json::json!({"mtls": {"mode": "STRICT"}}),
            ),
            (
                Kind::RequestAuthentication,
                serde_json::json!({"jwtRules": [{"issuer": "a"}]}),
            ),
            (
                Kind::RateLimit,
                serde_json::json!({"limits": [{"name": "a", "requests": 1}]}),
            ),
            (Kind::DestinationRule, serde_json::json!({"host": "a"})),
            (Kind::VirtualService, serde_json::json!({"hosts": ["a"]})),
        ] {
            let saying = |spec: &Value| {
                let metadata =
                    serde_json::json!({"metadata": {"name": "a", "namespace": "shop"}, "spec": spec});
                object(metadata)
            };
            let key = Key::new(kind, "shop", "a");
            let mut listing = BTreeSet::new();
            let readable = watcher::Event::Apply(saying(&spec));
            store.apply(translate(kind, readable, &mut listing).unwrap());
            let put: Vec<_> = store.take_changes();
            assert!(
                matches!(put.as_slice(), [(of, Some(_))] if *of == key),
                "{kind}: {put:?}"
            );
            // It changes, and then it is listed anew.
            let broken = saying(&Value::String("nothing that has fields".to_owned()));
            for event in [
                watcher::Event::Apply(broken.clone()),
                watcher::Event::Init,
                watcher::Event::InitApply(broken),
                watcher::Event::InitDone,
            ] {
                if let Some(event) = translate(kind, event, &mut listing) {
                    store.apply(event);
                }
            }
            assert_eq!(store.take_changes(), [], "{kind} stays in force");
            assert_eq!(store.count(kind), 1);
            assert!(
                store.problems().any(|problem| problem.key.as_ref() == Some(&key)),
                "{kind}"
            );
        }
    }
}
