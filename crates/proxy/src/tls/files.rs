//! Files with keys and certificates: read once, and again when they have changed.

use std::fs;
use std::time::{Duration, SystemTime};

use super::TlsError;

/// How often files are looked at, if there are new connections.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// A file as it was when it was read.
#[derive(Debug, PartialEq)]
pub(super) struct Stamp {
    path: String,
    seen: Option<(SystemTime, u64)>,
}

impl Stamp {
    pub(super) fn of(path: &str) -> Self {
        let modified = |file: fs::Metadata| Some((file.modified().ok()?, file.len()));
        Self {
            path: path.to_owned(),
            seen: fs::metadata(path).ok().and_then(modified),
        }
    }
}

pub(super) fn read(path: &str) -> Result<String, TlsError> {
    fs::read_to_string(path).map_err(|problem| TlsError::File {
        path: path.to_owned(),
        problem,
    })
}
