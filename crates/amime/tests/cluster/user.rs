//! What differs between root and an ordinary user, and what must not.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Local, NAMESPACE, article, said, wait};

const LIMIT: Duration = Duration::from_secs(60);

/// Whether the pods of this test's clusters can be different users.
fn many_users() -> bool {
    rustix::process::geteuid().is_root()
}

/// `amime up` that is expected to say one line and fail.
fn refused(mut command: Command) -> String {
    let output: Output = command.output().unwrap();
    assert!(!output.status.success(), "it came up: {}", said(&output));
    let said = said(&output);
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    said
}

#[test]
fn a_host_that_forbids_user_namespaces_is_told_which_switch_it_is() {
    let home = tempfile::tempdir().unwrap();
    let mut command = after("echo 0 >/proc/sys/user/max_user_namespaces");
    command.args(["up", "--detach", "--home"]).arg(home.path());
    let said = refused(command);
    assert!(
        said.contains("NamespacesForbidden: user.max_user_namespaces is 0")
            && said.contains("sudo sysctl -w user.max_user_namespaces="),
        "{said}"
    );
}

/// Makes a command start in a user namespace of its own, after `script`, without the capabilities that make it root.
/// (One stays, without which the kernel lets nobody hand uid 0 on to a further namespace.)
fn after(script: &str) -> Command {
    let mut command = Command::new("unshare");
    let script = format!(
        "{script} && exec setpriv --bounding-set=-all,+setfcap --inh-caps=-all --ambient-caps=-all -- \"$@\""
    );
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"]);
    command.arg(env!("CARGO_BIN_EXE_amime"));
    command
}

#[test]
fn mounts_that_a_host_has_in_etc_are_in_no_sidecar_s_way() {
    // So it is inside other engines' containers; overlays of such a directory are refused.
    let local = Local::up_by(after("mount --bind /etc/hosts /etc/hosts"));
    let client = client(&local);
    let seen = local.exec(NAMESPACE, &client, "client", &["cat", "/etc/hosts"]);
    assert!(
        seen.contains(&client),
        "the pod has its own file in the place of the mounted one: {seen}"
    );
    let written = ["sh", "-c", "echo x >/etc/new && ! echo x >/etc/passwd"];
    local.exec(NAMESPACE, &client, "client", &written);
}

#[test]
fn a_home_that_cannot_be_used_is_told_with_what_to_give_instead() {
    let up = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_amime"));
        command.args(["up", "--detach"]).env_remove("AMIME_HOME");
        command
    };
    let mut no_directory = up();
    no_directory.env("HOME", "/dev/null/nowhere");
    let said = refused(no_directory);
    assert!(
        said.contains("/dev/null/nowhere/.amime") && said.contains("--home DIR"),
        "{said}"
    );

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("notes"), "mine").unwrap();
    let mut not_ours = up();
    not_ours.arg("--home").arg(folder.path());
    let said = refused(not_ours);
    assert!(said.contains("files of something else"), "{said}");
}

#[test]
fn the_state_directory_is_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let local = Local::up(&[]);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(local.home()), 0o700);
    assert_eq!(mode(&local.kubeconfig()), 0o600);
}

/// What a container sees of itself: a line for each thing.
const LOOK: &str = r#"
echo "uid $(id -u)"
grep -E '^Cap(Eff|Bnd)' /proc/self/status
test -s /var/run/secrets/kubernetes.io/serviceaccount/token && echo token
echo "file $(cat /etc/app/config/colour)"
for at in /var/lib/app/data /opt/some/where; do echo x >$at/new && echo "wrote $at"; done
echo "keepalive $(cat /proc/sys/net/ipv4/tcp_keepalive_time)"
(echo 1 >/proc/sys/net/ipv4/ip_forward) 2>/dev/null || echo "parameters are closed"
echo x >/etc/from-a-container && echo "wrote /etc"
(echo x >/usr/bin/from-a-container) 2>/dev/null || echo "/usr/bin is closed"
ls /proc | grep -c '^[0-9]'
"#;

