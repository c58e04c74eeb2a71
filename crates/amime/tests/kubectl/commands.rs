//! The list of commands: each is run as it is typed, by every kubectl, and must end and print as the list says.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::{Local, said};

const COMMANDS: &str = include_str!("commands.txt");
const STREAMS: &str = include_str!("streams.txt");

/// One kubectl in a directory of its own, in a namespace of its own.
struct Shell<'a> {
    name: &'a str,
    directory: &'a Path,
    websockets: bool,
}

/// Runs both lists with one kubectl; streams over WebSocket and over SPDY. What went wrong, line by line.
pub(crate) fn run(local: &Local, name: &str, program: &Path) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let bin = directory.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    symlink(program, bin.join("kubectl")).unwrap();
    std::fs::create_dir(directory.path().join("dir")).unwrap();
    std::fs::copy(local.kubeconfig(), directory.path().join("kubeconfig")).unwrap();
    let mut shell = Shell {
        name,
        directory: directory.path(),
        websockets: true,
    };
    let mut wrong = Vec::new();
    shell.check(
        "kubectl config set-context --current --namespace=commands",
        "0 modified",
        &mut wrong,
    );
    shell.check("kubectl create namespace commands", "0 created", &mut wrong);
    shell.check_all(COMMANDS, &mut wrong);
    shell.check_all(STREAMS, &mut wrong);
    shell.websockets = false;
    shell.check_all(STREAMS, &mut wrong);
    shell.check(
        "kubectl delete namespace commands --timeout=60s",
        "0 deleted",
        &mut wrong,
    );
    wrong
}

impl Shell<'_> {
    fn check_all(&self, list: &str, wrong: &mut Vec<String>) {
        let lines: Vec<&str> = list
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect();
        for pair in lines.chunks(2) {
            assert!(pair[1].starts_with(' '), "{} has its outcome below it", pair[0]);
            self.check(pair[0], pair[1].trim(), wrong);
        }
    }

    /// Runs a line; `expected` is the exit code, or several that would do, and a part of the output.
    fn check(&self, line: &str, expected: &str, wrong: &mut Vec<String>) {
        const LIMIT: Duration = Duration::from_secs(90);
        let (codes, piece) = expected.split_once(' ').unwrap_or((expected, ""));
        let path = std::env::var("PATH").unwrap();
        let output = Command::new("timeout")
            .args([&LIMIT.as_secs().to_string(), "bash", "-c", line])
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubectl"))
            .env("PATH", format!("{}/bin:{path}", self.directory.display()))
            .env("HOME", self.directory)
            .env("DIR", self.directory.join("dir"))
            .env("KUBECONFIG", self.directory.join("kubeconfig"))
            .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", self.websockets.to_string())
            .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", self.websockets.to_string())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let printed = said(&output);
        let code = output
            .status
            .code()
            .map(|code| code.to_string())
            .unwrap_or_default();
        if !codes.split('|').any(|one| one == code) || !printed.contains(piece) {
            let over = if self.websockets { "" } else { " (SPDY)" };
            wrong.push(format!(
                "{}{over}: {line}\n    exit {code}, wanted {expected}: {printed:.600}",
                self.name
            ));
        }
    }
}
