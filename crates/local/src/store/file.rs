//! The SQLite file: who may open it, what is in it, and transactions over it.
//!
//! A file that cannot be read whole is left as it is: nothing is written to it, and its owner is told what to do.
//!
//! WAL with `synchronous=NORMAL`: a committed transaction has left the process, so it survives `kill -9`; a power
//! cut may take the last ones, never half of one. <https://www.sqlite.org/pragma.html#pragma_synchronous>

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, params};
use serde_json::Value;

use super::Key;
use super::memory::Loaded;
use super::writer::set_revision;

/// Marks the file as ours (`PRAGMA application_id`): "AmSt".
const APPLICATION: i32 = 0x416d_5374;
/// `PRAGMA user_version`; grows when the tables change.
const SCHEMA: i32 = 1;

const TABLES: &str = "
    CREATE TABLE object (
        collection TEXT NOT NULL,
        namespace  TEXT NOT NULL,
        name       TEXT NOT NULL,
        revision   INTEGER NOT NULL,
        body       TEXT NOT NULL,
        PRIMARY KEY (collection, namespace, name)
    );
    CREATE TABLE newest (revision INTEGER NOT NULL);
    INSERT INTO newest VALUES (0);
";

/// The write-ahead log is cut back to this after a burst of writes.
const LOG: i64 = 16 << 20;

/// Why the cluster's state cannot be used; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{} is in use by another process: stop that cluster first, or choose another directory", .0.display())]
    InUse(PathBuf),
    #[error("{} is not the state of a cluster: choose another directory, or remove the file", .0.display())]
    Foreign(PathBuf),
    #[error(
        "{} was written by a newer version (schema {found}, this one knows {SCHEMA}): \
         use that version, or remove the file to start afresh", .path.display()
    )]
    Newer { path: PathBuf, found: i32 },
    #[error(
        "{} is damaged ({what}): restore it from a copy, or move it away to start afresh; nothing was written to it",
        .path.display()
    )]
    Damaged { path: PathBuf, what: String },
    #[error("cannot open {} ({what}): check permissions and free space", .path.display())]
    Unusable { path: PathBuf, what: String },
    #[error("cannot start the store's thread: {0}")]
    Thread(io::Error),
}

pub(super) struct File {
    connection: Connection,
    path: PathBuf,
}

/// Key, version and text of an object.
type Row = (Key, i64, String);

impl File {
    pub(super) fn open(path: &Path) -> Result<(Self, Loaded), OpenError> {
        check_size(path)?;
        let explain = |error| explain(path, &error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(explain)?;
        // Until all of it has been read, closing must not move the log into a file that may be damaged.
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            .map_err(explain)?;
        prepare(&connection, path)?;
        let file = Self {
            connection,
            path: path.to_owned(),
        };
        let loaded = file.load()?;
        file.connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
            .map_err(explain)?;
        Ok((file, loaded))
    }

    fn load(&self) -> Result<Loaded, OpenError> {
        let damaged = |what: String| OpenError::Damaged {
            path: self.path.clone(),
            what,
        };
        let explain = |error: rusqlite::Error| match explain(&self.path, &error) {
            // What is missing or of another type inside of a file that is ours.
            OpenError::Unusable { what, .. } if !is_trouble_of_the_disk(&error) => damaged(what),
            other => other,
        };
        let check: String = self
            .connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(explain)?;
        if check != "ok" {
            return Err(damaged(check.replace('\n', " ")));
        }
        let newest: i64 = self
            .connection
            .query_row("SELECT revision FROM newest", [], |row| row.get(0))
            .map_err(explain)?;
        let mut revision =
            u64::try_from(newest).map_err(|_| damaged(format!("its newest version is {newest}")))?;
        let mut objects = Vec::new();
        for row in self.rows().map_err(explain)? {
            let (key, found, body) = row;
            let name = format!("{} {}/{}", key.collection, key.namespace, key.name);
            let found =
                u64::try_from(found).map_err(|_| damaged(format!("{name} has the version {found}")))?;
            let mut object: Value =
                serde_json::from_str(&body).map_err(|error| damaged(format!("{name}: {error}")))?;
            if !object["metadata"].is_object() {
                return Err(damaged(format!("{name} has no metadata")));
            }
            set_revision(&mut object, found);
            revision = revision.max(found);
            objects.push((key, object));
        }
        Ok(Loaded { revision, objects })
    }

    fn rows(&self) -> rusqlite::Result<Vec<Row>> {
        let mut statement = self
            .connection
            .prepare("SELECT collection, namespace, name, revision, body FROM object")?;
        let rows = statement.query_map([], |row| {
            let key = Key {
                collection: row.get(0)?,
                namespace: row.get(1)?,
                name: row.get(2)?,
            };
            Ok((key, row.get(3)?, row.get(4)?))
        })?;
        rows.collect()
    }

    /// Why a transaction failed, and what to do about it.
    pub(super) fn explain(&self, error: &rusqlite::Error) -> String {
        let advice = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => "free some space on its file system",
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
                "make the file and its directory writable again"
            }
            _ => "check space, quota and health of its file system",
        };
        format!(
            "the cluster's state cannot be written to {} ({error}): {advice}; nothing is lost, and writing goes on as \
             soon as it is possible",
            self.path.display()
        )
    }

    /// Runs `work` in a transaction: all of it is in the file afterwards, or nothing.
    pub(super) fn transaction(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        work(&Transaction(&transaction))?;
        transaction.commit()
    }

    /// Limits the file's size, so that a test can fill the disk.
    #[cfg(test)]
    pub(super) fn limit_pages(&self, pages: u32) {
        self.connection
            .pragma_update(None, "max_page_count", pages)
            .expect("the pragma exists");
    }
}

