//! Images are a table of local programs: an image's name says which one stands in for it.
//!
//! The table is data that the caller passes in. Names are compared without registry default (`docker.io`,
//! `library`), digest and tag; only an entry that names a tag is particular about it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What runs instead of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Program {
    /// The entry point; a container's `command` replaces it.
    pub argv: Vec<String>,
    /// Arguments after the entry point; a container's `args` (or `command`) replace them.
    pub args: Vec<String>,
    /// Environment that the image brings.
    pub env: BTreeMap<String, String>,
    /// Working directory, `/` when empty.
    pub workdir: String,
}

/// All images that there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Images {
    programs: BTreeMap<String, Program>,
    commands: Vec<String>,
}

/// An entry that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum BadImage {
    #[error("--image {0:?}: expected NAME=PROGRAM, for example backend=/usr/local/bin/backend")]
    Form(String),
    #[error("image {0:?}: the program is empty")]
    Empty(String),
    #[error("image table: {0}")]
    Yaml(String),
}

/// One entry of a table in YAML: a command line, or the parts one by one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Line(String),
    Parts(Program),
}

impl Images {
    /// Maps `name` to `program`; a later entry for the same name wins.
    pub fn insert(&mut self, name: &str, program: Program) {
        self.programs.insert(normalise(name).full, program);
    }

    /// A name by which the binary itself is found on the PATH of every container (it looks at its own name).
    pub fn add_command(&mut self, name: &str) {
        self.commands.push(name.to_owned());
    }

    pub fn commands(&self) -> &[String] {
        &self.commands
    }

    /// Programs of all entries.
    pub fn programs(&self) -> impl Iterator<Item = &Program> {
        self.programs.values()
    }

    /// `NAME=PROGRAM`, the program with arguments separated by spaces.
    ///
    /// # Errors
    /// [`BadImage`] says what is expected.
    pub fn insert_mapping(&mut self, mapping: &str) -> Result<(), BadImage> {
        let (name, line) = mapping
            .split_once('=')
            .ok_or_else(|| BadImage::Form(mapping.to_owned()))?;
        if name.is_empty() {
            return Err(BadImage::Form(mapping.to_owned()));
        }
        self.insert(name, parse_line(name, line)?);
        Ok(())
    }

    /// A YAML map from names to command lines or `{argv, args, env, workdir}`.
    ///
    /// # Errors
    /// [`BadImage`] with the line that the YAML reader names.
    pub fn insert_yaml(&mut self, text: &str) -> Result<(), BadImage> {
        let entries: BTreeMap<String, Entry> =
            serde_saphyr::from_str(text).map_err(|error| BadImage::Yaml(error.to_string()))?;
        for (name, entry) in entries {
            let program = match entry {
                Entry::Line(line) => parse_line(&name, &line)?,
                Entry::Parts(program) if program.argv.is_empty() => return Err(BadImage::Empty(name)),
                Entry::Parts(program) => program,
            };
            self.insert(&name, program);
        }
        Ok(())
    }

    /// The program for an image: the entry with its tag, else the one without.
    pub fn find(&self, image: &str) -> Option<&Program> {
        let name = normalise(image);
        self.programs
            .get(&name.full)
            .or_else(|| self.programs.get(&name.bare))
    }
}

fn parse_line(name: &str, line: &str) -> Result<Program, BadImage> {
    let argv: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    if argv.is_empty() {
        return Err(BadImage::Empty(name.to_owned()));
    }
    Ok(Program {
        argv,
        ..Program::default()
    })
}

struct Name {
    /// With tag, if there is one.
    full: String,
    /// Without.
    bare: String,
}

/// `docker.io/library/curl:8@sha256:…` is `curl:8`, and `curl` without its tag.
fn normalise(image: &str) -> Name {
    let image = image.split_once('@').map_or(image, |(name, _digest)| name);
    let image = image
        .strip_prefix("docker.io/")
        .or_else(|| image.strip_prefix("index.docker.io/"))
        .unwrap_or(image);
    let image = image.strip_prefix("library/").unwrap_or(image);
    // A colon before the last slash belongs to the registry's port.
    let last = image.rfind('/').map_or(0, |slash| slash + 1);
    let bare = image[last..]
        .find(':')
        .map_or(image, |colon| &image[..last + colon]);
    Name {
        full: image.to_owned(),
        bare: bare.to_owned(),
    }
}

/// What the event of an unknown image tells its user.
pub(crate) fn unknown(image: &str) -> String {
    let bare = normalise(image).bare;
    format!(
        "Failed to pull image \"{image}\": no local program stands in for it; map one with: --image {bare}=PROGRAM"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(mappings: &[&str]) -> Images {
        let mut images = Images::default();
        for mapping in mappings {
            images.insert_mapping(mapping).unwrap();
        }
        images
    }

    #[test]
    fn registry_default_tag_and_digest_do_not_matter() {
        let images = images(&["curl=/bin/curl -s", "h3poteto/echo=/bin/echo"]);
        for name in [
            "curl",
            "curl:8.1",
            "docker.io/library/curl@sha256:00",
            "docker.io/curl:latest@sha256:00",
        ] {
            assert_eq!(images.find(name).unwrap().argv, ["/bin/curl", "-s"], "{name}");
        }
        assert_eq!(
            images.find("docker.io/h3poteto/echo:master").unwrap().argv,
            ["/bin/echo"]
        );
        assert!(images.find("localhost:5000/curl").is_none());
    }

    #[test]
    fn an_entry_with_a_tag_is_for_that_tag_only() {
        let images = images(&["app:v2=two", "app=one", "localhost:5000/x:a=three"]);
        assert_eq!(images.find("app:v2").unwrap().argv, ["two"]);
        assert_eq!(images.find("app:v1").unwrap().argv, ["one"]);
        assert!(images.find("localhost:5000/x").is_none());
        assert!(images.find("localhost:5000/x:a").is_some());
    }

    #[test]
    fn a_table_in_yaml_has_lines_or_parts() {
        let mut images = Images::default();
        images
            .insert_yaml("a: /bin/a --fast\nb: {argv: [/bin/b], env: {X: '1'}, workdir: /srv}\n")
            .unwrap();
        assert_eq!(images.find("a").unwrap().argv, ["/bin/a", "--fast"]);
        assert_eq!(images.find("b").unwrap().env["X"], "1");
    }

    #[test]
    fn bad_entries_are_named() {
        let mut images = Images::default();
        for (mapping, part) in [
            ("app", "NAME=PROGRAM"),
            ("=x", "NAME=PROGRAM"),
            ("app= ", "\"app\""),
        ] {
            let error = images.insert_mapping(mapping).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(
            images
                .insert_yaml("a: {argv: []}")
                .unwrap_err()
                .to_string()
                .contains("\"a\"")
        );
        assert!(images.insert_yaml("a: {argw: [x]}").is_err());
    }

    #[test]
    fn an_unknown_image_is_told_how_to_map_it() {
        assert!(unknown("acme/app:v1").ends_with("--image acme/app=PROGRAM"));
    }
}