fn pod_that_looks(name: &str, security: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "restartPolicy": "Never",
        "securityContext": {"sysctls": [{"name": "net.ipv4.tcp_keepalive_time", "value": "61"}]},
        "volumes": [{"name": "config", "configMap": {"name": "look"}}, {"name": "a", "emptyDir": {}},
            {"name": "b", "emptyDir": {"medium": "Memory"}}],
        "containers": [{"name": "app", "image": "curl", "command": ["sh", "-c", LOOK],
            "securityContext": security,
            "volumeMounts": [{"name": "config", "mountPath": "/etc/app/config"},
                {"name": "a", "mountPath": "/var/lib/app/data"}, {"name": "b", "mountPath": "/opt/some/where"}]}]}})
}

fn apply(local: &Local, object: &Value) {
    let output = local.apply(&object.to_string());
    assert!(output.status.success(), "{}", said(&output));
}

/// What the pod has printed when it has ended.
fn log_of(local: &Local, name: &str) -> String {
    wait(&format!("pod {name} to end"), LIMIT, || {
        let phase = &local.get(&["pod", name])["status"]["phase"];
        (phase == "Succeeded" || phase == "Failed").then_some(())
    });
    local.ok(&["logs", name])
}

#[test]
fn a_pod_finds_what_it_asks_for_whoever_started_the_cluster() {
    let local = Local::up(&[]);
    apply(
        &local,
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "look"}, "data": {"colour": "red"}}),
    );
    apply(&local, &pod_that_looks("root", &json!({})));
    apply(
        &local,
        &pod_that_looks(
            "other",
            &json!({"runAsUser": 1000, "capabilities": {"add": ["NET_ADMIN"]}}),
        ),
    );
    let (root, other) = (log_of(&local, "root"), log_of(&local, "other"));
    for seen in [
        "uid 0",
        "token",
        "file red",
        "wrote /var/lib/app/data",
        "wrote /opt/some/where",
        "keepalive 61",
        "parameters are closed",
        "wrote /etc",
    ] {
        assert!(root.lines().any(|line| line == seen), "root sees {seen}: {root}");
    }
    assert!(
        !Path::new("/etc/from-a-container").exists(),
        "nothing reaches the host"
    );
    // The shell, its pipe and no process of anybody else.
    let processes: u32 = root.lines().last().unwrap().parse().unwrap();
    assert!(processes < 6, "{root}");
    assert!(
        other.contains("CapEff:\t0000000000000000"),
        "another user than root has no capabilities: {other}"
    );
    assert!(
        other.contains("token") && other.contains("wrote /var/lib/app/data"),
        "{other}"
    );

    let told = local
        .events("default", "other")
        .into_iter()
        .any(|(reason, message)| {
            reason == "NotEnforced" && message.contains("securityContext.runAsUser of container app")
        });
    assert_eq!(other.contains("uid 1000"), many_users(), "{other}");
    assert_eq!(told, !many_users(), "{:?}", local.events("default", "other"));
}

