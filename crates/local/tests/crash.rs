//! The store and the end of its process: `kill -9` at any moment, and a file that cannot grow.
//!
//! The program runs itself as the process that dies, so it has its own `main` instead of the usual test harness.
//! Run with a part of a test's name to run that one alone.
#![allow(clippy::print_stdout, reason = "a test program without the usual harness")]

use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use futures_util::future::join_all;
use local::store::{Key, Refused, Store, Write, revision_of};
use nix::sys::signal::{SigSet, Signal};
use rustix::process::{Resource, Rlimit};
use serde_json::json;

type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    (
        "every_acknowledged_write_survives_kill",
        every_acknowledged_write_survives_kill,
    ),
    (
        "a_file_that_cannot_grow_refuses_writes_and_recovers",
        a_file_that_cannot_grow_refuses_writes_and_recovers,
    ),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [role, directory] if role == "role:write" => write_until_killed(Path::new(directory)),
        [role, directory] if role == "role:outgrow" => outgrow(Path::new(directory)),
        _ => run(&arguments),
    }
}

fn run(arguments: &[String]) {
    let wanted: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    for (name, test) in TESTS.iter().filter(|(name, _)| is_wanted(name)) {
        if arguments.iter().any(|argument| argument == "--list") {
            println!("{name}: test");
            continue;
        }
        test();
        println!("test {name} ... ok");
    }
}

fn this_program(role: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command
        .arg(role)
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

fn key(name: &str) -> Key {
    Key {
        collection: "configmaps".to_owned(),
        namespace: "n".to_owned(),
        name: name.to_owned(),
    }
}

async fn put(store: &Store, name: &str, data: &str) -> Result<u64, Refused> {
    let key = key(name);
    let write = Write {
        expected: store.get(&key).as_deref().map(revision_of),
        object: Some(json!({"metadata": {"name": name}, "data": data})),
        key,
        requires: None,
    };
    store.write(write).await.map(|stored| revision_of(&stored))
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without drivers")
        .block_on(future)
}

/// Eight writers at once, each with one object that counts up; a line for each acknowledged write.
/// Every write differs from what the process before has left: one that changes nothing has no version of its own.
fn write_until_killed(directory: &Path) {
    let store = Store::open(&directory.join("cluster.db")).expect("the state opens");
    let process = std::process::id();
    block_on(join_all((0..8).map(|writer| {
        let store = &store;
        async move {
            let name = format!("writer-{writer}");
            for count in 0.. {
                let data = format!("{count} {process} {}", "x".repeat(200 * writer));
                let revision = put(store, &name, &data).await.expect("the disk has room");
                let line = format!("{name} {revision} {count}\n");
                std::io::stdout()
                    .write_all(line.as_bytes())
                    .expect("somebody reads");
            }
        }
    })));
}

fn every_acknowledged_write_survives_kill() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut writes, mut newest) = (0, 0);
    for round in 0..20 {
        let mut child = this_program("role:write", directory.path())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut acknowledged = Vec::new();
        // Somewhere between the first write and a few logs full of them; every fourth time among the first ones.
        let longest = if round % 4 == 0 { 12 } else { 1000 };
        for _ in 0..=rand::random_range(0..longest) {
            acknowledged.push(lines.next().expect("it writes on").expect("lines of text"));
        }
        child.kill().expect("it runs");
        // What it said before it died counts too.
        acknowledged.extend(lines.map_while(Result::ok));
        child.wait().expect("it was ours");
        newest = check(directory.path(), &acknowledged, newest);
        writes += acknowledged.len();
        println!("round {round}: {} writes, version {newest}", acknowledged.len());
    }
    assert!(writes >= 20, "each round has acknowledged something");
}

/// The reopened store holds every acknowledged write, and its next version is new. That version.
fn check(directory: &Path, acknowledged: &[String], before: u64) -> u64 {
    let store = open_after_kill(&directory.join("cluster.db"));
    let mut highest = before;
    for line in acknowledged {
        let words: Vec<&str> = line.split(' ').collect();
        // The last line may be torn: then its write counts as never acknowledged.
        let [name, revision, count] = words[..] else {
            continue;
        };
        let (Ok(revision), Ok(count)) = (revision.parse::<u64>(), count.parse::<u64>()) else {
            continue;
        };
        let object = store.get(&key(name)).expect("an acknowledged object is there");
        let data = object["data"].as_str().expect("it has data");
        let stored: u64 = data
            .split(' ')
            .next()
            .and_then(|word| word.parse().ok())
            .expect("it counts");
        assert!(
            revision > before,
            "version {revision} was given before the last crash"
        );
        assert!(revision_of(&object) >= revision, "{name} has lost {revision}");
        assert!(
            stored >= count || revision_of(&object) > revision,
            "{name} has lost {count}"
        );
        highest = highest.max(revision);
    }
    let next = block_on(put(&store, "after", &highest.to_string())).expect("there is room");
    assert!(next > highest, "version {next} comes after {highest}");
    next
}

/// The kernel closes a killed process's files before its parent hears of it.
fn open_after_kill(path: &Path) -> Store {
    Store::open(path).unwrap_or_else(|error| panic!("{error}"))
}

fn a_file_that_cannot_grow_refuses_writes_and_recovers() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = this_program("role:outgrow", directory.path())
        .stderr(Stdio::inherit())
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{}", output.status);
    let said = String::from_utf8_lossy(&output.stdout);
    let store = open_after_kill(&directory.path().join("cluster.db"));
    let (objects, _) = store.list("configmaps", "n");
    assert_eq!(
        said.trim(),
        objects.len().to_string(),
        "what was acknowledged is there"
    );
}

/// Writes until the system refuses, looks whether everything else goes on, and writes again when it may.
fn outgrow(directory: &Path) {
    // Without this the signal would end the process where a full disk only fails the write.
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGXFSZ);
    blocked.thread_block().expect("a signal may be blocked");
    let store = Store::open(&directory.join("cluster.db")).expect("the state opens");
    let limit = rustix::process::getrlimit(Resource::Fsize);
    let set = |current: Option<u64>| {
        let limit = Rlimit { current, ..limit };
        rustix::process::setrlimit(Resource::Fsize, limit).expect("the soft limit may change");
    };
    set(Some(1 << 20));
    let mut feed = store.feed("configmaps", 0).expect("it begins here");
    let count = block_on(async {
        let data = "x".repeat(10_000);
        let mut count = 0;
        let refused = loop {
            match put(&store, &format!("object-{count}"), &data).await {
                Ok(_) => count += 1,
                Err(refused) => break refused,
            }
        };
        let said = refused.to_string();
        let path: PathBuf = directory.join("cluster.db");
        assert!(
            said.contains(&path.display().to_string()) && said.contains("check space"),
            "{said}"
        );
        let (objects, version) = store.list("configmaps", "n");
        assert_eq!(
            (objects.len(), version),
            (count, count as u64),
            "reads go on, and nothing is half there"
        );
        let records = feed.next().await.expect("watches go on");
        assert_eq!(records[0].object["metadata"]["name"], "object-0");
        assert!(matches!(
            put(&store, "more", &data).await,
            Err(Refused::Storage(_))
        ));
        set(limit.current);
        let revision = put(&store, "more", &data).await.expect("there is room again");
        assert_eq!(
            revision,
            count as u64 + 1,
            "refused writes have no version that anybody saw"
        );
        count + 1
    });
    println!("{count}");
}
