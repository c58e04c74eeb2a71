//! Injection settings that follow two ConfigMaps: `istio` (mesh settings) and `istio-sidecar-injector` (values).
//! A ConfigMap that cannot be understood leaves the former settings in force.

use std::sync::Arc;

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use daemon::Drain;
use daemon::ready::Ready;
use futures_util::StreamExt;
use identity::SpiffeId;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use serde_json::{Map, Value};
use snapshot::ext_authz::LONGEST_BODY;
use tokio::sync::watch as watch_channel;
use translate::mesh::settings::FIELDS;
use translate::{MeshSettings, ROOT_NAMESPACE};

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

/// What holds where the mesh's settings name none.
pub(crate) const TRUST_DOMAIN: &str = "cluster.local";
/// The ConfigMap of the mesh's settings.
const MESH: &str = "istio";

/// Settings before the ConfigMaps are read: nobody knows the trust domain.
pub(crate) fn initial(native_sidecar: bool) -> LiveSettings {
    let settings = Settings {
        native_sidecar,
        ..Settings::default()
    };
    Arc::new(ArcSwap::from_pointee(settings))
}

/// Settings of a mesh that says nothing about itself.
#[cfg(test)]
pub(crate) fn known() -> LiveSettings {
    let settings = Settings {
        trust_domain: Some(TRUST_DOMAIN.to_owned()),
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
    let mut listed = Listed::default();
    loop {
        let event = tokio::select! {
            () = drain.wait() => return,
            Some(event) = events.next() => event,
        };
        match event {
            Ok(event) => {
                if followers.take(&event, &mut listed) {
                    ready.set(crate::INJECTION);
                }
            }
            Err(error) => tracing::debug!(scope = "injection", %error, "watch interrupted"),
        }
    }
}

/// What a list of the ConfigMaps has shown so far.
#[derive(Debug, Default)]
struct Listed {
    /// The mesh's settings are there, readable or not.
    mesh: bool,
    /// It was complete once.
    whole: bool,
}

impl Followers {
    /// Takes over what has changed; whether enough is known to serve. Settings that are there and cannot be understood
    /// are waited for: defaults hold only where there are none, as certificates for another trust domain would be
    /// refused by the whole mesh.
    fn take(&self, event: &Event<ConfigMap>, listed: &mut Listed) -> bool {
        match event {
            Event::Init => listed.mesh = false,
            Event::Apply(map) | Event::InitApply(map) => {
                listed.mesh |= map.metadata.name.as_deref() == Some(MESH);
                self.adopt(map);
            }
            Event::InitDone => {
                listed.whole = true;
                if !listed.mesh && self.mesh.borrow().is_none() {
                    self.adopt(&ConfigMap {
                        metadata: ObjectMeta {
                            name: Some(MESH.to_owned()),
                            ..ObjectMeta::default()
                        },
                        ..ConfigMap::default()
                    });
                }
            }
            Event::Delete(_) => {}
        }
        listed.whole && self.mesh.borrow().is_some()
    }

    /// Both followers take over what a ConfigMap says, or neither.
    fn adopt(&self, map: &ConfigMap) {
        let name = map.metadata.name.as_deref().unwrap_or_default();
        let current = self.injection.load();
        let next = next(&current, name, map);
        let next = next.and_then(|next| Ok((next, settings_of(name, map)?)));
        let (next, mesh) = match next {
            Ok((Some(next), mesh)) => (next, mesh),
            Ok((None, _)) => return,
            Err(error) => {
                let error = format!("{error:#}");
                let told = match self.mesh.borrow().is_some() || name != MESH {
                    true => "the former settings stay in force",
                    false => {
                        "the mesh waits for settings that can be read: no proxy is served and no certificate given"
                    }
                };
                tracing::error!(scope = "default", config_map = name, error, "{told}");
                return;
            }
        };
        if next != **current {
            tracing::info!(scope = "injection", config_map = name, "settings changed");
            self.injection.store(Arc::new(next));
        }
        if let Some(mesh) = mesh {
            self.adopt_mesh(mesh);
        }
    }

    fn adopt_mesh(&self, settings: MeshSettings) {
        for (provider, kind) in settings.unused_providers() {
            tracing::warn!(
                scope = "default",
                provider,
                kind,
                "an extension provider of a kind that is not supported yet"
            );
        }
        for provider in settings.providers_of_long_bodies() {
            tracing::warn!(
                scope = "default",
                provider,
                longest = LONGEST_BODY,
                "includeRequestBodyInCheck.maxRequestBytes is more than proxies read ahead: what is longer is refused \
                 with 413, or its beginning is told where allowPartialMessage is set"
            );
        }
        self.mesh.send_if_modified(|known| {
            let new = known.as_deref() != Some(&settings);
            if let Some(former) = known.as_deref().and_then(|former| stranded(former, &settings)) {
                tracing::error!(
                    scope = "default",
                    former,
                    now = settings.trust_domain(),
                    "the trust domain has changed, and trustDomainAliases does not name the former one: until their \
                     certificates are renewed, workloads refuse each other"
                );
            }
            *known = Some(Arc::new(settings));
            new
        });
    }
}

/// The former trust domain, if workloads of it are strangers now.
fn stranded<'a>(former: &'a MeshSettings, now: &MeshSettings) -> Option<&'a str> {
    let former = former.trust_domain();
    (!now.trust_domains().contains(&former)).then_some(former)
}

/// What proxies follow, where a ConfigMap has it.
fn settings_of(name: &str, map: &ConfigMap) -> Result<Option<MeshSettings>> {
    if name != MESH {
        return Ok(None);
    }
    mesh_settings(map).map(Some)
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
        MESH => {
            let mesh = mesh_of(map)?;
            note_unsupported(&mesh);
            settings.proxy_config = match mesh.get("defaultConfig") {
                Some(Value::Object(config)) => config.clone(),
                None | Some(Value::Null) => Map::new(),
                Some(_) => anyhow::bail!("defaultConfig is not an object"),
            };
            let stated = mesh.get("trustDomain").and_then(Value::as_str);
            let domain = stated.filter(|domain| !domain.is_empty()).unwrap_or(TRUST_DOMAIN);
            SpiffeId::new(domain, "a", "a").context("trustDomain")?;
            settings.trust_domain = Some(domain.to_owned());
        }
        "istio-sidecar-injector" => {
            let text = entry(VALUES_KEY).with_context(|| format!("there is no entry {VALUES_KEY}"))?;
            settings.values = serde_json::from_str::<Values>(text).context(VALUES_KEY)?;
        }
        _ => return Ok(None),
    }
    Ok(Some(settings))
}

/// A root namespace that is not the one.
fn other_root(mesh: &Map<String, Value>) -> Option<&str> {
    let stated = mesh.get("rootNamespace")?.as_str()?;
    Some(stated).filter(|stated| !stated.is_empty() && *stated != ROOT_NAMESPACE)
}

fn note_unsupported(mesh: &Map<String, Value>) {
    let unsupported: Vec<&str> = mesh
        .keys()
        .map(String::as_str)
        .filter(|name| !SUPPORTED.contains(name) && !FIELDS.contains(name))
        .collect();
    if let Some(stated) = other_root(mesh) {
        tracing::error!(
            scope = "default",
            root_namespace = stated,
            "rootNamespace has no effect: policies of the whole mesh are those of namespace {ROOT_NAMESPACE}"
        );
    }
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
mod tests;
