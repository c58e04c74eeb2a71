//! What users map to programs of their own: `--image NAME=PROGRAM`, and files.
//!
//! A file is a YAML map from image names to command lines, or to the parts one by one:
//!
//! ```yaml
//! acme/backend: ./target/debug/backend --verbose
//! acme/frontend:v2:
//!   program: [python3, app.py]     # or one text: a path, or a name on the PATH
//!   arguments: [--fast]            # what a container's args replace
//!   environment: {LEVEL: debug}
//!   workingDirectory: frontend
//! ```
//!
//! Relative paths start at the file's directory; a program without a slash is looked up on the container's PATH.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

use super::{Images, MappingFile, Program};

/// The largest file that is read.
const LARGEST: u64 = 1 << 20;

/// A mapping that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum BadMapping {
    #[error("--image {0:?}: expected NAME=PROGRAM, for example backend=/usr/local/bin/backend")]
    Form(String),
    #[error("image {0:?}: the program is empty")]
    Empty(String),
    #[error("cannot read {file}: {why}")]
    Read { file: String, why: String },
    #[error("{file}: {why}")]
    Yaml { file: String, why: String },
}

/// One entry of a file.
#[derive(Debug)]
enum Entry {
    Line(String),
    Parts(Parts),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Parts {
    program: Words,
    #[serde(default)]
    arguments: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    working_directory: String,
}

/// One word, or several.
#[derive(Debug, Default)]
struct Words(Vec<String>);

impl MappingFile {
    /// Its text; nothing when it may be absent and is.
    pub(super) fn text(&self) -> Result<Option<String>, BadMapping> {
        let failed = |why: String| BadMapping::Read {
            file: self.path.display().to_string(),
            why,
        };
        let mut text = String::new();
        match File::open(&self.path) {
            Ok(file) => {
                let read = file.take(LARGEST + 1).read_to_string(&mut text);
                read.map_err(|error| failed(error.to_string()))?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound && !self.required => return Ok(None),
            Err(error) => return Err(failed(error.to_string())),
        }
        if text.len() as u64 > LARGEST {
            return Err(failed(format!("it is larger than {LARGEST} bytes")));
        }
        Ok(Some(text))
    }

    pub(super) fn read(&self) -> Result<Images, BadMapping> {
        self.text()?
            .map_or_else(|| Ok(Images::default()), |text| self.parse(&text))
    }

    pub(super) fn parse(&self, text: &str) -> Result<Images, BadMapping> {
        let mut images = Images::default();
        // Nothing, or nothing but comments.
        if text
            .lines()
            .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
        {
            return Ok(images);
        }
        let wrong = |why: String| BadMapping::Yaml {
            file: self.path.display().to_string(),
            why,
        };
        let entries: BTreeMap<String, Entry> =
            serde_saphyr::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let base = self.path.parent().unwrap_or(Path::new("/"));
        for (name, entry) in entries {
            let program = entry
                .into_program(&name, base)
                .map_err(|error| wrong(error.to_string()))?;
            images.insert(&name, program);
        }
        Ok(images)
    }
}

/// `NAME=PROGRAM`, the program with arguments separated by spaces.
pub(super) fn of_flag(mapping: &str, base: &Path) -> Result<(String, Program), BadMapping> {
    let form = || BadMapping::Form(mapping.to_owned());
    let (name, line) = mapping.split_once('=').ok_or_else(form)?;
    if name.is_empty() {
        return Err(form());
    }
    let program = Entry::Line(line.to_owned()).into_program(name, base)?;
    Ok((name.to_owned(), program))
}

impl Entry {
    fn into_program(self, name: &str, base: &Path) -> Result<Program, BadMapping> {
        let parts = match self {
            Self::Parts(parts) => parts,
            Self::Line(line) => Parts {
                program: Words(line.split_whitespace().map(str::to_owned).collect()),
                ..Parts::default()
            },
        };
        let mut argv = parts.program.0;
        let program = argv.first_mut().filter(|program| !program.is_empty());
        let program = program.ok_or_else(|| BadMapping::Empty(name.to_owned()))?;
        if program.contains('/') {
            *program = absolute(base, program);
        }
        let workdir = parts.working_directory;
        Ok(Program {
            argv,
            args: parts.arguments,
            env: parts.environment,
            workdir: if workdir.is_empty() {
                workdir
            } else {
                absolute(base, &workdir)
            },
        })
    }
}

/// The path from `base`, without `.` and `..`.
fn absolute(base: &Path, path: &str) -> String {
    let mut clean = PathBuf::new();
    for component in base.join(path).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean.display().to_string()
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a command line, or program, arguments, environment and workingDirectory")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Entry, E> {
        Ok(Entry::Line(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
        Parts::deserialize(MapAccessDeserializer::new(map)).map(Entry::Parts)
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordsVisitor)
    }
}

struct WordsVisitor;

impl<'de> Visitor<'de> for WordsVisitor {
    type Value = Words;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a program, or a list of a program and its first arguments")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Words, E> {
        Ok(Words(vec![text.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Words, A::Error> {
        let mut words = Vec::new();
        while let Some(word) = sequence.next_element()? {
            words.push(word);
        }
        Ok(Words(words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Images, BadMapping> {
        let path = PathBuf::from("/home/me/images.yaml");
        MappingFile { path, required: true }.parse(text)
    }

    #[test]
    fn a_file_has_lines_or_parts_and_paths_start_at_it() {
        let images = parsed(
            "a: ./bin/a --fast ./x\nb:\n  program: ../other/b c\n  arguments: [-v]\n  environment: {X: '1', Y: 2}\n  \
             workingDirectory: srv\nc: {program: [python3, app.py]}\nd:v2: /abs/d\n",
        )
        .unwrap();
        assert_eq!(
            images.find("a").unwrap().argv,
            ["/home/me/bin/a", "--fast", "./x"]
        );
        let b = images.find("b").unwrap();
        assert_eq!(
            (b.argv.as_slice(), b.args.as_slice()),
            (&["/home/other/b c".to_owned()][..], &["-v".to_owned()][..])
        );
        assert_eq!(
            (b.env["X"].as_str(), b.env["Y"].as_str(), b.workdir.as_str()),
            ("1", "2", "/home/me/srv")
        );
        assert_eq!(images.find("c").unwrap().argv, ["python3", "app.py"]);
        assert_eq!(images.find("d:v2").unwrap().argv, ["/abs/d"]);
        assert!(parsed("# nothing yet\n\n").unwrap().find("a").is_none());
    }

    #[test]
    fn a_broken_file_is_told_with_line_and_field() {
        for (text, parts) in [
            (
                "a: x\nb: {program: x, argw: y}\n",
                &["images.yaml", "line 2", "argw"][..],
            ),
            ("a: x\nb:\n  arguments: [y]\n", &["program"]),
            ("a: x\nb: {program: []}\n", &["images.yaml", "\"b\""]),
            ("a: x\nb: [y\n", &["images.yaml", "line"]),
            ("a: x\nb: {program: x, arguments: y}\n", &["line 2"]),
            ("- a\n", &["line 1"]),
            ("a: x\na: y\n", &["line 2"]),
        ] {
            let error = parsed(text).unwrap_err().to_string();
            for part in parts {
                assert!(error.contains(part), "{text:?}: {error}");
            }
        }
    }

    #[test]
    fn bad_flags_are_named() {
        for (mapping, part) in [
            ("app", "NAME=PROGRAM"),
            ("=x", "NAME=PROGRAM"),
            ("app= ", "\"app\""),
        ] {
            let error = of_flag(mapping, Path::new("/")).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(
            of_flag("a=bin/x y", Path::new("/w")).unwrap().1.argv,
            ["/w/bin/x", "y"]
        );
        assert_eq!(of_flag("a=x", Path::new("/w")).unwrap().1.argv, ["x"]);
    }
}
