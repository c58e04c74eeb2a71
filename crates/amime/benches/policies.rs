//! What 1,000 AuthorizationPolicies cost, 50 of which can match: processor time that they add to a request, in our proxy
//! and in stock Envoy, against the same proxy without any.
//!
//! Four pods with the same application: two with our proxy and two with Envoy, of which one each is what the policies
//! are for. The same load goes to one after the other, round by round; what counts is the processor time of its proxy.
//! Both get their configuration from the same controller. Needs root, as Envoy runs as a user of its own; `ENVOY` says
//! where it is.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement run by hand: of real time, over processes"
)]

#[path = "../tests/harness/mod.rs"]
mod harness;
mod measure;
#[path = "../tests/compat/twin.rs"]
mod twin;

use std::collections::BTreeMap;
use std::time::Duration;

use harness::leftovers::{Process, processes};
use harness::{Local, said, wait};
use measure::{processor_time, quartiles};
use serde_json::{Value, json};

const NAMESPACE: &str = "bench";
const POLICIES: usize = 1000;
/// Those whose paths are those of the load; one of them matches a request.
const POSSIBLE: usize = 50;
const ROUNDS: usize = 9;
/// Of one round at one pod, over so many connections.
const REQUESTS: usize = 10_000;
const CONNECTIONS: usize = 8;
const PATH: &str = "/orders/17";
/// For pods to start, and for policies to arrive.
const START: Duration = Duration::from_secs(180);

/// A pod under measurement: its name, the address of it, its proxy's process, and what came of the rounds.
struct Contender {
    name: String,
    address: String,
    pid: u32,
    costs: Vec<f64>,
}

fn main() {
    identity::install_provider();
    let envoy = measure::envoy();
    let local = Local::up(&["--image", &format!("compat-envoy={}", envoy.display())]);
    apply(&local, &[namespace(), load()]);
    for policies in ["none", "many"] {
        let name = format!("amime-{policies}");
        apply(&local, &[pod(&name, policies)]);
        let running = ready(&local, &name);
        apply(&local, &[twin::of(&running, &format!("envoy-{policies}"))]);
        ready(&local, &format!("envoy-{policies}"));
    }
    ready(&local, "load");
    let policies: Vec<Value> = (0..POLICIES).map(policy).collect();
    for some in policies.chunks(100) {
        apply(&local, some);
    }
    let mut contenders = contenders(&local);
    wait_for_policies(&local, &contenders);
    println!(
        "{POLICIES} policies, of which {POSSIBLE} can match; {REQUESTS} requests over {CONNECTIONS} connections a \
         round, {ROUNDS} rounds"
    );
    for round in 0..=ROUNDS {
        for contender in &mut contenders {
            let before = processor_time(contender.pid);
            send(&local, &contender.address, REQUESTS);
            let spent = processor_time(contender.pid) - before;
            // The first round warms up.
            if round > 0 {
                contender.costs.push(spent.as_secs_f64() * 1e6 / REQUESTS as f64);
            }
        }
    }
    report(&contenders);
}

fn report(contenders: &[Contender]) {
    for contender in contenders {
        let [less, middle, more] = quartiles(contender.costs.clone());
        println!(
            "{:12} {middle:7.2} us of processor time a request ({less:.2} to {more:.2})",
            contender.name
        );
    }
    // By rounds: what one round had to bear, the other of the pair had to bear too.
    let added = |side: &str| {
        let of = |policies: &str| {
            let name = format!("{side}-{policies}");
            &contenders.iter().find(|one| one.name == name).unwrap().costs
        };
        let each = of("many").iter().zip(of("none")).map(|(many, none)| many - none);
        quartiles(each.collect())
    };
    let (ours, theirs) = (added("amime"), added("envoy"));
    for (side, [less, middle, more]) in [("amime", ours), ("envoy", theirs)] {
        println!("{side}: policies add {middle:.2} us to a request ({less:.2} to {more:.2})");
    }
    println!(
        "target: at most 2 us, and at most a tenth of Envoy's: {:.2}",
        ours[1] / theirs[1]
    );
}

fn namespace() -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE,
        "labels": {"istio-injection": "enabled"}}})
}

/// The load: a pod without a proxy, so that all processor time of proxies is that of the called.
fn load() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "load", "namespace": NAMESPACE, "labels": {"app": "load"},
            "annotations": {"sidecar.istio.io/inject": "false"}},
        "spec": {"containers": [{"name": "app", "image": "compat-caller", "args": ["wait"]}]}})
}

fn pod(name: &str, policies: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": "guarded", "policies": policies}},
        "spec": {"containers": [{"name": "app", "image": "soak-backend", "env": [{"name": "NAME", "value": "x"}],
            "ports": [{"containerPort": 9090}],
            "readinessProbe": {"tcpSocket": {"port": 9090}, "periodSeconds": 1}}]}})
}

