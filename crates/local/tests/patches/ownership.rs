//! Server-side apply and plain writes by several writers, against a model of flat places.
//!
//! The model knows an object as a map from places (`spec/items/a/v`) to texts. Its whole theory:
//! who writes a place owns it and takes it from all others; who removes one takes it from everybody; an applier owns
//! exactly what it states; what it stated before goes when nobody states or owns it any more, an item with all that
//! is in it, and a container with all that is in it as soon as nothing in it is anybody's.

use std::collections::{BTreeMap, BTreeSet};

use local::api::fields::{Element, Owners, Rule, Scope, Subresource, apply, from_openapi, update};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use serde_json::{Map, Value, json};

const VERSION: &str = "example.com/v1";

type Places = BTreeMap<String, String>;
type Paths = BTreeSet<String>;

/// What somebody writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spec {
    map: BTreeMap<&'static str, i64>,
    x: Option<i64>,
    p: Option<i64>,
    items: BTreeMap<&'static str, Item>,
    set: BTreeSet<&'static str>,
    whole: Option<i64>,
    list: Option<i64>,
}

#[derive(Clone, Debug, Default)]
struct Item {
    v: Option<i64>,
    deep: BTreeMap<&'static str, i64>,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Update(&'static str, Spec),
    Apply(&'static str, Spec, bool),
    /// The server fills something in that belongs to nobody.
    Default(usize),
}

pub(crate) fn history() -> impl Strategy<Value = Vec<Step>> {
    let writer = prop::sample::select(vec!["ann", "bob", "kim"]);
    let step = prop_oneof![
        2 => (writer.clone(), spec()).prop_map(|(who, spec)| Step::Update(who, spec)),
        5 => (writer, spec(), any::<bool>()).prop_map(|(who, spec, force)| Step::Apply(who, spec, force)),
        1 => (0..DEFAULTS.len()).prop_map(Step::Default),
    ];
    prop::collection::vec(step, 1..9)
}

fn spec() -> impl Strategy<Value = Spec> {
    let key = || prop::sample::select(vec!["a", "b", "c"]);
    let item = (
        prop::option::of(0..2_i64),
        prop::collection::btree_map(key(), 0..2_i64, 0..2),
    );
    (
        prop::collection::btree_map(key(), 0..2_i64, 0..3),
        prop::option::weighted(0.3, 0..2_i64),
        prop::option::weighted(0.3, 0..2_i64),
        prop::collection::btree_map(key(), item.prop_map(|(v, deep)| Item { v, deep }), 0..3),
        prop::collection::btree_set(key(), 0..3),
        prop::option::weighted(0.3, 0..2_i64),
        prop::option::weighted(0.3, 0..2_i64),
    )
        .prop_map(|(map, x, p, items, set, whole, list)| Spec {
            map,
            x,
            p,
            items,
            set,
            whole,
            list,
        })
}

/// Places that the server may fill in, with what it puts there.
const DEFAULTS: &[(&str, &str)] = &[
    ("spec/map/d", "7"),
    ("spec/nested/y", "7"),
    ("spec/nested/inner/q", "7"),
    ("spec/whole", "{\"k\":7}"),
];

fn schema() -> Rule {
    let numbers = json!({"type": "object", "additionalProperties": {"type": "integer"}});
    let number = json!({"type": "integer"});
    from_openapi(
        &json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "map": numbers,
            "nested": {"type": "object", "properties": {"x": number, "y": number, "inner": {"type": "object",
                "properties": {"p": number, "q": number}}}},
            "items": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {"name": {"type": "string"}, "v": number, "deep": numbers}}},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": number},
            "list": {"type": "array", "items": number},
        }}}}),
    )
}

