//! The keeper against an API server that is a function: restarts, replicas, and pods that are gone.

use std::collections::BTreeMap;
use std::sync::Mutex;

use identity::Authority;

use super::super::rotation::Phase;
use super::steps::{finished, renewing, trusting};
use super::*;
use crate::fake_api;

pub(super) fn own() -> Standing {
    let authority = Authority::generate("cluster.local", root::LIFETIME, clock::wall()).unwrap();
    Standing::new(authority, Source::Own).unwrap()
}

/// With a root for that long a life, of that age.
fn aged(life: Duration, age: Duration, source: Source) -> Standing {
    let authority = Authority::generate("cluster.local", life, clock::wall() - age).unwrap();
    Standing::new(authority, source).unwrap()
}

fn nearly_over() -> Standing {
    aged(root::LIFETIME, root::LIFETIME * 9 / 10, Source::Own)
}

fn begun(before: &Standing) -> Standing {
    let coming = Authority::generate("new", root::LIFETIME, clock::wall()).unwrap();
    trusting(before, coming, (7, "asked")).unwrap()
}

fn signs_with(standing: &Standing) -> String {
    let leaf = standing
        .authority
        .issue_workload(&["spiffe://a/ns/b/sa/c"], Duration::from_secs(60), clock::wall())
        .unwrap();
    assert_eq!(leaf.chain.len(), 1, "a root signs by itself");
    standing.trusted.roots.led_by(&leaf.chain_pem()).unwrap().signer()
}

#[test]
fn trust_comes_before_the_signature_and_goes_after_it() {
    let before = own();
    let old = before.signer();
    let both = |standing: &Standing| standing.trusted.roots.fingerprints().collect::<Vec<_>>();

    let trusting = begun(&before);
    let rotation = trusting.rotation.clone().unwrap();
    let new = rotation.to.clone();
    assert_eq!(both(&trusting), [old.clone(), new.clone()]);
    assert_eq!(signs_with(&trusting), old);
    let noted = steps::noted(&trusting, rotation.clone()).unwrap();
    assert!(noted.other.is_some(), "who comes is not lost on the way");

    let renewing = renewing(&noted, rotation.clone()).unwrap();
    assert_eq!(both(&renewing), [new.clone(), old]);
    assert_eq!(signs_with(&renewing), new);
    // What is stored in between is enough to go on.
    let stored = root::to_secret(&renewing, "istio-system").unwrap();
    let read = root::read(&stored, Source::Own).unwrap();

    let finished = finished(&read, &rotation).unwrap();
    assert_eq!(both(&finished), [new]);
    assert!(finished.rotation.is_none() && finished.other.is_none());
}

#[test]
fn nothing_is_removed_unless_the_new_root_signs() {
    let before = own();
    let rotation = Rotation::new("another".into(), 7);
    assert!(finished(&before, &rotation).is_err());
    assert!(renewing(&before, rotation).is_err(), "nobody comes");
}

#[test]
fn our_own_root_is_replaced_in_time() {
    assert!(!is_old(&own()));
    for life in [root::LIFETIME, root::LIFETIME / 10] {
        assert!(!is_old(&aged(life, life * 3 / 4, Source::Own)));
        assert!(is_old(&aged(life, life * 5 / 6, Source::Own)));
        assert!(!is_old(&aged(life, life * 5 / 6, Source::PluggedIn)));
    }
}

#[test]
fn no_rotation_begins_by_itself_while_former_roots_are_believed() {
    let mut nearly_over = nearly_over();
    assert!(is_due(&nearly_over));
    nearly_over.read_again = Some(u64::MAX);
    assert!(!is_due(&nearly_over));
}

/// Objects by name; lists are empty, but for those of pods.
#[derive(Clone, Default)]
struct Cluster {
    objects: Arc<Mutex<BTreeMap<String, Value>>>,
    pods: Arc<Mutex<Vec<Value>>>,
}

impl Cluster {
    fn with(standing: &Standing) -> Self {
        let cluster = Self::default();
        let secret = root::to_secret(standing, "istio-system").unwrap();
        cluster.put(root::OWN, serde_json::to_value(secret).unwrap());
        cluster
    }

    fn put(&self, name: &str, object: Value) {
        self.objects.lock().unwrap().insert(name.to_owned(), object);
    }

