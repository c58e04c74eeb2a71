//! The root certificate as ConfigMap `istio-ca-root-cert` in every namespace: put into new ones, repaired where
//! somebody changed or removed it. Pods mount it to check the controller's certificate.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use daemon::{Drain, clock};
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use serde_json::json;

pub(crate) const NAME: &str = "istio-ca-root-cert";
const KEY: &str = "root-cert.pem";
const RETRY: Duration = Duration::from_secs(1);
/// For one write; the API server answers admission within ten seconds.
const WRITE: Duration = Duration::from_secs(15);

/// Keeps all namespaces supplied until the drain begins.
pub(crate) async fn run(client: kube::Client, root: String, mut drain: Drain) {
    let namespaces = watch(Api::<Namespace>::all(client.clone()), watcher::Config::default());
    let only_ours = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    let maps = watch(Api::<ConfigMap>::all(client.clone()), only_ours);
    let mut namespaces = std::pin::pin!(namespaces.default_backoff());
    let mut maps = std::pin::pin!(maps.default_backoff());
    let mut pending = BTreeSet::new();
    let mut retry = clock::now();
    loop {
        tokio::select! {
            () = drain.wait() => return,
            Some(event) = namespaces.next() => pending.extend(namespace_to_supply(event)),
            Some(event) = maps.next() => pending.extend(map_to_repair(event, &root)),
            () = clock::sleep_until(retry), if !pending.is_empty() => {}
        }
        for namespace in std::mem::take(&mut pending) {
            if let Err(error) = supply(&client, &namespace, &root).await {
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

fn map_to_repair(event: Result<Event<ConfigMap>, watcher::Error>, root: &str) -> Option<String> {
    match logged(event)? {
        Event::Delete(map) => map.metadata.namespace,
        Event::Apply(map) | Event::InitApply(map) if !is_right(&map, root) => map.metadata.namespace,
        Event::Apply(_) | Event::InitApply(_) | Event::Init | Event::InitDone => None,
    }
}

fn logged<T>(event: Result<Event<T>, watcher::Error>) -> Option<Event<T>> {
    event
        .map_err(|error| tracing::debug!(scope = "ca", %error, "watch interrupted"))
        .ok()
}

fn is_right(map: &ConfigMap, root: &str) -> bool {
    map.data
        .as_ref()
        .and_then(|data| data.get(KEY))
        .is_some_and(|text| text == root)
}

async fn supply(client: &kube::Client, namespace: &str, root: &str) -> Result<()> {
    clock::timeout(WRITE, write(client, namespace, root))
        .await
        .context("the API server did not answer in time")?
}

async fn write(client: &kube::Client, namespace: &str, root: &str) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    match maps.get_opt(NAME).await? {
        Some(map) if is_right(&map, root) => return Ok(()),
        Some(_) => {
            let patch = Patch::Merge(json!({"data": {KEY: root}}));
            maps.patch(NAME, &PatchParams::default(), &patch).await?;
            return Ok(());
        }
        None => {}
    }
    match maps
        .create(&PostParams::default(), &config_map(namespace, root)?)
        .await
    {
        Ok(_) => Ok(()),
        // Another replica was faster, or the namespace is going away: nothing is left to do.
        Err(kube::Error::Api(status)) if status.is_already_exists() || is_terminating(&status) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn is_terminating(status: &kube::core::Status) -> bool {
    status.is_not_found() || (status.is_forbidden() && status.message.contains("being terminated"))
}

fn config_map(namespace: &str, root: &str) -> Result<ConfigMap> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": namespace, "labels": {"istio.io/config": "true"}},
        "data": {KEY: root},
    }))?)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::fake_api;

    #[test]
    fn only_maps_that_are_wrong_or_gone_are_repaired() {
        let right = config_map("shop", "ROOT").unwrap();
        let wrong = config_map("shop", "other").unwrap();
        assert_eq!(map_to_repair(Ok(Event::Apply(right.clone())), "ROOT"), None);
        assert_eq!(
            map_to_repair(Ok(Event::Apply(wrong.clone())), "ROOT").as_deref(),
            Some("shop")
        );
        assert_eq!(
            map_to_repair(Ok(Event::InitApply(wrong)), "ROOT").as_deref(),
            Some("shop")
        );
        assert_eq!(
            map_to_repair(Ok(Event::Delete(right)), "ROOT").as_deref(),
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
                    ("GET", Some(root)) => (200, json!(config_map("shop", root).unwrap())),
                    ("GET", None) => fake_api::failure(404, "NotFound", "not found"),
                    _ => {
                        assert_eq!(body["data"][KEY], "ROOT");
                        (200, json!(config_map("shop", "ROOT").unwrap()))
                    }
                }
            });
            supply(&client, "shop", "ROOT").await.unwrap();
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
            supply(&answering(403, "Forbidden", terminating), "shop", "ROOT")
                .await
                .is_ok()
        );
        assert!(
            supply(&answering(404, "NotFound", "namespace not found"), "shop", "ROOT")
                .await
                .is_ok()
        );
        assert!(
            supply(&answering(403, "Forbidden", "no"), "shop", "ROOT")
                .await
                .is_err()
        );
    }
}
