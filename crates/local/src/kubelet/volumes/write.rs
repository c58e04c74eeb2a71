//! Writing a volume's files so that a reader sees all of the old or all of the new.
//!
//! As kubelet does it: files lie in a directory named after the time, `..data` is a symlink to it, and each name at
//! the top is a symlink through `..data`. Exchanging that one symlink exchanges everything.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use super::FileContent;

const CURRENT: &str = "..data";

/// Makes `directory` hold exactly `files`. Files belong to `group` if there is one, who may then read them.
/// `version` names the new state, and differs from all before.
pub(crate) fn replace(
    directory: &Path,
    files: &BTreeMap<String, FileContent>,
    group: Option<u32>,
    version: &str,
) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    let previous = fs::read_link(directory.join(CURRENT)).ok();
    let name = format!("..{version}");
    let fresh = directory.join(&name);
    for (path, file) in files {
        let at = fresh.join(path);
        fs::create_dir_all(at.parent().unwrap_or(&fresh))?;
        fs::write(&at, &file.bytes)?;
        let readable = if group.is_some() {
            (file.mode & 0o400) >> 3
        } else {
            0
        };
        fs::set_permissions(&at, fs::Permissions::from_mode(file.mode | readable))?;
        if group.is_some() {
            chown(&at, None, group)?;
        }
    }
    fs::create_dir_all(&fresh)?;
    let next = directory.join("..data_tmp");
    let _ = fs::remove_file(&next);
    symlink(&name, &next)?;
    fs::rename(&next, directory.join(CURRENT))?;
    point_at_current(directory, files)?;
    if let Some(previous) = previous.filter(|previous| previous.as_os_str() != name.as_str()) {
        fs::remove_dir_all(directory.join(previous))?;
    }
    Ok(())
}

/// A symlink for each name at the top, and none for names that are gone.
fn point_at_current(directory: &Path, files: &BTreeMap<String, FileContent>) -> io::Result<()> {
    let top = |path: &String| path.split('/').next().unwrap_or_default().to_owned();
    let names: std::collections::BTreeSet<String> = files.keys().map(top).collect();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !names.contains(&*name) {
            fs::remove_file(directory.join(&*name))?;
        }
    }
    for name in names {
        let at = directory.join(&name);
        if at.symlink_metadata().is_err() {
            symlink(Path::new(CURRENT).join(&name), &at)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(all: &[(&str, &str)]) -> BTreeMap<String, FileContent> {
        let content = |text: &str| FileContent {
            bytes: text.into(),
            mode: 0o640,
        };
        all.iter()
            .map(|(path, text)| ((*path).to_owned(), content(text)))
            .collect()
    }

    #[test]
    fn a_new_state_replaces_the_old_one_at_once() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("volume");
        replace(
            &directory,
            &files(&[("a", "1"), ("sub/b", "1"), ("gone", "1")]),
            None,
            "1",
        )
        .unwrap();
        let read = |path: &str| fs::read_to_string(directory.join(path));
        assert_eq!(read("a").unwrap() + &read("sub/b").unwrap(), "11");
        // Somebody who has opened the directory behind `..data` sees a consistent old state until the exchange.
        let before = fs::read_link(directory.join(CURRENT)).unwrap();
        replace(
            &directory,
            &files(&[("a", "2"), ("sub/b", "2"), ("new", "2")]),
            None,
            "2",
        )
        .unwrap();
        assert_eq!(
            read("a").unwrap() + &read("sub/b").unwrap() + &read("new").unwrap(),
            "222"
        );
        assert!(read("gone").is_err() && directory.join("gone").symlink_metadata().is_err());
        assert!(!directory.join(before).exists());
        let mode = fs::metadata(directory.join("a")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
    }
}
