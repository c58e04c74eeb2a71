//! The store on its own: versions, history, what a file may be.

use serde_json::json;

use super::file::{File, OpenError};
use super::history::{History, Limits};
use super::memory::{Loaded, Memory};
use super::writer::{self, Job};
use super::*;

fn key(name: &str) -> Key {
    Key {
        collection: "pods".to_owned(),
        namespace: "n".to_owned(),
        name: name.to_owned(),
    }
}

fn write(name: &str, expected: Option<u64>, object: Option<Value>) -> Write {
    Write {
        key: key(name),
        expected,
        object,
        requires: None,
    }
}

fn pod(value: u64) -> Option<Value> {
    Some(json!({"metadata": {"name": "a"}, "spec": {"value": value}}))
}

fn store(directory: &tempfile::TempDir) -> Store {
    Store::open(&directory.path().join("cluster.db")).unwrap()
}

#[tokio::test]
async fn versions_grow_and_outlive_a_restart_even_when_the_newest_object_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let first = store(&directory);
    assert_eq!(
        revision_of(&first.write(write("a", None, pod(1))).await.unwrap()),
        1
    );
    assert_eq!(
        revision_of(&first.write(write("b", None, pod(1))).await.unwrap()),
        2
    );
    let removed = first.write(write("b", Some(2), None)).await.unwrap();
    assert_eq!(revision_of(&removed), 3);
    drop(first);
    let second = reopen(&directory).await;
    let (objects, revision) = second.list("pods", "n");
    assert_eq!((objects.len(), revision), (1, 3));
    assert_eq!(
        revision_of(&second.write(write("c", None, pod(1))).await.unwrap()),
        4
    );
    assert!(
        second.feed("pods", 2).is_err(),
        "nothing is known of what happened before the restart"
    );
}

/// The writer's thread closes the file a moment after the last clone is gone.
async fn reopen(directory: &tempfile::TempDir) -> Store {
    for _ in 0..100 {
        match Store::open(&directory.path().join("cluster.db")) {
            Err(OpenError::InUse(_)) => tokio::task::yield_now().await,
            other => return other.unwrap(),
        }
    }
    panic!("the file stays locked");
}

#[tokio::test]
async fn a_write_that_changes_nothing_has_no_version_and_no_event() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    let mut feed = store.feed("pods", 0).unwrap();
    store.write(write("a", None, pod(1))).await.unwrap();
    let same = store.write(write("a", Some(1), pod(1))).await.unwrap();
    assert_eq!(revision_of(&same), 1);
    store.write(write("a", Some(1), pod(2))).await.unwrap();
    let records = feed.next().await.unwrap();
    assert_eq!(
        records.iter().map(|record| record.revision).collect::<Vec<_>>(),
        [1, 2]
    );
}

#[tokio::test]
async fn a_write_is_compared_with_what_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    store.write(write("a", None, pod(1))).await.unwrap();
    assert_eq!(store.write(write("a", None, pod(1))).await, Err(Refused::Exists));
    assert_eq!(
        store.write(write("a", Some(9), pod(3))).await,
        Err(Refused::Changed)
    );
    assert_eq!(
        store.write(write("z", Some(1), pod(3))).await,
        Err(Refused::Missing)
    );
    let orphan = Write {
        requires: Some(key("none")),
        ..write("b", None, pod(1))
    };
    assert_eq!(store.write(orphan).await, Err(Refused::RequiredMissing));
    let ending = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    store.write(write("ending", None, Some(ending))).await.unwrap();
    let late = Write {
        requires: Some(key("ending")),
        ..write("b", None, pod(1))
    };
    assert_eq!(store.write(late).await, Err(Refused::RequiredEnding));
}

#[tokio::test]
async fn a_full_disk_refuses_the_write_and_keeps_what_was_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cluster.db");
    let (mut file, loaded) = File::open(&path).unwrap();
    file.limit_pages(8);
    let memory = Memory::new(loaded, Limits::default());
    let mut send = |write: Write| {
        let (reply, mut answer) = oneshot::channel();
        let body = write.object.as_ref().map(Value::to_string).unwrap_or_default();
        writer::commit(&mut file, &memory, std::iter::once(Job { write, body, reply }));
        answer.try_recv().unwrap()
    };
    assert!(send(write("small", None, pod(1))).is_ok());
    let huge = json!({"metadata": {}, "data": "x".repeat(1 << 20)});
    let refused = send(write("huge", None, Some(huge))).unwrap_err();
    let said = refused.to_string();
    assert!(
        said.contains("cluster.db (database or disk is full): free some space"),
        "{said}"
    );
    assert_eq!(memory.list("pods", "").0.len(), 1);
    assert_eq!(revision_of(&send(write("later", None, pod(1))).unwrap()), 2);
}

