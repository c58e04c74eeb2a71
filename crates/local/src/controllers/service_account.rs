//! Every namespace has a ServiceAccount `default`.

use daemon::Tasks;
use serde_json::json;

use super::queue::{Backoff, Key};
use super::run::{self, Definition, Next, Source};
use super::{object, write};
use crate::api::Status;
use crate::api::client::Client;
use crate::api::gvr::{NAMESPACES, SERVICE_ACCOUNTS};

const NAME: &str = "default";

pub(super) fn start(client: &Client, tasks: &Tasks) {
    let definition = Definition {
        name: "serviceaccount-controller",
        sources: vec![
            Source::of(NAMESPACES),
            Source::mapped(SERVICE_ACCOUNTS, |_, account| match object::name(account) {
                NAME => vec![Key::new(&NAMESPACES, "", object::namespace(account))],
                _ => Vec::new(),
            }),
        ],
        backoff: Backoff::default(),
        at_once: 1,
    };
    run::start(definition, client, tasks, |client, key| async move {
        match client.get(&NAMESPACES, "", &key.name) {
            Ok(namespace) if !object::is_ending(&namespace) => ensure(&client, &key.name).await?,
            _ => {}
        }
        Ok(Next::Wait)
    });
}

pub(super) async fn ensure(client: &Client, namespace: &str) -> Result<(), Status> {
    if client.get(&SERVICE_ACCOUNTS, namespace, NAME).is_ok() {
        return Ok(());
    }
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": namespace},
    });
    write::create_if_absent(client, &SERVICE_ACCOUNTS, account).await
}
