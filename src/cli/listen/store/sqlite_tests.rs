//! Rows in real files.

use std::{fs, os::unix::fs::PermissionsExt as _};

use bytes::Bytes;
use futures_util::future::join_all;

use super::*;
use crate::{cli::listen::content::Kind, domain::time::Timestamp};

fn row(id: &str, kind: Kind, body: &[u8]) -> Row {
    Row {
        id: id.to_owned(),
        event_type: Some("a.b".to_owned()),
        received_at: Timestamp::from_millis(1_614_265_330_120),
        path: "/in?x=1".to_owned(),
        content_type: None,
        headers: "{}".to_owned(),
        kind,
        body: Bytes::copy_from_slice(body),
        verified: true,
    }
}

/// Payload, body, verified, received_at, type.
type Found = (Option<String>, Vec<u8>, bool, String, String);

async fn open(path: &Path) -> Result<Sqlite, SqliteError> {
    Sqlite::open(path.to_owned(), &"events".parse().unwrap()).await
}

fn count(path: &Path) -> i64 {
    let connection = Connection::open(path).unwrap();
    let mut count = connection.prepare("SELECT count(*) FROM events").unwrap();
    count.query_row([], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn a_row_is_put_once_and_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    let store = open(&path).await.unwrap();
    assert_eq!(
        store.put(row("e1", Kind::Json, b"{\"a\": 1.0}")).await.unwrap(),
        Put::New
    );
    assert_eq!(store.put(row("e1", Kind::Json, b"{}")).await.unwrap(), Put::Known);
    assert_eq!(
        store.put(row("e2", Kind::Text, b"a=1&b")).await.unwrap(),
        Put::New
    );
    assert_eq!(
        store.put(row("e3", Kind::Bytes, b"\xff\0")).await.unwrap(),
        Put::New
    );
    store.close().await;
    assert!(
        !path.with_file_name("s.db-wal").exists(),
        "its log is in the file"
    );
    let connection = Connection::open(&path).unwrap();
    let mut select = connection
        .prepare("SELECT payload, body, verified, received_at, type FROM events ORDER BY id")
        .unwrap();
    let rows: Vec<Found> = select
        .query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let payloads: Vec<_> = rows.iter().map(|row| row.0.as_deref()).collect();
    assert_eq!(payloads, [Some("{\"a\": 1.0}"), Some("a=1&b"), None]);
    assert_eq!(rows[2].1, b"\xff\0");
    assert!(rows[0].2);
    assert_eq!(
        (rows[0].3.as_str(), rows[0].4.as_str()),
        ("2021-02-25T15:02:10.120Z", "a.b")
    );
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn of_many_at_once_each_is_put_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    let store = open(&path).await.unwrap();
    let store = &store;
    let putting = (0..200).map(|number| async move {
        let row = row(&format!("e{}", number % 50), Kind::Json, b"{}");
        store.put(row).await.unwrap()
    });
    let puts = join_all(putting).await;
    assert_eq!(puts.iter().filter(|put| **put == Put::New).count(), 50);
    assert_eq!(count(&path), 50);
}

#[tokio::test]
async fn a_file_that_was_taken_away_is_made_again_before_anything_is_promised() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    let store = open(&path).await.unwrap();
    store.put(row("e1", Kind::Json, b"{}")).await.unwrap();
    for name in ["s.db", "s.db-wal", "s.db-shm"] {
        let _ = fs::remove_file(folder.path().join(name));
    }
    assert_eq!(store.put(row("e2", Kind::Json, b"{}")).await.unwrap(), Put::New);
    assert_eq!(count(&path), 1);
}

#[tokio::test]
async fn after_a_failure_the_file_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    let store = open(&path).await.unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("ALTER TABLE events RENAME TO away").unwrap();
    other.execute_batch("CREATE TABLE events (id TEXT)").unwrap();
    let error = store.put(row("e1", Kind::Json, b"{}")).await.unwrap_err();
    assert!(
        matches!(error, SqliteError::Sqlite(_) | SqliteError::Table(..)),
        "{error:?}"
    );
    other.execute_batch("DROP TABLE events").unwrap();
    assert_eq!(store.put(row("e1", Kind::Json, b"{}")).await.unwrap(), Put::New);
}

#[tokio::test]
async fn what_is_no_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE events (id INTEGER, what TEXT)")
        .unwrap();
    let error = open(&path).await.err().unwrap();
    assert!(matches!(error, SqliteError::Table(..)), "{error:?}");
    let text = folder.path().join("text");
    fs::write(
        &text,
        "no database at all, but long enough to be read as one".repeat(40),
    )
    .unwrap();
    assert!(matches!(open(&text).await.err().unwrap(), SqliteError::Sqlite(_)));
    let nowhere = folder.path().join("no/such/place.db");
    assert!(matches!(
        open(&nowhere).await.err().unwrap(),
        SqliteError::File(_)
    ));
}