#[test]
fn history_forgets_by_number_and_by_size_and_says_so() {
    let record = |revision, bytes| {
        Arc::new(Record {
            key: key("a"),
            revision,
            object: Arc::default(),
            previous: None,
            removed: false,
            bytes,
        })
    };
    let mut history = History::new(
        10,
        Limits {
            records: 3,
            bytes: 100,
            bytes_in_all: 1000,
        },
    );
    for revision in 11..=14 {
        history.push(record(revision, 1));
    }
    assert_eq!(
        history.after(10, 9).unwrap_err(),
        TooOld {
            asked: 10,
            oldest: 11
        }
    );
    assert_eq!(history.after(11, 9).unwrap().len(), 3);
    assert_eq!(history.after(11, 2).unwrap().len(), 2);
    history.push(record(15, 99));
    assert_eq!(history.after(13, 9).unwrap().len(), 2);
    assert!(history.after(12, 9).is_err());
    assert_eq!(history.after(99, 9).unwrap().len(), 0, "the future is waited for");
}

#[tokio::test]
async fn a_reader_that_falls_behind_is_told_and_blocks_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    let mut slow = store.feed("pods", 0).unwrap();
    let large = "x".repeat(1 << 20);
    for count in 0..40 {
        let object = json!({"metadata": {}, "data": large});
        store
            .write(write(&format!("pod-{count}"), None, Some(object)))
            .await
            .unwrap();
    }
    assert!(slow.next().await.is_err());
}

#[tokio::test]
async fn a_list_can_be_had_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    for (name, expected, object) in [
        ("a", None, pod(1)),
        ("b", None, pod(2)),
        ("a", Some(1), pod(3)),
        ("b", Some(2), None),
        ("c", None, pod(4)),
        ("b", None, pod(5)),
    ] {
        store.write(write(name, expected, object)).await.unwrap();
    }
    let values = |namespace: &str, revision| -> Vec<u64> {
        let objects = store.list_at("pods", namespace, revision).unwrap();
        objects
            .iter()
            .map(|object| object["spec"]["value"].as_u64().unwrap())
            .collect()
    };
    let expected: [&[u64]; 7] = [&[], &[1], &[1, 2], &[3, 2], &[3], &[3, 4], &[3, 5, 4]];
    for (revision, expected) in expected.iter().enumerate() {
        assert_eq!(values("n", revision as u64), *expected, "at version {revision}");
        assert_eq!(values("", revision as u64), *expected, "at version {revision}");
        assert!(values("other", revision as u64).is_empty());
    }
    drop(store);
    let store = reopen(&directory).await;
    assert!(
        store.list_at("pods", "n", 5).is_err(),
        "it was before the restart"
    );
    assert_eq!(store.list_at("pods", "n", 6).unwrap().len(), 3);
}

#[test]
fn all_histories_together_are_bounded_and_the_longest_gives_way() {
    let limits = Limits {
        records: 100,
        bytes: 1000,
        bytes_in_all: 1000,
    };
    let loaded = Loaded {
        revision: 0,
        objects: Vec::new(),
    };
    let memory = Arc::new(Memory::new(loaded, limits));
    for revision in 1..=20 {
        let collection = if revision == 1 { "quiet" } else { "busy" };
        let record = Record {
            key: Key {
                collection: collection.to_owned(),
                ..key("a")
            },
            revision,
            object: Arc::default(),
            previous: None,
            removed: false,
            bytes: 100,
        };
        memory.apply(vec![Arc::new(record)]);
    }
    assert!(Memory::feed(&memory, "quiet", 0).is_ok());
    assert!(Memory::feed(&memory, "busy", 10).is_err());
    assert!(Memory::feed(&memory, "busy", 11).is_ok());
}

#[tokio::test]
async fn an_object_beyond_etcds_limit_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    let of_size = |bytes: usize| Some(json!({"metadata": {}, "data": "x".repeat(bytes)}));
    store
        .write(write("large", None, of_size(1_500_000)))
        .await
        .unwrap();
    let refused = store
        .write(write("huge", None, of_size(1_600_000)))
        .await
        .unwrap_err();
    assert_eq!(refused.to_string(), "etcdserver: request is too large");
}

