//! Probes and hooks of the application, turned to the sidecar and back again.
//!
//! A kubelet connects without an identity, and would be refused where only mutual TLS or certain callers are let in. So it
//! asks the sidecar, on a port that is not captured, and the sidecar asks the application. What is turned back is the
//! pod as it was, with numbers in the place of named ports: injecting twice relies on it.
//! <https://istio.io/latest/docs/ops/configuration/mesh/app-health-check/>

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{INIT, PROXY};

/// The sidecar learns by it what to ask.
pub(super) const VARIABLE: &str = "ISTIO_KUBE_APP_PROBERS";

/// The sidecar's paths, and what to ask when one of them is asked.
pub(super) type Probers = BTreeMap<String, Value>;

/// What a container may have, and the beginning and end of the sidecar's path for it.
const PLACES: [(&str, &str, &str); 5] = [
    ("/readinessProbe", "app-health", "readyz"),
    ("/livenessProbe", "app-health", "livez"),
    ("/startupProbe", "app-health", "startupz"),
    ("/lifecycle/preStop", "app-lifecycle", "prestopz"),
    ("/lifecycle/postStart", "app-lifecycle", "poststartz"),
];

/// What must have gone well before anything that comes later in the pod begins.
const FIRST: [&str; 2] = ["/startupProbe", "/lifecycle/postStart"];

/// Handlers that go over the network.
const HANDLERS: [&str; 3] = ["httpGet", "tcpSocket", "grpc"];

const LISTS: [&str; 2] = ["initContainers", "containers"];

/// Turns to `port` of the sidecar whatever asks a port of the pod. Left as they are: commands, hosts other than the pod,
/// and ports whose names no port of the container has, which the kubelet reports. Unless the sidecar is `native`, init
/// containers begin before it, and before capture: for their beginning they are asked as ever.
pub(super) fn rewrite(pod: &mut Value, port: u16, native: bool) -> Probers {
    let mut probers = Probers::new();
    for (list, container) in containers(pod) {
        let early = list == "initContainers" && !native;
        for (place, path) in places(container) {
            if early && FIRST.contains(&place) {
                continue;
            }
            let asked = container.pointer(place);
            let Some(prober) = asked.and_then(|action| prober(action, container, port)) else {
                continue;
            };
            if let Some(Value::Object(action)) = container.pointer_mut(place) {
                turn(action, &path, port);
                probers.insert(path, prober);
            }
        }
    }
    probers
}

/// Turns back what the sidecar of an injected pod was told.
pub(super) fn restore(pod: &mut Value) {
    let Some(probers) = told(pod) else { return };
    for (_, container) in containers(pod) {
        for (place, path) in places(container) {
            if let (Some(prober), Some(Value::Object(action))) =
                (probers.get(&path), container.pointer_mut(place))
                && action.get("httpGet").is_some_and(|get| get["path"] == *path)
            {
                action.shift_remove("httpGet");
                let handler = HANDLERS.iter().find_map(|name| Some((*name, prober.get(name)?)));
                action.extend(handler.map(|(name, handler)| (name.to_owned(), handler.clone())));
            }
        }
    }
}

fn told(pod: &Value) -> Option<Probers> {
    let all = LISTS.iter().filter_map(|list| pod["spec"][list].as_array());
    let mut proxies = all.flatten().filter(|container| container["name"] == PROXY);
    let text = proxies.find_map(|proxy| {
        let mut variables = proxy["env"].as_array()?.iter();
        variables.find(|variable| variable["name"] == VARIABLE)?["value"].as_str()
    })?;
    serde_json::from_str(text).ok()
}

/// Containers of the application with the list that they are in; some init containers run as long as the pod.
fn containers(pod: &mut Value) -> impl Iterator<Item = (&str, &mut Value)> {
    let lists = pod["spec"].as_object_mut().into_iter().flatten();
    let lists = lists.filter(|(name, _)| LISTS.contains(&name.as_str()));
    let all = lists.flat_map(|(name, list)| {
        let items = list.as_array_mut().into_iter().flatten();
        items.map(|container| (name.as_str(), container))
    });
    all.filter(|(_, container)| {
        let name = container["name"].as_str();
        name.is_some_and(|name| name != PROXY && name != INIT)
    })
}

fn places(container: &Value) -> Vec<(&'static str, String)> {
    let name = container["name"].as_str().unwrap_or_default();
    let place = |(place, kind, purpose)| (place, format!("/{kind}/{name}/{purpose}"));
    PLACES.into_iter().map(place).collect()
}

/// What the sidecar has to ask: the handler with a number for its port, and its time.
fn prober(action: &Value, container: &Value, own: u16) -> Option<Value> {
    let (kind, handler) = HANDLERS
        .iter()
        .find_map(|kind| Some((*kind, action.get(kind)?.as_object()?)))?;
    let elsewhere = handler.get("host").and_then(Value::as_str);
    let port = number(handler.get("port")?, container)?;
    if elsewhere.is_some_and(|host| !host.is_empty()) || port == u64::from(own) {
        return None;
    }
    let mut handler = handler.clone();
    handler.insert("port".to_owned(), port.into());
    let mut prober = json!({kind: handler});
    if let Some(seconds) = action.get("timeoutSeconds").filter(|seconds| **seconds != 0) {
        prober["timeoutSeconds"] = seconds.clone();
    }
    Some(prober)
}

/// As the kubelet finds it.
fn number(port: &Value, container: &Value) -> Option<u64> {
    let Some(name) = port.as_str() else {
        return port.as_u64();
    };
    let mut ports = container["ports"].as_array().into_iter().flatten();
    let named = ports.find(|port| port["name"] == name);
    named.map_or_else(|| name.parse().ok(), |port| port["containerPort"].as_u64())
}

/// The headers of a GET stay: the sidecar passes them on.
fn turn(action: &mut Map<String, Value>, path: &str, port: u16) {
    let mut get = match action.get("httpGet") {
        Some(Value::Object(get)) => get.clone(),
        _ => Map::new(),
    };
    get.insert("path".to_owned(), path.into());
    get.insert("port".to_owned(), port.into());
    // The sidecar itself is asked in plain text, and asks the application as was meant.
    if let Some(scheme) = get.get_mut("scheme").filter(|scheme| *scheme == "HTTPS") {
        *scheme = "HTTP".into();
    }
    for kind in HANDLERS {
        action.shift_remove(kind);
    }
    action.insert("httpGet".to_owned(), get.into());
}
