//! `--wait`: looking until every delivery of the event has ended.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    cli::{
        client::{Client, Path},
        failure::Failed,
        limits::{POLL_FIRST, POLL_LAST},
        list::Pages,
        output::Output,
    },
    config::text::escaped,
    domain::duration::Span,
};

#[derive(Deserialize)]
struct Delivery {
    id: String,
    state: String,
    #[serde(default)]
    endpoint_id: String,
    #[serde(default)]
    attempts: Option<u64>,
}

/// What has been seen so far.
#[derive(Default)]
struct Progress {
    ended: BTreeSet<String>,
    undelivered: usize,
    /// What the last whole look found, if there was one.
    seen: Option<Look>,
}

/// Deliveries that have not ended.
#[derive(Copy, Clone, Default)]
struct Look {
    open: usize,
    held: usize,
}

/// Prints each delivery of an event as it ends; `path` is the list of them.
///
/// # Errors
///
/// [`Failed`] when one ended otherwise than delivered, or has not ended within `limit`.
pub async fn for_deliveries(client: &Client, output: Output, path: &Path, limit: Span) -> anyhow::Result<()> {
    let mut progress = Progress::default();
    let watching = async {
        let mut pause = POLL_FIRST;
        loop {
            if progress.look(client, output, path).await?.open == 0 {
                return anyhow::Ok(());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(POLL_LAST);
        }
    };
    let in_time = tokio::time::timeout(limit.as_duration(), watching).await;
    match in_time {
        Ok(Err(error)) => Err(error),
        Ok(Ok(())) if progress.undelivered == 0 => Ok(()),
        Ok(Ok(())) => {
            let (failed, all) = (progress.undelivered, progress.ended.len());
            Err(Failed(format!("{failed} of {all} were not delivered")).into())
        }
        Err(_) => Err(Failed(progress.unfinished(limit)).into()),
    }
}

impl Progress {
    fn unfinished(&self, limit: Span) -> String {
        match self.seen {
            None => format!("after {limit} the server has not said how the deliveries stand; they go on"),
            Some(Look { open, held }) => {
                format!("after {limit} {open} deliveries have not ended ({held} of them held); they go on")
            }
        }
    }

    async fn look(&mut self, client: &Client, output: Output, path: &Path) -> anyhow::Result<Look> {
        let mut look = Look::default();
        let mut pages = Pages::new(client, path, usize::MAX);
        while let Some(rows) = pages.next().await? {
            for row in rows {
                self.see(&mut look, output, &row)?;
            }
        }
        self.seen = Some(look);
        Ok(look)
    }

    fn see(&mut self, look: &mut Look, output: Output, row: &RawValue) -> anyhow::Result<()> {
        let delivery: Delivery = serde_json::from_str(row.get())?;
        if !matches!(
            delivery.state.as_str(),
            "delivered" | "failed" | "expired" | "cancelled"
        ) {
            look.open += 1;
            look.held += usize::from(delivery.state == "held");
            return Ok(());
        }
        if !self.ended.insert(delivery.id.clone()) {
            return Ok(());
        }
        self.undelivered += usize::from(delivery.state != "delivered");
        if output.is_json() {
            return output.one(row);
        }
        let attempts = delivery.attempts.unwrap_or(0);
        let noun = if attempts == 1 { "attempt" } else { "attempts" };
        let line = format!(
            "{:9}  {}  to {}  after {attempts} {noun}",
            delivery.state, delivery.id, delivery.endpoint_id
        );
        output.text(&escaped(&line))
    }
}
