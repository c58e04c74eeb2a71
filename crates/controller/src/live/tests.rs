//! What is taken over of ConfigMaps, and what is waited for.

use serde_json::json;

use super::*;

fn map(data: &Value) -> ConfigMap {
    serde_json::from_value(json!({"data": data})).unwrap()
}

fn named(name: &str, data: &Value) -> ConfigMap {
    let mut map = map(data);
    map.metadata.name = Some(name.to_owned());
    map
}

fn mesh(text: &str) -> ConfigMap {
    named("istio", &json!({"mesh": text}))
}

struct Seen {
    followers: Followers,
    mesh: watch_channel::Receiver<Option<Arc<MeshSettings>>>,
    listed: Listed,
}

impl Seen {
    fn new() -> Self {
        let (told, mesh) = watch_channel::channel(None);
        Self {
            followers: Followers {
                injection: initial(false),
                mesh: told,
            },
            mesh,
            listed: Listed::default(),
        }
    }

    /// Whether enough is known after those events.
    fn take(&mut self, events: impl IntoIterator<Item = Event<ConfigMap>>) -> bool {
        let mut known = false;
        for event in events {
            known = self.followers.take(&event, &mut self.listed);
        }
        known
    }

    fn trust_domain(&self) -> Option<String> {
        let told = self
            .mesh
            .borrow()
            .as_ref()
            .map(|mesh| mesh.trust_domain().to_owned());
        let signed = self.followers.injection.load().trust_domain.clone();
        assert_eq!(told, signed, "who signs and who is told agree");
        told
    }
}

#[test]
fn both_config_maps_have_their_part() {
    let current = (**initial(true).load()).clone();
    let mesh = "defaultConfig:\n  concurrency: 2\ntrustDomain: example.org\n";
    let first = next(&current, "istio", &map(&json!({"mesh": mesh})))
        .unwrap()
        .unwrap();
    assert_eq!(
        (first.trust_domain.as_deref(), &first.proxy_config["concurrency"]),
        (Some("example.org"), &json!(2))
    );
    let values = json!({"global": {"hub": "registry.example"}}).to_string();
    let second = next(&first, "istio-sidecar-injector", &map(&json!({"values": values})))
        .unwrap()
        .unwrap();
    assert_eq!(second.values.global.hub, "registry.example");
    assert_eq!(second.trust_domain.as_deref(), Some("example.org"));
    assert!(second.native_sidecar);
}

#[test]
fn defaults_hold_only_when_a_whole_list_has_no_settings() {
    let mut seen = Seen::new();
    assert!(!seen.take([Event::Init]));
    assert_eq!(seen.trust_domain(), None);
    assert!(seen.take([Event::InitDone]));
    assert_eq!(seen.trust_domain().as_deref(), Some("cluster.local"));
}

#[test]
fn settings_that_cannot_be_read_are_waited_for() {
    for broken in [
        "a: [b",
        "trustDomain: 7",
        "trustDomain: a b",
        "defaultConfig: 7\ntrustDomain: x",
        "trustDomain: x\naccessLogFile: /x\naccessLogFormat: '%NOPE%'",
    ] {
        let mut seen = Seen::new();
        let known = seen.take([Event::Init, Event::InitApply(mesh(broken)), Event::InitDone]);
        assert!(!known, "{broken}");
        assert_eq!(seen.trust_domain(), None, "{broken}");
        assert!(seen.take([Event::Apply(mesh("trustDomain: example.org"))]));
        assert_eq!(seen.trust_domain().as_deref(), Some("example.org"));
        assert!(
            seen.take([Event::Apply(mesh(broken))]),
            "the former ones stay in force"
        );
        assert_eq!(seen.trust_domain().as_deref(), Some("example.org"));
    }
}

#[test]
fn an_empty_trust_domain_is_none() {
    let mut seen = Seen::new();
    assert!(seen.take([
        Event::Init,
        Event::InitApply(mesh("trustDomain: ''")),
        Event::InitDone
    ]));
    assert_eq!(seen.trust_domain().as_deref(), Some("cluster.local"));
}

#[test]
fn proxies_follow_what_can_be_understood() {
    let seen = Seen::new();
    let adopted = |text: &str| {
        seen.followers.adopt(&mesh(text));
        let settings = seen.mesh.borrow().clone();
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
fn a_trust_domain_that_changes_without_an_alias_strands_the_workloads() {
    let read = |text: &str| settings_of("istio", &mesh(text)).unwrap().unwrap();
    let former = read("trustDomain: old");
    assert_eq!(stranded(&former, &read("trustDomain: new")), Some("old"));
    for good in ["trustDomain: old", "trustDomain: new\ntrustDomainAliases: [old]"] {
        assert_eq!(stranded(&former, &read(good)), None, "{good}");
    }
}

#[test]
fn what_cannot_be_understood_changes_nothing() {
    let seen = Seen::new();
    let before = seen.followers.injection.load_full();
    for (name, data) in [
        ("istio", json!({"mesh": "a: [b"})),
        ("istio", json!({"mesh": "defaultConfig: 7"})),
        ("istio-sidecar-injector", json!({})),
        ("istio-sidecar-injector", json!({"values": "{"})),
    ] {
        assert!(next(&before, name, &map(&data)).is_err(), "{name} {data}");
        seen.followers.adopt(&named(name, &data));
    }
    assert!(Arc::ptr_eq(&before, &seen.followers.injection.load_full()));
    assert_eq!(next(&before, "other", &map(&json!({}))).unwrap(), None);
}

#[test]
fn a_root_namespace_that_is_not_the_one_is_told() {
    let stated = |mesh: Value| {
        let Value::Object(mesh) = mesh else {
            panic!("an object")
        };
        other_root(&mesh).map(str::to_owned)
    };
    assert_eq!(stated(json!({"rootNamespace": "mesh"})).as_deref(), Some("mesh"));
    for known in [
        json!({}),
        json!({"rootNamespace": ""}),
        json!({"rootNamespace": "istio-system"}),
    ] {
        assert_eq!(stated(known), None);
    }
}