    fn client(&self) -> kube::Client {
        let cluster = self.clone();
        fake_api::client(move |method, path, body| {
            if path.contains('?') && method == "GET" {
                let items = cluster.pods.lock().unwrap().clone();
                return (200, json!({"metadata": {"resourceVersion": "1"}, "items": items}));
            }
            let mut objects = cluster.objects.lock().unwrap();
            let name = path.rsplit('/').next().unwrap().to_owned();
            match (method.as_str(), objects.get_mut(&name)) {
                ("GET", Some(object)) => (200, object.clone()),
                ("PATCH", Some(object)) => {
                    for (key, value) in body["data"].as_object().unwrap() {
                        object["data"][key] = value.clone();
                    }
                    (200, object.clone())
                }
                ("PUT", Some(object)) => {
                    *object = body.clone();
                    (200, body)
                }
                ("POST", _) => {
                    let name = body["metadata"]["name"].as_str().unwrap().to_owned();
                    objects.insert(name, body.clone());
                    (201, body)
                }
                _ => fake_api::failure(404, "NotFound", "not found"),
            }
        })
    }

    /// Of a process that has been there for long.
    fn keeper(&self, pod: &str) -> Keeper {
        let stored = self.stored();
        let sight = Sight {
            connections: Connections::default(),
            issued: Issued::default(),
            published: Published::default(),
            webhooks: Published::default(),
            longest: Duration::from_secs(3600),
        };
        sight.published.set(stored.roots());
        sight.webhooks.set(stored.roots());
        let (change, _) = latest::channel(Arc::new(stored));
        let own = ("istio-system".to_owned(), pod.to_owned());
        let mut keeper = Keeper::new(self.client(), own, change, sight);
        keeper.since = 0;
        keeper
    }

    fn stored(&self) -> Standing {
        let secret = self.objects.lock().unwrap()[root::OWN].clone();
        root::read(&serde_json::from_value(secret).unwrap(), Source::Own).unwrap()
    }

    fn phase(&self) -> Option<Phase> {
        self.stored().rotation.map(|rotation| rotation.phase)
    }

    fn status(&self) -> Value {
        let map = self.objects.lock().unwrap()[status::MAP].clone();
        serde_json::from_str(map["data"]["status"].as_str().unwrap()).unwrap()
    }
}

fn asking(request: &str) -> ConfigMap {
    let map = json!({"metadata": {"name": status::MAP, "annotations": {status::ROTATE: request}}});
    serde_json::from_value(map).unwrap()
}

#[tokio::test]
async fn a_controller_that_has_just_started_goes_on_with_nothing_before_proxies_are_back() {
    let cluster = Cluster::with(&begun(&own()));
    let mut keeper = cluster.keeper("");
    keeper.since = clock::unix_seconds();
    keeper.step().await.unwrap();
    let reasons = cluster.status()["rotation"]["waitingFor"].to_string();
    assert!(
        reasons.contains("a controller that has just started"),
        "{reasons}"
    );
    keeper.since = 0;
    keeper.step().await.unwrap();
    assert_eq!(cluster.phase(), Some(Phase::Renewing));
}

#[tokio::test]
async fn whose_pod_is_gone_is_waited_for_no_more() {
    let cluster = Cluster::with(&begun(&own()));
    for (name, phase) in [("here", "Running"), ("done", "Succeeded")] {
        cluster.put(
            name,
            json!({"metadata": {"name": name}, "status": {"phase": phase}}),
        );
    }
    let mut keeper = cluster.keeper("");
    let until = clock::unix_seconds() + 900;
    for name in ["shop/here", "shop/gone", "shop/done"] {
        keeper.sight.issued.note(name.into(), "old".into(), until, 0);
    }
    for _ in 0..4 {
        keeper.step().await.unwrap();
    }
    let waiting = cluster.status()["rotation"]["waitingFor"].clone();
    let expected = "shop/here has not acknowledged the new bundle, and is not connected";
    assert_eq!(waiting, json!([expected]));
    assert!(keeper.hear(&asking("8 without shop/here")));
    for _ in 0..2 {
        keeper.step().await.unwrap();
    }
    assert_eq!(cluster.phase(), Some(Phase::Renewing));
}

