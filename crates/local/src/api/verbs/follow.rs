//! What is compiled from stored objects follows the store: the registry from CustomResourceDefinitions, the rights from
//! roles and bindings. A write brings it up to date before it answers; a write whose caller leaves before the answer is
//! stored all the same, and is taken in here.

use std::sync::Arc;

use super::Api;
use crate::api::{Gvr, gvr, rbac};

/// The collections that something is compiled from.
pub fn compiled_from() -> impl Iterator<Item = Gvr> {
    rbac::COLLECTIONS
        .into_iter()
        .chain([gvr::CUSTOM_RESOURCE_DEFINITIONS])
}

/// Follows one of [`compiled_from`]; never ends.
pub async fn follow(api: Arc<Api>, collection: Gvr) {
    let name = collection.to_string();
    loop {
        let (_, revision) = api.store.list(&name, "");
        api.compile(&collection);
        let Ok(mut feed) = api.store.feed(&name, revision) else {
            continue;
        };
        // An error says that changes were missed; then everything is read again.
        while feed.next().await.is_ok() {
            api.compile(&collection);
        }
    }
}
