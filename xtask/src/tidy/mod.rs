//! The architecture test: crate edges, sizes, opening comments, names, lock file, tests that documents name.
//!
//! Prints the shape of the project, then every problem; fails when there is one.

mod claims;
mod crates;
mod source;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::root;
use source::Source;

/// Production lines of one file.
const LONGEST_FILE: usize = 800;
/// Packages in the lock file.
const LOCK_BUDGET: usize = 400;

pub(crate) fn run() -> Result<()> {
    let files = files()?;
    let mut problems = crates::problems()?;
    let mut functions = Vec::new();
    let mut lines = 0;
    for path in files
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
    {
        let text = std::fs::read_to_string(root().join(path)).with_context(|| path.display().to_string())?;
        let source = Source::new(&text);
        lines += source.production_lines();
        problems.extend(file_problems(path, &text, &source));
        if !is_test(path) {
            functions.extend(
                source
                    .functions()
                    .into_iter()
                    .map(|function| (function, path.clone())),
            );
        }
    }
    functions.sort_by_key(|(function, _)| std::cmp::Reverse(function.lines));
    println!("files: {} in all, {lines} production lines of Rust", files.len());
    println!("longest functions:");
    for (function, path) in functions.iter().take(3) {
        println!(
            "  {:3} lines  {}:{} {}",
            function.lines,
            path.display(),
            function.at,
            function.name
        );
    }
    let packages = lock_packages()?;
    println!("packages in the lock file: {packages} (budget {LOCK_BUDGET})");
    if packages > LOCK_BUDGET {
        problems.push(format!(
            "Cargo.lock: {packages} packages, the budget is {LOCK_BUDGET}"
        ));
    }
    problems.extend(claims::problems()?);
    if problems.is_empty() {
        println!("tidy: nothing to complain about");
        return Ok(());
    }
    problems.iter().for_each(|problem| eprintln!("{problem}"));
    bail!("tidy found {} problems", problems.len());
}

/// Every file that git knows or would add.
fn files() -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .context("cannot run git")?;
    if !output.status.success() {
        bail!(
            "git ls-files failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let listed = String::from_utf8_lossy(&output.stdout);
    Ok(listed
        .lines()
        .map(PathBuf::from)
        .filter(|path| root().join(path).is_file())
        .collect())
}

fn is_test(path: &Path) -> bool {
    path.components()
        .any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "benches" | "tests.rs")))
}

fn file_problems(path: &Path, text: &str, source: &Source) -> Vec<String> {
    let mut problems = Vec::new();
    let shown = path.display();
    if !text.starts_with("//!") {
        problems.push(format!(
            "{shown}:1: a file opens with `//!` and says what it is for"
        ));
    }
    let lines = source.production_lines();
    if lines > LONGEST_FILE {
        problems.push(format!(
            "{shown}: {lines} production lines, at most {LONGEST_FILE}: make it a folder"
        ));
    }
    let stem = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    let name = if stem == "mod" {
        path.parent()
            .and_then(Path::file_name)
            .and_then(|name| name.to_str())
    } else {
        None
    };
    if matches!(
        name.unwrap_or(stem),
        "utils" | "util" | "helpers" | "helper" | "common" | "misc" | "manager"
    ) {
        problems.push(format!("{shown}: name the thing, not the drawer"));
    }
    for (number, line) in text.lines().enumerate() {
        // Spelt apart, so that this file does not find itself.
        let marks = [concat!("TO", "DO"), concat!("FIX", "ME")];
        if marks
            .iter()
            .any(|mark| line.contains(mark) && !line.contains(&format!("{mark}(#")))
        {
            problems.push(format!(
                "{shown}:{}: an open end needs an issue: {}(#123)",
                number + 1,
                marks[0]
            ));
        }
    }
    problems
}

fn lock_packages() -> Result<usize> {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).context("Cargo.lock")?;
    Ok(lock.lines().filter(|line| *line == "[[package]]").count())
}
