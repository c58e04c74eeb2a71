//! What a local cluster has on the machine, and what must be gone after it.

use std::collections::BTreeSet;
use std::path::Path;

/// A process of a cluster, seen from the host.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    parent: i32,
    /// The internal role of the binary (`launcher`, `node`), or the name of the program that a container runs.
    pub(crate) role: String,
    command: String,
}

impl Process {
    /// Whether its command line has these words.
    pub(crate) fn runs(&self, words: &str) -> bool {
        self.command.contains(words)
    }
}

/// Every process that was started from the binary under test, and whatever those started.
pub(crate) fn processes() -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let all: Vec<Process> = entries.filter_map(|entry| read(&entry.path())).collect();
    let roots: Vec<i32> = all
        .iter()
        .filter(|process| process.command.starts_with(env!("CARGO_BIN_EXE_amime")))
        .map(|process| process.pid)
        .collect();
    let ours = |process: &&Process| {
        roots.contains(&process.pid) || roots.iter().any(|root| descends_from(&all, process, *root))
    };
    all.iter().filter(ours).cloned().collect()
}

fn read(directory: &Path) -> Option<Process> {
    let command = std::fs::read(directory.join("cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    let status = std::fs::read_to_string(directory.join("status")).ok()?;
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    let mut words = command
        .split_whitespace()
        .skip_while(|word| *word != "local-role")
        .skip(1);
    Some(Process {
        pid: field("Pid:")?.parse().ok()?,
        parent: field("PPid:")?.parse().ok()?,
        role: words
            .next()
            .or_else(|| field("Name:"))
            .unwrap_or_default()
            .to_owned(),
        command: command.trim().to_owned(),
    })
}

/// Whether `ancestor` is in the chain of parents of a process, among `all`.
pub(crate) fn descends_from(all: &[Process], process: &Process, ancestor: i32) -> bool {
    let mut parent = process.parent;
    while parent != ancestor {
        match all.iter().find(|other| other.pid == parent) {
            Some(next) => parent = next.parent,
            None => return false,
        }
    }
    true
}

/// Network namespaces of local clusters, other than this test's own, as the kernel names them.
pub(crate) fn network_namespaces() -> BTreeSet<String> {
    let of = |process: &str| {
        Some(
            std::fs::read_link(format!("/proc/{process}/ns/net"))
                .ok()?
                .display()
                .to_string(),
        )
    };
    let own = of("self").unwrap();
    let all = processes()
        .into_iter()
        .filter_map(|process| of(&process.pid.to_string()));
    all.filter(|name| *name != own).collect()
}

/// Which of these are still there: a process is in it, holds it open, or it is mounted.
pub(crate) fn still_there(namespaces: &BTreeSet<String>) -> Vec<String> {
    let links = |folder: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let targets = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        targets.map(|target| target.display().to_string()).collect()
    };
    let mut held = BTreeSet::new();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        held.extend(links(&process.path().join("fd")));
        for thread in std::fs::read_dir(process.path().join("task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            held.extend(links(&thread.path().join("ns")));
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    held.extend(
        mounts
            .split_whitespace()
            .filter(|word| word.starts_with("net:"))
            .map(str::to_owned),
    );
    namespaces.intersection(&held).cloned().collect()
}

/// Processes, mounts, links and routes of the host that belong to local clusters.
pub(crate) fn left_behind() -> Vec<String> {
    let mut found: Vec<String> = processes()
        .into_iter()
        .map(|process| format!("process {} {}", process.pid, process.command))
        .collect();
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let ours = mounts.lines().filter(|line| line.contains("amime"));
    found.extend(ours.map(|line| format!("mount {line}")));
    let links = std::fs::read_to_string("/proc/net/dev").unwrap();
    let virtual_link = |line: &&str| line.trim_start().starts_with("veth") || line.contains("amime");
    found.extend(
        links
            .lines()
            .filter(virtual_link)
            .map(|line| format!("link {line}")),
    );
    let routes = std::fs::read_to_string("/proc/net/route").unwrap();
    // 10.244.0.0/16 in the kernel's byte order.
    let pods = routes.lines().filter(|line| line.contains("F40A"));
    found.extend(pods.map(|line| format!("route {line}")));
    found
}
