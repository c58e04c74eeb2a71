//! Strategic merge patch against maps: where Kubernetes merges lists by key, the model has maps in the first place.

use std::collections::{BTreeMap, BTreeSet};

use local::api::patch::{PatchKind, apply};
use local::api::registry::Registry;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use serde_json::{Map, Value, json};

type Variables = BTreeMap<String, i64>;

/// A pod, as far as it is patched here.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Pod {
    finalizers: BTreeSet<String>,
    containers: BTreeMap<String, Container>,
    selector: Variables,
    tolerations: Vec<i64>,
    volumes: BTreeMap<String, BTreeMap<String, i64>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Container {
    image: Option<i64>,
    env: Variables,
    ports: BTreeMap<i64, i64>,
}

/// What a patch does to a list or map as a whole before its entries count.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Directive {
    None,
    Replace,
    Delete,
}

type Sources = BTreeMap<String, i64>;

#[derive(Clone, Debug)]
pub(crate) struct Patch {
    add_finalizers: BTreeSet<String>,
    delete_finalizers: BTreeSet<String>,
    containers: BTreeMap<String, Change>,
    replace_containers: bool,
    /// Names in the order in which they shall stand.
    order: Option<Vec<String>>,
    selector: BTreeMap<String, Option<i64>>,
    selector_directive: Directive,
    tolerations: Option<Vec<i64>>,
    /// Sources of volumes; with whether the others go.
    volumes: BTreeMap<String, (Sources, bool)>,
}

#[derive(Clone, Debug)]
enum Change {
    Delete,
    Merge {
        image: Option<Option<i64>>,
        env: BTreeMap<String, Option<i64>>,
        ports: BTreeMap<i64, i64>,
    },
}

pub(crate) fn case() -> impl Strategy<Value = (Pod, Patch)> {
    (pod(), patch())
}

fn pod() -> impl Strategy<Value = Pod> {
    let container = (
        prop::option::of(0..3_i64),
        prop::collection::btree_map("[a-d]", 0..3_i64, 0..4),
        prop::collection::btree_map(1..4_i64, 0..3_i64, 0..3),
    )
        .prop_map(|(image, env, ports)| Container { image, env, ports });
    let source = prop::collection::btree_map("(hostPath|emptyDir|nfs)", 0..3_i64, 1..3);
    (
        prop::collection::btree_set("[f-h]", 0..3),
        prop::collection::btree_map("[a-d]", container, 0..4),
        prop::collection::btree_map("[a-c]", 0..3_i64, 0..3),
        prop::collection::vec(0..3_i64, 0..3),
        prop::collection::btree_map("[v-x]", source, 0..3),
    )
        .prop_map(|(finalizers, containers, selector, tolerations, volumes)| Pod {
            finalizers,
            containers,
            selector,
            tolerations,
            volumes,
        })
}

fn patch() -> impl Strategy<Value = Patch> {
    let merge = (
        prop::option::of(prop::option::of(0..3_i64)),
        prop::collection::btree_map("[a-d]", prop::option::of(0..3_i64), 0..4),
        prop::collection::btree_map(1..4_i64, 0..3_i64, 0..3),
    )
        .prop_map(|(image, env, ports)| Change::Merge { image, env, ports });
    let change = prop_oneof![1 => Just(Change::Delete), 4 => merge];
    let order = Just(["a", "b", "c", "d"].map(str::to_owned).to_vec()).prop_shuffle();
    let directive =
        prop_oneof![4 => Just(Directive::None), 1 => Just(Directive::Replace), 1 => Just(Directive::Delete)];
    let source = prop::collection::btree_map("(hostPath|emptyDir|nfs)", 0..3_i64, 1..2);
    (
        (
            prop::collection::btree_set("[f-h]", 0..3),
            prop::collection::btree_set("[f-h]", 0..2),
        ),
        (
            prop::collection::btree_map("[a-d]", change, 0..4),
            prop::bool::weighted(0.15),
            prop::option::of(order),
        ),
        (
            prop::collection::btree_map("[a-c]", prop::option::of(0..3_i64), 0..3),
            directive,
        ),
        prop::option::of(prop::collection::vec(0..3_i64, 0..3)),
        prop::collection::btree_map("[v-x]", (source, any::<bool>()), 0..3),
    )
        .prop_map(|(finalizers, containers, selector, tolerations, volumes)| Patch {
            delete_finalizers: finalizers.1.difference(&finalizers.0).cloned().collect(),
            add_finalizers: finalizers.0,
            containers: containers.0,
            replace_containers: containers.1,
            order: containers.2,
            selector: selector.0,
            selector_directive: selector.1,
            tolerations,
            volumes,
        })
}

