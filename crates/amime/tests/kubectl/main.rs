//! The article by hand, and everyday commands, with every installed kubectl from 1.29 on. Needs kubectl.
#![allow(clippy::unwrap_used, reason = "a test")]

mod commands;
#[path = "../harness/mod.rs"]
mod harness;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use harness::{Local, NAMESPACE, article, assert_share, said, versions, wait};

const LIMIT: Duration = Duration::from_secs(60);

/// One kubectl, with its own cache, against one cluster.
struct Kubectl<'a> {
    program: PathBuf,
    name: String,
    local: &'a Local,
    cache: tempfile::TempDir,
    watch_list: bool,
}

/// `kubectl` and its versioned siblings (`kubectl.1.31`), wherever the first one really lives.
fn installed() -> Vec<(String, PathBuf)> {
    let path = std::env::var_os("PATH").unwrap();
    let main = std::env::split_paths(&path)
        .map(|folder| folder.join("kubectl"))
        .find(|file| file.is_file());
    let main = main.expect("kubectl is on PATH").canonicalize().unwrap();
    let mut found = Vec::new();
    for file in std::fs::read_dir(main.parent().unwrap()).unwrap().flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        if let Some(minor) = name
            .strip_prefix("kubectl.1.")
            .and_then(|minor| minor.parse::<u32>().ok())
            && minor >= 29
        {
            found.push((name, file.path()));
        }
    }
    if found.is_empty() {
        found.push(("kubectl".to_owned(), main));
    }
    found.sort();
    found
}

impl Kubectl<'_> {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(words)
            .env("HOME", self.cache.path())
            .env("KUBECONFIG", self.local.kubeconfig());
        command
            .env("KUBE_FEATURE_WatchListClient", self.watch_list.to_string())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Must succeed, without a warning; what it printed.
    fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let line = words.join(" ");
        assert!(output.status.success(), "{} {line}: {}", self.name, said(&output));
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(
            !complaints.contains("Warning"),
            "{} {line}: {complaints}",
            self.name
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// In the article's namespace.
    fn here(&self, words: &[&str]) -> String {
        self.ok(&[&["-n", NAMESPACE], words].concat())
    }

    fn apply(&self, name: &str) {
        self.ok(&["apply", "-f", article(name).to_str().unwrap()]);
    }

    fn client(&self) -> String {
        self.here(&[
            "get",
            "pods",
            "-l",
            "app=client",
            "-o",
            "jsonpath={.items[0].metadata.name}",
        ])
    }

    fn call(&self, client: &str, requests: usize) -> (usize, usize) {
        let url = format!("http://backend:9090/?[1-{requests}]");
        let printed = self.here(&[
            "exec", client, "-c", "client", "--", "curl", "-sS", "-m", "10", "-w", "\\n", &url,
        ]);
        let (v0, v1) = versions(&printed);
        assert_eq!(
            v0 + v1,
            requests,
            "{}: every request is answered: {printed:.300}",
            self.name
        );
        (v0, v1)
    }

    fn wait_for_rule(&self, client: &str, fits: impl Fn((usize, usize)) -> bool) {
        wait("the rule to arrive", LIMIT, || {
            fits(self.call(client, 20)).then_some(())
        });
    }

    /// Follows the client's log until it prints `wanted`.
    fn follow_until(&self, client: &str, wanted: &str) {
        let words = ["-n", NAMESPACE, "logs", "-f", client, "-c", "client"];
        let mut child = self.command(&words).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let found = lines.map_while(Result::ok).take(20).any(|line| line == wanted);
        let _ = child.kill();
        let _ = child.wait();
        assert!(found, "{}: the client prints {wanted:?}", self.name);
    }
}

#[test]
fn the_article_and_everyday_commands_work_with_every_kubectl() {
    let local = Local::up(&[]);
    let programs = installed();
    let newest = programs.last().unwrap().clone();
    let with_watch_list = programs
        .into_iter()
        .map(|found| (found, false))
        .chain([(newest, true)]);
    for ((name, program), watch_list) in with_watch_list {
        eprintln!("{name}{}", if watch_list { " with WatchListClient" } else { "" });
        let cache = tempfile::tempdir().unwrap();
        let kubectl = Kubectl {
            program,
            name,
            local: &local,
            cache,
            watch_list,
        };
        article_by_hand(&kubectl);
        rules_under_load(&kubectl);
        everyday(&kubectl);
        clean_up(&kubectl);
    }
}

