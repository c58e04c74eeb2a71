//! Objects from files: `-f FILE`, `-f DIR`, `-f -`. A broken document costs nobody but itself.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use serde_json::Value;

/// An object and where it stands.
pub(crate) struct Document {
    pub(crate) file: String,
    pub(crate) line: u64,
    /// All that stands in the file.
    pub(crate) text: Arc<str>,
    pub(crate) object: Value,
}

/// What a set of files holds.
#[derive(Default)]
pub(crate) struct Documents {
    pub(crate) documents: Vec<Document>,
    /// `FILE:LINE: why`.
    pub(crate) problems: Vec<String>,
}

/// Reads every file; a directory means its `.yaml`, `.yml` and `.json` files in name order.
pub(crate) fn read(paths: &[PathBuf]) -> anyhow::Result<Documents> {
    let mut all = Documents::default();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("standard input")?;
            all.add("standard input", &text);
        } else if path.is_dir() {
            let files = manifests(path)?;
            if files.is_empty() {
                bail!("{}: no .yaml, .yml or .json file in it", path.display());
            }
            files.iter().try_for_each(|file| all.add_file(file))?;
        } else {
            all.add_file(path)?;
        }
    }
    Ok(all)
}

fn manifests(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
    });
    files.sort();
    Ok(files)
}

impl Documents {
    fn add_file(&mut self, path: &Path) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        self.add(&path.display().to_string(), &text);
        Ok(())
    }

    /// Adds the documents of a text; `file` is how messages name it.
    pub(crate) fn add(&mut self, file: &str, text: &str) {
        let read = resources::yaml::objects(text);
        let text: Arc<str> = text.into();
        self.documents
            .extend(read.objects.into_iter().map(|(line, object)| Document {
                file: file.to_owned(),
                line,
                text: text.clone(),
                object,
            }));
        let problem = |problem: &resources::Problem| match problem.line {
            Some(line) => format!("{file}:{line}: {}", problem.message),
            None => format!("{file}: {}", problem.message),
        };
        self.problems.extend(read.problems.iter().map(problem));
    }
}
