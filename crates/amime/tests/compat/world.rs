//! The cluster of the table: backends, callers, and for each sidecar of Amime its twin with Envoy.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::api::{Api, name, text};
use crate::callers::Caller;
use crate::harness::Local;
use crate::logs::{self, Logs};
use crate::table::Case;
use crate::{certificates, place, tokens, twin};

/// For pods to start, in a build without optimisation.
const START: Duration = Duration::from_secs(120);
/// For both proxies to have what was applied.
const KNOWN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);
/// Where the backends tell what arrived, and where the controller tells what it knows.
const SEEN: u16 = 9099;
const DEBUG: &str = "127.0.0.1:8080";
/// Where an Envoy tells about itself.
const ADMIN: &str = "127.0.0.1:15000";
const KINDS: [&str; 4] = ["cluster", "endpoint", "listener", "route"];

/// Whose proxy a call goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Amime,
    Envoy,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Amime, Self::Envoy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Amime => "amime",
            Self::Envoy => "envoy",
        }
    }
}

pub(crate) struct World {
    pub(crate) api: Api,
    callers: BTreeMap<(String, Side), Caller>,
    /// Not part of the mesh.
    pub(crate) outside: Caller,
    controller: Caller,
    /// Beside the Envoy of `guarded`, to ask whether it is warm.
    guarded: Caller,
    pub(crate) logs: Logs,
    /// Addresses of pods, by namespace and name.
    addresses: BTreeMap<String, String>,
    /// Where to ask what arrived, and the last record that was told.
    seen: BTreeMap<String, u64>,
    /// How many calls were made.
    calls: usize,
    /// Last: everything above needs it.
    _local: Local,
}

impl World {
    pub(crate) async fn start() -> Self {
        let program = std::env::var_os("ENVOY").map_or_else(|| on_path("envoy"), PathBuf::from);
        let local = Local::up(&["--image", &format!("compat-envoy={}", program.display())]);
        let api = Api::new(connect(&local).await);
        logs::switch_on(&api.client()).await;
        let objects = read_world();
        let made = certificates::make();
        for object in objects.iter().filter(|object| object["kind"] == "Namespace") {
            api.create(object).await.unwrap();
        }
        for namespace in ["shop", "far"] {
            api.create(&certificates::secret(namespace, &made)).await.unwrap();
        }
        let rest: Vec<&Value> = objects
            .iter()
            .filter(|object| object["kind"] != "Namespace")
            .collect();
        for object in &rest {
            when_accounts_are_there(&api, object).await;
        }
        let mut pods: Vec<Value> = Vec::new();
        for object in rest.iter().filter(|object| object["kind"] == "Pod") {
            let running = ready(&api, object).await;
            if text(object, "name").ends_with("-amime") {
                let name = text(object, "name").replace("-amime", "-envoy");
                pods.push(api.create(&twin::of(&running, &name)).await.unwrap());
            }
            pods.push(running);
        }
        let mut addresses = BTreeMap::new();
        for pod in &pods {
            let running = ready(&api, pod).await;
            let address = running["status"]["podIP"].as_str().unwrap().to_owned();
            addresses.insert(
                format!("{}/{}", text(pod, "namespace"), text(pod, "name")),
                address,
            );
        }
        Self::connected(local, api, addresses).await
    }

    async fn connected(local: Local, api: Api, addresses: BTreeMap<String, String>) -> Self {
        let client = api.client();
        let mut callers = BTreeMap::new();
        for namespace in ["shop", "far"] {
            for side in Side::BOTH {
                let pod = format!("client-{}", side.name());
                let caller = Caller::start(&client, namespace, &pod, "app").await;
                callers.insert((namespace.to_owned(), side), caller);
            }
        }
        let controller = local.pod("istio-system", "app=istiod");
        let seen = addresses.iter().filter(|(pod, _)| {
            !["client-", "outside", "authorizer"]
                .iter()
                .any(|name| pod.contains(name))
        });
        let mut world = Self {
            callers,
            outside: Caller::start(&client, "shop", "outside", "app").await,
            controller: Caller::start(&client, "istio-system", &controller, "discovery").await,
            guarded: Caller::start(&client, "shop", "guarded-envoy", "app").await,
            seen: seen
                .map(|(_, address)| (format!("{address}:{SEEN}"), 0))
                .collect(),
            logs: Logs::follow(&client, &addresses).await,
            calls: 0,
            addresses,
            api,
            _local: local,
        };
        world.settle(&BTreeMap::new(), &[]).await.unwrap();
        world
    }

    pub(crate) fn address(&self, pod: &str) -> &str {
        &self.addresses[pod]
    }