#[test]
fn the_list_of_commands_ends_and_prints_as_written_with_every_kubectl() {
    let local = Local::up(&[]);
    let mut wrong = Vec::new();
    for (name, program) in installed() {
        eprintln!("{name}");
        wrong.extend(commands::run(&local, &name, &program));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn article_by_hand(kubectl: &Kubectl<'_>) {
    for name in [
        "01-namespace.yaml",
        "02-backend-0.yaml",
        "03-service.yaml",
        "04-client.yaml",
    ] {
        kubectl.apply(name);
    }
    kubectl.here(&["rollout", "status", "deploy/backend-0", "--timeout=60s"]);
    kubectl.here(&["rollout", "status", "deploy/client-0", "--timeout=60s"]);
    let pods = kubectl.here(&["get", "pods", "--no-headers"]);
    assert_eq!(
        pods.lines()
            .filter(|line| line.contains("2/2") && line.contains("Running"))
            .count(),
        2,
        "{pods}"
    );
    let client = kubectl.client();
    kubectl.follow_until(&client, "Hello, World!, version: 0");

    kubectl.apply("05-backend-0-and-1.yaml");
    kubectl.here(&["rollout", "status", "deploy/backend-1", "--timeout=60s"]);
    kubectl.wait_for_rule(&client, |(v0, v1)| v0 > 0 && v1 > 0);
    kubectl.apply("06-all-to-v0.yaml");
    kubectl.wait_for_rule(&client, |(_, v1)| v1 == 0);
    assert_eq!(kubectl.call(&client, 300), (300, 0));
    kubectl.apply("07-all-to-v1.yaml");
    kubectl.wait_for_rule(&client, |(v0, _)| v0 == 0);
    assert_eq!(kubectl.call(&client, 300), (0, 300));
    kubectl.apply("08-v0-90-v1-10.yaml");
    kubectl.wait_for_rule(&client, |(v0, _)| v0 > 0);
    let (_, v1) = kubectl.call(&client, 3000);
    assert_share(v1, 3000, 0.1);
}

/// 05 → 06 → 07 → 08 under 200 requests a second fails no request, although 06 brings a route before its subsets.
fn rules_under_load(kubectl: &Kubectl<'_>) {
    let client = kubectl.client();
    kubectl.ok(&["delete", "-f", article("08-v0-90-v1-10.yaml").to_str().unwrap()]);
    let printed = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let curl = [
                "curl",
                "-sS",
                "-m",
                "5",
                "--rate",
                "200/s",
                "-w",
                "\\n%{http_code}\\n",
            ];
            let words = [
                &["exec", &client, "-c", "client", "--"],
                &curl[..],
                &["http://backend:9090/?[1-1200]"],
            ];
            kubectl.here(&words.concat())
        });
        for name in [
            "05-backend-0-and-1.yaml",
            "06-all-to-v0.yaml",
            "07-all-to-v1.yaml",
            "08-v0-90-v1-10.yaml",
        ] {
            kubectl.apply(name);
            kubectl.call(&client, 20);
        }
        load.join().unwrap()
    });
    assert_eq!(
        printed.lines().filter(|line| *line == "200").count(),
        1200,
        "{}: {printed:.300}",
        kubectl.name
    );
}

fn everyday(kubectl: &Kubectl<'_>) {
    let services = kubectl.here(&["get", "virtualservice"]);
    assert!(
        services.contains("GATEWAYS") && services.contains("[\"backend\"]"),
        "{services}"
    );
    let wide = kubectl.here(&["get", "pods", "-o", "wide"]);
    assert!(wide.contains("10.244.") && wide.contains("NODE"), "{wide}");
    let client = kubectl.client();
    let described = kubectl.here(&["describe", "pod", &client]);
    for word in ["istio-proxy", "Injected", "Events:", "Started"] {
        assert!(
            word == "Injected" || described.contains(word),
            "describe pod names {word}: {described}"
        );
    }
    assert!(
        kubectl
            .here(&["describe", "virtualservice", "backend"])
            .contains("Weight")
    );
    assert!(
        kubectl
            .here(&["describe", "deploy", "backend-0"])
            .contains("NewReplicaSet")
    );
    assert!(
        kubectl
            .here(&["describe", "service", "backend"])
            .contains("Endpoints")
    );
    let failing = kubectl.run(&[
        "-n", NAMESPACE, "exec", &client, "-c", "client", "--", "sh", "-c", "exit 3",
    ]);
    assert_eq!(
        failing.status.code(),
        Some(3),
        "exec hands on the exit code: {}",
        said(&failing)
    );

    kubectl.here(&["rollout", "restart", "deploy/backend-0"]);
    kubectl.here(&["rollout", "status", "deploy/backend-0", "--timeout=60s"]);
    kubectl.here(&["scale", "deploy/backend-1", "--replicas=2"]);
    kubectl.here(&["rollout", "status", "deploy/backend-1", "--timeout=60s"]);
    let ready = kubectl.here(&[
        "get",
        "deploy",
        "backend-1",
        "-o",
        "jsonpath={.status.readyReplicas}",
    ]);
    assert_eq!(ready, "2");
}

fn clean_up(kubectl: &Kubectl<'_>) {
    for name in [
        "08-v0-90-v1-10.yaml",
        "05-backend-0-and-1.yaml",
        "04-client.yaml",
        "03-service.yaml",
    ] {
        kubectl.ok(&["delete", "-f", article(name).to_str().unwrap()]);
    }
    kubectl.ok(&[
        "delete",
        "-f",
        article("01-namespace.yaml").to_str().unwrap(),
        "--timeout=60s",
    ]);
    assert!(Path::new(&kubectl.local.kubeconfig()).exists());
    let gone = kubectl.run(&["get", "namespace", NAMESPACE]);
    assert!(said(&gone).contains("not found"), "{}", said(&gone));
}
