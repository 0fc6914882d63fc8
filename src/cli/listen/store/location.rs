//! Which database, and which table of it.

use std::{fmt, path::PathBuf, str::FromStr};

use super::postgres::{self, Config};
use crate::cli::failure::Usage;

/// A database, not opened yet. Shown without its credentials.
#[derive(Debug)]
pub enum Location {
    Sqlite(PathBuf),
    Postgres(Box<Config>),
}

/// A table's name: 1 to 63 letters, digits and underscores, not beginning with a digit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table(String);

/// Why a text names no table.
#[derive(Debug, thiserror::Error)]
#[error("not a table's name; use up to 63 letters, digits and _, first a letter or _, and not sqlite_")]
pub struct InvalidTable;

const FORMS: &str = "write FILE or sqlite:FILE, or postgres://USER:PASSWORD@HOST:PORT/DATABASE";

impl Location {
    /// Reads the argument of `--store`.
    ///
    /// # Errors
    /// What it should say instead.
    pub fn read(text: &str) -> Result<Self, Usage> {
        if ["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| text.starts_with(scheme))
        {
            let config = postgres::read(text).map_err(|why| Usage(format!("--store: {why}")))?;
            return Ok(Self::Postgres(Box::new(config)));
        }
        let path = match text.strip_prefix("sqlite:") {
            Some(rest) => rest.strip_prefix("//").unwrap_or(rest),
            None => text,
        };
        // The text may be a URL with a password in it, so it is not shown.
        if path.contains("://") {
            return Err(Usage(format!("--store: no database of that kind; {FORMS}")));
        }
        if path.is_empty() || path == ":memory:" {
            return Err(Usage(format!("--store: that names no file; {FORMS}")));
        }
        Ok(Self::Sqlite(path.into()))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "the SQLite file {}", path.display()),
            Self::Postgres(config) => f.write_str(&postgres::described(config)),
        }
    }
}

impl Table {
    /// The name as SQL takes it, as it is written.
    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.0)
    }
}

impl FromStr for Table {
    type Err = InvalidTable;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let letters = text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let first = text.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
        let reserved = text.to_ascii_lowercase().starts_with("sqlite_");
        if letters && first && !reserved && text.len() <= 63 {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidTable)
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match Location::read(text) {
            Ok(location) => location.to_string(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn a_path_is_sqlite_and_a_url_is_postgresql() {
        for (text, expected) in [
            ("store.db", "the SQLite file store.db"),
            ("sqlite:a/b.db", "the SQLite file a/b.db"),
            ("sqlite:///a/b.db", "the SQLite file /a/b.db"),
            (
                "postgres://u:hunter2@db.test:5433/hooks",
                "PostgreSQL at db.test:5433, database hooks, as u",
            ),
            (
                "postgresql://u@[::1]/hooks",
                "PostgreSQL at [::1]:5432, database hooks, as u",
            ),
            (
                "postgres://u@localhost/hooks?host=/run/pg",
                "PostgreSQL at /run/pg/.s.PGSQL.5432, database hooks, as u",
            ),
            (
                "postgres:///hooks?host=/run/pg&user=u",
                "PostgreSQL at /run/pg/.s.PGSQL.5432, database hooks, as u",
            ),
            (
                "postgres://u:p@localhost:5433/hooks?host=/run/pg",
                "PostgreSQL at /run/pg/.s.PGSQL.5433, database hooks, as u",
            ),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn what_cannot_be_had_is_refused_without_showing_a_password() {
        for (text, told) in [
            ("", "no file"),
            ("sqlite:", "no file"),
            ("sqlite::memory:", "no file"),
            ("mysql://u:hunter2@h/d", "postgres://"),
            ("postgres://u:hunter2@h/d?sslmode=require", "sslmode=require"),
            ("postgres://u:hunter2@h/d?sslmode=verify-full", "sslmode"),
            (
                "postgres://u:hunter2@h/d?channel_binding=require",
                "channel_binding=require",
            ),
            ("postgres://u:hunter2@h:port/d", "port"),
            ("postgres://u:hunter2@h/d?nonsense=hunter2", "nonsense"),
            ("postgres://h/d", "USER"),
            ("postgres:///d?user=u", "HOST"),
            ("postgres://u:a@hunter2@h/d", "%40"),
        ] {
            let error = shown(text);
            assert!(
                error.starts_with("error: ") && error.contains(told),
                "{text}: {error}"
            );
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_table_has_a_plain_name() {
        for name in ["events", "_a1", "Zoom_Events"] {
            assert_eq!(name.parse::<Table>().unwrap().quoted(), format!("\"{name}\""));
        }
        for name in ["", "1a", "a b", "a\"b", "a.b", "é", "sqlite_x", &"x".repeat(64)] {
            assert!(name.parse::<Table>().is_err(), "{name}");
        }
    }
}