#[tokio::test]
async fn of_two_replicas_one_answers_and_the_other_is_waited_for() {
    let cluster = Cluster::with(&own());
    let pod = |name: &str| json!({"metadata": {"name": name, "uid": name}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    *cluster.pods.lock().unwrap() = vec![pod("istiod-1"), pod("istiod-2")];
    let (mut one, mut two) = (cluster.keeper("istiod-1"), cluster.keeper("istiod-2"));
    for keeper in [&mut two, &mut one] {
        assert!(keeper.hear(&asking("7")));
        keeper.step().await.unwrap();
    }
    assert_eq!(cluster.phase(), Some(Phase::Trusting));
    two.reload().await.unwrap();
    let roots = cluster.stored().roots().to_owned();
    one.sight.published.set(&roots);
    one.sight.webhooks.set(&roots);
    one.step().await.unwrap();
    let status = cluster.status();
    assert_eq!(status["refused"], Value::Null, "it has begun");
    let reasons = status["rotation"]["waitingFor"].to_string();
    assert!(
        reasons.contains("controller istiod-2 has not said what it sees"),
        "{reasons}"
    );
    two.step().await.unwrap();
    one.step().await.unwrap();
    let reasons = cluster.status()["rotation"]["waitingFor"].to_string();
    assert!(!reasons.contains("istiod-2"), "{reasons}");
    // The first one is gone before it could say so, and the second one answers again.
    cluster.pods.lock().unwrap().remove(0);
    cluster.put(
        status::MAP,
        json!({"metadata": {"name": status::MAP}, "data": {}}),
    );
    two.step().await.unwrap();
    assert_eq!(cluster.status()["refused"], Value::Null);
}

#[tokio::test]
async fn a_secret_that_somebody_restored_keeps_its_type_and_what_is_not_ours() {
    let cluster = Cluster::with(&own());
    let mut secret = cluster.objects.lock().unwrap()[root::OWN].clone();
    secret["type"] = json!("Opaque");
    secret["data"]["note"] = json!("AAAA");
    secret["data"]["tls.key"] = json!("AAAA");
    cluster.put(root::OWN, secret);
    let mut keeper = cluster.keeper("");
    assert_eq!(keeper.fulfil("7").await.unwrap(), None);
    assert_eq!(cluster.phase(), Some(Phase::Trusting));
    assert_eq!(keeper.fulfil("8 abort").await.unwrap(), None);
    assert_eq!(cluster.phase(), None);
    let secret = cluster.objects.lock().unwrap()[root::OWN].clone();
    assert_eq!(secret["type"], "Opaque");
    assert_eq!(secret["data"]["note"], "AAAA");
    for gone in ["tls.key", "other-key.pem", "rotation.json"] {
        assert_eq!(secret["data"][gone], Value::Null, "{gone}");
    }
}

#[tokio::test]
async fn a_secret_of_kubernetes_type_for_certificates_keeps_the_entries_that_it_demands() {
    let cluster = Cluster::with(&own());
    let mut secret = cluster.objects.lock().unwrap()[root::OWN].clone();
    secret["type"] = json!("kubernetes.io/tls");
    let data = secret["data"].as_object_mut().unwrap();
    for (ours, theirs) in [
        ("ca-cert.pem", "tls.crt"),
        ("ca-key.pem", "tls.key"),
        ("root-cert.pem", "ca.crt"),
    ] {
        let value = data.remove(ours).unwrap();
        data.insert(theirs.to_owned(), value);
    }
    cluster.put(root::OWN, secret);
    let mut keeper = cluster.keeper("");
    assert_eq!(keeper.fulfil("7").await.unwrap(), None);
    assert_eq!(cluster.phase(), Some(Phase::Trusting));
    let secret = cluster.objects.lock().unwrap()[root::OWN].clone();
    for (ours, theirs) in [("ca-cert.pem", "tls.crt"), ("ca-key.pem", "tls.key")] {
        assert!(secret["data"][ours].is_string(), "{ours}");
        assert_eq!(secret["data"][theirs], secret["data"][ours]);
    }
}

#[tokio::test]
async fn what_fails_does_not_hide_how_it_is() {
    let cluster = Cluster::with(&own());
    let mut keeper = cluster.keeper("");
    cluster.objects.lock().unwrap().remove(root::OWN);
    assert!(keeper.hear(&asking("7")));
    assert!(keeper.step().await.is_err());
    assert_eq!(cluster.status()["source"], root::OWN);
    assert_eq!(keeper.asked.as_deref(), Some("7"), "it is tried again");
}

#[tokio::test]
async fn a_root_that_nears_its_end_beside_a_former_one_is_told_of() {
    let cluster = Cluster::with(&nearly_over());
    let mut keeper = cluster.keeper("");
    let mut standing = cluster.stored();
    standing.read_again = Some(u64::MAX);
    keeper.standing.send_replace(Arc::new(standing));
    keeper.step().await.unwrap();
    assert_eq!(cluster.phase(), None);
    assert_eq!(cluster.status()["source"], root::OWN);
}

#[tokio::test]
async fn a_rotation_that_was_left_does_not_begin_again_at_once() {
    let cluster = Cluster::with(&nearly_over());
    let mut keeper = cluster.keeper("");
    keeper.step().await.unwrap();
    assert_eq!(cluster.phase(), Some(Phase::Trusting), "it begins by itself");
    assert!(keeper.hear(&asking("8 abort")));
    for _ in 0..2 {
        keeper.step().await.unwrap();
        assert_eq!(cluster.phase(), None);
    }
    keeper.rests = Some(Due::after(Duration::ZERO));
    keeper.step().await.unwrap();
    assert_eq!(cluster.phase(), Some(Phase::Trusting));
}

#[tokio::test]
async fn who_leads_again_knows_what_another_replica_has_answered() {
    let cluster = Cluster::with(&own());
    let mut keeper = cluster.keeper("");
    keeper.answered = ("7".to_owned(), None);
    keeper.step().await.unwrap();
    // Another replica led meanwhile.
    let status = json!({"refused": "a rotation is under way"}).to_string();
    let map = json!({
        "metadata": {"name": status::MAP, "annotations": {status::ROTATE: "8"}},
        "data": {"status": status, "answered": "8"},
    });
    cluster.put(status::MAP, map.clone());
    assert!(!keeper.hear(&serde_json::from_value(map).unwrap()));
    keeper.step().await.unwrap();
    let map = cluster.objects.lock().unwrap()[status::MAP].clone();
    assert_eq!(map["data"]["answered"], "8");
    let status = cluster.status();
    assert_eq!(status["refused"], "a rotation is under way");
    assert_eq!(status["source"], root::OWN, "it is said anew");
    assert!(!keeper.hear(&serde_json::from_value(map).unwrap()));
    assert_eq!((keeper.asked, cluster.phase()), (None, None));
}

#[test]
fn which_bundle_a_proxy_has_acknowledged_decides() {
    let peer = crate::push::Peer {
        id: "sidecar~10.0.0.7~a.shop~d".into(),
        node: translate::Node::from_id("sidecar~10.0.0.7~a.shop~d").unwrap(),
        version: String::new(),
        dialect: Dialect::Amime,
    };
    let connections = Connections::default();
    let _registered = connections.add(peer, "shop/a".into());
    let mut connection = connections.all().remove(0);
    connection.connected = 100;
    let mut of = |roots: Option<&str>, dialect, now| {
        connection.roots = roots.map(Into::into);
        connection.peer.dialect = dialect;
        belief(&connection, "now", now)
    };
    assert_eq!(of(Some("now"), Dialect::Amime, 200), Belief::Acknowledged);
    assert_eq!(
        of(Some("before"), Dialect::Amime, 200),
        Belief::Lagging,
        "another one"
    );
    assert_eq!(of(Some(""), Dialect::Envoy, 200), Belief::Lagging);
    assert_eq!(
        of(None, Dialect::Amime, 101),
        Belief::Unsaid,
        "it may be about to ask"
    );
    assert_eq!(of(None, Dialect::Amime, 200), Belief::Mounted);
    assert_eq!(of(None, Dialect::Envoy, 200), Belief::File);
}

#[tokio::test]
async fn what_could_not_be_read_is_read_again_without_another_event() {
    let cluster = Cluster::with(&own());
    let mut keeper = cluster.keeper("one");
    let next = own();
    let secret = |standing| serde_json::to_value(root::to_secret(standing, "istio-system").unwrap()).unwrap();
    let mut damaged = secret(&next);
    damaged["data"]["ca-cert.pem"] = json!("AAAA");
    cluster.put(root::OWN, damaged);
    for pause in [1, 2, 4, 8, 16, 30, 30] {
        assert!(keeper.reload().await.is_err());
        assert_eq!(keeper.behind, Some(Duration::from_secs(pause)));
    }
    cluster.put(root::OWN, secret(&next));
    keeper.step().await.unwrap();
    assert_eq!(
        (keeper.standing.borrow().signer(), keeper.behind),
        (next.signer(), None)
    );
}
