//! Images are a table of local programs: an image's name says which one stands in for it.
//!
//! The table is data that the caller passes in; what users map themselves ([`mapping`]) comes in files, too, which
//! are read again when they change ([`live`]). Names are compared without registry default (`docker.io`, `library`),
//! digest and tag; only an entry that names a tag is particular about it.

pub(crate) mod live;
mod mapping;
pub(crate) mod visible;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use mapping::BadMapping;

/// What runs instead of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

/// Where images come from; later layers win.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Layers {
    pub built_in: Images,
    /// Files of mappings.
    pub files: Vec<MappingFile>,
    /// Mappings of the command line.
    pub flags: Images,
}

/// A file of mappings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappingFile {
    /// Absolute.
    pub path: PathBuf,
    /// Whether its absence is a mistake.
    pub required: bool,
}

impl Layers {
    /// Reads all files once, to say at once what is wrong with them.
    ///
    /// # Errors
    /// [`BadMapping`] names file, line and field.
    pub fn check(&self) -> Result<(), BadMapping> {
        self.files.iter().try_for_each(|file| file.read().map(drop))
    }
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

    /// `NAME=PROGRAM`, the program with arguments separated by spaces; one that is a relative path starts at `base`.
    ///
    /// # Errors
    /// [`BadMapping`] says what is expected.
    pub fn insert_mapping(&mut self, mapping: &str, base: &Path) -> Result<(), BadMapping> {
        let (name, program) = mapping::of_flag(mapping, base)?;
        self.insert(&name, program);
        Ok(())
    }

    /// The program for an image: the entry with its tag, else the one without.
    pub fn find(&self, image: &str) -> Option<&Program> {
        let name = normalise(image);
        self.programs
            .get(&name.full)
            .or_else(|| self.programs.get(&name.bare))
    }

    fn extend(&mut self, other: &Self) {
        let programs = other.programs.iter();
        self.programs
            .extend(programs.map(|(name, program)| (name.clone(), program.clone())));
        self.commands.extend(other.commands.iter().cloned());
    }
}

impl Program {
    /// Why it can't run, as far as that shows from outside; a bare name is looked up in the container.
    pub(crate) fn problem(&self) -> Option<String> {
        let path = self.argv.first().filter(|name| name.contains('/'))?;
        match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Some(format!("{path} does not exist"))
            }
            Err(error) => Some(format!("{path} can't be read: {error}")),
            Ok(file) if file.is_dir() => Some(format!("{path} is a directory")),
            Ok(file) if file.permissions().mode() & 0o111 == 0 => Some(format!("{path} is not executable")),
            Ok(_) => None,
        }
    }
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
    let image = ["docker.io/", "index.docker.io/", "registry-1.docker.io/"]
        .iter()
        .find_map(|registry| image.strip_prefix(registry))
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
        "Failed to pull image \"{image}\": no local program stands in for it; map one in images.yaml of the state \
         directory, which is read again when it changes, or with: --image {bare}=PROGRAM"
    )
}

/// The same for one whose program can't run.
pub(crate) fn unusable(image: &str, why: &str) -> String {
    let bare = normalise(image).bare;
    format!(
        "Failed to pull image \"{image}\": its program {why}; correct its mapping: --image {bare}=PROGRAM"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(mappings: &[&str]) -> Images {
        let mut images = Images::default();
        for mapping in mappings {
            images.insert_mapping(mapping, Path::new("/base")).unwrap();
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
    fn an_unknown_image_is_told_how_to_map_it() {
        assert!(unknown("acme/app:v1").ends_with("--image acme/app=PROGRAM"));
    }

    #[test]
    fn a_program_that_cannot_run_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("program");
        let problem = |path: &Path| {
            let argv = vec![path.display().to_string()];
            Program {
                argv,
                ..Program::default()
            }
            .problem()
        };
        assert!(problem(&file).unwrap().ends_with("program does not exist"));
        assert!(problem(directory.path()).unwrap().ends_with("is a directory"));
        std::fs::write(&file, "").unwrap();
        assert!(problem(&file).unwrap().ends_with("is not executable"));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(problem(&file), None);
        assert_eq!(problem(Path::new("found-on-the-path")), None);
    }
}