impl Spec {
    fn places(&self) -> Places {
        let mut places = Places::new();
        let mut put = |place: String, value: String| {
            places.insert(place, value);
        };
        for (key, value) in &self.map {
            put(format!("spec/map/{key}"), value.to_string());
        }
        if let Some(x) = self.x {
            put("spec/nested/x".to_owned(), x.to_string());
        }
        if let Some(p) = self.p {
            put("spec/nested/inner/p".to_owned(), p.to_string());
        }
        for (name, item) in &self.items {
            put(format!("spec/items/{name}"), "item".to_owned());
            put(format!("spec/items/{name}/name"), format!("{name:?}"));
            if let Some(v) = item.v {
                put(format!("spec/items/{name}/v"), v.to_string());
            }
            for (key, value) in &item.deep {
                put(format!("spec/items/{name}/deep/{key}"), value.to_string());
            }
        }
        for value in &self.set {
            put(format!("spec/set/{value}"), "item".to_owned());
        }
        if let Some(whole) = self.whole {
            put("spec/whole".to_owned(), format!("{{\"k\":{whole}}}"));
        }
        if let Some(list) = self.list {
            put("spec/list".to_owned(), format!("[{list}]"));
        }
        places
    }
}

/// The object that has these places.
fn object(places: &Places) -> Value {
    let mut object = json!({"apiVersion": VERSION, "kind": "X"});
    for (place, text) in places.iter().filter(|(place, _)| !is_container(place)) {
        let steps: Vec<&str> = place.split('/').collect();
        match *steps.as_slice() {
            ["spec", "items", _] => {}
            ["spec", "items", name, ref rest @ ..] => {
                let list = object["spec"]["items"].as_array().cloned().unwrap_or_default();
                let mut list = list;
                let at = list
                    .iter()
                    .position(|item| item["name"] == name)
                    .unwrap_or_else(|| {
                        list.push(json!({"name": name}));
                        list.len() - 1
                    });
                put(&mut list[at], rest, serde_json::from_str(text).unwrap());
                object["spec"]["items"] = list.into();
            }
            ["spec", "set", value] => {
                let mut list = object["spec"]["set"].as_array().cloned().unwrap_or_default();
                list.push(value.into());
                object["spec"]["set"] = list.into();
            }
            ref steps => put(&mut object, steps, serde_json::from_str(text).unwrap()),
        }
    }
    object
}

fn put(object: &mut Value, steps: &[&str], value: Value) {
    let place = steps.iter().fold(object, |place, step| {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        &mut place[*step]
    });
    *place = value;
}

/// The places that an object has.
fn places_of(object: &Value) -> Places {
    let mut places = Places::new();
    if let Some(spec) = object.get("spec") {
        collect("spec", spec, &mut places);
    }
    places
}

fn collect(at: &str, value: &Value, places: &mut Places) {
    match value {
        Value::Object(fields) if at != "spec/whole" => {
            let item = at.starts_with("spec/items/") && at.split('/').count() == 3;
            places.insert(at.to_owned(), if item { "item" } else { "in" }.to_owned());
            for (name, inner) in fields {
                collect(&format!("{at}/{name}"), inner, places);
            }
        }
        Value::Array(items) if at != "spec/list" => {
            places.insert(at.to_owned(), "in".to_owned());
            for item in items {
                let name = item
                    .get("name")
                    .unwrap_or(item)
                    .as_str()
                    .unwrap_or("?")
                    .to_owned();
                if item.is_string() {
                    places.insert(format!("{at}/{name}"), "item".to_owned());
                } else {
                    collect(&format!("{at}/{name}"), item, places);
                }
            }
        }
        plain => {
            places.insert(at.to_owned(), plain.to_string());
        }
    }
}

fn is_container(place: &str) -> bool {
    let steps: Vec<&str> = place.split('/').collect();
    matches!(
        steps[..],
        ["spec"]
            | ["spec", "map" | "nested" | "items" | "set"]
            | ["spec", "nested", "inner"]
            | ["spec", "items", _, "deep"]
    )
}

