//! EndpointSlices: where the pods behind a Service are, and whether they may be called.
//!
//! <https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/>

pub(super) mod plan;

use daemon::Tasks;
use serde_json::Value;

use super::queue::{Backoff, Key};
use super::run::{self, Definition, Next, Source};
use super::{object, selector, write};
use crate::api::Status;
use crate::api::client::{Client, Object, Query};
use crate::api::gvr::{ENDPOINT_SLICES, NODES, PODS, SERVICES};
use plan::{MANAGED_BY, MANAGER, SERVICE_NAME, Write};

pub(super) fn start(client: &Client, tasks: &Tasks) {
    let definition = Definition {
        name: "endpointslice-controller",
        sources: vec![
            Source::of(SERVICES),
            Source::mapped(PODS, services_of_pod),
            Source::mapped(ENDPOINT_SLICES, |_, slice| {
                match object::label(slice, MANAGED_BY) {
                    MANAGER => vec![service_of_slice(slice)],
                    _ => Vec::new(),
                }
            }),
        ],
        backoff: Backoff::default(),
        at_once: 4,
    };
    run::start(definition, client, tasks, |client, key| async move {
        reconcile(&client, &key).await
    });
}

pub(super) fn services_of_pod(client: &Client, pod: &Value) -> Vec<Key> {
    let Ok(list) = client.list(&SERVICES, object::namespace(pod), &Query::default()) else {
        return Vec::new();
    };
    let selects = |service: &&Object| {
        has_selector(service)
            && selector::matches_map(&service["spec"]["selector"], &pod["metadata"]["labels"])
    };
    list.items
        .iter()
        .filter(selects)
        .map(|service| Key::of(&SERVICES, service))
        .collect()
}

fn service_of_slice(slice: &Value) -> Key {
    Key::new(
        &SERVICES,
        object::namespace(slice),
        object::label(slice, SERVICE_NAME),
    )
}

/// The endpoints of other Services are somebody else's to write.
pub(super) fn has_selector(service: &Value) -> bool {
    service["spec"]["type"] != "ExternalName"
        && service["spec"]["selector"]
            .as_object()
            .is_some_and(|selector| !selector.is_empty())
}

async fn reconcile(client: &Client, key: &Key) -> Result<Next, Status> {
    let service = match client.get(&SERVICES, &key.namespace, &key.name) {
        Err(status) if status.code == 404 => return Ok(Next::Wait),
        found => found?,
    };
    let existing = own_slices(client, key)?;
    if object::is_ending(&service) {
        return Ok(Next::Wait);
    }
    if !has_selector(&service) {
        for slice in existing {
            write::delete(client, &ENDPOINT_SLICES, &slice, None).await?;
        }
        return Ok(Next::Wait);
    }
    let pods = client.list(&PODS, &key.namespace, &Query::default())?.items;
    let selects =
        |pod: &Object| selector::matches_map(&service["spec"]["selector"], &pod["metadata"]["labels"]);
    let pods: Vec<Object> = pods.into_iter().filter(selects).collect();
    let zone_of = |node: &str| {
        let node = client.get(&NODES, "", node).ok()?;
        let zone = object::label(&node, "topology.kubernetes.io/zone");
        (!zone.is_empty()).then(|| zone.to_owned())
    };
    for write in plan::plan(&service, &pods, &existing, &zone_of) {
        match write {
            Write::Create(slice) => drop(client.create(&ENDPOINT_SLICES, &key.namespace, slice).await?),
            Write::Update(slice) => drop(client.update(&ENDPOINT_SLICES, &key.namespace, slice).await?),
            Write::Delete(slice) => write::delete(client, &ENDPOINT_SLICES, &slice, None).await?,
        }
    }
    Ok(Next::Wait)
}

fn own_slices(client: &Client, service: &Key) -> Result<Vec<Object>, Status> {
    let query = Query {
        labels: format!("{SERVICE_NAME}={},{MANAGED_BY}={MANAGER}", service.name),
        ..Query::default()
    };
    let mut slices = client.list(&ENDPOINT_SLICES, &service.namespace, &query)?.items;
    object::sort_by_age(&mut slices);
    Ok(slices)
}
