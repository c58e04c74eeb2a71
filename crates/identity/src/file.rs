//! Files that hold secrets: readable by their owner only, and never seen half written.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::Error;

/// Replaces `path` with `content` in one step; mode 0600 from its first moment on.
///
/// # Errors
/// [`Error::File`] when the directory cannot be written; `path` is then unchanged.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), Error> {
    replace(path, content, 0o600)
}

/// The same for what everybody may read.
pub(crate) fn write_public(path: &Path, content: &[u8]) -> Result<(), Error> {
    replace(path, content, 0o644)
}

/// The text of a file.
pub(crate) fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })
}

fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.new", std::process::id()));
    let temporary = Path::new(&temporary);
    write_new(temporary, content, mode)
        .and_then(|()| fs::rename(temporary, path))
        .map_err(|source| {
            let _ = fs::remove_file(temporary);
            Error::File {
                path: path.to_owned(),
                source,
            }
        })
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> std::io::Result<()> {
    // A left-over of a killed process may have another mode; `create_new` then makes sure of ours.
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_private_file_is_replaced_and_readable_by_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        write_private(&path, b"one").unwrap();
        write_private(&path, b"two").unwrap();
        assert_eq!(read(&path).unwrap(), "two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(directory.path()).unwrap().count(),
            1,
            "no temporary file stays"
        );
    }

    #[test]
    fn a_missing_directory_is_an_error_that_names_the_file() {
        let error = write_public(Path::new("/nonexistent/ca.pem"), b"").unwrap_err();
        assert!(error.to_string().starts_with("/nonexistent/ca.pem: "), "{error}");
        assert!(read(Path::new("/nonexistent/ca.pem")).is_err());
    }
}
