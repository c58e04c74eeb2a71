//! Logs of containers: one file per run of a container in the format of the CRI, rotated, so bounded.

pub(crate) mod format;
pub(crate) mod read;
pub(crate) mod write;

use std::path::{Path, PathBuf};

/// The file of a container's run; `restarts` counts from 0.
pub(crate) fn path(directory: &Path, container: &str, restarts: i32) -> PathBuf {
    directory.join(container).join(format!("{restarts}.log"))
}

/// Where the older half of a log goes.
fn rotated(log: &Path) -> PathBuf {
    log.with_extension("log.1")
}
