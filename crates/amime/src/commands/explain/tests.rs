//! The command over files: transcripts in `tests/explain`, and details that are read back.
//!
//! `AMIME_BLESS=1` writes what is said now; read it before it is committed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Parser;

use super::*;
use crate::cli::block_on;

const PROMPT: &str = "$ amime explain ";
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/explain/");

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

/// What the command says, with the code that it ends with where that is not 0.
fn said(command: &str) -> String {
    let mut words = vec!["explain".to_owned()];
    for word in words_of(command) {
        match words.last().is_some_and(|last| last == "-f") {
            true => words.push(format!("{FOLDER}{word}")),
            false => words.push(word),
        }
    }
    let line = Line::try_parse_from(words).unwrap_or_else(|error| panic!("{command}: {error}"));
    let said = match block_on(tell(&Target::default(), &line.arguments)) {
        Ok((said, true)) => said,
        Ok((said, false)) => format!("{said}[1]\n"),
        Err(error) => {
            let code = if is_wrong_use(&error) { 64 } else { 1 };
            format!("Error: {error:#}\n[{code}]\n")
        }
    };
    said.replace(FOLDER, "")
}

/// Words as a shell parts them; single quotes only.
fn words_of(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in command.split('\'').enumerate() {
        match at % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

fn transcripts() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(FOLDER).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    files
}

fn commands(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix(PROMPT))
}

/// The transcript of the same commands, under the same comments.
fn written(file: &Path) -> (String, String) {
    let blessed = std::fs::read_to_string(file).unwrap();
    let lines = blessed.lines();
    let kept = lines.filter(|line| line.starts_with('#') || line.starts_with(PROMPT));
    let now = kept.map(|line| match line.strip_prefix(PROMPT) {
        Some(command) => format!("{line}\n{}\n", said(command)),
        None => format!("{line}\n"),
    });
    let now = now.collect::<String>().trim_end().to_owned() + "\n";
    (blessed, now)
}

#[test]
fn calls_are_explained_in_these_words() {
    let mut different = Vec::new();
    for file in transcripts() {
        let (blessed, now) = written(&file);
        if blessed != now && std::env::var_os("AMIME_BLESS").is_some() {
            std::fs::write(&file, &now).unwrap();
        } else if blessed != now {
            different.push(format!("{}:\n{now}", file.display()));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// Everything in a text that may stand in an access log as details.
fn details_in(text: &str) -> BTreeSet<String> {
    let words = text.split_whitespace();
    let words = words.map(|word| word.trim_matches([',', ';', '"', '`']));
    words
        .filter(|word| Details::read(word).is_some())
        .map(str::to_owned)
        .collect()
}

#[test]
fn what_is_said_of_a_refusal_can_be_looked_up() {
    let mut all = BTreeSet::new();
    for file in transcripts() {
        let text = std::fs::read_to_string(&file).unwrap();
        for command in commands(&text).filter(|command| !command.starts_with("--details")) {
            let said = said(command);
            for line in said
                .lines()
                .filter_map(|line| line.trim().strip_prefix("Details "))
            {
                assert!(Details::read(line.trim()).is_some(), "{command}: {line}");
            }
            all.extend(details_in(&said));
        }
    }
    for kind in [
        "rbac_access_denied_matched_policy[none]",
        "rbac_access_denied_matched_policy[ns[shop]-policy[closed]-rule[1]]",
        "jwt_authn_access_denied{Jwt_issuer_is_not_configured}",
        "jwt_authn_access_denied{Audiences_in_Jwt_are_not_allowed}",
        "ext_authz_denied",
        "ext_authz_error",
        "local_rate_limited",
        "request_rate_limited",
        "filter_chain_not_found",
        "upstream_reset_before_response_started{connection_termination}",
    ] {
        assert!(all.contains(kind), "{kind} is said nowhere");
    }
    assert!(all.iter().any(|details| details.contains("bad-CUSTOM")));
    for details in all {
        let files = "-n shop --to backend-v2 -f world.yaml -f policies.yaml";
        let meaning = said(&format!("--details '{details}' {files}"));
        assert!(
            meaning.starts_with(&format!("{details}\n  ")),
            "{details}: {meaning}"
        );
        assert!(!meaning.contains("nothing of the kind"), "{details}: {meaning}");
    }
}

#[test]
fn programs_get_the_same_as_data() {
    let call = "GET http://backend/admin --from client -n shop -f world.yaml -f policies.yaml";
    let json: serde_json::Value = serde_json::from_str(&said(&format!("{call} -o json"))).unwrap();
    assert_eq!(json["answer"]["status"], 403);
    assert_eq!(
        json["answer"]["details"],
        "rbac_access_denied_matched_policy[ns[shop]-policy[closed]-rule[1]]"
    );
    let says = json["inbound"]["says"].as_array().unwrap();
    let policy = says.iter().find(|fact| fact["about"] == "Policy").unwrap();
    assert_eq!(policy["by"]["object"], "AuthorizationPolicy shop/closed");
    assert_eq!(policy["by"]["path"], "spec.rules[1]");
    assert_eq!(json["outbound"]["outcome"]["route"], "rest");
    let yaml: serde_json::Value = serde_saphyr::from_str(&said(&format!("{call} -o yaml"))).unwrap();
    assert_eq!(yaml, json);
}
