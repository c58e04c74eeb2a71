//! The roots of the mesh as ConfigMap `istio-ca-root-cert` in every namespace, and lists of revoked certificates, if
//! there are any, as `istio-ca-crl`: put into new namespaces, repaired where somebody changed or removed them, replaced
//! when the authority changes. Pods mount the first to check the controller's certificate.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use daemon::{Drain, clock};
use futures_util::{StreamExt, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use serde_json::json;

use super::standing::{Latest, Standing};

pub(crate) const NAME: &str = "istio-ca-root-cert";
const KEY: &str = "root-cert.pem";
const REVOKED_NAME: &str = "istio-ca-crl";
const REVOKED_KEY: &str = "ca-crl.pem";
const RETRY: Duration = Duration::from_secs(1);
/// For one write; the API server answers admission within ten seconds.
const WRITE: Duration = Duration::from_secs(15);

/// The roots that every namespace has, or every webhook configuration, once it has. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Published(Arc<Mutex<String>>);

impl Published {
    pub(crate) fn has_everywhere(&self, roots: &str) -> bool {
        *self.lock() == roots
    }

    pub(crate) fn set(&self, roots: &str) {
        roots.clone_into(&mut self.lock());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a namespace should have.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted(Vec<(&'static str, &'static str, String)>);

impl Wanted {
    fn of(standing: &Standing) -> Self {
        let revoked = standing.trusted.revoked.clone();
        let roots = (NAME, KEY, standing.roots().to_owned());
        let revoked = revoked.map(|lists| (REVOKED_NAME, REVOKED_KEY, lists));
        Self(std::iter::once(roots).chain(revoked).collect())
    }

    fn is_right(&self, map: &ConfigMap) -> bool {
        let named = |(name, ..): &&(&str, &str, String)| map.metadata.name.as_deref() == Some(*name);
        let wanted = self.0.iter().find(named);
        wanted.is_none_or(|(_, key, text)| is_right(map, key, text))
    }
}

/// Keeps all namespaces supplied until the drain begins.
pub(crate) async fn run(client: kube::Client, mut latest: Latest, published: Published, mut drain: Drain) {
    let namespaces = watch(Api::<Namespace>::all(client.clone()), watcher::Config::default());
    let maps = |name: &str| {
        let only_ours = watcher::Config::default().fields(&format!("metadata.name={name}"));
        watch(Api::<ConfigMap>::all(client.clone()), only_ours).default_backoff()
    };
    let mut namespaces = std::pin::pin!(namespaces.default_backoff());
    let mut maps = std::pin::pin!(stream::select(maps(NAME), maps(REVOKED_NAME)));
    let mut wanted = Wanted::of(&latest.borrow_and_update().clone());
    let (mut known, mut pending) = (BTreeSet::new(), BTreeSet::new());
    let mut listed = false;
    let mut retry = clock::now();
    loop {
        tokio::select! {
            () = drain.wait() => return,
            Some(event) = namespaces.next() => {
                listed |= matches!(event, Ok(Event::InitDone));
                if let Ok(Event::Delete(namespace)) = &event {
                    let name = namespace.metadata.name.as_deref().unwrap_or_default();
                    known.remove(name);
                    pending.remove(name);
                }
                let new = namespace_to_supply(event);
                known.extend(new.clone());
                pending.extend(new);
            }
            Some(event) = maps.next() => pending.extend(map_to_repair(event, &wanted)),
            Ok(()) = latest.changed() => {
                let next = Wanted::of(&latest.borrow_and_update().clone());
                // Most notes of a rotation are nobody's business.
                if next != wanted {
                    wanted = next;
                    pending.extend(known.iter().cloned());
                }
            }
            () = clock::sleep_until(retry), if !pending.is_empty() => {}
        }
        for namespace in std::mem::take(&mut pending) {
            if let Err(error) = supply(&client, &namespace, &wanted).await {
                tracing::warn!(
                    scope = "ca",
                    namespace,
                    error = format!("{error:#}"),
                    "root certificate not published"
                );
                pending.insert(namespace);
                retry = clock::now() + RETRY;
            }
        }
        if listed && pending.is_empty() {
            published.set(&wanted.0[0].2);
        }
    }
}

fn namespace_to_supply(event: Result<Event<Namespace>, watcher::Error>) -> Option<String> {
    let (Event::Apply(namespace) | Event::InitApply(namespace)) = logged(event)? else {
        return None;
    };
    namespace
        .metadata
        .deletion_timestamp
        .is_none()
        .then_some(namespace.metadata.name)?
}

fn map_to_repair(event: Result<Event<ConfigMap>, watcher::Error>, wanted: &Wanted) -> Option<String> {
    match logged(event)? {
        Event::Delete(map) => map.metadata.namespace,
        Event::Apply(map) | Event::InitApply(map) if !wanted.is_right(&map) => map.metadata.namespace,
        Event::Apply(_) | Event::InitApply(_) | Event::Init | Event::InitDone => None,
    }
}

fn logged<T>(event: Result<Event<T>, watcher::Error>) -> Option<Event<T>> {
    event
        .map_err(|error| tracing::debug!(scope = "ca", %error, "watch interrupted"))
        .ok()
}

fn is_right(map: &ConfigMap, key: &str, text: &str) -> bool {
    let found = map.data.as_ref().and_then(|data| data.get(key));
    found.is_some_and(|found| found == text)
}

async fn supply(client: &kube::Client, namespace: &str, wanted: &Wanted) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    for (name, key, text) in &wanted.0 {
        clock::timeout(WRITE, write(&maps, namespace, (*name, *key, text.as_str())))
            .await
            .context("the API server did not answer in time")??;
    }
    Ok(())
}

async fn write(maps: &Api<ConfigMap>, namespace: &str, (name, key, text): (&str, &str, &str)) -> Result<()> {
    match maps.get_opt(name).await? {
        Some(map) if is_right(&map, key, text) => return Ok(()),
        Some(_) => {
            let patch = Patch::Merge(json!({"data": {key: text}}));
            maps.patch(name, &PatchParams::default(), &patch).await?;
            return Ok(());
        }
        None => {}
    }
    let map = config_map(namespace, (name, key, text))?;
    match maps.create(&PostParams::default(), &map).await {
        Ok(_) => Ok(()),
        // Another replica was faster, or the namespace is going away: nothing is left to do.
        Err(kube::Error::Api(status)) if status.is_already_exists() || is_terminating(&status) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn is_terminating(status: &kube::core::Status) -> bool {
    status.is_not_found() || (status.is_forbidden() && status.message.contains("being terminated"))
}

fn config_map(namespace: &str, (name, key, text): (&str, &str, &str)) -> Result<ConfigMap> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": {"istio.io/config": "true"}},
        "data": {key: text},
    }))?)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::fake_api;

    fn root_map(text: &str) -> ConfigMap {
        config_map("shop", (NAME, KEY, text)).unwrap()
    }

    fn wanted(root: &str) -> Wanted {
        Wanted(vec![(NAME, KEY, root.to_owned())])
    }

    #[test]
    fn only_maps_that_are_wrong_or_gone_are_repaired() {
        let right = root_map("ROOT");
        let wrong = root_map("other");
        assert_eq!(
            map_to_repair(Ok(Event::Apply(right.clone())), &wanted("ROOT")),
            None
        );
        assert_eq!(
            map_to_repair(Ok(Event::Apply(wrong.clone())), &wanted("ROOT")).as_deref(),
            Some("shop")
        );
        assert_eq!(
            map_to_repair(Ok(Event::InitApply(wrong)), &wanted("ROOT")).as_deref(),
            Some("shop")
        );
        assert_eq!(
            map_to_repair(Ok(Event::Delete(right)), &wanted("ROOT")).as_deref(),
            Some("shop")
        );
    }

    #[test]
    fn a_namespace_that_goes_away_is_left_alone() {
        let namespace =
            |metadata: serde_json::Value| serde_json::from_value(json!({"metadata": metadata})).unwrap();
        let alive: Namespace = namespace(json!({"name": "shop"}));
        let going: Namespace =
            namespace(json!({"name": "shop", "deletionTimestamp": "2026-08-01T10:00:00Z"}));
        assert_eq!(
            namespace_to_supply(Ok(Event::Apply(alive.clone()))).as_deref(),
            Some("shop")
        );
        assert_eq!(namespace_to_supply(Ok(Event::Apply(going))), None);
        assert_eq!(namespace_to_supply(Ok(Event::Delete(alive))), None);
    }

    #[tokio::test]
    async fn a_wrong_certificate_is_repaired_and_a_missing_one_made() {
        for (found, expected) in [
            (Some("ROOT"), vec!["GET"]),
            (Some("other"), vec!["GET", "PATCH"]),
            (None, vec!["GET", "POST"]),
        ] {
            let calls = Arc::new(Mutex::new(Vec::new()));
            let seen = calls.clone();
            let client = fake_api::client(move |method, _, body| {
                seen.lock().unwrap().push(method.to_string());
                match (method.as_str(), found) {
                    ("GET", Some(root)) => (200, json!(root_map(root))),
                    ("GET", None) => fake_api::failure(404, "NotFound", "not found"),
                    _ => {
                        assert_eq!(body["data"][KEY], "ROOT");
                        (200, json!(root_map("ROOT")))
                    }
                }
            });
            supply(&client, "shop", &wanted("ROOT")).await.unwrap();
            assert_eq!(*calls.lock().unwrap(), expected, "{found:?}");
        }
    }

    #[tokio::test]
    async fn a_namespace_that_vanished_is_no_error_and_a_refusal_is_one() {
        let answering = |status: u16, reason: &'static str, message: &'static str| {
            fake_api::client(move |method, _, _| match method.as_str() {
                "GET" => fake_api::failure(404, "NotFound", "not found"),
                _ => fake_api::failure(status, reason, message),
            })
        };
        let terminating = "unable to create new content in namespace shop because it is being terminated";
        assert!(
            supply(&answering(403, "Forbidden", terminating), "shop", &wanted("ROOT"))
                .await
                .is_ok()
        );
        assert!(
            supply(
                &answering(404, "NotFound", "namespace not found"),
                "shop",
                &wanted("ROOT")
            )
            .await
            .is_ok()
        );
        assert!(
            supply(&answering(403, "Forbidden", "no"), "shop", &wanted("ROOT"))
                .await
                .is_err()
        );
    }
}