impl Pod {
    fn to_value(&self) -> Value {
        let containers: Vec<Value> = self
            .containers
            .iter()
            .map(|(name, one)| one.to_value(name))
            .collect();
        let volumes: Vec<Value> = self
            .volumes
            .iter()
            .map(|(name, sources)| {
                let mut volume = Map::from_iter([("name".to_owned(), name.as_str().into())]);
                volume.extend(
                    sources
                        .iter()
                        .map(|(source, value)| (source.clone(), json!({"x": value}))),
                );
                Value::Object(volume)
            })
            .collect();
        json!({"kind": "Pod", "metadata": {"finalizers": self.finalizers}, "spec": {"containers": containers,
            "nodeSelector": self.selector, "tolerations": self.tolerations, "volumes": volumes}})
    }

    fn from_value(pod: &Value) -> Self {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let numbers = |value: &Value, name: &str, content: &str| {
            let items = value.as_array().cloned().unwrap_or_default();
            items
                .iter()
                .map(|one| (one[name].clone(), one[content].as_i64().unwrap_or(-1)))
                .collect::<Vec<_>>()
        };
        let spec = &pod["spec"];
        let containers = list(&spec["containers"]);
        let containers = containers.iter().map(|one| {
            let container = Container {
                image: one["image"].as_i64(),
                env: numbers(&one["env"], "name", "value")
                    .iter()
                    .map(|(name, value)| (text(name), *value))
                    .collect(),
                ports: numbers(&one["ports"], "containerPort", "hostPort")
                    .iter()
                    .map(|(port, value)| (port.as_i64().unwrap_or(-1), *value))
                    .collect(),
            };
            (text(&one["name"]), container)
        });
        let volumes = list(&spec["volumes"]);
        let volumes = volumes.iter().map(|volume| {
            let sources = volume
                .as_object()
                .into_iter()
                .flatten()
                .filter(|(name, _)| *name != "name");
            let sources = sources.map(|(name, source)| (name.clone(), source["x"].as_i64().unwrap_or(-1)));
            (text(&volume["name"]), sources.collect())
        });
        let selector = spec["nodeSelector"].as_object().into_iter().flatten();
        Self {
            finalizers: list(&pod["metadata"]["finalizers"]).iter().map(text).collect(),
            containers: containers.collect(),
            selector: selector
                .map(|(name, value)| (name.clone(), value.as_i64().unwrap_or(-1)))
                .collect(),
            tolerations: list(&spec["tolerations"])
                .iter()
                .filter_map(Value::as_i64)
                .collect(),
            volumes: volumes.collect(),
        }
    }

    /// What the patch means.
    fn patched(&self, patch: &Patch) -> Self {
        let mut pod = self.clone();
        pod.finalizers.extend(patch.add_finalizers.clone());
        pod.finalizers
            .retain(|one| !patch.delete_finalizers.contains(one));
        if patch.replace_containers {
            pod.containers.clear();
        }
        for (name, change) in &patch.containers {
            match change {
                Change::Delete => {
                    pod.containers.remove(name);
                }
                Change::Merge { image, env, ports } => {
                    let container = pod.containers.entry(name.clone()).or_default();
                    container.image = image.unwrap_or(container.image);
                    for (name, value) in env {
                        match value {
                            Some(value) => container.env.insert(name.clone(), *value),
                            None => container.env.remove(name),
                        };
                    }
                    container.ports.extend(ports);
                }
            }
        }
        if patch.selector_directive != Directive::None {
            pod.selector.clear();
        }
        if patch.selector_directive != Directive::Delete {
            for (name, value) in &patch.selector {
                match value {
                    Some(value) => pod.selector.insert(name.clone(), *value),
                    None => pod.selector.remove(name),
                };
            }
        }
        pod.tolerations = patch.tolerations.clone().unwrap_or(pod.tolerations);
        for (name, (sources, alone)) in &patch.volumes {
            let volume = pod.volumes.entry(name.clone()).or_default();
            if *alone {
                volume.retain(|source, _| sources.contains_key(source));
            }
            volume.extend(sources.clone());
        }
        pod
    }
}

