//! Lists: filters, pages, and printing them.

use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    client::{Client, Path},
    input::whole,
    limits::PAGE_ROWS,
    output::Output,
    table::Column,
};

/// More rows than any list has.
const MOST_ROWS: u64 = 1_000_000_000;

/// How much of a list, and in which order.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Rows at the most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = whole(1..=MOST_ROWS))]
    limit: u64,
    /// Newest first, or oldest first
    #[arg(long, value_enum, default_value_t = Order::Desc)]
    order: Order,
}

impl ListArgs {
    /// The list at `path` in the wanted order, and how many of its rows.
    fn of(&self, path: &Path) -> (Path, usize) {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let path = path.clone();
        match self.order {
            Order::Asc => (path.query("order", "asc"), limit),
            Order::Desc => (path, limit),
        }
    }
}

#[derive(ValueEnum, Copy, Clone, Debug, PartialEq, Eq)]
enum Order {
    Asc,
    Desc,
}

/// Rows of a list, and where the next begin.
#[derive(Deserialize)]
pub struct Page {
    pub data: Vec<Box<RawValue>>,
    next: Option<String>,
}

/// Prints the list at `path`, following its pages up to the limit. Programs get each page as it comes; a
/// table needs all rows for its widths.
///
/// # Errors
///
/// The client's, and those of stdout.
pub async fn print(
    client: &Client,
    output: Output,
    path: &Path,
    list: &ListArgs,
    columns: &[Column],
) -> anyhow::Result<()> {
    let (path, limit) = list.of(path);
    let mut pages = Pages::new(client, &path, limit);
    let mut held = Vec::new();
    while let Some(mut rows) = pages.next().await? {
        if output.is_json() {
            output.many(columns, &rows)?;
        } else {
            held.append(&mut rows);
        }
    }
    if output.is_json() {
        Ok(())
    } else {
        output.many(columns, &held)
    }
}

/// Prints the rows at `path` one by one, each with all its members.
///
/// # Errors
///
/// The client's, and those of stdout.
pub async fn print_details(
    client: &Client,
    output: Output,
    path: &Path,
    list: &ListArgs,
) -> anyhow::Result<()> {
    let (path, limit) = list.of(path);
    let mut pages = Pages::new(client, &path, limit);
    let mut first = true;
    while let Some(rows) = pages.next().await? {
        for row in rows {
            if !first && !output.is_json() {
                output.text("")?;
            }
            first = false;
            output.one(&row)?;
        }
    }
    Ok(())
}

/// A list's pages, one after the other.
pub struct Pages<'a> {
    client: &'a Client,
    path: &'a Path,
    left: usize,
    cursor: Option<String>,
}

impl<'a> Pages<'a> {
    pub const fn new(client: &'a Client, path: &'a Path, limit: usize) -> Self {
        Self {
            client,
            path,
            left: limit,
            cursor: None,
        }
    }

    /// The next page's rows; none behind the last. A page may be empty and have a next one: the server looks
    /// at a bounded number of rows for each.
    ///
    /// # Errors
    ///
    /// The client's.
    pub async fn next(&mut self) -> anyhow::Result<Option<Vec<Box<RawValue>>>> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut path = self
            .path
            .clone()
            .query("limit", &self.left.min(PAGE_ROWS).to_string());
        if let Some(cursor) = &self.cursor {
            path = path.query("cursor", cursor);
        }
        let mut page: Page = self.client.get(&path).await?.read()?;
        page.data.truncate(self.left);
        self.left -= page.data.len();
        self.cursor = page.next;
        if self.cursor.is_none() {
            self.left = 0;
        }
        Ok(Some(page.data))
    }
}
