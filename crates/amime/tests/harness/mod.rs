//! A local mesh under test: the real binary in a state directory of its own, ended when dropped.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "test code shared by several suites, each of which uses a part of it"
)]

pub(crate) mod leftovers;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The article's files.
pub(crate) fn article(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples/article")
        .join(name)
}

/// The namespace of the article.
pub(crate) const NAMESPACE: &str = "istio-http-example";

pub(crate) struct Local {
    home: tempfile::TempDir,
}

impl Local {
    /// Starts a mesh in a fresh state directory.
    pub(crate) fn up(arguments: &[&str]) -> Self {
        let local = Self {
            home: tempfile::tempdir().unwrap(),
        };
        local.start(arguments);
        local
    }

    /// The same, with a command that executes the binary in its own way.
    pub(crate) fn up_by(mut command: Command) -> Self {
        let local = Self {
            home: tempfile::tempdir().unwrap(),
        };
        command.args(["up", "--detach"]);
        let output = local.run(command);
        assert!(
            output.status.success(),
            "up failed: {}\n{}",
            said(&output),
            local.node_log()
        );
        local
    }

    /// Starts it again after [`Local::down`].
    pub(crate) fn start(&self, arguments: &[&str]) {
        let words = [&["up", "--detach"], arguments].concat();
        let output = self.amime(&words);
        assert!(
            output.status.success(),
            "up failed: {}\n{}",
            said(&output),
            self.node_log()
        );
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            self.kubeconfig().display().to_string()
        );
    }

    pub(crate) fn down(&self) {
        let output = self.amime(&["down"]);
        assert!(output.status.success(), "down failed: {}", said(&output));
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.home.path().join("kubeconfig")
    }

    fn node_log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("node.log")).unwrap_or_default()
    }

    /// Runs the binary against this mesh.
    pub(crate) fn amime(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_amime"));
        command.args(words);
        self.run(command)
    }

    fn run(&self, mut command: Command) -> Output {
        command
            .env("AMIME_HOME", self.home.path())
            .env_remove("KUBECONFIG")
            .stdin(Stdio::null());
        command.output().unwrap()
    }

    /// The same; it must succeed. What it printed.
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let output = self.amime(words);
        assert!(
            output.status.success(),
            "amime {}: {}",
            words.join(" "),
            said(&output)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Applies a text.
    pub(crate) fn apply(&self, yaml: &str) -> Output {
        let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        std::fs::write(file.path(), yaml).unwrap();
        self.amime(&["apply", "-f", file.path().to_str().unwrap()])
    }

    /// An object, or the list of a kind.
    pub(crate) fn get(&self, words: &[&str]) -> Value {
        let words = [&["get"], words, &["-o", "json"]].concat();
        let output = self.amime(&words);
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// Pods of a namespace that are ready, by label.
    pub(crate) fn wait_for_deployment(&self, namespace: &str, name: &str) {
        wait(
            &format!("deployment {namespace}/{name}"),
            Duration::from_secs(60),
            || {
                let found = self.get(&["deployments", name, "-n", namespace]);
                let wanted = found["spec"]["replicas"].as_i64()?;
                let has = |field: &str| found["status"][field].as_i64().unwrap_or_default() == wanted;
                let seen = found["status"]["observedGeneration"] == found["metadata"]["generation"];
                (seen && has("availableReplicas") && has("updatedReplicas") && has("replicas")).then_some(())
            },
        );
    }

    /// The name of the one pod with a label.
    pub(crate) fn pod(&self, namespace: &str, selector: &str) -> String {
        let found = self.get(&["pods", "-n", namespace, "-l", selector]);
        found["items"][0]["metadata"]["name"]
            .as_str()
            .unwrap_or_else(|| panic!("no pod {selector}: {found}"))
            .to_owned()
    }

    /// Runs a command in a container; what it printed.
    pub(crate) fn exec(&self, namespace: &str, pod: &str, container: &str, command: &[&str]) -> String {
        self.ok(&[&["exec", pod, "-n", namespace, "-c", container, "--"], command].concat())
    }

    /// Messages of the events about an object.
    pub(crate) fn events(&self, namespace: &str, name: &str) -> Vec<(String, String)> {
        let found = self.get(&["events", "-n", namespace]);
        let about = found["items"].as_array().cloned().unwrap_or_default();
        let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
        about
            .iter()
            .filter(|event| event["involvedObject"]["name"] == name)
            .map(|event| (text(event, "reason"), text(event, "message")))
            .collect()
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- node.log\n{}", self.node_log());
        }
        let _ = self.amime(&["down"]);
    }
}

/// Both streams of a finished command.
pub(crate) fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Waits for a condition of another process.
#[allow(
    clippy::disallowed_methods,
    reason = "polls another process; there is no runtime here"
)]
pub(crate) fn wait<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(begin.elapsed() < limit, "waited {} s for {what}", limit.as_secs());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Answers of the two versions in a text of lines.
pub(crate) fn versions(printed: &str) -> (usize, usize) {
    let count = |version: &str| {
        printed
            .lines()
            .filter(|line| *line == format!("Hello, World!, version: {version}"))
            .count()
    };
    (count("0"), count("1"))
}

/// Asserts that `count` of `all` is `share`, within 4.5 standard deviations.
pub(crate) fn assert_share(count: usize, all: usize, share: f64) {
    let (count, all) = (count as f64, all as f64);
    let bound = 4.5 * (all * share * (1.0 - share)).sqrt();
    assert!(
        (count - all * share).abs() <= bound,
        "{count} of {all}, expected {} ± {bound:.0}",
        all * share
    );
}