impl Container {
    fn to_value(&self, name: &str) -> Value {
        let env: Vec<Value> = self
            .env
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        let ports: Vec<Value> = self
            .ports
            .iter()
            .map(|(port, value)| json!({"containerPort": port, "hostPort": value}))
            .collect();
        let mut container = json!({"name": name, "env": env, "ports": ports});
        if let Some(image) = self.image {
            container["image"] = image.into();
        }
        container
    }
}

impl Patch {
    fn to_value(&self) -> Value {
        let mut containers: Vec<(String, Value)> = self
            .containers
            .iter()
            .map(|(name, change)| (name.clone(), change.to_value(name)))
            .collect();
        let mut spec = json!({});
        if let Some(order) = &self.order {
            // A patch lists its items in the order that it asks for.
            containers.sort_by_key(|(name, _)| order.iter().position(|one| one == name));
            let order: Vec<Value> = order.iter().map(|name| json!({"name": name})).collect();
            spec["$setElementOrder/containers"] = order.into();
        }
        let mut containers: Vec<Value> = containers.into_iter().map(|(_, change)| change).collect();
        if self.replace_containers {
            containers.push(json!({"$patch": "replace"}));
        }
        spec["containers"] = containers.into();
        let mut selector: Map<String, Value> = self
            .selector
            .iter()
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect();
        match self.selector_directive {
            Directive::None => {}
            Directive::Replace => drop(selector.insert("$patch".to_owned(), "replace".into())),
            Directive::Delete => drop(selector.insert("$patch".to_owned(), "delete".into())),
        }
        spec["nodeSelector"] = Value::Object(selector);
        if let Some(tolerations) = &self.tolerations {
            spec["tolerations"] = json!(tolerations);
        }
        let volumes = self.volumes.iter().map(|(name, (sources, alone))| {
            let mut volume = Map::from_iter([("name".to_owned(), name.as_str().into())]);
            volume.extend(
                sources
                    .iter()
                    .map(|(source, value)| (source.clone(), json!({"x": value}))),
            );
            if *alone {
                let kept: Vec<&str> = sources.keys().map(String::as_str).chain(["name"]).collect();
                volume.insert("$retainKeys".to_owned(), json!(kept));
            }
            Value::Object(volume)
        });
        spec["volumes"] = volumes.collect();
        json!({"metadata": {"finalizers": self.add_finalizers,
            "$deleteFromPrimitiveList/finalizers": self.delete_finalizers}, "spec": spec})
    }
}

impl Change {
    fn to_value(&self, name: &str) -> Value {
        let Self::Merge { image, env, ports } = self else {
            return json!({"name": name, "$patch": "delete"});
        };
        let env: Vec<Value> = env
            .iter()
            .map(|(name, value)| match value {
                Some(value) => json!({"name": name, "value": value}),
                None => json!({"name": name, "$patch": "delete"}),
            })
            .collect();
        let ports: Vec<Value> = ports
            .iter()
            .map(|(port, value)| json!({"containerPort": port, "hostPort": value}))
            .collect();
        let mut change = json!({"name": name, "env": env, "ports": ports});
        if let Some(image) = image {
            change["image"] = json!(image);
        }
        change
    }
}

pub(crate) fn agrees((pod, patch): &(Pod, Patch)) -> Result<(), TestCaseError> {
    let registry = Registry::built_in();
    let kind = registry.find("", "v1", "pods").expect("it is built in");
    let result = apply(
        kind,
        PatchKind::Strategic,
        &pod.to_value(),
        patch.to_value().to_string().as_bytes(),
    );
    let result = result.map_err(|status| TestCaseError::fail(status.message))?;
    prop_assert_eq!(Pod::from_value(&result), pod.patched(patch));
    if let Some(order) = patch.order.as_ref().filter(|_| !patch.replace_containers) {
        let containers = result["spec"]["containers"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let places: Vec<_> = containers
            .iter()
            .map(|one| order.iter().position(|name| one["name"] == *name))
            .collect();
        prop_assert!(
            places.is_sorted(),
            "{:?} is not in the order {:?}",
            containers,
            order
        );
    }
    Ok(())
}
