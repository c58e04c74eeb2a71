//! Endpoints, the older form of EndpointSlices: written for Services with a selector ([`plan`]), and mirrored into
//! slices where somebody else wrote them for a Service without one ([`mirror`]).
//!
//! <https://kubernetes.io/docs/concepts/services-networking/service/#endpoints>

mod mirror;
mod plan;

use daemon::Tasks;
use serde_json::Value;

use super::endpoint_slice::plan::{MANAGED_BY, SERVICE_NAME};
use super::endpoint_slice::{has_selector, services_of_pod};
use super::queue::{Backoff, Key};
use super::run::{self, Definition, Next, Source};
use super::{object, selector, write};
use crate::api::Status;
use crate::api::client::{Client, Object, Query};
use crate::api::gvr::{ENDPOINT_SLICES, ENDPOINTS, PODS, SERVICES};
use mirror::{MIRROR, Write};

pub(super) fn start(client: &Client, tasks: &Tasks) {
    let definition = Definition {
        name: "endpoint-controller",
        sources: vec![
            Source::of(SERVICES),
            Source::mapped(PODS, services_of_pod),
            Source::mapped(ENDPOINTS, |_, endpoints| vec![Key::of(&SERVICES, endpoints)]),
            Source::mapped(ENDPOINT_SLICES, |_, slice| {
                match object::label(slice, MANAGED_BY) {
                    MIRROR => vec![Key::new(
                        &SERVICES,
                        object::namespace(slice),
                        object::label(slice, SERVICE_NAME),
                    )],
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

async fn reconcile(client: &Client, key: &Key) -> Result<Next, Status> {
    let service = found(client.get(&SERVICES, &key.namespace, &key.name))?;
    let endpoints = found(client.get(&ENDPOINTS, &key.namespace, &key.name))?;
    let service = service.filter(|service| !object::is_ending(service));
    match &service {
        Some(service) if has_selector(service) => {
            write_own(client, key, service, endpoints.as_deref()).await?;
        }
        Some(_) => {}
        // Only what this controller wrote: others keep locks in Endpoints that have no Service.
        None => {
            if let Some(endpoints) = endpoints.as_ref().filter(|endpoints| plan::is_own(endpoints)) {
                write::delete(client, &ENDPOINTS, endpoints, None).await?;
            }
        }
    }
    let mirrored = match (&service, &endpoints) {
        (Some(service), Some(endpoints)) if !has_selector(service) => mirror::is_wanted(endpoints),
        _ => false,
    };
    let source = endpoints.as_deref().filter(|_| mirrored);
    for write in mirror::plan(&key.name, source, &mirrors(client, key)?) {
        match write {
            Write::Create(slice) => drop(client.create(&ENDPOINT_SLICES, &key.namespace, slice).await?),
            Write::Update(slice) => drop(client.update(&ENDPOINT_SLICES, &key.namespace, slice).await?),
            Write::Delete(slice) => write::delete(client, &ENDPOINT_SLICES, &slice, None).await?,
        }
    }
    Ok(Next::Wait)
}

fn found(result: Result<Object, Status>) -> Result<Option<Object>, Status> {
    match result {
        Err(status) if status.code == 404 => Ok(None),
        found => found.map(Some),
    }
}

async fn write_own(
    client: &Client,
    key: &Key,
    service: &Value,
    existing: Option<&Value>,
) -> Result<(), Status> {
    let pods = client.list(&PODS, &key.namespace, &Query::default())?.items;
    let selects =
        |pod: &Object| selector::matches_map(&service["spec"]["selector"], &pod["metadata"]["labels"]);
    let pods: Vec<Object> = pods.into_iter().filter(selects).collect();
    let Some(wanted) = plan::plan(service, &pods, existing) else {
        return Ok(());
    };
    match existing {
        Some(_) => client.update(&ENDPOINTS, &key.namespace, wanted).await.map(drop),
        None => client.create(&ENDPOINTS, &key.namespace, wanted).await.map(drop),
    }
}

fn mirrors(client: &Client, service: &Key) -> Result<Vec<Object>, Status> {
    let query = Query {
        labels: format!("{SERVICE_NAME}={},{MANAGED_BY}={MIRROR}", service.name),
        ..Query::default()
    };
    let mut slices = client.list(&ENDPOINT_SLICES, &service.namespace, &query)?.items;
    object::sort_by_age(&mut slices);
    Ok(slices)
}
