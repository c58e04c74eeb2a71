//! One file for Envoy and for Amime: each of tests/bootstrap/files is given to both, the same requests are made, and
//! the answers compared: status, headers, body, and what the backend saw.
//!
//! Everything happens in a network namespace of the test's own. Ports are filled in: `${PORT_x}` is a free one,
//! `${BACKEND_x}` one with a backend of that name behind it, `${DIR}` a folder with certificates and keys.
#![allow(
    clippy::disallowed_methods,
    reason = "a test that blocks threads of its own, and measures time"
)]

mod backend;
mod client;
mod compare;
#[path = "../../../../tests/compat/namespace.rs"]
mod namespace;
mod server;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, SystemTime};

use identity::Authority;
use serde::Deserialize;

use client::Call;
use compare::Answer;
use server::Server;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Calls {
    /// What the file is there to show.
    about: String,
    calls: Vec<Call>,
}

/// What is filled in for the places of a file.
pub(crate) struct Places {
    values: BTreeMap<String, String>,
    pub(crate) directory: tempfile::TempDir,
}

fn main() {
    let wanted = std::env::var("AMIME_BOOTSTRAP").unwrap_or_default();
    let files: Vec<_> = files()
        .into_iter()
        .filter(|file| file.to_string_lossy().contains(&wanted))
        .collect();
    // Namespaces belong to threads, and what a thread starts stays in its own.
    let run = std::thread::spawn(move || {
        namespace::enter();
        files.iter().map(|file| run(file)).collect::<Vec<_>>()
    });
    let outcomes = run.join().expect("the test ended by itself");
    let calls: usize = outcomes.iter().map(|outcome| outcome.0).sum();
    let different: usize = outcomes.iter().map(|outcome| outcome.1).sum();
    println!("{} files, {calls} calls, {different} differ", outcomes.len());
    if different > 0 {
        std::process::exit(1);
    }
    if wanted.is_empty() {
        assert!(outcomes.len() >= 20, "the suite is 20 files at least");
    }
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/bootstrap/files");
    let entries = std::fs::read_dir(&folder).expect("the folder of files");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("a file").path())
        .filter(|path| !path.to_string_lossy().ends_with(".calls.yaml"))
        .collect();
    files.sort();
    files
}

/// How many calls were made, and how many had other answers.
fn run(file: &Path) -> (usize, usize) {
    let text = std::fs::read_to_string(file).expect("a file");
    let calls = std::fs::read_to_string(file.with_extension("calls.yaml"))
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let calls: Calls =
        serde_saphyr::from_str(&calls).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let name = file
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let mut places = Places::new();
    let text = places.fill(&text);
    let ours = answers(Server::amime(&text, &places), &places, &calls.calls);
    let theirs = answers(Server::envoy(&text, &places), &places, &calls.calls);
    let mut different = 0;
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => {
            for ((call, ours), theirs) in calls.calls.iter().zip(&ours).zip(&theirs) {
                let found = compare::differences(call, ours, theirs);
                different += usize::from(!found.is_empty());
                for difference in found {
                    println!("{name}: {call}: {difference}");
                }
            }
        }
        (ours, theirs) => {
            different = calls.calls.len();
            for (who, outcome) in [("amime", ours.err()), ("envoy", theirs.err())] {
                if let Some(problem) = outcome {
                    println!("{name}: {who}: {problem}");
                }
            }
        }
    }
    println!(
        "{name}: {}: {} calls, {different} differ",
        calls.about,
        calls.calls.len()
    );
    (calls.calls.len(), different)
}

/// Starts backends and the proxy, and makes the calls.
fn answers(
    server: Result<Server, String>,
    places: &Places,
    calls: &[Call],
) -> Result<Vec<Vec<Answer>>, String> {
    let mut server = server?;
    let _backends: Vec<_> = places
        .ports("BACKEND_")
        .map(|(name, port)| backend::start(name, port))
        .collect();
    server.wait_ready(places)?;
    Ok(calls.iter().map(|call| client::make(call, places)).collect())
}

impl Places {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a folder");
        write_certificates(directory.path()).expect("certificates");
        let values = BTreeMap::from([("DIR".to_owned(), directory.path().display().to_string())]);
        Self { values, directory }
    }

    /// The text with its places filled in.
    fn fill(&mut self, text: &str) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').expect("a place ends");
            filled.push_str(before);
            let value = self.values.entry(name.to_owned()).or_insert_with(free_port);
            filled.push_str(value);
            rest = after;
        }
        filled + rest
    }

    pub(crate) fn get(&self, name: &str) -> &str {
        self.values
            .get(name)
            .unwrap_or_else(|| panic!("the file has no place {name}"))
    }

    fn ports<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, u16)> {
        self.values.iter().filter_map(move |(name, value)| {
            let name = name.strip_prefix(prefix)?;
            Some((name, value.parse().expect("a port")))
        })
    }
}

/// `cert.pem` and `other.pem` for servers, `client.pem` for a client, of the authority `ca.pem`; `stranger.pem` for a
/// client of another one.
fn write_certificates(folder: &Path) -> Result<(), identity::Error> {
    let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
    let authority = Authority::generate("test", hour, now)?;
    let other = Authority::generate("other", hour, now)?;
    let keypairs = [
        (
            "cert.pem",
            "key.pem",
            authority.issue_server(&["example.org", "*.example.org"], hour, now)?,
        ),
        (
            "other.pem",
            "other-key.pem",
            authority.issue_server(&["other.example.org"], hour, now)?,
        ),
        (
            "client.pem",
            "client-key.pem",
            authority.issue_client("client", "test", hour, now)?,
        ),
        (
            "stranger.pem",
            "stranger-key.pem",
            other.issue_client("stranger", "test", hour, now)?,
        ),
    ];
    std::fs::write(folder.join("ca.pem"), authority.certificate_pem()).expect("written");
    for (chain, key, keypair) in keypairs {
        keypair.store(&folder.join(chain), &folder.join(key))?;
    }
    Ok(())
}

/// Nobody else is in the namespace; what connects out there has ports above these.
fn free_port() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(10_000);
    NEXT.fetch_add(1, Ordering::SeqCst).to_string()
}
