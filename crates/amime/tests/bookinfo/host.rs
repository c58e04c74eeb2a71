//! What a person has on the host: kubectl, a forwarded port, and curl with a cookie jar.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::harness::{Local, said};

/// The kubectl on the PATH, with a namespace and a cache of its own.
pub(crate) struct Kubectl<'a> {
    local: &'a Local,
    namespace: String,
    cache: tempfile::TempDir,
}

impl<'a> Kubectl<'a> {
    pub(crate) fn new(local: &'a Local, namespace: &str) -> Self {
        Self {
            local,
            namespace: namespace.to_owned(),
            cache: tempfile::tempdir().unwrap(),
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command
            .args(["--namespace", &self.namespace])
            .args(words)
            .env("HOME", self.cache.path())
            .env("KUBECONFIG", self.local.kubeconfig())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Must succeed; what it printed.
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(
            output.status.success(),
            "kubectl {}: {}",
            words.join(" "),
            said(&output)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Applies a file of the examples.
    pub(crate) fn apply(&self, name: &str) {
        let path = example(name);
        self.ok(&["apply", "-f", path.to_str().unwrap()]);
    }
}

pub(crate) fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .join(name)
}

/// `kubectl port-forward`, ended when dropped.
pub(crate) struct Forwarded {
    kubectl: Child,
    port: u16,
}

impl Forwarded {
    pub(crate) fn start(kubectl: &Kubectl<'_>, target: &str, port: u16) -> Self {
        let mut command = kubectl.command(&["port-forward", target, &format!(":{port}")]);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        // Forwarding from 127.0.0.1:41433 -> 9080
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().expect("port-forward says its port").unwrap();
        let port = first
            .split_whitespace()
            .find_map(|word| word.strip_prefix("127.0.0.1:"))
            .unwrap_or_else(|| panic!("no port in {first:?}"));
        let port = port.parse().unwrap();
        // It prints a line for each connection, and must not block on that.
        std::thread::spawn(move || lines.for_each(drop));
        Self { kubectl: child, port }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}

/// Somebody with a browser of his own: curl and its cookies.
pub(crate) struct Visitor {
    cookies: tempfile::NamedTempFile,
}

impl Visitor {
    pub(crate) fn new() -> Self {
        Self {
            cookies: tempfile::NamedTempFile::new().unwrap(),
        }
    }

    fn curl(&self, words: &[&str]) -> String {
        let jar = self.cookies.path().to_str().unwrap();
        let output = Command::new("curl")
            .args(["-sS", "-m", "60", "--noproxy", "*", "-b", jar, "-c", jar])
            .args(words)
            .output()
            .expect("curl is on the PATH");
        assert!(
            output.status.success(),
            "curl {}: {}",
            words.join(" "),
            said(&output)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(crate) fn get(&self, url: &str) -> String {
        self.curl(&[url])
    }

    pub(crate) fn sign_in(&self, url: &str, user: &str) {
        let form = format!("username={user}&passwd=x");
        let code = self.curl(&["-o", "/dev/null", "-w", "%{http_code}", "-d", &form, url]);
        assert_eq!(code, "302");
    }
}