fn is_within(place: &str, container: &str) -> bool {
    place
        .strip_prefix(container)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// All containers on the way to the places.
fn with_containers(mut places: Places) -> Places {
    let inner: Vec<String> = places
        .keys()
        .filter(|place| !is_container(place))
        .cloned()
        .collect();
    places.retain(|place, _| !is_container(place));
    for place in inner {
        for (at, _) in place.match_indices('/') {
            if is_container(&place[..at]) {
                places.insert(place[..at].to_owned(), "in".to_owned());
            }
        }
    }
    places
}

/// Everything that is known after a history.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    places: Places,
    /// By name and whether by apply.
    owners: BTreeMap<(String, bool), Paths>,
    /// What the last step was refused for: message and field of each cause.
    refused: BTreeSet<(String, String)>,
}

impl Model {
    fn replay(history: &[Step]) -> Self {
        let mut model = Self::default();
        for step in history {
            model.refused.clear();
            match step {
                Step::Update(who, spec) => model.update(who, spec.places()),
                Step::Apply(who, spec, force) => model.apply(who, &spec.places(), *force),
                Step::Default(which) => model.fill_in(*which),
            }
        }
        model
    }

    fn fill_in(&mut self, which: usize) {
        let (place, value) = DEFAULTS[which];
        self.places
            .entry(place.to_owned())
            .or_insert_with(|| value.to_owned());
        self.places = with_containers(std::mem::take(&mut self.places));
    }

    fn update(&mut self, who: &str, new: Places) {
        let new = with_containers(new);
        // Nobody keeps count of an object that came to be without owners.
        if self.owners.is_empty() && !self.places.is_empty() {
            self.places = new;
            return;
        }
        let changed = self.take_changes(&new);
        self.owners
            .entry((who.to_owned(), false))
            .or_default()
            .extend(changed);
        self.settle(new);
    }

    fn apply(&mut self, who: &str, stated: &Places, force: bool) {
        let before = self.clone();
        if self.owners.is_empty() {
            let all = self.places.keys().cloned().collect();
            self.owners.insert(("before-first-apply".to_owned(), false), all);
        }
        let me = (who.to_owned(), true);
        let last = self.owners.remove(&me).unwrap_or_default();
        let new = self.after_apply(&last, stated);
        let changed: Paths = differing(&self.places, &new);
        let mut refused = BTreeSet::new();
        for ((name, applied), paths) in &self.owners {
            for path in paths.intersection(&changed) {
                let using = if *applied {
                    String::new()
                } else {
                    format!(" using {VERSION}")
                };
                refused.insert((format!("conflict with {name:?}{using}"), field(path)));
            }
        }
        if !force && !refused.is_empty() {
            *self = Self { refused, ..before };
            return;
        }
        self.take_changes(&new);
        self.owners.insert(me, stated.keys().cloned().collect());
        self.settle(new);
    }

    /// The places after an apply by somebody who stated `last` before.
    fn after_apply(&self, last: &Paths, stated: &Places) -> Places {
        let mut merged = self.places.clone();
        merged.extend(stated.clone());
        let others: Paths = self.owners.values().flatten().cloned().collect();
        let wanted = |place: &String| stated.contains_key(place) || others.contains(place);
        let gone: Paths = last.iter().filter(|place| !wanted(place)).cloned().collect();
        let survives = |place: &str| !gone.iter().any(|gone| gone == place || is_within(place, gone));
        // A container in which nothing is anybody's any more goes with all that is in it.
        let held = |container: &str| {
            merged.keys().any(|place| {
                is_within(place, container) && !is_container(place) && wanted(place) && survives(place)
            })
        };
        let all = with_containers(merged.clone());
        let emptied: Paths = all
            .keys()
            .filter(|place| is_container(place) && last.iter().any(|stated| is_within(stated, place)))
            .filter(|container| !held(container))
            .cloned()
            .collect();
        let kept = merged.into_iter().filter(|(place, _)| {
            survives(place) && !emptied.iter().any(|container| is_within(place, container))
        });
        with_containers(kept.collect())
    }

    /// Takes what differs, and what is gone, from all owners; what differs.
    fn take_changes(&mut self, new: &Places) -> Paths {
        let changed = differing(&self.places, new);
        for paths in self.owners.values_mut() {
            paths.retain(|path| {
                !changed.contains(path) && (new.contains_key(path) || !self.places.contains_key(path))
            });
        }
        changed
    }

