//! Where events are stored: one table of an SQLite file or a PostgreSQL database.
//!
//! | column | SQLite | PostgreSQL | is |
//! |---|---|---|---|
//! | `id` | TEXT, primary key | text, primary key | the event's id ([`super::event`]) |
//! | `type` | TEXT | text | its type, where it says one |
//! | `received_at` | TEXT, RFC 3339 UTC | timestamptz | when it came whole |
//! | `path` | TEXT | text | the path it came to, with its query |
//! | `content_type` | TEXT | text | the media type of the body |
//! | `headers` | TEXT, JSON | jsonb | the headers, names in lower case, without credentials |
//! | `payload` | TEXT | jsonb | the body where it is text: JSON as it is; a form, XML and other text as text (in PostgreSQL as a JSON string) |
//! | `body` | BLOB | bytea | the body as it came, byte for byte |
//! | `verified` | INTEGER, 0 or 1 | boolean | whether its signature was checked, and fits |
//!
//! A row is put once and never changed: `INSERT … ON CONFLICT DO NOTHING` in a transaction of which the caller hears when it
//! is committed. `payload` is null where the body is no text, and, in PostgreSQL, where `jsonb` cannot hold it (`\u0000`, numbers
//! without end).

mod location;
mod postgres;
mod sqlite;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Map, Value};

use self::{
    postgres::{Postgres, PostgresError},
    sqlite::{Sqlite, SqliteError},
};
pub use location::{Location, Table};

use super::{content::Kind, event::Event};
use crate::{cli::receiver::Call, domain::time::Timestamp};

/// A database, opened.
pub enum Store {
    Sqlite(Sqlite),
    Postgres(Box<Postgres>),
}

/// What became of a row.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Put {
    New,
    /// There is one of that id.
    Known,
}

/// Why a row is not known to be stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Sqlite(#[from] SqliteError),
    #[error(transparent)]
    Postgres(#[from] PostgresError),
}

/// An event as it is stored.
#[derive(Clone, Debug)]
pub struct Row {
    id: String,
    event_type: Option<String>,
    received_at: Timestamp,
    path: String,
    content_type: Option<String>,
    /// A JSON object.
    headers: String,
    kind: Kind,
    body: Bytes,
    verified: bool,
}

/// The columns, in the order in which both databases get them.
const COLUMNS: &str = "id, type, received_at, path, content_type, headers, payload, body, verified";

impl Store {
    /// Opens a database, and makes the table if there is none.
    ///
    /// # Errors
    /// When it cannot be opened, or its table is not of the form above.
    pub async fn open(location: Location, table: Table) -> Result<Self, StoreError> {
        Ok(match location {
            Location::Sqlite(path) => Self::Sqlite(Sqlite::open(path, &table).await?),
            Location::Postgres(config) => Self::Postgres(Box::new(Postgres::open(*config, &table).await?)),
        })
    }

    /// Puts a row, and waits for its commit.
    ///
    /// # Errors
    /// When it is not known to be committed; it may be, and may be put again.
    pub async fn put(&self, row: Row) -> Result<Put, StoreError> {
        match self {
            Self::Sqlite(store) => Ok(store.put(row).await?),
            Self::Postgres(store) => Ok(store.put(&row).await?),
        }
    }

    /// Closes it; everything that was put is committed already.
    pub async fn close(self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => drop(store),
        }
    }
}

impl Put {
    /// What it was, by how many rows it changed.
    fn of(rows: u64) -> Self {
        if rows == 0 { Self::Known } else { Self::New }
    }
}

impl Row {
    pub fn of(call: &Call, kind: Kind, event: Event, verified: bool) -> Self {
        let query = call.query.as_ref().map(|query| format!("?{query}"));
        let content_type = call.headers.get(http::header::CONTENT_TYPE);
        Self {
            id: event.id,
            event_type: event.event_type,
            received_at: call.at,
            path: format!("{}{}", call.path, query.unwrap_or_default()),
            content_type: content_type.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
            headers: headers(&call.headers),
            kind,
            body: call.body.clone(),
            verified,
        }
    }

    /// The body, where it is text.
    fn text(&self) -> Option<&str> {
        match self.kind {
            Kind::Json | Kind::Text => std::str::from_utf8(&self.body).ok(),
            Kind::Bytes => None,
        }
    }
}

/// The headers as a JSON object, without those that let their bearer in somewhere.
fn headers(headers: &HeaderMap) -> String {
    let mut object = Map::new();
    for name in headers.keys().filter(|name| !is_credential(name.as_str())) {
        let values = headers.get_all(name).iter();
        let texts: Vec<_> = values
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        object.insert(name.as_str().to_owned(), Value::from(texts.join(", ")));
    }
    Value::Object(object).to_string()
}

fn is_credential(name: &str) -> bool {
    let telling = [
        "authorization",
        "cookie",
        "token",
        "secret",
        "password",
        "api-key",
        "apikey",
    ];
    telling.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_kept_without_credentials() {
        let mut map = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Basic hunter2"),
            ("x-gitlab-token", "hunter2"),
            ("x-api-key", "hunter2"),
            ("cookie", "hunter2"),
            ("webhook-id", "e1"),
            ("x-a", "1"),
            ("x-a", "2"),
        ] {
            map.append(name, value.parse().unwrap());
        }
        assert_eq!(headers(&map), r#"{"webhook-id":"e1","x-a":"1, 2"}"#);
    }
}
