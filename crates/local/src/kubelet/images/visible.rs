//! What a container sees of its image's program when that lies where containers don't look: in a home directory, in
//! `/tmp`, or on a mounted disk.
//!
//! The program's own directory is shown, read-only, so that it finds what lies beside it, and so is the mapping's
//! working directory. A directory that holds more than a program (a home directory, `/tmp`, the root, the state
//! directory or one above it) is not: then the program's file is shown alone. What containers see anyway stays.

use std::path::{Path, PathBuf};

use super::Program;
use super::live::holds;
use crate::kubelet::container::root::Mount;

/// Mounts for a program; the ones whose place exists in the container already are to be left out.
pub(crate) fn of(program: &Program, state: &Path) -> Vec<Mount> {
    let mut mounts = Vec::new();
    let path = program
        .argv
        .first()
        .map(Path::new)
        .filter(|path| path.is_absolute());
    if let Some(path) = path {
        show(path, state, &mut mounts);
        // A symlink leads to where the program really is.
        match path.canonicalize() {
            Ok(real) if real != path => show(&real, state, &mut mounts),
            _ => {}
        }
    }
    let workdir = Path::new(&program.workdir);
    if workdir.is_absolute() && workdir.is_dir() && may_be_shown(workdir, state) {
        mounts.push(mount(workdir, workdir));
    }
    mounts
}

fn show(path: &Path, state: &Path, mounts: &mut Vec<Mount>) {
    let (Some(directory), Ok(real)) = (path.parent(), path.canonicalize()) else {
        return;
    };
    if may_be_shown(directory, state) {
        mounts.push(mount(directory, directory));
    } else {
        mounts.push(mount(&real, path));
    }
}

/// Symlinks on the host are followed here: in the container they would lead elsewhere.
fn mount(source: &Path, at: &Path) -> Mount {
    Mount {
        source: source.canonicalize().unwrap_or_else(|_| source.to_owned()),
        at: at.to_owned(),
        read_only: true,
    }
}

fn may_be_shown(directory: &Path, state: &Path) -> bool {
    let real = directory.canonicalize().unwrap_or_else(|_| PathBuf::from("/"));
    [directory, real.as_path()]
        .into_iter()
        .all(|directory| !is_shared(directory) && !holds(directory, state))
}

/// `/`, everything directly below it, home directories and `/var/tmp`.
fn is_shared(directory: &Path) -> bool {
    let depth = directory.components().count() - 1;
    depth < 2 || depth == 2 && (directory.starts_with("/home") || directory == Path::new("/var/tmp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(program: &Path, workdir: &str, state: &str) -> Vec<String> {
        let program = Program {
            argv: vec![program.display().to_string()],
            workdir: workdir.to_owned(),
            ..Program::default()
        };
        of(&program, Path::new(state))
            .iter()
            .map(|mount| mount.at.display().to_string())
            .collect()
    }

    #[test]
    fn a_program_brings_its_directory_but_not_a_home() {
        for (directory, shared) in [
            ("/", true),
            ("/tmp", true),
            ("/root", true),
            ("/home/me", true),
            ("/var/tmp", true),
            ("/home/me/app", false),
            ("/root/app", false),
            ("/opt/app", false),
        ] {
            assert_eq!(is_shared(Path::new(directory)), shared, "{directory}");
        }
    }

    #[test]
    fn symlinks_bring_what_they_lead_to() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        for name in ["real", "links", "state"] {
            std::fs::create_dir(root.join(name)).unwrap();
        }
        std::fs::write(root.join("real/app"), "").unwrap();
        std::os::unix::fs::symlink(root.join("real/app"), root.join("links/app")).unwrap();
        let text = |name: &str| root.join(name).display().to_string();
        assert_eq!(
            places(&root.join("links/app"), "", "/s"),
            [text("links"), text("real")]
        );
        assert_eq!(
            places(&root.join("real/app"), &text("links"), "/s"),
            [text("real"), text("links")]
        );
        assert_eq!(
            places(&root.join("real/app"), "", &text("real/state")),
            [text("real/app")]
        );
        assert!(places(Path::new("bare-name"), "", "/s").is_empty());
    }
}
