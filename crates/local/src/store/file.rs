//! The SQLite file: who may open it, what is in it, and transactions over it.
//!
//! WAL with `synchronous=NORMAL`: a committed transaction has left the process, so it survives `kill -9`; a power
//! cut may take the last ones, never half of one. <https://www.sqlite.org/pragma.html#pragma_synchronous>

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, params};
use serde_json::Value;

use super::Key;
use super::memory::Loaded;

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
        "{} is damaged ({what}): restore it from a copy, or remove the file to start afresh", .path.display()
    )]
    Damaged { path: PathBuf, what: String },
    #[error("cannot open {} ({what}): check permissions and free space", .path.display())]
    Unusable { path: PathBuf, what: String },
    #[error("cannot start the store's thread: {0}")]
    Thread(io::Error),
}

pub(super) struct File {
    connection: Connection,
}

impl File {
    pub(super) fn open(path: &Path) -> Result<(Self, Loaded), OpenError> {
        let explain = |error| explain(path, &error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(explain)?;
        prepare(&connection, path)?;
        let file = Self { connection };
        let loaded = file.load(path)?;
        Ok((file, loaded))
    }

    fn load(&self, path: &Path) -> Result<Loaded, OpenError> {
        let explain = |error| explain(path, &error);
        let newest: i64 = self
            .connection
            .query_row("SELECT revision FROM newest", [], |row| row.get(0))
            .map_err(explain)?;
        let revision = u64::try_from(newest).map_err(|_| OpenError::Damaged {
            path: path.to_owned(),
            what: format!("its newest version is {newest}"),
        })?;
        let mut statement = self
            .connection
            .prepare("SELECT collection, namespace, name, body FROM object")
            .map_err(explain)?;
        let rows = statement
            .query_map([], |row| {
                let key = Key {
                    collection: row.get(0)?,
                    namespace: row.get(1)?,
                    name: row.get(2)?,
                };
                Ok((key, row.get::<_, String>(3)?))
            })
            .map_err(explain)?;
        let mut objects = Vec::new();
        for row in rows {
            let (key, body) = row.map_err(explain)?;
            let object: Value = serde_json::from_str(&body).map_err(|error| OpenError::Damaged {
                path: path.to_owned(),
                what: format!("{} {}/{}: {error}", key.collection, key.namespace, key.name),
            })?;
            objects.push((key, object));
        }
        Ok(Loaded { revision, objects })
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
        .map_err(explain)
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