    /// With `$ADDRESS(shop/other)` replaced by the address of that pod, and `$JWKS(es256)` by that key set.
    pub(crate) fn filled(&self, object: &Value) -> Value {
        match object {
            Value::String(text) => self.filled_text(text).into(),
            Value::Array(items) => items.iter().map(|item| self.filled(item)).collect(),
            Value::Object(fields) => {
                let filled = |(name, value): (&String, &Value)| (name.clone(), self.filled(value));
                Value::Object(fields.iter().map(filled).collect())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => object.clone(),
        }
    }

    /// The same in a text.
    fn filled_text(&self, text: &str) -> String {
        let mut text = tokens::with_key_sets(text);
        while let Some((before, rest)) = text.split_once("$ADDRESS(") {
            let (pod, after) = rest.split_once(')').unwrap();
            text = format!("{before}{}{after}", self.address(pod));
        }
        text
    }

    /// The mark of the next call; whatever arrives later for another is not taken for it.
    pub(crate) fn next_call(&mut self) -> usize {
        self.calls += 1;
        self.calls
    }

    /// Both callers of a namespace.
    pub(crate) fn pair(&mut self, namespace: &str) -> (&mut Caller, &mut Caller) {
        let mut found = self.callers.iter_mut().filter(|((of, _), _)| of == namespace);
        let amime = found
            .next()
            .unwrap_or_else(|| panic!("from: {namespace}: nobody calls from there"));
        (amime.1, found.next().unwrap().1)
    }

    /// Everything of a case, in the place of the one before.
    pub(crate) async fn enter(&mut self, old: &[Value], case: &Case) -> Result<Vec<Value>, String> {
        let mut made = self.change(old, &case.apply).await?;
        if !case.later.apply.is_empty() {
            sleep(Duration::from_millis(case.later.after_ms)).await;
            match self.change(&[], &case.later.apply).await {
                Ok(later) => made.extend(later),
                Err(problem) => {
                    let _ = self.change(&made, &[]).await;
                    return Err(problem);
                }
            }
        }
        Ok(made)
    }

    /// Takes out what the case before put in, puts in what this one needs, and returns once both proxies have it.
    pub(crate) async fn change(&mut self, old: &[Value], new: &[Value]) -> Result<Vec<Value>, String> {
        for object in old {
            self.api.delete(object).await;
        }
        let gone: Vec<String> = old.iter().map(name).collect();
        let mut wanted = BTreeMap::new();
        let mut made = Vec::new();
        let mut failed = None;
        for object in new {
            let object = in_namespace(&self.filled(object));
            match self.api.create(&object).await {
                Ok(created) => {
                    wanted.insert(name(&object), identity(&created["metadata"]));
                    made.push(object);
                }
                Err(problem) => failed = Some(problem),
            }
        }
        let settled = self.settle(&wanted, &gone).await;
        match failed.map_or(settled, Err) {
            Ok(()) => Ok(made),
            Err(problem) => {
                for object in &made {
                    self.api.delete(object).await;
                }
                Err(problem)
            }
        }
    }

    /// Waits until the controller knows what is wanted and nothing of what is gone, and every proxy has all of that.
    async fn settle(&mut self, wanted: &BTreeMap<String, Value>, gone: &[String]) -> Result<(), String> {
        let begun = Instant::now();
        let known = |world: &Value| {
            let objects = &world["objects"];
            let lacking = wanted.iter().find(|(name, identity)| {
                let watched = WATCHED.iter().any(|kind| name.starts_with(&format!("{kind}/")));
                watched && objects[name.as_str()] != **identity
            });
            let left = gone
                .iter()
                .find(|name| !wanted.contains_key(*name) && objects.get(name.as_str()).is_some());
            match (lacking, left) {
                (Some((name, _)), _) => Err(format!("the controller does not know {name}")),
                (_, Some(name)) => Err(format!("the controller still knows {name}")),
                _ => Ok(world["number"].as_u64().unwrap_or_default()),
            }
        };
        let mut number = None;
        loop {
            let problem = if number.is_none() {
                let page = self
                    .controller
                    .page(DEBUG, "/debug/worldz")
                    .await
                    .unwrap_or_default();
                known(&page).map(|found| number = Some(found)).err()
            } else {
                None
            };
            let problem = match (number, problem) {
                (None, problem) => problem.unwrap_or_default(),
                (Some(number), _) => {
                    let rows = self
                        .controller
                        .page(DEBUG, "/debug/syncz")
                        .await
                        .unwrap_or_default();
                    match behind(&rows, number, self.callers.len() + 2) {
                        None if self.is_warm().await => return Ok(()),
                        None => "an Envoy is still getting warm".to_owned(),
                        Some(problem) => problem,
                    }
                }
            };
            if begun.elapsed() > KNOWN {
                return Err(format!("after {} s {problem}", KNOWN.as_secs()));
            }
            sleep(POLL).await;
        }
    }

    /// Envoy says yes to a cluster and goes on with the old one until the new one has its endpoints.
    async fn is_warm(&mut self) -> bool {
        let envoys = self
            .callers
            .iter_mut()
            .filter(|((_, side), _)| *side == Side::Envoy);
        for envoy in envoys.map(|(_, envoy)| envoy).chain([&mut self.guarded]) {
            let page = envoy.page(ADMIN, "/stats?format=json&filter=warming").await;
            let is_cold = |stat: &Value| stat["value"].as_u64().is_some_and(|count| count > 0);
            let stats = page.unwrap_or_default();
            if stats["stats"]
                .as_array()
                .is_some_and(|all| all.iter().any(is_cold))
            {
                return false;
            }
        }
        true
    }

    /// What arrived at any backend since this was asked last.
    pub(crate) async fn arrivals(&mut self) -> Vec<Value> {
        let mut all = Vec::new();
        for (address, last) in &mut self.seen {
            // A machine that is too busy for the answer now has it the next time.
            while let Some(page) = self.outside.page(address, &format!("/{last}")).await {
                *last = page["last"].as_u64().unwrap_or(*last);
                let records = page["records"].as_array().cloned().unwrap_or_default();
                if records.is_empty() {
                    break;
                }
                all.extend(records);
            }
        }
        all
    }
}

/// Kinds that the controller shows when it knows them.
const WATCHED: [&str; 8] = [
    "VirtualService",
    "DestinationRule",
    "PeerAuthentication",
    "RequestAuthentication",
    "AuthorizationPolicy",
    "RateLimit",
    "Service",
    "EndpointSlice",
];

fn identity(metadata: &Value) -> Value {
    json!({"uid": metadata["uid"], "generation": metadata.get("generation")})
}

/// Which proxy does not have the picture of that number yet.
fn behind(rows: &Value, number: u64, proxies: usize) -> Option<String> {
    let rows = rows.as_array()?;
    if rows.len() < proxies {
        return Some(format!("{} of {proxies} proxies are connected", rows.len()));
    }
    rows.iter().find_map(|row| {
        let proxy = &row["proxy"];
        let rejected = row["rejected"].as_array().filter(|list| !list.is_empty());
        if let Some(rejected) = rejected {
            return Some(format!("{proxy} refuses {rejected:?}"));
        }
        let waiting = KINDS
            .iter()
            .find(|kind| row[format!("{kind}_status")] != "SYNCED");
        match waiting {
            _ if row["world"].as_u64().unwrap_or_default() < number => {
                Some(format!("{proxy} has an older picture"))
            }
            Some(kind) => Some(format!("{proxy}: {kind} is {}", row[format!("{kind}_status")])),
            None => None,
        }
    })
}

async fn connect(local: &Local) -> kube::Client {
    let read = Kubeconfig::read_from(local.kubeconfig()).unwrap();
    let settings = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
    kube::Client::try_from(settings.unwrap()).unwrap()
}

fn on_path(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|folder| folder.join(program));
    found
        .find(|file| file.is_file())
        .expect("envoy is on PATH, or ENVOY says where it is")
}

