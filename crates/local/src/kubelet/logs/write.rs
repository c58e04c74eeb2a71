//! The file that a supervisor writes: at most two halves, the older of which is dropped when the newer is full.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Size of a half.
const HALF: u64 = 10 << 20;

pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
}

impl LogFile {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            size,
        })
    }

    /// Adds whole records.
    pub(crate) fn append(&mut self, records: &[u8]) -> io::Result<()> {
        if self.size >= HALF {
            std::fs::rename(&self.path, super::rotated(&self.path))?;
            *self = Self::open(&self.path.clone())?;
        }
        self.file.write_all(records)?;
        self.size += records.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_never_grows_beyond_two_halves() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app/0.log");
        let mut log = LogFile::open(&path).unwrap();
        let record = vec![b'x'; 1 << 20];
        for _ in 0..35 {
            log.append(&record).unwrap();
        }
        let size = |path: &Path| std::fs::metadata(path).unwrap().len();
        assert_eq!(size(&super::super::rotated(&path)), HALF);
        assert_eq!(size(&path), 5 << 20);
    }
}
