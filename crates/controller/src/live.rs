//! Injection settings that follow two ConfigMaps: `istio` (mesh settings) and `istio-sidecar-injector` (values).
//! A ConfigMap that cannot be understood leaves the former settings in force.

use std::sync::Arc;

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use daemon::Drain;
use daemon::ready::Ready;
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use serde_json::{Map, Value};
use tokio::sync::watch as watch_channel;
use translate::MeshSettings;
use translate::mesh::settings::FIELDS;

use crate::inject::Settings;
use crate::install::Values;
use crate::install::settings::{MESH_KEY, VALUES_KEY};
use crate::webhook::LiveSettings;

/// Fields of the mesh settings that have an effect, besides those that [`MeshSettings`] reads.
const SUPPORTED: [&str; 2] = ["defaultConfig", "rootNamespace"];

/// Who follows the ConfigMaps.
pub(crate) struct Followers {
    /// Injection.
    pub(crate) injection: LiveSettings,
    /// Proxies; nothing before the ConfigMaps were read.
    pub(crate) mesh: watch_channel::Sender<Option<Arc<MeshSettings>>>,
}

/// Settings before the ConfigMaps are read.
pub(crate) fn initial(native_sidecar: bool) -> LiveSettings {
    let settings = Settings {
        native_sidecar,
        trust_domain: "cluster.local".to_owned(),
        ..Settings::default()
    };
    Arc::new(ArcSwap::from_pointee(settings))
}

/// Follows both until the drain begins; `ready` learns when they were read for the first time.
pub(crate) async fn run(
    client: kube::Client,
    namespace: String,
    followers: Followers,
    ready: Ready,
    mut drain: Drain,
) {
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let mut events = std::pin::pin!(watch(maps, watcher::Config::default()).default_backoff());
    loop {
        let event = tokio::select! {
            () = drain.wait() => return,
            Some(event) = events.next() => event,
        };
        match event {
            Ok(Event::Apply(map) | Event::InitApply(map)) => {
                adopt(&followers.injection, &map);
                adopt_mesh(&followers.mesh, &map);
            }
            Ok(Event::InitDone) => {
                // Without a ConfigMap, defaults hold.
                followers.mesh.send_if_modified(|known| {
                    let missing = known.is_none();
                    known.get_or_insert_default();
                    missing
                });
                ready.set(crate::INJECTION);
            }
            Ok(Event::Delete(_) | Event::Init) => {}
            Err(error) => tracing::debug!(scope = "injection", %error, "watch interrupted"),
        }
    }
}

fn adopt(settings: &LiveSettings, map: &ConfigMap) {
    let name = map.metadata.name.as_deref().unwrap_or_default();
    let current = settings.load();
    match next(&current, name, map) {
        Ok(Some(next)) if next != **current => {
            tracing::info!(
                scope = "injection",
                config_map = name,
                "injection settings changed"
            );
            settings.store(Arc::new(next));
        }
        Ok(_) => {}
        Err(error) => {
            let error = format!("{error:#}");
            tracing::error!(
                scope = "injection",
                config_map = name,
                error,
                "the former settings stay in force"
            );
        }
    }
}

/// Settings that cannot be understood leave the former ones in force.
fn adopt_mesh(followers: &watch_channel::Sender<Option<Arc<MeshSettings>>>, map: &ConfigMap) {
    if map.metadata.name.as_deref() != Some("istio") {
        return;
    }
    match mesh_settings(map) {
        Ok(settings) => {
            for (provider, kind) in settings.unused_providers() {
                tracing::warn!(
                    scope = "default",
                    provider,
                    kind,
                    "an extension provider of a kind that is not supported yet"
                );
            }
            followers.send_if_modified(|known| {
                let new = known.as_deref() != Some(&settings);
                *known = Some(Arc::new(settings));
                new
            });
        }
        Err(error) => {
            let error = format!("{error:#}");
            tracing::error!(scope = "default", error, "the former mesh settings stay in force");
        }
    }
}

/// The mesh settings in ConfigMap `istio`.
///
/// # Errors
/// What of them cannot be understood, by name.
pub fn mesh_settings(map: &ConfigMap) -> Result<MeshSettings> {
    MeshSettings::read(&mesh_of(map)?).map_err(anyhow::Error::msg)
}