fn read_world() -> Vec<Value> {
    let text = std::fs::read_to_string(place().join("world.yaml")).unwrap();
    text.split("\n---")
        .map(|document| {
            serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("world.yaml: {error}\n{document}"))
        })
        .collect()
}

/// Namespace `shop` unless stated.
fn in_namespace(object: &Value) -> Value {
    let mut object = object.clone();
    if text(&object, "namespace").is_empty() {
        object["metadata"]["namespace"] = "shop".into();
    }
    object
}

/// Pods are refused until their namespace has its service account.
async fn when_accounts_are_there(api: &Api, object: &Value) {
    let begun = Instant::now();
    while let Err(problem) = api.create(object).await {
        assert!(begun.elapsed() < START, "{problem}");
        sleep(POLL).await;
    }
}

async fn ready(api: &Api, pod: &Value) -> Value {
    let begun = Instant::now();
    loop {
        let found = api.get(pod).await.unwrap_or_default();
        let conditions = found["status"]["conditions"].as_array();
        let is_ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
        if conditions.is_some_and(|all| all.iter().any(is_ready)) {
            return found;
        }
        assert!(
            begun.elapsed() < START,
            "{} is not ready: {}",
            name(pod),
            found["status"]
        );
        sleep(POLL * 5).await;
    }
}