    fn settle(&mut self, new: Places) {
        self.places = new;
        self.owners.retain(|_, paths| !paths.is_empty());
    }
}

/// Places that are new or have another value.
fn differing(old: &Places, new: &Places) -> Paths {
    new.iter()
        .filter(|(place, value)| old.get(*place) != Some(value))
        .map(|(place, _)| place.clone())
        .collect()
}

/// A place as conflicts show it.
fn field(place: &str) -> String {
    let mut shown = String::new();
    let mut list = "";
    for step in place.split('/') {
        match list {
            "items" => shown.push_str(&format!("[name={step:?}]")),
            "set" => shown.push_str(&format!("[={step:?}]")),
            _ => shown.push_str(&format!(".{step}")),
        }
        list = if shown == ".spec.items" || shown == ".spec.set" {
            step
        } else {
            ""
        };
    }
    shown
}

/// The code under test, step by step.
struct Server {
    rule: Rule,
    object: Value,
    refused: BTreeSet<(String, String)>,
}

impl Server {
    fn scope<'a>(&'a self, manager: &'a str) -> Scope<'a> {
        Scope {
            rule: &self.rule,
            api_version: VERSION,
            subresource: Subresource::None { status: true },
            manager,
            now: "2026-11-23T00:00:00Z",
            versions: &[],
        }
    }

    fn step(&mut self, step: &Step) {
        self.refused.clear();
        match step {
            Step::Update(who, spec) => self.update(who, object(&spec.places())),
            Step::Apply(who, spec, force) => {
                match apply(&self.scope(who), &self.object, &object(&spec.places()), *force) {
                    Ok((object, owners)) => {
                        self.object = object;
                        owners.write_to(&mut self.object);
                    }
                    Err(status) => {
                        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                        let causes = status.details["causes"].as_array().cloned().unwrap_or_default();
                        let causes = causes
                            .iter()
                            .map(|cause| (text(&cause["message"]), text(&cause["field"])));
                        self.refused = causes.collect();
                    }
                }
            }
            Step::Default(which) => {
                let (place, text) = DEFAULTS[*which];
                if !places_of(&self.object).contains_key(place) {
                    let steps: Vec<&str> = place.split('/').collect();
                    put(&mut self.object, &steps, serde_json::from_str(text).unwrap());
                }
            }
        }
    }

    /// As the verbs do it: an object without owners stays without.
    fn update(&mut self, who: &str, mut new: Value) {
        let mut owners = Owners::given(&self.object, &new);
        if !owners.0.is_empty() || places_of(&self.object).is_empty() {
            owners = update(&self.scope(who), &self.object, &new, owners);
        }
        owners.write_to(&mut new);
        self.object = new;
    }

    fn seen(&self) -> Model {
        let owners = Owners::of(&self.object).unwrap();
        let owners = owners.0.into_iter().map(|owner| {
            let paths = owner.fields.paths().iter().map(|path| text(path)).collect();
            ((owner.manager, owner.applied), paths)
        });
        Model {
            places: places_of(&self.object),
            owners: owners.collect(),
            refused: self.refused.clone(),
        }
    }
}

fn text(path: &[Element]) -> String {
    let steps = path.iter().map(|element| match element {
        Element::Field(name) => name.clone(),
        other => {
            let shown = other.to_string();
            shown
                .rsplit('=')
                .next()
                .unwrap_or_default()
                .trim_end_matches(']')
                .trim_matches('"')
                .to_owned()
        }
    });
    steps.collect::<Vec<_>>().join("/")
}

pub(crate) fn agrees(history: &[Step]) -> Result<(), TestCaseError> {
    let mut server = Server {
        rule: schema(),
        object: json!({"apiVersion": VERSION, "kind": "X"}),
        refused: BTreeSet::new(),
    };
    for (index, step) in history.iter().enumerate() {
        server.step(step);
        prop_assert_eq!(
            server.seen(),
            Model::replay(&history[..=index]),
            "after step {}",
            index
        );
    }
    Ok(())
}