fn mesh_of(map: &ConfigMap) -> Result<Map<String, Value>> {
    match map.data.as_ref().and_then(|data| data.get(MESH_KEY)) {
        Some(text) if !text.trim().is_empty() => serde_saphyr::from_str(text).context(MESH_KEY),
        _ => Ok(Map::new()),
    }
}

/// The settings with what `map` says; `None` for ConfigMaps of others.
fn next(current: &Settings, name: &str, map: &ConfigMap) -> Result<Option<Settings>> {
    let entry = |key: &str| {
        map.data
            .as_ref()
            .and_then(|data| data.get(key))
            .map(String::as_str)
    };
    let mut settings = current.clone();
    match name {
        "istio" => {
            let mesh = mesh_of(map)?;
            note_unsupported(&mesh);
            settings.proxy_config = match mesh.get("defaultConfig") {
                Some(Value::Object(config)) => config.clone(),
                None | Some(Value::Null) => Map::new(),
                Some(_) => anyhow::bail!("defaultConfig is not an object"),
            };
            mesh.get("trustDomain")
                .and_then(Value::as_str)
                .unwrap_or("cluster.local")
                .clone_into(&mut settings.trust_domain);
        }
        "istio-sidecar-injector" => {
            let text = entry(VALUES_KEY).with_context(|| format!("there is no entry {VALUES_KEY}"))?;
            settings.values = serde_json::from_str::<Values>(text).context(VALUES_KEY)?;
        }
        _ => return Ok(None),
    }
    Ok(Some(settings))
}

fn note_unsupported(mesh: &Map<String, Value>) {
    let unsupported: Vec<&str> = mesh
        .keys()
        .map(String::as_str)
        .filter(|name| !SUPPORTED.contains(name) && !FIELDS.contains(name))
        .collect();
    if !unsupported.is_empty() {
        let fields = unsupported.join(", ");
        tracing::warn!(
            scope = "default",
            fields,
            "mesh settings that are not supported and have no effect"
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(data: &Value) -> ConfigMap {
        serde_json::from_value(json!({"data": data})).unwrap()
    }

    #[test]
    fn both_config_maps_have_their_part() {
        let current = (**initial(true).load()).clone();
        let mesh = "defaultConfig:\n  concurrency: 2\ntrustDomain: example.org\n";
        let first = next(&current, "istio", &map(&json!({"mesh": mesh})))
            .unwrap()
            .unwrap();
        assert_eq!(
            (first.trust_domain.as_str(), &first.proxy_config["concurrency"]),
            ("example.org", &json!(2))
        );
        let values = json!({"global": {"hub": "registry.example"}}).to_string();
        let second = next(&first, "istio-sidecar-injector", &map(&json!({"values": values})))
            .unwrap()
            .unwrap();
        assert_eq!(second.values.global.hub, "registry.example");
        assert_eq!(second.trust_domain, "example.org");
        assert!(second.native_sidecar);
    }

    #[test]
    fn proxies_follow_what_can_be_understood() {
        let (told, seen) = watch_channel::channel(None);
        let adopted = |mesh: &str| {
            let mut map = map(&json!({"mesh": mesh}));
            map.metadata.name = Some("istio".to_owned());
            adopt_mesh(&told, &map);
            let settings: Option<Arc<MeshSettings>> = seen.borrow().clone();
            settings.and_then(|settings| Some(settings.access_log.as_ref()?.path.clone()))
        };
        assert_eq!(
            adopted("accessLogFile: /dev/stdout").as_deref(),
            Some("/dev/stdout")
        );
        assert_eq!(
            adopted("accessLogFile: /x\naccessLogFormat: '%NOPE%'").as_deref(),
            Some("/dev/stdout")
        );
        assert_eq!(adopted("trustDomain: x"), None);
    }

    #[test]
    fn what_cannot_be_understood_changes_nothing() {
        let settings = initial(false);
        let before = settings.load_full();
        for (name, data) in [
            ("istio", json!({"mesh": "a: [b"})),
            ("istio", json!({"mesh": "defaultConfig: 7"})),
            ("istio-sidecar-injector", json!({})),
            ("istio-sidecar-injector", json!({"values": "{"})),
        ] {
            assert!(next(&before, name, &map(&data)).is_err(), "{name} {data}");
            let mut broken = map(&data);
            broken.metadata.name = Some(name.to_owned());
            adopt(&settings, &broken);
        }
        assert!(Arc::ptr_eq(&before, &settings.load_full()));
        assert_eq!(next(&before, "other", &map(&json!({}))).unwrap(), None);
    }
}
