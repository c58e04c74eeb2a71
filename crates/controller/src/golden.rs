//! Compares with a file that people read in reviews.

use std::path::Path;

use serde_json::Value;

/// Whether `value` is what the file below `src` says; where not, the new text is left beside the build's output.
pub(crate) fn check(file: &str, value: &Value) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let expected = std::fs::read_to_string(root.join("src").join(file)).unwrap_or_default();
    let actual = serde_json::to_string_pretty(value).unwrap() + "\n";
    if actual == expected {
        return;
    }
    let left = root.join("../../target/golden").join(file);
    std::fs::create_dir_all(left.parent().unwrap()).unwrap();
    std::fs::write(&left, &actual).unwrap();
    panic!(
        "{file} differs; if the change is meant, copy {} over it",
        left.display()
    );
}