pub(super) struct Transaction<'a>(&'a rusqlite::Transaction<'a>);

impl Transaction<'_> {
    pub(super) fn put(&self, key: &Key, revision: u64, body: &str) -> rusqlite::Result<()> {
        self.0
            .prepare_cached("INSERT OR REPLACE INTO object VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![
                key.collection,
                key.namespace,
                key.name,
                integer(revision),
                body
            ])?;
        Ok(())
    }

    pub(super) fn remove(&self, key: &Key) -> rusqlite::Result<()> {
        self.0
            .prepare_cached("DELETE FROM object WHERE collection = ?1 AND namespace = ?2 AND name = ?3")?
            .execute(params![key.collection, key.namespace, key.name])?;
        Ok(())
    }

    pub(super) fn newest(&self, revision: u64) -> rusqlite::Result<()> {
        self.0
            .prepare_cached("UPDATE newest SET revision = ?1")?
            .execute(params![integer(revision)])?;
        Ok(())
    }
}

/// SQLite's integers are signed; 2^63 versions are not reached.
fn integer(revision: u64) -> i64 {
    i64::try_from(revision).expect("fewer than 2^63 writes")
}

/// Takes the file for this process, checks whose it is, makes the tables of a new one.
fn prepare(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let explain = |error| explain(path, &error);
    let pragma = |name: &str| -> rusqlite::Result<i32> {
        connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
    };
    connection
        .busy_timeout(Duration::from_millis(300))
        .and_then(|()| connection.pragma_update(None, "locking_mode", "EXCLUSIVE"))
        .map_err(explain)?;
    // The first write takes the lock, before anything is read that another process may be changing.
    connection
        .execute_batch("BEGIN EXCLUSIVE; COMMIT;")
        .map_err(explain)?;
    let tables: i32 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(explain)?;
    if tables == 0 {
        connection
            .execute_batch(&format!(
                "BEGIN; {TABLES} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {SCHEMA}; COMMIT;"
            ))
            .map_err(explain)?;
    }
    if pragma("application_id").map_err(explain)? != APPLICATION {
        return Err(OpenError::Foreign(path.to_owned()));
    }
    let found = pragma("user_version").map_err(explain)?;
    if found > SCHEMA {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
        });
    }
    connection
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0))
        .map_err(explain)?;
    connection
        .pragma_update(None, "synchronous", "NORMAL")
        .and_then(|()| connection.query_row(&format!("PRAGMA journal_size_limit = {LOG}"), [], |_| Ok(())))
        .map_err(explain)
}

/// A log without its file: SQLite would take the file for a new one and remove the log.
fn check_size(path: &Path) -> Result<(), OpenError> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
    if size(path) == 0 && size(Path::new(&log)) > 0 {
        return Err(OpenError::Damaged {
            path: path.to_owned(),
            what: "it is empty, and its log is not".to_owned(),
        });
    }
    Ok(())
}

fn is_trouble_of_the_disk(error: &rusqlite::Error) -> bool {
    use ErrorCode::{CannotOpen, DiskFull, OutOfMemory, PermissionDenied, ReadOnly, SystemIoFailure};
    matches!(
        error.sqlite_error_code(),
        Some(CannotOpen | DiskFull | OutOfMemory | PermissionDenied | ReadOnly | SystemIoFailure)
    )
}

fn explain(path: &Path, error: &rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    let what = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::InUse(path),
        Some(ErrorCode::NotADatabase) => OpenError::Foreign(path),
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Damaged { path, what },
        _ => OpenError::Unusable { path, what },
    }
}