#[tokio::test]
async fn what_could_not_be_read_again_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let first = store(&directory);
    let of_levels = |levels: usize| {
        let inner = (1..levels).fold(json!("x"), |inner, _| json!([inner]));
        Some(json!({"metadata": {}, "data": inner}))
    };
    first.write(write("deep", None, of_levels(127))).await.unwrap();
    let refused = first.write(write("deeper", None, of_levels(128))).await;
    assert_eq!(refused, Err(Refused::TooDeep));
    drop(first);
    assert_eq!(reopen(&directory).await.list("pods", "n").0.len(), 1);
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cluster.db");
    let whole = contents_of_a_killed_process(&directory).await;
    let [file, log] = whole.clone();
    // A page of the tables, the head, the end, everything: as torn writes and bad disks leave it.
    let damages: Vec<Vec<u8>> = vec![
        file[..file.len() / 2].to_vec(),
        file[..100].to_vec(),
        Vec::new(),
        [&file[..4096], &vec![0xff; file.len() - 4096][..]].concat(),
        [&vec![0; 4096][..], &file[4096..]].concat(),
    ];
    for (case, damaged) in damages.into_iter().enumerate() {
        let log = if case == 2 { &log[..] } else { &[] };
        std::fs::write(&path, &damaged).unwrap();
        std::fs::write(directory.path().join("cluster.db-wal"), log).unwrap();
        let message = Store::open(&path).err().unwrap().to_string();
        assert!(message.contains("cluster.db"), "{case}: {message}");
        assert!(
            message.contains("restore it from a copy") || message.contains("choose another directory"),
            "{case}: {message}"
        );
        assert!(
            std::fs::read(&path).unwrap() == damaged,
            "{case}: the file was changed"
        );
    }
    // And what was not damaged opens.
    std::fs::write(&path, &whole[0]).unwrap();
    std::fs::write(directory.path().join("cluster.db-wal"), &whole[1]).unwrap();
    let store = Store::open(&path).unwrap();
    assert_eq!(store.list("pods", "").0.len(), 40);
}

/// File and log as they are while a store is open: what `kill -9` leaves behind.
async fn contents_of_a_killed_process(directory: &tempfile::TempDir) -> [Vec<u8>; 2] {
    let copy = tempfile::tempdir().unwrap();
    let read = |from: &std::path::Path, name: &str| std::fs::read(from.join(name)).unwrap();
    {
        let store = store(&copy);
        for count in 0..20 {
            let object = json!({"metadata": {}, "data": "x".repeat(3000)});
            let write = write(&format!("old-{count}"), None, Some(object));
            store.write(write).await.unwrap();
        }
    }
    let store = reopen(&copy).await;
    for count in 0..20 {
        store
            .write(write(&format!("new-{count}"), None, pod(count)))
            .await
            .unwrap();
    }
    let contents = ["cluster.db", "cluster.db-wal"].map(|name| read(copy.path(), name));
    assert!(contents.iter().all(|bytes| bytes.len() > 4096));
    drop(store);
    std::fs::create_dir_all(directory.path()).unwrap();
    contents
}

#[test]
fn a_file_whose_objects_make_no_sense_is_refused() {
    for (damage, said) in [
        ("UPDATE object SET body = '{\"metadata\":'", "pods n/a: EOF"),
        ("UPDATE object SET body = '[]'", "pods n/a has no metadata"),
        ("UPDATE object SET revision = -7", "pods n/a has the version -7"),
        ("UPDATE newest SET revision = -7", "its newest version is -7"),
        ("DELETE FROM newest", "no rows"),
        ("DROP TABLE object", "no such table"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cluster.db");
        let (mut file, _) = File::open(&path).unwrap();
        file.transaction(|transaction| transaction.put(&key("a"), 1, "{\"metadata\":{}}"))
            .unwrap();
        drop(file);
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.execute_batch(damage).unwrap();
        drop(connection);
        let error = Store::open(&path).err().unwrap();
        assert!(matches!(error, OpenError::Damaged { .. }), "{damage}: {error}");
        assert!(error.to_string().contains(said), "{damage}: {error}");
    }
}

#[test]
fn a_file_that_is_not_ours_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cluster.db");
    std::fs::write(
        &path,
        "once upon a time, there was a text file that was no database",
    )
    .unwrap();
    assert!(matches!(Store::open(&path), Err(OpenError::Foreign(_))));

    let other = directory.path().join("other.db");
    let connection = rusqlite::Connection::open(&other).unwrap();
    connection.execute_batch("CREATE TABLE something (x)").unwrap();
    drop(connection);
    assert!(matches!(Store::open(&other), Err(OpenError::Foreign(_))));

    let newer = directory.path().join("newer.db");
    drop(File::open(&newer).unwrap());
    let connection = rusqlite::Connection::open(&newer).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let message = Store::open(&newer).err().unwrap().to_string();
    assert!(message.contains("newer version (schema 99"), "{message}");
}

#[tokio::test]
async fn a_file_in_use_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let _first = store(&directory);
    let message = Store::open(&directory.path().join("cluster.db"))
        .err()
        .unwrap()
        .to_string();
    assert!(message.contains("in use by another process"), "{message}");
}