#[test]
fn low_ports_are_open_to_every_pod() {
    let local = Local::up(&[]);
    apply(
        &local,
        &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "low"}, "spec": {"containers": [
        {"name": "app", "image": "istio/tcp-echo-server", "command": ["/bin/tcp-echo", "80", "hello"],
         "securityContext": {"runAsUser": 1000, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true},
         "readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1}}]}}),
    );
    wait("the pod to listen on port 80", LIMIT, || {
        is_ready(&local, "default", "low").then_some(())
    });
}

fn is_ready(local: &Local, namespace: &str, name: &str) -> bool {
    let pod = local.get(&["pod", name, "-n", namespace]);
    let conditions = pod["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    conditions
        .iter()
        .any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// The article's client with its sidecar, ready; its pod.
fn client(local: &Local) -> String {
    for name in ["01-namespace.yaml", "04-client.yaml"] {
        local.ok(&["apply", "-f", article(name).to_str().unwrap()]);
    }
    local.wait_for_deployment(NAMESPACE, "client-0");
    local.pod(NAMESPACE, "app=client")
}

#[test]
fn one_exemption_is_in_force_and_applications_cannot_use_the_mark() {
    let local = Local::up(&[]);
    let client = client(&local);
    let rules = local.ok(&["logs", &client, "-n", NAMESPACE, "-c", "istio-init"]);
    assert_eq!(rules.contains("meta skuid 1337"), many_users(), "{rules}");
    assert_eq!(rules.contains("meta mark"), !many_users(), "never both: {rules}");

    let flushed = local.amime(&[
        "exec", &client, "-n", NAMESPACE, "-c", "client", "--", "amime", "redirect", "-p", "1",
    ]);
    assert!(
        !flushed.status.success() && said(&flushed).contains("CAP_NET_ADMIN"),
        "{}",
        said(&flushed)
    );
    if !many_users() {
        // The proxy itself, run as the application: it says at once that it may not mark what it sends.
        let script = "ISTIO_META_INTERCEPTION_MODE=REDIRECT AMIME_CAPTURE_MARK=1337 timeout 5 amime proxy";
        apply(
            &local,
            &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "marks"}, "spec": {
            "restartPolicy": "Never", "containers": [{"name": "app", "image": "curl", "command": ["sh", "-c", script]}]}}),
        );
        let log = log_of(&local, "marks");
        assert!(log.contains("may not set mark 1337"), "{log}");
    }
    let uid = local.amime(&["install", "--set", "global.captureExemption=uid"]);
    assert_eq!(uid.status.success(), many_users(), "{}", said(&uid));
    // Brought up to date without being told, the mesh keeps the exemption that works here.
    local.ok(&["install"]);
    let injector = local
        .get(&["configmap", "istio-sidecar-injector", "-n", "istio-system"])
        .to_string();
    assert_eq!(
        injector.contains(r#"\"captureExemption\": \"mark\""#),
        !many_users(),
        "{injector:.2000}"
    );
}

/// The client's pod once more, with a sidecar that `change` breaks.
fn broken_copy(local: &Local, client: &str, change: impl Fn(&mut Value)) -> Value {
    let mut pod = local.get(&["pod", client, "-n", NAMESPACE]);
    pod["metadata"] =
        json!({"name": "broken", "namespace": NAMESPACE, "labels": {"sidecar.istio.io/inject": "false"}});
    pod["spec"].as_object_mut().unwrap().remove("nodeName");
    pod.as_object_mut().unwrap().remove("status");
    for list in ["containers", "initContainers"] {
        let containers = pod["spec"][list].as_array_mut().unwrap();
        containers
            .iter_mut()
            .filter(|container| container["name"] == "istio-proxy")
            .for_each(&change);
    }
    pod
}

#[test]
fn a_proxy_whose_exemption_does_not_work_says_so_and_is_never_ready() {
    let local = Local::up(&[]);
    let client = client(&local);
    let captured = |proxy: &mut Value| {
        // Either way it looks to the rules like the application.
        proxy["securityContext"] =
            json!({"runAsUser": 0, "runAsGroup": 0, "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}});
        proxy["env"]
            .as_array_mut()
            .unwrap()
            .retain(|variable| variable["name"] != "AMIME_CAPTURE_MARK");
    };
    apply(&local, &broken_copy(&local, &client, captured));
    let log = || local.amime(&["logs", "broken", "-n", NAMESPACE, "-c", "istio-proxy"]);
    wait("the proxy to find itself captured", LIMIT, || {
        said(&log())
            .contains("is not exempt from redirection")
            .then_some(())
    });
    let page = local.amime(&[
        "exec",
        "broken",
        "-n",
        NAMESPACE,
        "-c",
        "client",
        "--",
        "curl",
        "-s",
        "http://127.0.0.1:15021/healthz/ready",
    ]);
    assert!(!is_ready(&local, NAMESPACE, "broken"));
    assert!(
        said(&page).contains("not exempt from redirection"),
        "{}",
        said(&page)
    );
}