/// What an application of many teams has: each a policy for its paths. Every twentieth is for the paths of the load, and
/// demands the header of its team.
fn policy(number: usize) -> Value {
    let is_possible = number.is_multiple_of(POLICIES / POSSIBLE);
    let operation = if is_possible {
        json!({"paths": ["/orders/*"], "methods": ["GET", "POST"]})
    } else {
        json!({"paths": [format!("/service-{number}/*"), format!("/service-{number}")], "methods": ["GET"]})
    };
    let mut rule = json!({"to": [{"operation": operation}]});
    if is_possible {
        rule["when"] = json!([{"key": "request.headers[x-team]", "values": [format!("team-{number}")]}]);
    } else {
        rule["when"] = json!([{"key": "request.headers[x-tenant]", "values": [format!("tenant-{number}*")]}]);
    }
    json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"name": format!("policy-{number:04}"), "namespace": NAMESPACE},
        "spec": {"selector": {"matchLabels": {"policies": "many"}}, "rules": [rule]}})
}

/// The header of a request that a policy in the middle of the possible ones lets pass.
fn team() -> String {
    format!("x-team: team-{}", POLICIES / 2)
}

fn apply(local: &Local, objects: &[Value]) {
    let text: Vec<_> = objects.iter().map(Value::to_string).collect();
    let text = text.join("\n---\n");
    // Pods are refused until their namespace has its service account.
    wait("objects to be taken", START, || {
        let output = local.apply(&text);
        let is_taken = output.status.success();
        let is_early = said(&output).contains("serviceaccount");
        assert!(is_taken || is_early, "{}", said(&output));
        is_taken.then_some(())
    });
}

fn ready(local: &Local, name: &str) -> Value {
    wait(&format!("pod {name}"), START, || {
        let found = local.get(&["pods", name, "-n", NAMESPACE]);
        let conditions = found["status"]["conditions"].as_array()?;
        let is_ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
        conditions.iter().any(is_ready).then_some(found.clone())
    })
}

/// The four pods with their proxies: of each pod the process in its network namespace that is a proxy.
fn contenders(local: &Local) -> Vec<Contender> {
    let names = ["amime-none", "amime-many", "envoy-none", "envoy-many"];
    let mut found: BTreeMap<String, u32> = BTreeMap::new();
    for process in processes().iter().filter(|process| is_proxy(process)) {
        let pid = u32::try_from(process.pid).unwrap();
        // The innermost, if something stands around it.
        let known = found.entry(pod_name(pid)).or_default();
        *known = pid.max(*known);
    }
    let each = names.map(|name| {
        let running = ready(local, name);
        let pid = found
            .get(name)
            .unwrap_or_else(|| panic!("no proxy of {name} among {found:?}"));
        Contender {
            name: name.to_owned(),
            address: running["status"]["podIP"].as_str().unwrap().to_owned(),
            pid: *pid,
            costs: Vec::new(),
        }
    });
    each.into()
}

fn is_proxy(process: &Process) -> bool {
    process.runs("proxy sidecar") || process.role == "envoy"
}

/// The name of its pod, which every proxy has in its environment.
fn pod_name(pid: u32) -> String {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let mut variables = environment.split(|byte| *byte == 0);
    let found = variables.find_map(|variable| variable.strip_prefix(b"POD_NAME="));
    String::from_utf8_lossy(found.unwrap_or_default()).into_owned()
}

/// Until a request that no policy lets pass is refused where policies are, and one that passes passes everywhere.
fn wait_for_policies(local: &Local, contenders: &[Contender]) {
    for contender in contenders {
        let has_policies = contender.name.ends_with("many");
        wait(&format!("policies at {}", contender.name), START, || {
            let refused = curl(local, &contender.address, "x-team: nobody") == "403";
            let passes = curl(local, &contender.address, &team()) == "200";
            (refused == has_policies && passes).then_some(())
        });
    }
}

fn curl(local: &Local, address: &str, header: &str) -> String {
    let url = format!("http://{address}:9090{PATH}");
    let words = [
        "curl",
        "-s",
        "-m",
        "5",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "-H",
        header,
        &url,
    ];
    local.exec(NAMESPACE, "load", "app", &words)
}

/// The load of a round; every request must pass.
fn send(local: &Local, address: &str, requests: usize) {
    let url = format!("http://{address}:9090{PATH}");
    let (count, connections, header) = (requests.to_string(), CONNECTIONS.to_string(), team());
    let words = [
        "fortio",
        "load",
        "-quiet",
        "-qps",
        "0",
        "-c",
        &connections,
        "-n",
        &count,
        "-H",
        &header,
        &url,
    ];
    let told = local.exec(NAMESPACE, "load", "app", &words);
    assert!(
        told.contains(&format!("Code 200 : {requests} (100.0 %)")),
        "{told}"
    );
}
