//! Every namespace has the ConfigMap `kube-root-ca.crt`, by which pods know the API server.

use daemon::Tasks;
use serde_json::json;

use super::queue::{Backoff, Key};
use super::run::{self, Definition, Next, Source};
use super::{Settings, object, write};
use crate::api::Status;
use crate::api::client::{Client, Patch};
use crate::api::gvr::{CONFIG_MAPS, NAMESPACES};

const NAME: &str = "kube-root-ca.crt";

pub(super) fn start(client: &Client, settings: &Settings, tasks: &Tasks) {
    let certificate = settings.ca_certificate.clone();
    let definition = Definition {
        name: "root-ca-certificate-publisher",
        sources: vec![
            Source::of(NAMESPACES),
            Source::mapped(CONFIG_MAPS, |_, map| match object::name(map) {
                NAME => vec![Key::new(&NAMESPACES, "", object::namespace(map))],
                _ => Vec::new(),
            }),
        ],
        backoff: Backoff::default(),
        at_once: 1,
    };
    run::start(definition, client, tasks, move |client, key| {
        let certificate = certificate.clone();
        async move {
            match client.get(&NAMESPACES, "", &key.name) {
                Ok(namespace) if !object::is_ending(&namespace) => {
                    ensure(&client, &key.name, &certificate).await?
                }
                _ => {}
            }
            Ok(Next::Wait)
        }
    });
}

pub(super) async fn ensure(client: &Client, namespace: &str, certificate: &str) -> Result<(), Status> {
    let data = json!({"ca.crt": certificate});
    match client.get(&CONFIG_MAPS, namespace, NAME) {
        Ok(map) if map["data"] == data => Ok(()),
        Ok(_) => {
            let patch = Patch::Merge(json!({"data": data}));
            client.patch(&CONFIG_MAPS, namespace, NAME, patch).await.map(drop)
        }
        Err(_) => {
            let map = json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": NAME, "namespace": namespace}, "data": data,
            });
            write::create_if_absent(client, &CONFIG_MAPS, map).await
        }
    }
}
