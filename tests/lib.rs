//! What the test binaries of this package share: where the goldens are.

use std::path::{Path, PathBuf};

/// The folder of all goldens.
pub fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// The folder of every golden, `<feature>/<case>`, in order.
///
/// # Panics
/// Where they cannot be read, or are suspiciously few.
pub fn cases() -> Vec<PathBuf> {
    let root = goldens();
    let cases = folders(&root)
        .iter()
        .flat_map(|feature| folders(feature))
        .collect::<Vec<_>>();
    assert!(
        cases.len() > 20,
        "only {} cases were found in {}",
        cases.len(),
        root.display()
    );
    cases
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut folders: Vec<_> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}

/// A file of a golden.
///
/// # Panics
/// Where it cannot be read.
pub fn text_of(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
