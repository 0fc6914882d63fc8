//! An SQLite file, written by a thread of its own.
//!
//! The thread takes what has gathered while the last commit was synced (WAL, `synchronous = FULL`) as one transaction. When that
//! fails, each row gets one of its own, so that a row that cannot be stored harms no other. After a failure the file is
//! opened anew for the next rows, as it is when another one has taken its place.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    thread::JoinHandle,
};

use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{COLUMNS, Put, Row, Table};
use crate::cli::listen::limits::{BUSY_WAIT, GRACE, STORE_BATCH, STORE_QUEUE, STORE_WAIT};

/// A file and the thread that writes to it.
pub struct Sqlite {
    rows: mpsc::Sender<Asked>,
    thread: JoinHandle<()>,
}

/// Why a row is not known to be in the file.
#[derive(Debug, thiserror::Error)]
pub enum SqliteError {
    #[error("cannot open or make the file")]
    File(#[source] io::Error),
    #[error("the file cannot be kept safe: its journal mode is {0}, not wal")]
    Mode(String),
    #[error("the table {0} is there with other columns; name another with --table")]
    Table(String, #[source] rusqlite::Error),
    #[error("SQLite")]
    Sqlite(#[from] rusqlite::Error),
    #[error("SQLite did not answer within 10s")]
    Late,
    #[error("the thread that writes to SQLite has ended")]
    Gone,
}

struct Asked {
    row: Row,
    answer: oneshot::Sender<Result<Put, SqliteError>>,
}

/// What the thread has.
struct Writer {
    path: PathBuf,
    table: Table,
    open: Option<Open>,
}

/// The file, opened.
struct Open {
    connection: Connection,
    insert: String,
    /// Device and inode.
    file: (u64, u64),
}

impl Sqlite {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// When that cannot be done, or the table is of another form.
    pub async fn open(path: PathBuf, table: &Table) -> Result<Self, SqliteError> {
        let (rows, mut queue) = mpsc::channel(STORE_QUEUE);
        let (opened, is_open) = oneshot::channel();
        let mut writer = Writer {
            path,
            table: table.clone(),
            open: None,
        };
        let thread = std::thread::spawn(move || {
            let tried = writer.open().map(|_| ());
            let failed = tried.is_err();
            // Who asked may have gone.
            let _ = opened.send(tried);
            if !failed {
                writer.run(&mut queue);
            }
        });
        is_open.await.map_err(|_| SqliteError::Gone)??;
        Ok(Self { rows, thread })
    }

    /// Puts a row, and waits for its commit.
    ///
    /// # Errors
    /// When it is not known to be committed.
    pub async fn put(&self, row: Row) -> Result<Put, SqliteError> {
        let (answer, answered) = oneshot::channel();
        let putting = async {
            let asked = Asked { row, answer };
            self.rows.send(asked).await.map_err(|_| SqliteError::Gone)?;
            answered.await.map_err(|_| SqliteError::Gone)?
        };
        timeout(STORE_WAIT, putting)
            .await
            .map_err(|_| SqliteError::Late)?
    }

    /// Closes the file, which puts its log into it.
    pub async fn close(self) {
        drop(self.rows);
        let joining = tokio::task::spawn_blocking(|| self.thread.join());
        // A disk that hangs is not waited for: what was promised is in the log.
        let _ = timeout(GRACE, joining).await;
    }
}

impl Writer {
    fn run(&mut self, queue: &mut mpsc::Receiver<Asked>) {
        let mut batch = Vec::with_capacity(STORE_BATCH);
        while let Some(asked) = queue.blocking_recv() {
            batch.push(asked);
            while batch.len() < STORE_BATCH
                && let Ok(asked) = queue.try_recv()
            {
                batch.push(asked);
            }
            // Who has waited too long has been told to come again.
            batch.retain(|asked| !asked.answer.is_closed());
            self.write(&mut batch);
        }
    }

    fn write(&mut self, batch: &mut Vec<Asked>) {
        let together = match batch.len() {
            0 | 1 => None,
            _ => self.put(batch.iter().map(|asked| &asked.row)).ok(),
        };
        if let Some(puts) = together {
            for (asked, put) in batch.drain(..).zip(puts) {
                let _ = asked.answer.send(Ok(put));
            }
        }
        for Asked { row, answer } in batch.drain(..) {
            let put = self.put([&row].into_iter()).map(|puts| puts[0]);
            let _ = answer.send(put);
        }
    }

    /// Puts rows in one transaction.
    fn put<'a>(&mut self, rows: impl Iterator<Item = &'a Row>) -> Result<Vec<Put>, SqliteError> {
        let done = self.open().and_then(|open| Ok(open.put(rows)?));
        if done.is_err() {
            self.open = None;
        }
        done
    }

    fn open(&mut self) -> Result<&mut Open, SqliteError> {
        let moved = |open: &Open| identity(&self.path).ok() != Some(open.file);
        let open = match self.open.take() {
            Some(open) if !moved(&open) => open,
            _ => Open::new(&self.path, &self.table)?,
        };
        Ok(self.open.insert(open))
    }
}

impl Open {
    fn new(path: &Path, table: &Table) -> Result<Self, SqliteError> {
        make(path).map_err(SqliteError::File)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        let file = identity(path).map_err(SqliteError::File)?;
        connection.busy_timeout(BUSY_WAIT)?;
        let mode: String =
            connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
        if mode != "wal" {
            return Err(SqliteError::Mode(mode));
        }
        connection.pragma_update(None, "synchronous", "full")?;
        connection.execute_batch(&create(table))?;
        let insert = format!(
            "INSERT INTO {} ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (id) DO NOTHING",
            table.quoted()
        );
        if let Err(error) = connection.prepare(&insert) {
            return Err(SqliteError::Table(table.to_string(), error));
        }
        Ok(Self {
            connection,
            insert,
            file,
        })
    }

    fn put<'a>(&mut self, rows: impl Iterator<Item = &'a Row>) -> Result<Vec<Put>, rusqlite::Error> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut puts = Vec::new();
        {
            let mut insert = transaction.prepare(&self.insert)?;
            for row in rows {
                let changed = insert.execute(params![
                    row.id,
                    row.event_type,
                    row.received_at.to_string(),
                    row.path,
                    row.content_type,
                    row.headers,
                    row.text(),
                    &row.body[..],
                    row.verified,
                ])?;
                puts.push(Put::of(changed as u64));
            }
        }
        transaction.commit()?;
        Ok(puts)
    }
}

fn create(table: &Table) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {} (
            id TEXT PRIMARY KEY NOT NULL,
            type TEXT,
            received_at TEXT NOT NULL,
            path TEXT NOT NULL,
            content_type TEXT,
            headers TEXT NOT NULL,
            payload TEXT,
            body BLOB NOT NULL,
            verified INTEGER NOT NULL
        )",
        table.quoted()
    )
}

/// Makes the file if there is none, its owner's alone, and its name durable.
fn make(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    match options.write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
#[path = "sqlite_tests.rs"]
mod tests;
