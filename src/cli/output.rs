//! What goes to stdout.

use std::io::{self, ErrorKind, Write};

use anyhow::Context as _;
use serde_json::value::RawValue;

use super::table::{Column, details, table};
use crate::config::text::json_line;

/// How results are printed.
#[derive(clap::ValueEnum, Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Table,
    Json,
}

/// Whoever read stdout has gone: not an error of ours, and nothing is left to do.
#[derive(Debug, thiserror::Error)]
#[error("stdout is closed")]
pub struct Closed;

/// Prints results.
#[derive(Copy, Clone, Debug)]
pub struct Output {
    format: Format,
}

impl Output {
    pub const fn new(format: Format) -> Self {
        Self { format }
    }

    pub const fn is_json(self) -> bool {
        matches!(self.format, Format::Json)
    }

    /// Prints one thing: JSON on one line, or its members on a line each.
    ///
    /// # Errors
    ///
    /// [`Closed`], or why stdout took no more.
    pub fn one(self, document: &RawValue) -> anyhow::Result<()> {
        match self.format {
            Format::Json => self.text(&json_line(document.get())),
            Format::Table => self.text(&details(document)),
        }
    }

    /// Prints a list: JSON, one row a line, or a table.
    ///
    /// # Errors
    ///
    /// [`Closed`], or why stdout took no more.
    pub fn many(self, columns: &[Column], rows: &[Box<RawValue>]) -> anyhow::Result<()> {
        match self.format {
            Format::Json => rows.iter().try_for_each(|row| self.text(&json_line(row.get()))),
            Format::Table => self.text(&table(columns, rows)),
        }
    }

    /// Prints text as it is, and a line end if it has none.
    ///
    /// # Errors
    ///
    /// [`Closed`], or why stdout took no more.
    pub fn text(self, text: &str) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        let end = if text.ends_with('\n') { "" } else { "\n" };
        let written = out
            .write_all(text.as_bytes())
            .and_then(|()| out.write_all(end.as_bytes()))
            .and_then(|()| out.flush());
        match written {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Closed.into()),
            other => other.context("cannot write to stdout"),
        }
    }
}

/// Says something to the person, on stderr.
pub fn note(text: &str) {
    crate::telemetry::say(&crate::config::text::escaped(text));
}
